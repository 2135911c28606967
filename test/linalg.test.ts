/** Bases and polar factors from TypeScript. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import {
  capturedEnergy,
  type Device,
  leadingVectors,
  newtonSchulz,
  openDevice,
  orthonormalize,
  rangeFind,
  rotate,
  rotateBack,
  type Tensor,
} from '../ts/index.js';
import { failure } from './helpers.js';

let device: Device;
beforeAll(async () => {
  device = await openDevice({ device: 'cpu' });
});
afterAll(() => device.dispose());

const normal = (seed: number, shape: number[]): Tensor<'f32'> =>
  device.philox({ shape, draw: 'normal', seed });

/** A matrix of rank `rank`, and a little of everything. */
function lowRank(rows: number, columns: number, rank: number): Tensor<'f32'> {
  const x = normal(1, [rows, rank]).matmul(normal(2, [rank, columns]));
  x.axpby(0.01, normal(3, [rows, columns]), 1);
  return x;
}

/** The greatest entry of `QᵀQ − I`. */
async function defect(q: Tensor<'f32'>): Promise<number> {
  const gram = await q.matmul(q, { transA: true }).toFloat32Array();
  const [, n = 0] = q.shape;
  return Math.max(...Array.from(gram, (g, i) => Math.abs(g - (i % (n + 1) === 0 ? 1 : 0))));
}

async function distance(a: Tensor, b: Tensor): Promise<number> {
  const [x, y] = [await a.toFloat32Array(), await b.toFloat32Array()];
  return Math.hypot(...x.map((v, i) => v - (y[i] ?? NaN))) / Math.hypot(...y);
}

describe('bases', () => {
  for (const side of ['left', 'right'] as const) {
    test(`a range of the ${side} side captures what exact vectors do`, async () => {
      const x = lowRank(60, 40, 5);
      const basis = await rangeFind(x, { rank: 5, side, seed: 7n });
      expect(basis.shape).toEqual([side === 'left' ? 60 : 40, 5]);
      expect(await defect(basis)).toBeLessThan(1e-5);
      const exact = await capturedEnergy(x, await leadingVectors(x, { rank: 5, side }), { side });
      const found = await capturedEnergy(x, basis, { side });
      expect(exact).toBeGreaterThan(0.99);
      expect(Math.abs(found - exact)).toBeLessThan(1e-5);
      const again = await rangeFind(x, { rank: 5, side, start: basis });
      expect(await distance(again, basis)).toBeLessThan(1e-2);
      // In the basis and back only what lies outside is lost.
      const back = rotateBack(rotate(x, basis, { side }), basis, { side });
      expect((await distance(back, x)) ** 2).toBeCloseTo(1 - found, 4);
    });
  }

  test('a whole basis turns a matrix and loses nothing', async () => {
    const x = normal(5, [9, 30]);
    const basis = await orthonormalize(normal(6, [9, 9]));
    expect(await distance(rotateBack(rotate(x, basis), basis), x)).toBeLessThan(1e-6);
    expect(rotate(x, basis).shape).toEqual([30, 9]);
  });

  test('columns become orthonormal, and a polar factor nearly so', async () => {
    expect(await defect(await orthonormalize(normal(8, [50, 20])))).toBeLessThan(1e-5);
    const x = normal(9, [30, 12]);
    const factor = await newtonSchulz(x, { dtype: 'f32' });
    // Its columns are of the length that singular values of 0.68 to 1.21 leave them.
    const norms = await factor.columnNorms().toFloat32Array();
    expect(Math.min(...norms)).toBeGreaterThan(0.68);
    expect(Math.max(...norms)).toBeLessThan(1.21);
    expect((await newtonSchulz(x)).dtype).toBe('bf16');
    expect(await distance((await newtonSchulz(x)).cast('f32'), factor)).toBeLessThan(0.2);
  });

  test('norms of columns are those of the host', async () => {
    const x = device.tensor(Float32Array.of(3, 0, 1e30, 4, 0, 1e30), { shape: [2, 3] });
    expect(Array.from(await x.columnNorms().toFloat32Array())).toEqual([
      5,
      0,
      Math.fround(Math.SQRT2 * 1e30),
    ]);
  });
});

test('what cannot be is refused, with what and why', async () => {
  const x = normal(1, [6, 4]);
  for (const [call, code, column] of [
    [() => rangeFind(x, { rank: 5 }), 'INVALID_ARGUMENT', 'rank'],
    [() => rangeFind(x, { rank: 0 }), 'INVALID_ARGUMENT', 'rank'],
    [() => rangeFind(x, { rank: 2, side: 'top' as never }), 'INVALID_ARGUMENT', 'side'],
    [() => rangeFind(x, { rank: 2, ranks: 3 } as never), 'INVALID_ARGUMENT', 'ranks'],
    [() => rangeFind(x, { rank: 2, start: normal(2, [4, 2]) }), 'SHAPE_MISMATCH', 'start'],
    [() => leadingVectors(x, { rank: 7 }), 'INVALID_ARGUMENT', 'rank'],
    [() => orthonormalize(normal(1, [3, 4])), 'SHAPE_MISMATCH', 'x'],
    [() => orthonormalize(device.tensor(Float32Array.of(1, NaN), { shape: [2, 1] })), 'INVALID_VALUE', 'x'],
    [() => newtonSchulz(x, { dtype: 'f16' as never }), 'INVALID_ARGUMENT', 'dtype'],
  ] as const) {
    expect(await failure(call())).toMatchObject({ code, details: { column } });
  }
  expect(() => rotate(x, normal(2, [5, 2]))).toThrow(/rotate|matmul/);
});
