/**
 * Calls that are nearly right, of optimizers, layers, DP-SGD, accounting and bases: one place of the arguments of a sound call
 * is replaced by anything at all. Every call either works or throws one of our errors, and the device works on.
 */

import { afterAll, beforeAll, expect, test } from 'vitest';

import {
  AdamW,
  Apollo,
  calibrateNoise,
  capturedEnergy,
  Conda,
  type Device,
  DpSgd,
  Fira,
  GaLore,
  GristmillError,
  leadingVectors,
  LostLinear,
  Muon,
  newtonSchulz,
  openDevice,
  type Optimizer,
  optimizerMemory,
  orthonormalize,
  PoissonSampler,
  PrivacyAccountant,
  rangeFind,
  rotate,
  rotateBack,
  Subspace,
  Tensor,
} from '../ts/index.js';
import { random, SEED } from './helpers.js';

let dev: Device;
beforeAll(async () => {
  dev = await openDevice({ device: 'cpu' });
});
afterAll(() => dev.dispose());

const next = random(SEED);
const below = (n: number): number => Math.floor(next() * n);
const pick = <T>(list: readonly T[]): T => list[below(list.length)] as T;

/** Tensors of a round, so that they can be released. */
let held: Tensor[] = [];
const hold = <T extends Tensor>(tensor: T): T => {
  held.push(tensor);
  return tensor;
};
const normal = (...shape: number[]): Tensor<'f32'> =>
  hold(dev.philox({ shape, draw: 'normal', seed: below(2 ** 31) }));
const ids = (...values: number[]): Tensor<'u32'> => hold(dev.tensor(new Uint32Array(values)));

function anything(): unknown {
  return pick<() => unknown>([
    () => normal(below(5), below(5)),
    () => normal(below(5)),
    () => hold(dev.tensor('bf16', { shape: [3, 4] })),
    () => hold(dev.tensor('u8', { shape: [3, 4] })),
    () => ids(0, 2, 7),
    () => {
      const tensor = normal(3);
      tensor.dispose();
      return tensor;
    },
    () => pick([0, 1, 2, 3, 0.5, -1, NaN, Infinity, 2 ** 31, 2 ** 53, -0, 1e-320, 1e300]),
    () => pick([0n, 7n, -1n, 2n ** 64n]),
    () => pick(['', 'f32', 'int8', 'left', 'full', 'pld', 'llama-60m', '\0', '🌾', '__proto__']),
    () => pick([null, undefined, true, false, Symbol('s'), () => 1, new Date(), new Map()]),
    () => pick([[], [1, 2], [NaN], ['w'], [null], {}, { params: {} }, { kind: 'wsd' }]),
    () => new Uint8Array(below(40)),
    () => new Proxy({}, { get: () => 1 }),
  ])();
}

/** A copy of arguments, in which about one place in ten is something else. */
function nearly(value: unknown): unknown {
  if (next() < 0.07) return anything();
  if (Array.isArray(value)) return value.map(nearly);
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) {
    return value;
  }
  const entries = Object.entries(value).map(([key, part]) => [key, nearly(part)] as const);
  if (next() < 0.02) entries.push([pick(['rank', 'extra', 'seed']), anything()]);
  return Object.fromEntries(next() < 0.03 ? entries.slice(1) : entries);
}

/** A copy, mostly with another byte somewhere. */
function mostlySpoiled(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  if (next() < 0.8) copy[below(copy.length)] = below(256);
  return copy;
}

let worked = 0;
const refusals = new Map<string, number>();

/** Makes a call with arguments that are nearly right; `undefined` where it was refused. */
async function tried<T>(
  what: string,
  call: (...args: never[]) => T | Promise<T>,
  ...args: unknown[]
): Promise<T | undefined> {
  try {
    const result = await call(...(args.map(nearly) as never[]));
    worked += 1;
    if (result instanceof Tensor) hold(result as Tensor);
    return result;
  } catch (error) {
    if (!(error instanceof GristmillError) || error.code === 'INTERNAL') {
      throw new Error(`${what}, seed ${SEED}: ${String(error)}`, { cause: error });
    }
    refusals.set(what, (refusals.get(what) ?? 0) + 1);
    return undefined;
  }
}

/** What makes objects of a class. */
function made<T>(Class: new (...args: never[]) => T): (...args: never[]) => T {
  return (...args) => new Class(...args);
}

