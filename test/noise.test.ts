/** Clipping of tables and norms, noise, and sums on a grid, as a user calls them. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { type Device, GristmillError, type NoiseOptions, openDevice } from '../ts/index.js';

let dev: Device;
beforeAll(async () => {
  dev = await openDevice({ device: 'cpu' });
});
afterAll(() => dev.dispose());

const KEY = Uint8Array.from({ length: 32 }, (_, i) => (i < 8 ? 7 * i + 1 : 0));
const philox: NoiseOptions = { generator: 'philox', key: KEY, step: 3, std: 1 };

const zeros = (n: number) => dev.tensor('f32', { shape: [n] }).fill(0);

describe('noise', () => {
  test.each(['philox', 'chacha20'] as const)('of %s has the mean and the variance that it should', async (generator) => {
    const n = 1 << 18;
    const x = await zeros(n).addGaussianNoise({ ...philox, generator, std: 2, scale: 0.5 }).toTypedArray();
    const mean = x.reduce((sum, value) => sum + value, 0) / n;
    const square = x.reduce((sum, value) => sum + value * value, 0) / n;
    expect(Math.abs(mean)).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(square - 1)).toBeLessThan((5 * Math.SQRT2) / Math.sqrt(n));
  }); // prettier-ignore

  test('is the same for the same key, step and tensor, and another for any other', async () => {
    const draw = async (options: Partial<NoiseOptions>) =>
      (
        await zeros(64)
          .addGaussianNoise({ ...philox, ...options })
          .toTypedArray()
      ).join();
    const key = KEY.slice();
    key[0] = 9;
    const all = await Promise.all(
      [{}, { step: 4 }, { step: 2n ** 63n }, { tensor: 1 }, { key }, { generator: 'chacha20' as const }].map(draw),
    ); // prettier-ignore
    expect(new Set(all).size).toBe(all.length);
    expect(await draw({})).toBe(all[0]);
  });

  const wrong: [string, Partial<NoiseOptions>, string][] = [
    ['a key of 8 bytes', { key: KEY.slice(0, 8) }, 'key'],
    ['a key of Philox that is too long', { key: new Uint8Array(32).fill(1) }, 'key'],
    ['no key', { key: 'secret' as never }, 'key'],
    ['another generator', { generator: 'dice' as never }, 'generator'],
    ['a negative deviation', { std: -1 }, 'std'],
    ['a deviation that is no number', { std: NaN }, 'std'],
    ['a scale of 0', { scale: 0 }, 'scale'],
    ['a tensor beyond 32 bits', { tensor: 2 ** 32 }, 'tensor'],
    ['a negative step', { step: -1n }, 'step'],
  ];
  test.each(wrong)('refuses %s', (_, options, column) => {
    const y = zeros(4);
    try {
      y.addGaussianNoise({ ...philox, ...options });
    } catch (error) {
      expect(error).toBeInstanceOf(GristmillError);
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', details: { column } });
      expect((error as Error).message).not.toContain('secret');
      return;
    }
    throw new Error('it did not throw');
  });
});

test('factors leave a sample out of every group if its norm is none in one', async () => {
  const squared = dev.tensor('f32', { shape: [2, 4], data: [4, NaN, 0.25, 9, 1, 1, 1, 9] });
  const maxNorms = dev.tensor(new Float32Array([1, 3]));
  const weights = dev.tensor(new Float32Array([1, 1, 1, 0]));
  using out = squared.clipFactors({ maxNorms, weights });
  const factors = [...(await out.factors.toTypedArray())];
  [0.5, 0, 1, 0, 1, 0, 1, 0].forEach((want, i) => expect(factors[i]).toBeCloseTo(want, 5));
  expect([...(await out.counts.toTypedArray())]).toEqual([2, 1, 1, 2, 1, 2]);
  await expect(
    squared.clipFactors({ maxNorms: dev.tensor(new Float32Array([1, 0])) }).counts.toTypedArray(),
  ).rejects.toMatchObject({ code: 'INVALID_VALUE', details: { row: 1 } });
});

test('gradients of a table and of a norm are clipped by sample', async () => {
  const offsets = dev.tensor(new Uint32Array([0, 3, 4]));
  const ids = dev.tensor(new Uint32Array([2, 0, 2, 1]));
  const dy = dev.tensor('f32', { shape: [4, 2], data: [1, 2, 3, 4, 10, 20, NaN, 6] });
  // Row 2 has (11, 22), row 0 has (3, 4); the other sample has a NaN.
  const norms = await ids.embeddingNorms(dy, offsets, { vocabulary: 3 }).toTypedArray();
  expect(norms[0]).toBeCloseTo(11 ** 2 + 22 ** 2 + 25, 2);
  expect(norms[1]).toBeNaN();
  const factors = dev.tensor(new Float32Array([0.5, 0]));
  const grad = dev.tensor('f32', { shape: [3, 2] }).fill(1);
  ids.clippedEmbeddingGrad(dy, offsets, factors, grad, { paddingIdx: 0 });
  expect([...(await grad.toTypedArray())]).toEqual([1, 1, 1, 1, 6.5, 12]);
  const sums = dy.segmentProduct(offsets);
  expect([...(await sums.toTypedArray())].slice(0, 2)).toEqual([14, 26]);
  const bias = zeros(2);
  sums.clippedSum(factors, bias);
  expect([...(await bias.toTypedArray())]).toEqual([7, 13]);
  await expect(
    dev
      .tensor(new Uint32Array([0, 1, 5, 0]))
      .embeddingNorms(dy, offsets, { vocabulary: 3 })
      .toTypedArray(),
  ).rejects.toMatchObject({ code: 'INVALID_VALUE', details: { row: 2 } });
});

test('a tied table has the norm of the sum of its two gradients', async () => {
  const offsets = dev.tensor(new Uint32Array([0, 2]));
  const ids = dev.tensor(new Uint32Array([1, 0]));
  const [e, h] = [
    dev.tensor('f32', { shape: [2, 1], data: [2, 3] }),
    dev.tensor('f32', { shape: [2, 1], data: [5, 7] }),
  ];
  const dlogits = dev.tensor('f32', { shape: [2, 2], data: [1, -1, 0.5, 2] });
  // Embedding: (3, 2). Head: (1 · 5 + 0.5 · 7, −1 · 5 + 2 · 7) = (8.5, 9).
  const [cross] = await ids.tiedNorms(e, h, dlogits, offsets).toTypedArray();
  expect(cross).toBeCloseTo(3 * 8.5 + 2 * 9, 4);
});

test('sums on a grid are exact', async () => {
  const rows = dev.tensor('f32', { shape: [2, 3], data: [0.5, -0.25, 1e9, 0.125, -3, NaN] });
  const sums = dev.tensor('u32', { shape: [3, 2] }).fill(0);
  rows.gridSum(dev.tensor(new Float32Array([1, 0])), sums, -1);
  rows.narrow(1, 1).gridSum(dev.tensor(new Float32Array([0])), sums, -1);
  // Steps of a half: 1, −0.5 to even, 2 · 10^9.
  expect([...(await sums.toTypedArray())]).toEqual([1, 0, 0, 0, 2e9, 0]);
  rows.gridSum(dev.tensor(new Float32Array([1, 1])), sums, -1);
  await expect(sums.toTypedArray()).rejects.toMatchObject({ code: 'INVALID_VALUE', details: { row: 1 } });
});
