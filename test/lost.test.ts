/** Layers of LOST and parts of outlier-safe pre-training on every device that is here. */

import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import {
  AdamW,
  type Device,
  type DeviceName,
  DisposedError,
  doctor,
  embeddingProjection,
  excessKurtosis,
  GristmillError,
  LostLinear,
  mergeEmbeddingProjection,
  Muon,
  openDevice,
  type Tensor,
} from '../ts/index.js';
import { failure, scratch } from './helpers.js';

const [OUT, IN, ROWS] = [12, 20, 33];

/** The devices that are here, software too. */
const names: DeviceName[] = ['cpu', 'reference'];
for (const { name, available } of doctor().backends)
  if (name !== 'cpu' && available) names.push(name as 'wgpu');

const draw = (dev: Device, seed: number, shape: readonly number[]): Tensor<'f32'> =>
  dev.philox({ shape, draw: 'normal', seed });

const values = async (t: Tensor): Promise<number[]> => [...(await t.toFloat32Array())];

async function apart(a: Tensor, b: Tensor): Promise<number> {
  const [x, y] = await Promise.all([values(a), values(b)]);
  const size = Math.sqrt(y.reduce((sum, v) => sum + v * v, 0));
  return Math.sqrt(x.reduce((sum, v, i) => sum + (v - (y[i] ?? NaN)) ** 2, 0)) / size;
}

