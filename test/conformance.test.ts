/** A sample of the conformance table through the methods of tensors: the same data, the same promises. */

import { execFileSync } from 'node:child_process';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import {
  type ActivationKind,
  type ClipPath,
  type ClipRule,
  type Device,
  type DeviceName,
  doctor,
  type DType,
  DTYPES,
  GristmillError,
  type NoiseGenerator,
  type NormKind,
  type NormsMethod,
  openDevice,
  Ragged,
  type Reduction,
  type Tensor,
} from '../ts/index.js';
import { cargoBinary } from './helpers.js';

/** A tensor of the table by name, its elements in hexadecimal. */
interface Data {
  name: string;
  dtype: DType;
  shape: number[];
  hex: string;
  scale?: (number | null)[];
}

interface Sample {
  case: string;
  op: string;
  bound: 'bits' | 'exact' | 'equal' | number;
  scalars: Record<string, unknown>;
  inputs: Data[];
  outputs: Data[];
  fault?: number;
}

const SEED = process.env['GRISTMILL_SEED'] ?? '1';
/** Steps of methods that work on tensors as a whole: no tensor has them. */
const OF_METHODS = [
  'topk_encode',
  'topk_aggregate',
  'payload_norm',
  'adamw',
  'low_rank_adam',
  'channel_factors',
  'channel_step',
  'int4_pack',
  'int4_unpack',
];
const all = JSON.parse(
  execFileSync(cargoBinary('gristmill-conformance'), ['--samples', SEED], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  }),
) as Sample[];
const samples = all.filter(({ op }) => !OF_METHODS.includes(op));

/** Elements as numbers, exactly. */
function numbers(dtype: DType, bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const half = (bits: number): number => {
    const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
  };
  const brain = (bits: number): number => {
    const word = new DataView(new ArrayBuffer(4));
    word.setUint32(0, bits * 65536);
    return word.getFloat32(0);
  };
  const read: Record<DType, (at: number) => number> = {
    f32: (at) => view.getFloat32(at, true),
    f64: (at) => view.getFloat64(at, true),
    f16: (at) => half(view.getUint16(at, true)),
    bf16: (at) => brain(view.getUint16(at, true)),
    u8: (at) => view.getUint8(at),
    i32: (at) => view.getInt32(at, true),
    u32: (at) => view.getUint32(at, true),
  };
  const { size } = DTYPES[dtype];
  return Array.from({ length: bytes.byteLength / size }, (_, i) => read[dtype](i * size));
}

/** Below this a result is as good as zero. */
const FLOOR: Partial<Record<DType, number>> = { f64: 2 ** -1022, f16: 2 ** -14 };

/** What is wrong with a result, or nothing. */
function fault({ bound }: Sample, want: Data, got: Uint8Array): string | undefined {
  const expected = Buffer.from(want.hex, 'hex');
  if (Buffer.compare(expected, got) === 0) return undefined;
  if (bound === 'bits' || got.byteLength !== expected.byteLength) return 'other bits';
  const [g, w] = [numbers(want.dtype, got), numbers(want.dtype, expected)];
  const { size } = DTYPES[want.dtype];
  for (const [i, a] of g.entries()) {
    const b = w[i] ?? NaN;
    if (Number.isNaN(a) && Number.isNaN(b)) continue;
    if (bound === 'exact') {
      const same = Buffer.compare(
        got.subarray(i * size, (i + 1) * size),
        expected.subarray(i * size, (i + 1) * size),
      );
      if (same === 0) continue;
    } else if (a === b) continue;
    else if (typeof bound === 'number' && Number.isFinite(a) && Number.isFinite(b)) {
      const scale = Math.max(want.scale?.[i] ?? NaN, FLOOR[want.dtype] ?? 2 ** -103);
      if (Math.abs(a - b) / scale <= bound) continue;
    }
    return `element ${i} is ${a} instead of ${b}`;
  }
  return undefined;
}

function bytesOf(data: Data): Uint8Array {
  return Uint8Array.from(Buffer.from(data.hex, 'hex'));
}

