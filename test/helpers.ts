/** What the tests share: scratch directories, slices of real text, the command line. */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

import { expect, onTestFinished } from 'vitest';

import { GristmillError } from '../ts/errors.js';
import { corpora } from '../ts/scripts/corpora.js';
import { cargoBinary } from '../ts/scripts/run.js';

export { cargoBinary, corpora };

/** The root of the checkout. */
export const root = fileURLToPath(new URL('..', import.meta.url));

/** The built command line. */
export const main = join(root, 'dist/cli/main.js');

/** What tests draw from: see CONTRIBUTING.md. */
export const SEED = Number(process.env['GRISTMILL_SEED'] ?? 1);

/** A small generator (mulberry32). */
export function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One document of the prepared pool. */
export interface Doc {
  id: string;
  text: string;
  label: string;
}

/** The error of a call, or of a promise, that must fail with one of ours. */
export async function failure(work: (() => unknown) | PromiseLike<unknown>): Promise<GristmillError> {
  const error: unknown = await Promise.resolve()
    .then(() => (typeof work === 'function' ? work() : work))
    .then(
      () => new Error('it succeeded'),
      (reason: unknown) => reason,
    );
  expect(error).toBeInstanceOf(GristmillError);
  return error as GristmillError;
}

/** A directory that goes away with the test. */
export function scratch(): string {
  const dir = mkdtempSync(join(tmpdir(), 'gristmill-test-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** The documents of a prepared file. */
export function documents(file: string): Doc[] {
  const lines = gunzipSync(readFileSync(join(corpora, file)))
    .toString()
    .trimEnd()
    .split('\n');
  return lines.map((line) => JSON.parse(line) as Doc);
}

/** Writes a file, and the directories above it. */
export function put(path: string, content: string | Uint8Array): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

/** Documents as JSON Lines. */
export function jsonl(docs: readonly object[]): string {
  return docs.map((doc) => `${JSON.stringify(doc)}\n`).join('');
}

/** A pool of real text in `shards` files and a target of mails, under `dir`. */
export function smallPool(dir: string, shards = 3, perShard = 200): { pool: string; target: string } {
  const docs = documents('pool/part-0.jsonl.gz');
  for (let i = 0; i < shards; i++) {
    put(join(dir, `pool/${i}.jsonl`), jsonl(docs.slice(i * perShard, (i + 1) * perShard)));
  }
  const target = put(join(dir, 'target.jsonl'), jsonl(documents('target/mail.jsonl.gz')));
  return { pool: join(dir, 'pool'), target };
}

/** The vocabulary of the tiny models: `w0` to `w198`, with a marker before and behind. */
const WORDS = 199;

/**
 * A tiny model with random weights as a folder: one of the families that crates/lm tests, with a tokenizer of words. Words
 * that it does not know are `w3`.
 */
export function tinyModel(dir: string, family: string, words = WORDS): string {
  const from = join(root, 'crates/lm/tests/fixtures/tiny', family);
  for (const file of ['config.json', 'model.safetensors']) {
    put(join(dir, file), readFileSync(join(from, file)));
  }
  const vocab = Object.fromEntries(Array.from({ length: words }, (_, id) => [`w${id}`, id]));
  const tokenizer = {
    version: '1.0',
    added_tokens: [],
    pre_tokenizer: { type: 'WhitespaceSplit' },
    model: { type: 'WordLevel', vocab, unk_token: 'w3' },
  };
  put(join(dir, 'tokenizer.json'), JSON.stringify(tokenizer));
  return dir;
}

/** What a finished command left. */
export interface Result {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Runs the command line. */
export function cli(
  args: readonly string[],
  options: {
    stdin?: string | Uint8Array;
    env?: NodeJS.ProcessEnv;
    onStart?: (child: ChildProcess) => void;
  } = {},
): Promise<Result> {
  return program(process.execPath, [main, ...args], options);
}

/** Runs a program. */
export function program(
  file: string,
  args: readonly string[],
  options: {
    stdin?: string | Uint8Array;
    env?: NodeJS.ProcessEnv;
    cwd?: string;
    onStart?: (child: ChildProcess) => void;
  } = {},
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd: options.cwd ?? root,
      env: { ...process.env, NO_COLOR: '1', ...options.env },
      shell: process.platform === 'win32' && file === 'npm',
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    // A command that fails before it reads leaves a broken pipe behind.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.stdin ?? '');
    options.onStart?.(child);
  });
}