describe.each(names)('%s', (name) => {
  let dev: Device;
  let weight: Tensor<'f32'>;
  let x: Tensor<'f32'>;
  beforeAll(async () => {
    dev = await openDevice({ device: name });
    weight = draw(dev, 1, [OUT, IN]).scale(0.3);
    x = draw(dev, 2, [ROWS, IN]);
  });
  afterAll(() => dev.dispose());

  test('of full rank and linear, a layer is the dense one', async () => {
    const options = { rank: OUT, gamma: 1, activation: 'identity' } as const;
    using layer = await LostLinear.fromDense(weight, options);
    using forward = layer.forward(x);
    expect(await apart(forward.y, x.matmul(weight, { transB: true }))).toBeLessThan(1e-5);
    expect([layer.gamma, layer.activation, layer.bias]).toEqual([1, 'identity', undefined]);
    expect(Object.keys(layer.params())).toEqual(['a', 'b', 'sparse']);
    expect(layer.index.shape).toEqual([1]);
  });

  test('it learns what a dense layer does, and is what was saved', async () => {
    const bias = draw(dev, 3, [OUT]);
    using layer = await LostLinear.fromDense(draw(dev, 4, [OUT, IN]).scale(0.3), {
      rank: 8,
      sparsity: 0.3,
      sparseSvdRank: 4,
      bias,
    });
    using adam = new AdamW(dev, layer.params(), { lr: 0.02 });
    const want = x.matmul(weight, { transB: true });
    const losses: number[] = [];
    for (let step = 0; step < 60; step++) {
      using forward = layer.forward(x);
      using dy = forward.y.copy().axpy(-1, want);
      losses.push((await values(dy)).reduce((sum, d) => sum + d * d, 0));
      using gradients = layer.backward(x, forward.z, dy.scale(1 / ROWS));
      const { a, b, sparse, bias: terms } = gradients;
      if (!terms) throw new Error('no gradient of the bias');
      await adam.step({ a, b, sparse, bias: terms });
    }
    expect(losses.at(-1)).toBeLessThan(0.3 * (losses[0] ?? 0));
    const path = join(scratch(), 'layer.safetensors');
    const bytes = await layer.save(path);
    using again = await LostLinear.load(dev, path);
    expect(await again.save()).toEqual(bytes);
    using shared = LostLinear.fromParts(
      { ...layer.params(), index: layer.index },
      { gamma: layer.gamma, activation: layer.activation },
    );
    const results = await values(layer.forward(x).y);
    expect(await values(again.forward(x as never).y)).toEqual(results);
    expect(await values(shared.forward(x).y)).toEqual(results);
  });

  test('half precision stays near single', async () => {
    const options = { rank: 6, sparsity: 0.2 };
    using single = await LostLinear.fromDense(weight, options);
    using half = await LostLinear.fromDense(weight.cast('bf16'), options);
    expect(half.a.dtype).toBe('bf16');
    expect(await apart(half.forward(x.cast('bf16')).y, single.forward(x).y)).toBeLessThan(0.03);
  });

  test('what no layer has is refused', async () => {
    const rank = await failure(LostLinear.fromDense(weight, { rank: OUT + 1 }));
    expect([rank.code, rank.details.column]).toEqual(['INVALID_ARGUMENT', 'rank']);
    const unknown = await failure(LostLinear.fromDense(weight, { ranks: 3 } as never));
    expect([unknown.code, unknown.details.column]).toEqual(['INVALID_ARGUMENT', 'ranks']);
    const file = await failure(LostLinear.load(dev, new Uint8Array(40)));
    expect(file.code).toBe('CORRUPT_DATA');
    using layer = await LostLinear.fromDense(weight, { rank: 4 });
    expect(() => layer.forward(weight)).not.toThrow();
    expect(() => layer.forward(weight.reshape([IN, OUT]))).toThrow(GristmillError);
    layer.dispose();
    layer.dispose();
    expect(() => layer.forward(x)).toThrow(DisposedError);
    expect(layer.a.disposed).toBe(true);
    // A number of a column that is none shows where results are read.
    using other = await LostLinear.fromDense(weight, { rank: 4 });
    const index = dev.tensor(new Uint32Array([IN]));
    using broken = LostLinear.fromParts({ ...other.params(), index });
    const outside = await failure(broken.forward(x).y.toFloat32Array());
    expect([outside.code, outside.details.row]).toEqual(['INVALID_VALUE', 0]);
  });

  test('projections of embeddings are orthogonal and merge', async () => {
    using p = await embeddingProjection(dev, { width: 16, seed: 3n });
    const gram = await values(p.matmul(p, { transB: true }));
    gram.forEach((g, i) => {
      expect(g).toBeCloseTo(Math.floor(i / 16) === i % 16 ? 1 : 0, 4);
    });
    const [table, states] = [draw(dev, 5, [30, 16]), draw(dev, 6, [7, 16])];
    const projected = states.matmul(p, { transB: true });
    const head = mergeEmbeddingProjection(table, p, 'head');
    const logits = projected.matmul(table, { transB: true });
    expect(await apart(states.matmul(head, { transB: true }), logits)).toBeLessThan(1e-5);
    const embedding = mergeEmbeddingProjection(table, p, 'embedding');
    expect(await apart(embedding, table.matmul(p, { transB: true }))).toBeLessThan(1e-6);
  });

  test('outliers are measured, and a transform spreads them', async () => {
    const data = Float32Array.from({ length: 16 * 64 }, (_, i) => (i % 64 === 9 ? 50 : Math.sin(i * i)));
    const states = dev.tensor('f32', { shape: [16, 64], data });
    const turned = states.hadamard();
    const [before, after] = [await excessKurtosis(states), await excessKurtosis([turned, turned])];
    expect(before).toBeGreaterThan(50);
    expect(after).toBeLessThan(5);
    expect(await apart(turned.hadamard(), states)).toBeLessThan(1e-6);
    const four = { bits: 4, symmetric: false } as const;
    const plain = await apart(states.quantizeRtn(four), states);
    const spread = await apart(turned.quantizeRtn(four).hadamard(), states);
    expect(spread).toBeLessThan(plain);
    expect(() => states.hadamard({ block: 48 })).toThrow(GristmillError);
    expect(() => states.quantizeRtn({ bits: 9 })).toThrow(GristmillError);
  });

  test('one number scales all columns, and has a gradient', async () => {
    const gamma = dev.tensor(new Float32Array([1.5]));
    const y = x.ssNorm(gamma, { eps: 0 });
    const rms = (row: number[]): number => Math.sqrt(row.reduce((s, v) => s + v * v, 0) / IN);
    const rows = await values(y);
    for (let r = 0; r < ROWS; r++) expect(rms(rows.slice(r * IN, (r + 1) * IN))).toBeCloseTo(1.5, 4);
    // Along its own rows a norm does not change; and gamma grows with what is asked of its results.
    using gradients = x.ssNormGrad(gamma, y, { eps: 0 });
    expect((await values(gradients.x)).every((g) => Math.abs(g) < 1e-4)).toBe(true);
    expect((await values(gradients.gamma))[0]).toBeCloseTo(ROWS * IN * 1.5, 1);
    const short = x.ssNorm(gamma, { by: 'length', eps: 0 });
    expect(await apart(short, y.scale(1 / Math.sqrt(IN)))).toBeLessThan(1e-6);
  });

  test('Muon takes vectors along their direction where it is asked to', async () => {
    const vector = dev.tensor(new Float32Array([1, 1, 1, 1]));
    using muon = new Muon(dev, { vector }, { lr: 1, vectors: true, scaling: 'rms', nesterov: false });
    await muon.step({ vector: dev.tensor(new Float32Array([0, 30, 0, 40])) });
    const moved = (await values(vector)).map((v) => Math.round(v * 1e5) / 1e5);
    expect(moved).toEqual([1, 0.76, 1, 0.68]);
  });
});
