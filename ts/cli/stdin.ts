import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

import { GristmillError } from '../errors.js';

/** How the name of a file says its format. */
const SUFFIX = { parquet: 'parquet', jsonl: 'jsonl', arrow: 'arrow', text: 'txt' } as const;

/** How much of the beginning tells the format. */
const HEAD = 4096;

/** A format that `--format` takes. */
export type Format = keyof typeof SUFFIX;

/** Standard input, set down in a file: jobs read their input more than once. */
export interface Spooled {
  path: string;
  remove(): Promise<void>;
}

/**
 * Copies `input` to a temporary file, named after what is in it so that the same input makes the same document ids.
 * What begins like JSON is JSON Lines and all else is text, unless a format is given; gzip and zstd are recognised.
 */
export async function spool(input: Readable, format?: Format, signal?: AbortSignal): Promise<Spooled> {
  const dir = await mkdtemp(join(tmpdir(), 'gristmill-stdin-'));
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true });
  try {
    const hash = createHash('sha256');
    let head = Buffer.alloc(0);
    const raw = join(dir, 'raw');
    await pipeline(
      input,
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          if (head.length < HEAD) head = Buffer.concat([head, chunk.subarray(0, HEAD)]);
          hash.update(chunk);
          yield chunk;
        }
      },
      createWriteStream(raw),
      signal ? { signal } : {},
    );
    if (head.length === 0) throw new GristmillError('EMPTY_INPUT', 'standard input is empty');
    const name = `stdin-${hash.digest('hex').slice(0, 16)}.${suffix(head, format)}`;
    const path = join(dir, name);
    await rename(raw, path);
    return { path, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

function suffix(head: Buffer, format: Format | undefined): string {
  const begins = (...bytes: number[]): boolean => bytes.every((byte, i) => head[i] === byte);
  const compressed = begins(0x1f, 0x8b) ? '.gz' : begins(0x28, 0xb5, 0x2f, 0xfd) ? '.zst' : '';
  if (format) return SUFFIX[format] + compressed;
  if (compressed) return SUFFIX.jsonl + compressed;
  const text = head.toString('latin1');
  if (text.startsWith('PAR1')) return SUFFIX.parquet;
  if (text.startsWith('ARROW1') || begins(0xff, 0xff, 0xff, 0xff)) return SUFFIX.arrow;
  return /^\s*\{/.test(text) ? SUFFIX.jsonl : SUFFIX.text;
}
