/** Failures are typed, say where and what to do, and their codes are those of the engine. */

import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import {
  AdamW,
  calibrateNoise,
  combine,
  ERROR_CODES,
  fit,
  JobMismatchError,
  openDevice,
  perplexity,
  PoissonSampler,
  PrivacyAccountant,
  rate,
  readBatches,
  score,
  select,
} from '../ts/index.js';
import { failure, jsonl, put, root, scratch, smallPool } from './helpers.js';

test('the codes are those of the engine, and one of the loader', () => {
  const source = readFileSync(join(root, 'crates/core/src/error.rs'), 'utf8');
  const codes = [...source.matchAll(/^\s+\w+ = "([A-Z0-9_]+)",$/gm)].map(([, code]) => code);
  expect(codes.length).toBeGreaterThan(10);
  expect([...ERROR_CODES].sort()).toEqual([...codes, 'NATIVE_UNAVAILABLE'].sort());
});

describe('options', () => {
  test('a misspelt one is refused with the ones that there are', async () => {
    const options = { pool: 'p', output: 'o', budegt: '10%' } as never;
    const error = await failure(select(options));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.message).toContain('budegt');
    expect(error.message).toContain('`budget`');
    expect(error.message).not.toMatch(/line \d/);
  });

  test('all that the types offer are known, and the other way round', async () => {
    const fitKeys: Record<keyof Parameters<typeof fit>[0], 1> = {
      corpus: 1, output: 1, order: 1, normalizer: 1, memory: 1, prune: 1, discountFallback: 1, minDocuments: 1,
      threads: 1, tempDir: 1, onError: 1, signal: 1, onProgress: 1,
    }; // prettier-ignore
    const scoreKeys: Record<keyof Parameters<typeof score>[0], 1> = {
      pool: 1, output: 1, model: 1, prior: 1, conditional: 1, target: 1, method: 1, order: 1, weight: 1, cutoffs: 1,
      percentiles: 1, normalizer: 1, worker: 1, fresh: 1, threads: 1, memory: 1, onError: 1, seed: 1, signal: 1,
      onProgress: 1, l2: 1, rounds: 1, labels: 1, rating: 1, ratingRange: 1,
      poolSample: 1, transformer: 1, tokenCache: 1,
    }; // prettier-ignore
    const rateKeys: Record<keyof Parameters<typeof rate>[0], 1> = {
      pairs: 1, pool: 1, output: 1, embedding: 1, normalizer: 1, order: 1, l2: 1, minConfidence: 1,
      contradictions: 1, worker: 1, fresh: 1, threads: 1, onError: 1, seed: 1, signal: 1, onProgress: 1,
    }; // prettier-ignore
    const combineKeys: Record<keyof Parameters<typeof combine>[0], 1> = {
      scores: 1, runs: 1, loss: 1, weights: 1, sample: 1, output: 1, fresh: 1, threads: 1, seed: 1, signal: 1,
      onProgress: 1,
    }; // prettier-ignore
    const selectKeys: Record<keyof Parameters<typeof select>[0], 1> = {
      pool: 1, target: 1, scores: 1, output: 1, budget: 1, method: 1, order: 1, weight: 1, normalizer: 1,
      temperature: 1, seed: 1, threshold: 1, quotas: 1, crossing: 1, lowest: 1, report: 1, outputFormat: 1,
      worker: 1, fresh: 1, threads: 1, memory: 1, onError: 1, duplicateIds: 1, prefix: 1, signal: 1, onProgress: 1,
      rating: 1, ratingRange: 1, poolSample: 1, l2: 1, rounds: 1, labels: 1, standardize: 1, uniform: 1, curriculum: 1,
      model: 1, prior: 1, conditional: 1, transformer: 1, tokenCache: 1,
    }; // prettier-ignore
    const perplexityKeys: Record<keyof Parameters<typeof perplexity>[0], 1> = {
      model: 1, text: 1, normalizer: 1, transformer: 1, signal: 1, onProgress: 1,
    }; // prettier-ignore
    for (const [job, keys] of [
      [fit, fitKeys],
      [score, scoreKeys],
      [select, selectKeys],
      [rate, rateKeys],
      [combine, combineKeys],
      [perplexity, perplexityKeys],
    ] as const) {
      const { message } = await failure(job({ noSuchOption: 1 } as never));
      const known = [...message.matchAll(/`(\w+)`/g)]
        .map(([, name]) => name)
        .filter((n) => n !== 'noSuchOption');
      expect([...known, 'signal', 'onProgress'].sort()).toEqual(Object.keys(keys).sort());
    }
  });

  test.each([
    ['a budget without a number', { budget: 'lots' }],
    ['an order out of range', { budget: '10%', order: 9 }],
    ['an unknown method', { budget: '10%', method: 'telepathy' as never }],
    ['a filter that does not parse', { budget: '10%', pool: { paths: 'x', where: 'lang ==' } }],
    ['a worker beyond the last', { budget: '10%', worker: '3/3' }],
  ])('%s', async (_, wrong) => {
    const dir = scratch();
    const { pool, target } = smallPool(dir, 1);
    const fixed = 'pool' in wrong ? { ...wrong, pool: { ...wrong.pool, paths: pool } } : wrong;
    const error = await failure(select({ pool, target, output: join(dir, 'out'), ...fixed }));
    expect(error.code).toBe('INVALID_ARGUMENT');
  });
});