/** Rounds of a kind of call; in the end both outcomes were seen, and the device works on. */
async function rounds(count: number, round: () => Promise<void>): Promise<void> {
  worked = 0;
  refusals.clear();
  for (let i = 0; i < count; i++) {
    await round();
    held.forEach((tensor) => tensor.dispose());
    held = [];
  }
  expect(worked).toBeGreaterThan(count / 2);
  expect(Math.max(...refusals.values())).toBeGreaterThan(count / 20);
  using x = dev.tensor('f32', { data: [1, 2, 3] });
  expect([...(await x.scale(2).toTypedArray())]).toEqual([2, 4, 6]);
}

test('optimizers', async () => {
  const classes = { AdamW, GaLore, Conda, Muon, Apollo, Fira } as const;
  const own: Record<keyof typeof classes, object> = {
    AdamW: {},
    GaLore: {
      rank: 2,
      updateProjGap: 2,
      scale: 0.25,
      projType: 'std',
      refresh: 'randomized',
      projector: 'f32',
    },
    Conda: { updateProjGap: 2, scale: 0.25 },
    Muon: { momentum: 0.9, nesterov: true, nsSteps: 2, bf16: false, scaling: 'rms' },
    Apollo: { rank: 2, updateProjGap: 2, scaleType: 'channel', projector: 'seeded' },
    Fira: { rank: 2, updateProjGap: 2, scale: 1 },
  };
  await rounds(600, async () => {
    const name = pick(Object.keys(classes) as (keyof typeof classes)[]);
    const params = { w: normal(6, 4), b: normal(3) };
    const adam = {
      lr: 0.01,
      betas: [0.9, 0.999],
      eps: 1e-8,
      state: name === 'Muon' || name === 'Conda' ? 'f32' : pick(['f32', 'bf16', 'int8']),
      schedule: { kind: 'cosine', warmup: 1, total: 10, floor: 0.1 },
    };
    const options = { ...adam, ...own[name], maxGradNorm: 1, seed: 3 };
    const groups = pick<unknown>([
      params,
      [{ params: { w: params.w } }, { params: { b: params.b }, lr: 0.1, dense: true }],
    ]);
    const make = made<Optimizer>(classes[name]);
    const optimizer = await tried(name, make, dev, groups, options);
    if (!optimizer) return;
    const gradients = (): object => ({ w: normal(6, 4), b: normal(3) });
    for (let step = 0; step < 3; step++) {
      await tried('step', optimizer.step.bind(optimizer), gradients());
      if (next() < 0.3) await tried('accumulate', optimizer.accumulate.bind(optimizer), gradients());
    }
    await tried('setLr', optimizer.setLr.bind(optimizer), 0.1);
    await tried('setProjector', optimizer.setProjector.bind(optimizer), 'w', normal(4, 2));
    const state = await tried('save', () => optimizer.save());
    if (state instanceof Uint8Array) {
      const spoiled = mostlySpoiled(state);
      await tried('load', optimizer.load.bind(optimizer), spoiled);
      await tried('importState', optimizer.importState.bind(optimizer), spoiled);
    }
    await tried('memory', () => optimizer.memory());
    optimizer.dispose();
  });
});

test('memory of optimizers', async () => {
  await rounds(500, async () => {
    const config = pick<unknown>([
      'llama-60m',
      {
        hidden_size: 64,
        intermediate_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        vocab_size: 100,
      },
    ]);
    const optimizer = pick(['adamw', 'galore', 'conda', 'muon', 'apollo', 'apollo-mini', 'fira']);
    const ranked = ['galore', 'apollo', 'fira'].includes(optimizer) ? { rank: 16 } : {};
    await tried('optimizerMemory', optimizerMemory, {
      config,
      optimizer,
      weights: 'bf16',
      state: 'f32',
      ...ranked,
    });
  });
});

