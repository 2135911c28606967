/** Boundaries of pipeline stages on every device that is here: projection, adjoint gradients, and what the anchor keeps. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import {
  type Device,
  type DeviceName,
  DisposedError,
  doctor,
  GristmillError,
  openDevice,
  ShapeError,
  Subspace,
  Tensor,
} from '../ts/index.js';

const [WIDTH, RANK, WORDS, TOKENS] = [40, 6, 33, 17];

/** The devices that are here, software too. */
const names: DeviceName[] = ['cpu', 'reference'];
for (const { name, available } of doctor().backends)
  if (name !== 'cpu' && available) names.push(name as 'wgpu');

const draw = (dev: Device, seed: number, shape: readonly number[]): Tensor<'f32'> =>
  dev.philox({ shape, draw: 'normal', seed });

const values = async (t: Tensor): Promise<number[]> => [...(await t.toFloat32Array())];

async function dot(a: Tensor, b: Tensor): Promise<number> {
  const [x, y] = await Promise.all([values(a), values(b)]);
  return x.reduce((sum, v, i) => sum + v * (y[i] ?? NaN), 0);
}

const norm = async (t: Tensor): Promise<number> => Math.sqrt(await dot(t, t));
const less = (a: Tensor<'f32'>, b: Tensor<'f32'>): Tensor<'f32'> => a.copy().axpy(-1, b);

describe.each(names)('%s', (name) => {
  let dev: Device;
  let boundary: Subspace<'f32'>;
  let ids: Tensor<'u32'>;
  beforeAll(async () => {
    dev = await openDevice({ device: name });
    const anchor = draw(dev, 3, [WORDS, WIDTH]);
    boundary = await Subspace.random(dev, { width: WIDTH, rank: RANK, seed: 11, anchor });
    ids = dev.tensor(Uint32Array.from({ length: TOKENS }, (_, i) => (i * 7) % WORDS));
  });
  afterAll(() => dev.dispose());

  test('what lies in the span comes back, and of the rest nothing that does', async () => {
    const inside = draw(dev, 4, [TOKENS, RANK]);
    const x = boundary.expand(inside, ids);
    const sent = boundary.project(x, ids);
    expect({ shape: sent.shape, dtype: sent.dtype }).toEqual({ shape: [TOKENS, RANK], dtype: 'f32' });
    expect(await norm(less(sent, inside))).toBeLessThan(1e-5 * (await norm(inside)));
    expect(await norm(less(boundary.expand(sent, ids), x))).toBeLessThan(1e-5 * (await norm(x)));
    const other = draw(dev, 5, [TOKENS, WIDTH]);
    const missing = less(other, boundary.expand(boundary.project(other, ids), ids));
    expect(await norm(missing)).toBeGreaterThan(0.5 * (await norm(other)));
    expect(await norm(boundary.projectGradient(missing))).toBeLessThan(1e-5 * (await norm(missing)));
  });

  test('gradients are the adjoints', async () => {
    const [x, y, g] = [1, 2, 5].map((seed) => draw(dev, seed, [TOKENS, WIDTH])) as [
      Tensor<'f32'>,
      Tensor<'f32'>,
      Tensor<'f32'>,
    ];
    const [a, b] = [3, 4].map((seed) => draw(dev, seed, [TOKENS, RANK])) as [Tensor<'f32'>, Tensor<'f32'>];
    const forth = await dot(less(boundary.project(x, ids), boundary.project(y, ids)), a);
    expect(await dot(less(x, y), boundary.expandGradient(a))).toBeCloseTo(forth, 2);
    const back = await dot(less(boundary.expand(a, ids), boundary.expand(b, ids)), g);
    expect(await dot(less(a, b), boundary.projectGradient(g))).toBeCloseTo(back, 2);
  });

  test('what an outer step moved out of the subspace is kept in the anchor', async () => {
    const table = draw(dev, 20, [WORDS, WIDTH]);
    using own = await Subspace.spanned(boundary.basis(), { anchor: boundary.anchor() as Tensor<'f32'> });
    const whole = table.copy().axpy(1, own.anchor());
    own.adapt(table);
    const sum = table.copy().axpy(1, own.anchor());
    expect(await norm(less(sum, whole))).toBeLessThan(1e-6 * (await norm(whole)));
    const again = own.expandGradient(own.projectGradient(table));
    expect(await norm(less(table, again))).toBeLessThan(1e-5 * (await norm(table)));
    // Embeddings are rows of the sum: the boundary loses nothing of them.
    const x = whole.gather(ids);
    expect(await norm(less(x, own.expand(own.project(x, ids), ids)))).toBeLessThan(1e-5 * (await norm(x)));
  });

  test('a basis has the bits of its seed, and learns', async () => {
    await using cpu = await openDevice({ device: 'cpu' });
    using there = await Subspace.random(cpu, { width: WIDTH, rank: RANK, seed: 11n });
    expect(await values(boundary.basis())).toEqual(await values(there.basis()));
    using truth = await Subspace.random(dev, { width: WIDTH, rank: RANK, seed: 7 });
    const x = truth.expand(draw(dev, 1, [100, RANK]));
    using learner = await Subspace.random(dev, { width: WIDTH, rank: RANK, seed: 8 });
    const lost = (): Tensor<'f32'> => less(learner.expand(learner.project(x)), x);
    const before = await norm(lost());
    for (let i = 0; i < 40; i++) {
      const g = lost();
      const gradient = learner.senderGradient(x, learner.projectGradient(g));
      gradient.axpy(1, learner.receiverGradient(g, learner.project(x)));
      await learner.step(gradient, { lr: 0.005 });
    }
    expect(await norm(lost())).toBeLessThan(0.05 * before);
  });

  test('halves', async () => {
    using half = await Subspace.random(dev, { width: WIDTH, rank: RANK, dtype: 'bf16' });
    const inside = draw(dev, 4, [TOKENS, RANK]).cast('bf16');
    const sent = half.project(half.expand(inside));
    expect(sent.dtype).toBe('bf16');
    const error = await norm(less(sent.cast('f32'), inside.cast('f32')));
    expect(error).toBeLessThan(0.03 * (await norm(inside.cast('f32'))));
  });
});