/** The scalars of all operations. */
interface Scalars {
  value: number | string;
  transA: boolean;
  transB: boolean;
  alpha: number;
  beta: number;
  reduction: Reduction;
  vocab: number;
  softcap?: number;
  seed: string;
  stream: string;
  offset: string;
  draw: 'bits' | 'uniform' | 'normal';
  k: number;
  chunk: number;
  maxNorm: number;
  kind: NormKind & ActivationKind;
  eps: number;
  headDim: number;
  interleaved: boolean;
  heads: number;
  kvHeads: number;
  scale: number;
  bias: boolean;
  method: NormsMethod;
  rule: ClipRule;
  gamma?: number;
  path: ClipPath;
  vocabulary: number;
  paddingIdx?: number;
  generator: NoiseGenerator;
  key: string;
  step: string;
  tensor: number;
  std: number;
  exponent: number;
  columns: boolean;
  centered: boolean;
  block: number;
  bits: number;
  group: number;
  symmetric: boolean;
  clip: number;
}

/** Runs a case by the methods that a user calls, and gives the results by name. */
function run(dev: Device, { op, scalars, inputs, outputs }: Sample): Record<string, Tensor> {
  const placed = new Map<string, Tensor>();
  for (const input of inputs) {
    const { array: Class } = DTYPES[input.dtype];
    const data = new Class(bytesOf(input).buffer as never);
    placed.set(input.name, dev.tensor(input.dtype, { shape: input.shape, data: data as never }));
  }
  const t = <D extends DType = DType>(name: string): Tensor<D> => {
    const tensor = placed.get(name);
    if (!tensor) throw new Error(`no input ${name}`);
    return tensor as Tensor<D>;
  };
  const s = scalars as unknown as Scalars;
  const [out] = outputs;
  const nll = {
    vocab: s.vocab,
    ...(s.softcap !== undefined && { softcap: s.softcap }),
    ...(placed.has('bias') && { bias: t<'f32'>('bias') }),
  };
  switch (op) {
    case 'fill':
      return { out: dev.tensor(out?.dtype ?? 'f32', { shape: out?.shape ?? [] }).fill(Number(s.value)) };
    case 'cast':
      return { out: t('x').cast(out?.dtype ?? 'f32') };
    case 'copy':
      return { out: t('x').copy() };
    case 'matmul': {
      const { transA, transB, alpha, beta } = s;
      const dtype = out?.dtype ?? 'f32';
      if (!placed.has('out')) return { out: t('a').matmul(t('b'), { transA, transB, alpha, dtype }) };
      return { out: t('out').addMatmul(t('a'), t('b'), { transA, transB, alpha, beta }) };
    }
    case 'gram': {
      const { columns, alpha, beta } = s;
      const c = placed.has('c') && { c: t('c') };
      return { out: t('x').gram({ columns, alpha, beta, ...c, dtype: out?.dtype ?? 'f32' }) };
    }
    case 'row_reduce':
      return { out: t('x').rowReduce(s.reduction) };
    case 'segment_reduce':
      return { out: dev.ragged(t('x'), t<'u32'>('offsets')).segmentReduce(s.reduction) };
    case 'axpby':
      return { y: t('y').axpby(s.alpha, t('x'), s.beta) };
    case 'scale':
      return { out: t('x').scale(s.alpha) };
    case 'softmax_stats':
      return { ...t('x').softmaxStats() };
    case 'nll':
      return { out: t('logits').nll(t<'u32'>('targets'), nll) };
    case 'linear_nll':
      return { out: t('hidden').linearNll(t('head'), t<'u32'>('targets'), nll) };
    case 'loss_reduction':
      return { ...t<'f32'>('prior').lossReduction(t<'f32'>('conditional'), t<'u32'>('offsets')) };
    case 'philox': {
      const words = { seed: BigInt(s.seed), stream: BigInt(s.stream), offset: BigInt(s.offset) };
      return { out: dev.philox({ shape: out?.shape ?? [], draw: s.draw, ...words }) };
    }
    case 'topk':
      return { ...t<'f32'>('x').topk(s.k, { chunk: s.chunk }) };
    case 'row_norm_scale':
      return { ...t('x').rowNormScale(s.maxNorm) };
    case 'gather':
      return { out: t('table').gather(t<'u32'>('ids'), { dtype: out?.dtype ?? 'f32' }) };
    case 'norm': {
      const weight = placed.has('weight') ? { weight: t<'f32'>('weight') } : {};
      const bias = placed.has('bias') ? { bias: t<'f32'>('bias') } : {};
      return { out: t('x').norm(s.kind, { eps: s.eps, dtype: out?.dtype ?? 'f32', ...weight, ...bias }) };
    }
    case 'rope': {
      const { headDim, interleaved } = s;
      return { x: t('x').rope(t('cos'), t('sin'), t<'u32'>('positions'), { headDim, interleaved }) };
    }
    case 'attention': {
      const { heads, kvHeads, scale } = s;
      return { out: t('q').attention(t('k'), t('v'), t<'u32'>('offsets'), { heads, kvHeads, scale }) };
    }
    case 'activation': {
      const bias = placed.has('bias') ? { bias: t<'f32'>('bias') } : {};
      const times = placed.has('times') ? { times: t('times') } : {};
      return { out: t('x').activation(s.kind, { ...bias, ...times }) };
    }
    case 'bias_add':
      return { x: t('x').biasAdd(t<'f32'>('bias')) };
    case 'per_sample_norms': {
      const { bias, method } = s;
      return { out: t('x').perSampleNorms(t('dy'), t<'u32'>('offsets'), { bias, method }) };
    }
    case 'clipped_grad': {
      const [grad, bias] = [t<'f32'>('grad'), placed.has('bias') ? { bias: t<'f32'>('bias') } : {}];
      t('x').clippedGrad(t('dy'), t<'u32'>('offsets'), t<'f32'>('factors'), grad, bias);
      return { grad, ...bias };
    }
    case 'clip_linear_fused': {
      const [grad, bias] = [t<'f32'>('grad'), placed.has('bias') ? { bias: t<'f32'>('bias') } : {}];
      const weights = placed.has('weights') ? { weights: t<'f32'>('weights') } : {};
      const { maxNorm, rule, gamma, path } = s;
      const more = { ...(gamma !== undefined && { gamma }), ...bias, ...weights };
      const out = t('x').clipLinearFused(t('dy'), t<'u32'>('offsets'), grad, {
        maxNorm,
        rule,
        path,
        ...more,
      });
      expect(out.path).toBe(path);
      return { norms: out.norms, factors: out.factors, grad, ...bias };
    }
    case 'clip_factors': {
      const weights = placed.has('weights') ? { weights: t<'f32'>('weights') } : {};
      const gamma = s.gamma === undefined ? {} : { gamma: s.gamma };
      const options = { maxNorms: t<'f32'>('maxNorms'), rule: s.rule, ...gamma, ...weights };
      return { ...t<'f32'>('squared').clipFactors(options) };
    }
    case 'column_norms':
      return { out: t('x').columnNorms() };
    case 'segment_product':
      return { out: t('a').segmentProduct(t<'u32'>('offsets'), placed.has('b') ? { b: t('b') } : {}) };
    case 'clipped_sum': {
      t<'f32'>('rows').clippedSum(t<'f32'>('factors'), t<'f32'>('out'));
      return { out: t('out') };
    }
    case 'embedding_norms': {
      const { vocabulary } = s;
      const padding = s.paddingIdx === undefined ? {} : { paddingIdx: s.paddingIdx };
      const options = { vocabulary, ...padding };
      return { out: t<'u32'>('ids').embeddingNorms(t('dy'), t<'u32'>('offsets'), options) };
    }
    case 'clipped_embedding_grad': {
      const padding = s.paddingIdx === undefined ? {} : { paddingIdx: s.paddingIdx };
      const [ends, grad] = [t<'u32'>('offsets'), t<'f32'>('grad')];
      t<'u32'>('ids').clippedEmbeddingGrad(t('dy'), ends, t<'f32'>('factors'), grad, padding);
      return { grad };
    }
    case 'tied_norms':
      return { out: t<'u32'>('ids').tiedNorms(t('e'), t('h'), t('dlogits'), t<'u32'>('offsets')) };
    case 'gaussian_noise': {
      const { generator, tensor, std, scale } = s;
      const key = Uint8Array.from(Buffer.from(s.key, 'hex'));
      const step = BigInt(s.step);
      return { y: t('y').addGaussianNoise({ generator, key, step, tensor, std, scale }) };
    }
    case 'grid_sum': {
      t<'f32'>('rows').gridSum(t<'f32'>('factors'), t<'u32'>('sums'), s.exponent);
      return { sums: t('sums') };
    }
    case 'gather_columns':
      return { out: t('x').gatherColumns(t<'u32'>('index')) };
    case 'scatter_columns':
      return { out: t('out').scatterColumns(t('y'), t<'u32'>('index')) };
    case 'activation_grad':
      return { out: t('x').activationGrad(s.kind, t('dy')) };
    case 'kurtosis':
      return { out: t('x').kurtosis({ centered: s.centered }) };
    case 'hadamard':
      return { out: t('x').hadamard({ block: s.block }) };
    case 'quantize_rtn': {
      const { bits, group, symmetric, clip } = s;
      return { out: t('x').quantizeRtn({ bits, group, symmetric, clip }) };
    }
    case 'norm_grad': {
      const weight = placed.has('weight') ? { weight: t<'f32'>('weight') } : {};
      return { ...t('x').normGrad(s.kind, t('dy'), { eps: s.eps, ...weight }) };
    }
    default:
      throw new Error(`the test knows no ${op}`);
  }
}

