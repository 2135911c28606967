import { randomBytes } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';

import { GristmillError } from './errors.js';

function unreadable(path: string, what: string, cause: unknown): GristmillError {
  const why = cause instanceof Error ? cause.message : String(cause);
  return new GristmillError('IO', `the state cannot be ${what}: ${why}`, { details: { path }, cause });
}

/**
 * A state, or that of a file.
 *
 * @internal
 */
export async function stateOf(from: string | Uint8Array): Promise<Uint8Array> {
  if (typeof from !== 'string') return from;
  return await readFile(from).catch((cause: unknown) => {
    throw unreadable(from, 'read', cause);
  });
}

/**
 * Writes a state, whole or not at all.
 *
 * @internal
 */
export async function writeWhole(path: string, bytes: Uint8Array): Promise<void> {
  const part = `${path}.${randomBytes(6).toString('hex')}.part`;
  try {
    await writeFile(part, bytes);
    await rename(part, path);
  } catch (cause) {
    // Where it could not be written there may be nothing to remove.
    await rm(part, { force: true }).catch(() => undefined);
    throw unreadable(path, 'written', cause);
  }
}