test('what does not fit is refused with its name', async () => {
  await using dev = await openDevice({ device: 'cpu' });
  const anchor = draw(dev, 3, [WORDS, WIDTH]);
  const boundary = await Subspace.random(dev, { width: WIDTH, rank: RANK, anchor });
  const x = draw(dev, 1, [TOKENS, WIDTH]);
  const ids = dev.tensor(new Uint32Array(TOKENS).fill(WORDS));
  const thrown = (work: () => unknown): GristmillError => {
    try {
      work();
    } catch (error) {
      expect(error).toBeInstanceOf(GristmillError);
      return error as GristmillError;
    }
    throw new Error('it did not throw');
  };
  expect(thrown(() => boundary.project(x))).toMatchObject({
    code: 'INVALID_ARGUMENT',
    details: { column: 'ids' },
  });
  expect(thrown(() => boundary.expand(x, ids))).toBeInstanceOf(ShapeError);
  expect(thrown(() => boundary.project(x.cast('bf16') as never, ids))).toMatchObject({
    code: 'DTYPE_MISMATCH',
  });
  expect(thrown(() => boundary.project('x' as never, ids))).toMatchObject({ details: { column: 'x' } });
  await expect(boundary.project(x, ids).toTypedArray()).rejects.toMatchObject({
    code: 'INVALID_VALUE',
    details: { row: 0 },
  });
  await expect(Subspace.random(dev, { width: 4, rank: 5 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    details: { column: 'rank' },
  });
  await expect(Subspace.random(dev, { width: 4, rank: 1.5 })).rejects.toMatchObject({
    details: { column: 'rank' },
  });
  await expect(Subspace.spanned(x, { dtype: 'u8' as never })).rejects.toMatchObject({
    details: { column: 'dtype' },
  });
  await expect(boundary.step(draw(dev, 1, [WIDTH, RANK]), { lr: NaN })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    details: { column: 'lr' },
  });
  const step = boundary.step(draw(dev, 1, [WIDTH, RANK]), { lr: 0.1 });
  expect(thrown(() => boundary.basis()).message).toContain('taking a step');
  await step;
  expect(boundary.basis().shape).toEqual([WIDTH, RANK]);
  boundary.dispose();
  boundary.dispose();
  expect(thrown(() => boundary.basis())).toBeInstanceOf(DisposedError);
});
