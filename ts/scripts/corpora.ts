/** The labelled pool of real text that the demo and the tests select from. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { root, run } from './run.js';

/** Where it is prepared. */
export const corpora = join(root, 'target/corpora');

/** Its manifest. */
export interface Manifest {
  /** The hash of the scripts that made it. */
  recipe: string;
  /** Documents in the pool. */
  documents: number;
  /** Words in the pool. */
  words: number;
  /** Per kind of text: documents in the pool, and in the sample that the pool does not hold (or 0). */
  kinds: Record<string, { pool: number; target: number }>;
}

/** Prepares it unless it is there, from the development packages. */
export async function prepare(): Promise<Manifest> {
  await run(process.execPath, ['test/corpora/prepare.mjs', '--out', corpora], () => undefined);
  return JSON.parse(readFileSync(join(corpora, 'manifest.json'), 'utf8')) as Manifest;
}
