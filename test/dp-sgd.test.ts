/** DP-SGD from TypeScript: what the engine computes is tested in Rust; here that it arrives. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';

import {
  calibrateNoise,
  type Device,
  DisposedError,
  DpSgd,
  type DpSgdOptions,
  openDevice,
  PoissonSampler,
  type Tensor,
} from '../ts/index.js';
import { failure, put, scratch } from './helpers.js';

let device: Device;
beforeAll(async () => {
  device = await openDevice({ device: 'cpu' });
});
afterAll(() => device.dispose());

/** Hardly any noise, and the same every time. */
const options: DpSgdOptions = {
  clipping: { mode: 'flat', maxGradNorm: 1 },
  noiseMultiplier: 0.001,
  sampleRate: 0.01,
  expectedBatchSize: 2,
  rng: 'reproducible',
  seed: 7,
};

function engine(more: Partial<DpSgdOptions> = {}): DpSgd {
  const dp = new DpSgd(device, { ...options, ...more });
  onTestFinished(() => dp.dispose());
  return dp;
}

const of = (data: number[], ...shape: number[]): Tensor<'f32'> => device.tensor('f32', { shape, data });

/** Two samples: the gradients of the weight are [[3, 4]] and [[0.3, 0.4]], of norms 5 and 0.5. */
function record(dp: DpSgd, name = 'w'): string {
  return dp.linear(name, { x: of([3, 4, 0.3, 0.4], 2, 2), dy: of([1, 1], 2, 1) });
}

/** Clipped to 1, summed, divided by 2: (0.6, 0.8) and (0.3, 0.4), and noise of 0.0005. */
async function expectSum(weight: Tensor<'f32'> | undefined, want: number[]): Promise<void> {
  const got = [...((await weight?.toFloat32Array()) ?? [])];
  expect(got).toHaveLength(want.length);
  got.forEach((x, i) => expect(Math.abs(x - (want[i] ?? NaN))).toBeLessThan(0.005));
}

