/**
 * The operations of the processor beside PyTorch's, in one run. Installs PyTorch under `target/peers`, which is large:
 * 5.7 GB with what it brings for graphics cards.
 *
 *     npm run bench:peers
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';

import { root, run } from './run.js';

const venv = join(root, 'target/peers/torch');
const python = join(venv, 'bin/python');

if (!existsSync(python)) {
  await run('python3', ['-m', 'venv', venv]);
  await run(python, ['-m', 'pip', 'install', '-q', 'numpy', 'torch']);
}
await run(python, ['benches/peers/torch_ops.py', ...process.argv.slice(2)]);