describe('input', () => {
  test('no matching file names the pattern', async () => {
    const dir = scratch();
    const error = await failure(fit({ corpus: join(dir, '*.jsonl'), output: join(dir, 'm.gml') }));
    expect(error.code).toBe('NOT_FOUND');
    expect(`${error.message} ${error.details.path}`).toContain('*.jsonl');
  });

  test('a missing column says which there are', async () => {
    const dir = scratch();
    const path = put(join(dir, 'a.jsonl'), jsonl([{ body: 'one two', title: 'x' }]));
    const error = await failure(
      fit({ corpus: { paths: path, text: 'content' }, output: join(dir, 'm.gml') }),
    );
    expect(error.code).toBe('MISSING_COLUMN');
    expect(error.details.column).toBe('content');
    expect(`${error.message} ${error.hint}`).toContain('body');
  });

  test('a damaged line is named by file and row', async () => {
    const dir = scratch();
    const path = put(join(dir, 'a.jsonl'), '{"text": "fine"}\n{"text": "bro\n{"text": "fine"}\n');
    const error = await failure(fit({ corpus: path, output: join(dir, 'm.gml') }));
    expect(error.code).toBe('CORRUPT_DATA');
    expect(error.details.path).toContain('a.jsonl');
    expect(error.details.row).toBe(1);
  });

  test('a model that is none', async () => {
    const dir = scratch();
    const { pool } = smallPool(dir, 1);
    const model = put(join(dir, 'm.gml'), 'this is no model');
    const error = await failure(score({ pool, model, output: join(dir, 'scores') }));
    expect(error.code).toBe('INVALID_MODEL');
    expect(error.details.path).toContain('m.gml');
  });

  test('a target of three words', async () => {
    const dir = scratch();
    const { pool } = smallPool(dir, 1);
    const target = put(join(dir, 'tiny.jsonl'), jsonl([{ text: 'only three words' }]));
    const error = await failure(select({ pool, target, budget: '10%', output: join(dir, 'out') }));
    expect(error.code).toBe('TARGET_TOO_SMALL');
    expect(error.hint).toBeTruthy();
  });

  test('batches of a file that is not there', async () => {
    const dir = scratch();
    const error = await failure(readBatches(join(dir, 'none')).next());
    expect(error.code).toBe('NOT_FOUND');
  });
});

test('another job in the output directory is an error of its own, and fresh replaces it', async () => {
  const dir = scratch();
  const options = { ...smallPool(dir, 1), output: join(dir, 'out') };
  await select({ ...options, budget: '20docs' });
  const error = await failure(select({ ...options, budget: '20docs', seed: 7, order: 1 }));
  expect(error).toBeInstanceOf(JobMismatchError);
  expect(error.code).toBe('JOB_MISMATCH');
  const summary = await select({ ...options, budget: '30docs', seed: 7, order: 1, fresh: true });
  expect(summary.kept?.documents).toBe(30);
});

test.skipIf(process.platform === 'win32' || process.getuid?.() === 0)('an unwritable output', async () => {
  const dir = scratch();
  const { pool, target } = smallPool(dir, 1);
  const locked = join(dir, 'locked');
  put(join(locked, 'keep'), '');
  chmodSync(locked, 0o555);
  const error = await failure(select({ pool, target, budget: '10%', output: join(locked, 'out') }));
  expect(error.code).toBe('IO');
});

test('options that JSON would leave out or change are refused by name', async () => {
  await using device = await openDevice({ device: 'cpu' });
  using w = device.tensor('f32', { shape: [2, 2] });
  const round: Record<string, unknown> = {};
  round['schedule'] = round;
  for (const [lr, given] of [
    [NaN, 'NaN'],
    [Infinity, 'Infinity'],
    [1n, '1n'],
    [() => 1, 'a function'],
    [Symbol('s'), 'a symbol'],
    [new Map(), 'an object'],
    [new Float32Array(1), 'Float32Array'],
  ] as const) {
    const error = await failure(() => new AdamW(device, { w }, { lr: lr as number }));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', details: { column: 'lr' } });
    expect(error.message).toContain(`given ${given}`);
  }
  const cyclic = await failure(() => new AdamW(device, { w }, { schedule: round as never }));
  expect(cyclic).toMatchObject({ code: 'INVALID_ARGUMENT', details: { column: 'schedule' } });
  const accountant = new PrivacyAccountant();
  for (const call of [
    () => accountant.record(undefined as never),
    () => accountant.record({ noiseMultiplier: 1, sampleRate: 0.1, step: 3 } as never),
    () => accountant.epsilon(undefined as never),
    () => accountant.delta({ epsilon: '1' } as never),
    () => calibrateNoise(null as never),
    () => new PoissonSampler({ examples: 10, sampleRate: 0.1, seeds: 1 } as never),
  ]) {
    expect(await failure(call)).toMatchObject({ code: 'INVALID_ARGUMENT' });
  }
});