describe('DpSgd', () => {
  test('clips, sums, adds noise and accounts for it', async () => {
    const dp = engine();
    expect(record(dp)).toBe('kept');
    using gradients = dp.step();
    expect(Object.keys(gradients)).toEqual(['w']);
    expect(gradients['w']?.weight.shape).toEqual([1, 2]);
    expect(gradients['w']?.bias).toBeUndefined();
    await expectSum(gradients['w']?.weight, [0.45, 0.6]);
    expect([dp.steps, dp.accountant.steps]).toEqual([1, 1]);
    expect(await dp.privateCounts()).toEqual({ samples: 2, nonFinite: 0, unclipped: { all: 1 } });
    expect([dp.sensitivity(), dp.sensitivity({ adjacency: 'replace-one' })]).toEqual([1, 2]);
  });

  test('every kind of layer, in two micro-batches, with padding', async () => {
    const dp = engine({ clipping: { mode: 'flat', maxGradNorm: 1e4 }, expectedBatchSize: 1 });
    // Samples of two rows and one row, and one of padding.
    const half = (...weights: number[]): void => {
      const offsets = device.tensor(new Uint32Array([0, 2, 3, 4]));
      dp.batch({ offsets, weights: of(weights, 3) });
      const ids = device.tensor(new Uint32Array([1, 0, 1, 2]));
      const rows = of([1, 2, 3, 4, 5, 6, 7, 8], 4, 2);
      const dlogits = of(Array<number>(12).fill(1), 4, 3);
      dp.embedding('wte', { ids, dy: rows, vocabulary: 3, paddingIdx: 0 });
      dp.norm('ln', { xhat: rows, dy: rows, bias: true });
      dp.norm('rms', { xhat: rows, dy: rows });
      dp.linear('up', { x: rows, dy: of([400, 0, 0, 0], 4, 1), bias: true, method: 'gram' });
      dp.tied('head', { ids, dy: rows, h: rows, dlogits, bias: true });
    };
    half(1, 1, 0);
    dp.accumulate();
    expect(dp.steps).toBe(0);
    half(1, 0, 0);
    expect((await failure(() => dp.batch({}))).details.column).toBe('batch');
    using gradients = dp.step();
    const shapes = Object.entries(gradients).map(([name, { weight, bias }]) => [
      name,
      weight.shape,
      bias?.shape,
    ]);
    expect(shapes).toEqual([
      ['head', [3, 2], [3]],
      ['ln', [2], [2]],
      ['rms', [2], undefined],
      ['up', [1, 2], [1]],
      ['wte', [3, 2], undefined],
    ]);
    // Of the first sample, twice: 400 times its first row. The noise has a deviation of 10.
    const up = (await gradients['up']?.weight.toFloat32Array()) ?? [];
    expect([...up].map((x) => Math.round(x / 200))).toEqual([4, 8]);
    expect(await dp.privateCounts()).toEqual({ samples: 3, nonFinite: 0, unclipped: { all: 3 } });
  });

  test('an empty batch takes a step, synchronously or not', async () => {
    const dp = engine({ noiseMultiplier: 1 });
    expect((await failure(() => dp.step({ empty: true }))).code).toBe('INVALID_ARGUMENT');
    record(dp);
    dp.step()[Symbol.dispose]();
    using first = dp.step({ empty: true });
    using second = await dp.stepAsync({ empty: true });
    const values = [await first['w']?.weight.toFloat32Array(), await second['w']?.weight.toFloat32Array()];
    expect(values[0]).not.toEqual(values[1]);
    expect(dp.steps).toBe(3);
  });

  test('what was recorded is used once, and all of it', async () => {
    const dp = engine();
    record(dp);
    expect((await failure(() => record(dp))).details.path).toBe('w');
    dp.step()[Symbol.dispose]();
    expect((await failure(() => dp.step())).message).toContain('once');
    expect((await failure(() => record(dp, 'other'))).details.path).toBe('other');
    const declared = engine({ layers: ['w', 'v'] });
    record(declared);
    expect((await failure(() => declared.step())).details.path).toBe('v');
  });

  test('groups and layers have bounds of their own', async () => {
    const groups = { a: { layers: ['w'], maxGradNorm: 3 }, b: { layers: ['v'], maxGradNorm: 4 } };
    const dp = engine({ clipping: { mode: 'per-group', groups } });
    expect(dp.sensitivity()).toBe(5);
    record(dp, 'w');
    record(dp, 'v');
    using gradients = dp.step();
    await expectSum(gradients['v']?.weight, [(4 * 0.6 + 0.3) / 2, (4 * 0.8 + 0.4) / 2]);
    expect((await dp.privateCounts()).unclipped).toEqual({ a: 1, b: 1 });
    const each = engine({ clipping: { mode: 'per-layer', maxGradNorm: { w: 1 } } });
    expect(['fused', 'two-phase']).toContain(record(each));
    using clipped = each.step();
    await expectSum(clipped['w']?.weight, [0.45, 0.6]);
  });

  test.each([
    [{ clipping: { mode: 'unit' } }, 1],
    [{ clipping: { mode: 'automatic', gamma: 0.01 } }, 1],
    [{ clipping: { mode: 'threshold', maxGradNorm: 2 } }, 2],
    [{ clipping: { mode: 'per-layer', maxGradNorm: 2, eager: false } }, 2],
    [{ clipping: { mode: 'adaptive', maxGradNorm: 3 } }, 3],
  ] as const)('%j', async (more, sensitivity) => {
    const dp = engine(more);
    expect(dp.sensitivity()).toBeCloseTo(sensitivity, 12);
    record(dp);
    using gradients = await dp.stepAsync();
    expect(gradients['w']?.weight.shape).toEqual([1, 2]);
  });

  test('secret and discrete noise differ from run to run', async () => {
    for (const rng of ['secure', 'discrete', undefined] as const) {
      const run = async (): Promise<number[]> => {
        const { clipping, sampleRate, expectedBatchSize } = options;
        const some = { clipping, sampleRate, expectedBatchSize, noiseMultiplier: 1 };
        using dp = new DpSgd(device, { ...some, ...(rng && { rng }) });
        record(dp);
        using gradients = dp.step();
        return [...((await gradients['w']?.weight.toFloat32Array()) ?? [])];
      };
      const [a, b] = [await run(), await run()];
      expect(a).not.toEqual(b);
    }
  });

  test('a state goes on, with the same options only', async () => {
    const [dp, again] = [engine(), engine()];
    record(dp);
    dp.step()[Symbol.dispose]();
    record(dp);
    expect((await failure(() => dp.save())).details.column).toBe('step');
    dp.step()[Symbol.dispose]();
    const path = join(scratch(), 'dp.json');
    const bytes = await dp.save(path);
    expect(new Uint8Array(readFileSync(path))).toEqual(new Uint8Array(bytes));
    await again.load(path);
    record(dp);
    record(again);
    using one = dp.step();
    using two = again.step();
    const [a, b] = [await one['w']?.weight.toFloat32Array(), await two['w']?.weight.toFloat32Array()];
    expect(a).toEqual(b);
    expect(again.accountant.toJSON()).toEqual(dp.accountant.toJSON());
    for (const [more, column] of [
      [{ noiseMultiplier: 0.002 }, 'noiseMultiplier'],
      [{ seed: 8 }, 'seed'],
      [{ clipping: { mode: 'unit' } as const }, 'clipping'],
    ] as const) {
      const error = await failure(() => engine(more).load(bytes));
      expect([error.code, error.details.column]).toEqual(['INVALID_ARGUMENT', column]);
    }
    expect((await failure(() => again.load(new Uint8Array([1, 2])))).code).toBe('CORRUPT_DATA');
    expect((await failure(() => again.load(join(scratch(), 'none')))).code).toBe('IO');
    expect((await failure(() => dp.save(put(join(scratch(), 'file'), '') + '/x'))).code).toBe('IO');
  });

  test.each([
    [{ noiseMultiplier: 0 }, 'noiseMultiplier'],
    [{ sampleRate: 2 }, 'sampleRate'],
    [{ expectedBatchSize: -1 }, 'expectedBatchSize'],
    [{ rng: 'secure' }, 'seed'],
    [{ clipping: { mode: 'flat', maxGradNorm: -1 } }, 'maxGradNorm'],
    [{ clipping: { mode: 'per-group', groups: { a: { layers: [], maxGradNorm: 1 } } } }, 'groups'],
    [{ stranger: 1 }, 'stranger'],
  ])('%j is refused', async (more, column) => {
    const error = await failure(() => new DpSgd(device, { ...options, ...more } as DpSgdOptions));
    expect([error.code, error.details.column]).toEqual(['INVALID_ARGUMENT', column]);
  });

  test('modes that there are none of, and options of other modes, are refused', async () => {
    for (const clipping of [{ mode: 'none' }, { mode: 'flat', maxGradNorm: 1, gamma: 2 }, { mode: 'flat' }]) {
      const error = await failure(() => new DpSgd(device, { ...options, clipping: clipping as never }));
      expect(error.code).toBe('INVALID_ARGUMENT');
    }
  });

  test('tensors of another device, wrong shapes, and what was written to since', async () => {
    await using other = await openDevice({ device: 'cpu' });
    const dp = engine();
    const [x, dy] = [of([1, 2], 1, 2), of([1], 1, 1)];
    const far = other.tensor('f32', { shape: [1, 2] });
    const elsewhere = await failure(() => dp.linear('w', { x: far, dy }));
    expect([elsewhere.code, elsewhere.details.column]).toEqual(['DEVICE_MISMATCH', 'x']);
    const shape = await failure(() => dp.linear('w', { x, dy: of([1, 2], 2, 1) }));
    expect([shape.code, shape.details.path]).toEqual(['SHAPE_MISMATCH', 'w']);
    expect((await failure(() => dp.linear('w', { x: 1 as never, dy }))).details.column).toBe('x');
    expect((await failure(() => dp.linear(1 as never, { x, dy }))).details.column).toBe('name');
    expect((await failure(() => dp.embedding('e', { ids: x as never, dy }))).details.column).toBe(
      'vocabulary',
    );
    dp.linear('w', { x, dy });
    x.fill(100);
    const written = await failure(() => dp.step());
    expect([written.code, written.details.column]).toEqual(['INVALID_VALUE', 'x']);
    expect(dp.accountant.steps).toBe(0);
  });

  test('after dispose nothing is done, and what was given stays', async () => {
    const dp = new DpSgd(device, options);
    record(dp);
    using gradients = dp.step();
    dp.dispose();
    dp.dispose();
    expect(dp.disposed).toBe(true);
    for (const work of [
      () => record(dp),
      () => dp.step(),
      () => dp.stepAsync(),
      () => dp.accountant,
      () => dp.save(),
      () => dp.load(new Uint8Array()),
      () => dp.sensitivity(),
    ]) {
      expect(await failure(work)).toBeInstanceOf(DisposedError);
    }
    await expectSum(gradients['w']?.weight, [0.45, 0.6]);
    gradients[Symbol.dispose]();
    expect(gradients['w']?.weight.disposed).toBe(true);
  });

  test('inputs may go as soon as they are recorded', async () => {
    const dp = engine();
    const [x, dy] = [of([3, 4, 0.3, 0.4], 2, 2), of([1, 1], 2, 1)];
    dp.linear('w', { x, dy });
    x.dispose();
    dy.dispose();
    using gradients = dp.step();
    await expectSum(gradients['w']?.weight, [0.45, 0.6]);
  });

  test('a regression is learnt from Poisson samples, within a budget', async () => {
    const [examples, sampleRate, steps] = [2000, 0.1, 60];
    const budget = { epsilon: 8, delta: 1e-5, sampleRate, steps };
    const noiseMultiplier = calibrateNoise({ ...budget, method: 'rdp' });
    const dp = engine({ noiseMultiplier, sampleRate, expectedBatchSize: examples * sampleRate });
    const sampler = new PoissonSampler({ examples, sampleRate, seed: 3, multiple: 16 });
    const inputs = Array.from({ length: examples }, (_, i) => [Math.sin(i * 12.9898), Math.cos(i * 78.233)]);
    const label = ([a = 0, b = 0]: number[]): number => 2 * a - b;
    const weight = [0, 0];
    for (let step = 0; step < steps; step++) {
      const { indices, weights } = sampler.nextBatch();
      const batch = [...indices].map((i) => inputs[i] ?? []);
      const residuals = batch.map(
        (x) => (x[0] ?? 0) * (weight[0] ?? 0) + (x[1] ?? 0) * (weight[1] ?? 0) - label(x),
      );
      using x = of(batch.flat(), batch.length, 2);
      using dy = of(residuals, batch.length, 1);
      using mask = of([...weights], batch.length);
      dp.batch({ weights: mask });
      dp.linear('w', { x, dy });
      using gradients = dp.step();
      const gradient = (await gradients['w']?.weight.toFloat32Array()) ?? [];
      gradient.forEach((g, j) => (weight[j] = (weight[j] ?? 0) - 0.5 * g));
    }
    expect(Math.hypot((weight[0] ?? 0) - 2, (weight[1] ?? 0) + 1)).toBeLessThan(0.3);
    const { epsilon } = dp.accountant.epsilon({ delta: 1e-5 });
    expect(epsilon).toBeLessThanOrEqual(8);
    expect(epsilon).toBeGreaterThan(5);
  });
});