/** The devices to hold against the table: those that are here, software too. */
const names: DeviceName[] = ['cpu', 'reference'];
for (const { name, available } of doctor().backends)
  if (name !== 'cpu' && available) names.push(name as 'wgpu');

test('the devices that must be here are', () => {
  const required = (process.env['GRISTMILL_REQUIRE'] ?? '').split(',');
  expect(names).toEqual(expect.arrayContaining(required.filter((name) => ['wgpu', 'cuda'].includes(name))));
});

test('there is a sample of every operation that tensors have', () => {
  expect(new Set(samples.map((s) => s.op)).size).toBe(41);
  expect(samples.length).toBeGreaterThan(60);
});

describe.each(names)(`%s, seed ${SEED}`, (name) => {
  let dev: Device;
  beforeAll(async () => {
    dev = await openDevice({ device: name });
  });
  afterAll(() => dev.dispose());

  test.each(samples.map((sample) => [sample.case, sample] as const))('%s', async (_, sample) => {
    let results: Record<string, Tensor>;
    try {
      results = run(dev, sample);
    } catch (error) {
      // A device may lack a type; that is said, and at once.
      if (error instanceof GristmillError && error.code === 'UNSUPPORTED' && name !== 'cpu') return;
      throw error;
    }
    if (sample.fault !== undefined) {
      for (const result of Object.values(results)) {
        const error: unknown = await result.toTypedArray().catch((thrown: unknown) => thrown);
        expect(error).toMatchObject({ code: 'INVALID_VALUE', details: { row: sample.fault } });
        expect((error as Error).message).toContain(sample.op);
      }
      return;
    }
    for (const want of sample.outputs) {
      const result = results[want.name];
      if (!result) throw new Error(`no result ${want.name}`);
      expect({ dtype: result.dtype, shape: result.shape }).toEqual({ dtype: want.dtype, shape: want.shape });
      const array = await result.toTypedArray();
      const got = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
      expect(fault(sample, want, got), want.name).toBeUndefined();
    }
  });
});

test('a ragged column is what the table calls offsets', async () => {
  await using dev = await openDevice({ device: 'cpu' });
  using ragged = dev.ragged(
    dev.tensor(new Float32Array([1, 2, 3, 4])),
    dev.tensor(new Uint32Array([0, 3, 3, 4])),
  );
  expect(ragged).toBeInstanceOf(Ragged);
  expect(ragged.rows).toBe(3);
  expect([...(await ragged.segmentSum().toTypedArray())]).toEqual([6, 0, 4]);
});
