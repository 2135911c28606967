/** The labelled pool of real text that the demo and the tests select from. */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { root } from './run.js';

/** Where it is prepared. */
export const corpora = join(root, 'target/corpora');

/** Its manifest. */
export interface Manifest {
  /** The hash of all documents. */
  content: string;
  /** Documents in the pool. */
  documents: number;
  /** Words in the pool. */
  words: number;
  /** Per kind of text: documents in the pool, and in the sample that the pool does not hold (or 0). */
  kinds: Record<string, { pool: number; target: number }>;
}

/** Prepares it unless it is there, from the development packages. */
export async function prepare(): Promise<Manifest> {
  await promisify(execFile)(process.execPath, ['test/corpora/prepare.mjs', '--out', corpora], { cwd: root });
  return JSON.parse(readFileSync(join(corpora, 'manifest.json'), 'utf8')) as Manifest;
}