test('DP-SGD', async () => {
  await rounds(600, async () => {
    const clipping = pick<unknown>([
      { mode: 'flat', maxGradNorm: 1 },
      { mode: 'per-layer', maxGradNorm: 1 },
      { mode: 'per-layer', maxGradNorm: { up: 1, wte: 1, ln: 1 } },
      { mode: 'per-group', groups: { all: { layers: ['up', 'wte', 'ln'], maxGradNorm: 1 } } },
      { mode: 'automatic', maxGradNorm: 1, gamma: 0.01 },
      { mode: 'unit' },
      { mode: 'threshold', maxGradNorm: 1 },
      { mode: 'adaptive', maxGradNorm: 1, quantile: 0.5, learningRate: 0.2 },
    ]);
    const rng = pick<object>([{ rng: 'reproducible', seed: 1 }, { rng: 'secure' }, { rng: 'discrete' }]);
    const options = {
      clipping,
      noiseMultiplier: 1,
      sampleRate: 0.1,
      expectedBatchSize: 2,
      layers: ['up', 'wte', 'ln'],
      ...rng,
    };
    const dp = await tried('DpSgd', made(DpSgd), dev, options);
    if (!dp) return;
    for (let step = 0; step < 2; step++) {
      const linear = { x: normal(2, 3, 4), dy: normal(2, 3, 5), bias: true };
      await tried('linear', dp.linear.bind(dp), 'up', linear);
      await tried('embedding', dp.embedding.bind(dp), 'wte', {
        ids: ids(0, 3),
        dy: normal(2, 4),
        vocabulary: 5,
      });
      await tried('norm', dp.norm.bind(dp), 'ln', { xhat: normal(2, 4), dy: normal(2, 4) });
      const gradients = await tried('dp.step', dp.step.bind(dp));
      gradients?.[Symbol.dispose]?.();
    }
    await tried('sensitivity', dp.sensitivity.bind(dp), { neighbours: 'add-remove' });
    const saved = await tried('dp.save', () => dp.save());
    if (saved instanceof Uint8Array) {
      const spoiled = mostlySpoiled(saved);
      await tried('dp.load', dp.load.bind(dp), spoiled);
    }
    dp.dispose();
  });
});

test('accounting and sampling', async () => {
  await rounds(100, async () => {
    const accountant = new PrivacyAccountant();
    await tried('record', accountant.record.bind(accountant), {
      noiseMultiplier: 1.1,
      sampleRate: 0.01,
      steps: 100,
    });
    await tried('epsilon', accountant.epsilon.bind(accountant), {
      delta: 1e-5,
      method: pick(['pld', 'rdp', 'gdp']),
    });
    await tried('delta', accountant.delta.bind(accountant), {
      epsilon: 1,
      method: pick(['pld', 'rdp', 'gdp']),
    });
    await tried(
      'fromJSON',
      PrivacyAccountant.fromJSON.bind(PrivacyAccountant),
      JSON.parse(JSON.stringify(accountant)),
    );
    if (next() < 0.1) {
      const budget = { epsilon: 8, delta: 1e-5, sampleRate: 0.01, steps: 100, method: 'rdp' };
      await tried('calibrateNoise', calibrateNoise, budget);
    }
    const drawing = { examples: 1000, sampleRate: 0.01, seed: 1, multiple: 8 };
    const sampler = await tried('PoissonSampler', made(PoissonSampler), drawing);
    if (sampler === undefined) return;
    await tried(
      'sampler.fromJSON',
      PoissonSampler.fromJSON.bind(PoissonSampler),
      JSON.parse(JSON.stringify(sampler)),
    );
  });
});

test('bases and layers', async () => {
  await rounds(600, async () => {
    const x = normal(6, 4);
    const basis = await tried('rangeFind', rangeFind, x, {
      rank: 2,
      side: pick(['left', 'right']),
      oversample: 1,
      power: 1,
      seed: 1,
    });
    await tried('leadingVectors', leadingVectors, x, { rank: 2, side: 'left' });
    await tried('orthonormalize', orthonormalize, x);
    await tried('newtonSchulz', newtonSchulz, x, { steps: 2, dtype: 'f32' });
    await tried('capturedEnergy', capturedEnergy, x, basis, { side: 'left' });
    await tried('rotate', rotate, x, normal(6, 2), { side: 'left' });
    await tried('rotateBack', rotateBack, normal(2, 4), normal(6, 2), { side: 'left' });
    const options = {
      rank: 2,
      gamma: 0.5,
      sparsity: 0.3,
      activation: 'silu',
      sparseSvdRank: 2,
      channels: 'svd',
      seed: 1,
    };
    const lost = await tried('LostLinear.fromDense', LostLinear.fromDense.bind(LostLinear), x, options);
    if (lost) {
      const given = normal(3, 4);
      const outputs = await tried('lost.forward', lost.forward.bind(lost), given);
      await tried('lost.backward', lost.backward.bind(lost), given, outputs?.z, normal(3, 6));
      const saved = await tried('lost.save', () => lost.save());
      if (saved instanceof Uint8Array) {
        const spoiled = mostlySpoiled(saved);
        await tried('lost.load', LostLinear.load.bind(LostLinear), dev, spoiled);
      }
      lost.dispose();
    }
    const subspace = await tried('Subspace', Subspace.random.bind(Subspace), dev, {
      width: 8,
      rank: 2,
      seed: 1,
    });
    if (subspace) {
      await tried('project', subspace.project.bind(subspace), normal(3, 8));
      await tried('expand', subspace.expand.bind(subspace), normal(3, 2));
      subspace.dispose();
    }
  });
});
