/** The operations that clip the gradients of samples, as a user calls them. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { type ClipPath, type Device, GristmillError, openDevice, type Tensor } from '../ts/index.js';

let dev: Device;
beforeAll(async () => {
  dev = await openDevice({ device: 'cpu' });
});
afterAll(() => dev.dispose());

const [D, P] = [5, 3];
const OFFSETS = [0, 4, 4, 5, 12];
const SAMPLES = OFFSETS.length - 1;
const ROWS = 12;

/** Numbers without a pattern between −1 and 1. */
function numbers(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** The gradient of a sample, and that of the bias behind it. */
function gradient(x: Float32Array, dy: Float32Array, sample: number): number[] {
  const [sums, bias] = [new Array<number>(P * D).fill(0), new Array<number>(P).fill(0)];
  for (let t = OFFSETS[sample] ?? 0; t < (OFFSETS[sample + 1] ?? 0); t++)
    for (let i = 0; i < P; i++) {
      bias[i] = (bias[i] ?? 0) + (dy[t * P + i] ?? 0);
      for (let j = 0; j < D; j++)
        sums[i * D + j] = (sums[i * D + j] ?? 0) + (dy[t * P + i] ?? 0) * (x[t * D + j] ?? 0);
    }
  return [...sums, ...bias];
}

const norm = (values: number[]): number => Math.hypot(...values);

interface Layer {
  x: Tensor<'f32'>;
  dy: Tensor<'f32'>;
  offsets: Tensor<'u32'>;
  grad: Tensor<'f32'>;
  bias: Tensor<'f32'>;
}

function layer(x: Float32Array<ArrayBuffer>, dy: Float32Array<ArrayBuffer>): Layer {
  return {
    x: dev.tensor('f32', { shape: [ROWS, D], data: x }),
    dy: dev.tensor('f32', { shape: [ROWS, P], data: dy }),
    offsets: dev.tensor(new Uint32Array(OFFSETS)),
    grad: dev.tensor('f32', { shape: [P, D] }).fill(0),
    bias: dev.tensor('f32', { shape: [P] }).fill(0),
  };
}

/** Weight and bias, one behind the other. */
async function sums({ grad, bias }: Layer): Promise<number[]> {
  return [...(await grad.toTypedArray()), ...(await bias.toTypedArray())];
}

function close(got: Iterable<number>, want: number[], digits = 4): void {
  const all = [...got];
  expect(all.length).toBe(want.length);
  all.forEach((value, i) => expect(value).toBeCloseTo(want[i] ?? NaN, digits));
}

describe('a layer whose gradients are known', () => {
  const [x, dy] = [numbers(ROWS * D, 1), numbers(ROWS * P, 2)];
  const gradients = Array.from({ length: SAMPLES }, (_, sample) => gradient(x, dy, sample));
  const clipped = (maxNorm: number): number[] =>
    gradients.reduce<number[]>(
      (total, g) => total.map((sum, i) => sum + (g[i] ?? 0) * Math.min(1, maxNorm / norm(g))),
      new Array<number>(P * D + P).fill(0),
    );

  test.each(['direct', 'gram', undefined] as const)('has its norms by %s', async (method) => {
    const { x: inputs, dy: outputs, offsets } = layer(x, dy);
    const options = { bias: true, ...(method && { method }) };
    const squared = await inputs.perSampleNorms(outputs, offsets, options).toTypedArray();
    close(
      squared,
      gradients.map((g) => norm(g) ** 2),
    );
    const weight = await inputs.perSampleNorms(outputs, offsets).toTypedArray();
    close(
      weight,
      gradients.map((g) => norm(g.slice(0, P * D)) ** 2),
    );
  });

  test('has the sum with factors, added to what is there', async () => {
    const of = layer(x, dy);
    of.grad.fill(1);
    const factors = [0.5, 2, 0, -1];
    of.x.clippedGrad(of.dy, of.offsets, dev.tensor(new Float32Array(factors)), of.grad, { bias: of.bias });
    const want = Array.from({ length: P * D + P }, (_, i) =>
      gradients.reduce((sum, g, sample) => sum + (factors[sample] ?? 0) * (g[i] ?? 0), i < P * D ? 1 : 0),
    );
    close(await sums(of), want);
  });

  test.each(['fused', 'two-phase', undefined] as const)('is clipped by the path %s', async (path) => {
    const of = layer(x, dy);
    const options = { maxNorm: 1, bias: of.bias, ...(path && { path }) };
    using out = of.x.clipLinearFused(of.dy, of.offsets, of.grad, options);
    expect(out.path).toBe(path ?? 'two-phase');
    close(await out.norms.toTypedArray(), gradients.map(norm));
    close(
      await out.factors.toTypedArray(),
      gradients.map((g) => Math.min(1, 1 / norm(g))),
    );
    close(await sums(of), clipped(1));
  });

  const paths: ClipPath[] = ['fused', 'two-phase'];

  test.each(paths)('changes by no more than the bound with any sample: %s', async (path) => {
    const maxNorm = 0.7;
    const run = async (weights: number[]): Promise<number[]> => {
      const of = layer(x, dy);
      const more = { bias: of.bias, weights: dev.tensor(new Float32Array(weights)) };
      of.x.clipLinearFused(of.dy, of.offsets, of.grad, { maxNorm, path, ...more });
      return sums(of);
    };
    const all = await run([1, 1, 1, 1]);
    for (let without = 0; without < SAMPLES; without++) {
      const rest = await run([0, 1, 2, 3].map((sample) => (sample === without ? 0 : 1)));
      // What is left is the rounding of the two sums.
      expect(norm(all.map((sum, i) => sum - (rest[i] ?? 0)))).toBeLessThan(maxNorm * (1 + 1e-6));
    }
  });

  test.each(paths)('adds nothing of a sample that is no number: %s', async (path) => {
    for (const poison of [NaN, Infinity, 3e38]) {
      const [poisoned, of] = [x.slice(), layer(x, dy)];
      poisoned[7 * D] = poison;
      const other = layer(poisoned, dy);
      const weights = dev.tensor(new Float32Array([1, 1, 1, 0]));
      of.x.clipLinearFused(of.dy, of.offsets, of.grad, { maxNorm: 1, path, bias: of.bias, weights });
      const out = other.x.clipLinearFused(other.dy, other.offsets, other.grad, {
        maxNorm: 1,
        path,
        bias: other.bias,
      });
      expect(await sums(other)).toEqual(await sums(of));
      expect((await out.factors.toTypedArray())[3]).toBe(0);
    }
  });
});

describe('what is refused', () => {
  const wrong: [string, (of: Layer) => unknown, string, string][] = [
    ['a bound of 0', (of) => of.x.clipLinearFused(of.dy, of.offsets, of.grad, { maxNorm: 0 }), 'INVALID_ARGUMENT', 'maxNorm'],
    ['no bound', (of) => of.x.clipLinearFused(of.dy, of.offsets, of.grad, {} as never), 'INVALID_ARGUMENT', 'maxNorm'],
    ['another rule', (of) => of.x.clipLinearFused(of.dy, of.offsets, of.grad, { maxNorm: 1, rule: 'soft' as never }), 'INVALID_ARGUMENT', 'rule'],
    ['another path', (of) => of.x.clipLinearFused(of.dy, of.offsets, of.grad, { maxNorm: 1, path: 'x' as never }), 'INVALID_ARGUMENT', 'path'],
    ['a gamma of 0', (of) => of.x.clipLinearFused(of.dy, of.offsets, of.grad, { maxNorm: 1, rule: 'automatic', gamma: 0 }), 'INVALID_ARGUMENT', 'gamma'],
    ['another method', (of) => of.x.perSampleNorms(of.dy, of.offsets, { method: 'x' as never }), 'INVALID_ARGUMENT', 'method'],
    ['gradients of other rows', (of) => of.x.perSampleNorms(of.bias.reshape([1, P]), of.offsets), 'SHAPE_MISMATCH', 'dy'],
    ['a sum of another shape', (of) => of.x.clippedGrad(of.dy, of.offsets, dev.tensor(new Float32Array(SAMPLES)), of.bias), 'SHAPE_MISMATCH', 'grad'],
  ]; // prettier-ignore

  test.each(wrong)('%s', (_, work, code, column) => {
    const of = layer(numbers(ROWS * D, 1), numbers(ROWS * P, 2));
    try {
      work(of);
    } catch (error) {
      expect(error).toBeInstanceOf(GristmillError);
      expect(error).toMatchObject({ code, details: { column } });
      return;
    }
    throw new Error('it did not throw');
  });

  test('a weight that is neither 0 nor 1, at the read', async () => {
    const of = layer(numbers(ROWS * D, 1), numbers(ROWS * P, 2));
    const weights = dev.tensor(new Float32Array([1, 0, 0.5, 1]));
    of.x.clipLinearFused(of.dy, of.offsets, of.grad, { maxNorm: 1, weights });
    await expect(of.grad.toTypedArray()).rejects.toMatchObject({
      code: 'INVALID_VALUE',
      details: { row: 2 },
    });
  });
});
