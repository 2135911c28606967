/**
 * The CUDA kernels, for those who change them: compiles `crates/cuda/kernels/*.cu` to the PTX that is committed, and
 * assembles all of it for every architecture that it claims, which prints registers and shared memory and fails for an
 * error or a spill.
 *
 *     npm run kernels [-- --check]       --check: only assembles what is committed
 *
 * Needs Python 3 with venv, on Linux on x86-64; installs compiler and assembler under `target/cuda`.
 */

import { join } from 'node:path';

import { root, run } from './run.js';

const build = join(root, 'crates/cuda/kernels/build.py');
if (!process.argv.includes('--check')) await run('python3', [build]);
await run('python3', [build, '--check']);
