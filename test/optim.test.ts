/** Optimizers from TypeScript and from the command line. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import {
  AdamW,
  Apollo,
  Conda,
  type Device,
  Fira,
  GaLore,
  Muon,
  openDevice,
  type Optimizer,
  optimizerMemory,
  type Tensor,
} from '../ts/index.js';
import { cli, failure, put, scratch } from './helpers.js';

let device: Device;
beforeAll(async () => {
  device = await openDevice({ device: 'cpu' });
});
afterAll(() => device.dispose());

/** Numbers that look random, the same every time. */
function numbers(seed: number, n: number): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => Math.sin(seed * 1000 + i * 12.9898) * 0.5);
}

const matrix = (seed: number, rows: number, columns: number): Tensor<'f32'> =>
  device.tensor(numbers(seed, rows * columns), { shape: [rows, columns] });

/** Half the squared distance to a target of low rank: its gradient is the difference. */
async function descend(
  make: (params: Record<string, Tensor>) => Optimizer,
  steps: number,
): Promise<[before: number, after: number]> {
  using target = matrix(1, 24, 4).matmul(matrix(2, 4, 16));
  using weight = matrix(3, 24, 16);
  const optimizer = make({ w: weight });
  const loss = async (): Promise<number> => {
    using difference = weight.copy();
    difference.axpby(-1, target, 1);
    return (await difference.toFloat32Array()).reduce((sum, x) => sum + x * x, 0);
  };
  const before = await loss();
  for (let i = 0; i < steps; i++) {
    using gradient = weight.copy();
    gradient.axpby(-1, target, 1);
    const report = await optimizer.step({ w: gradient });
    expect(report).toMatchObject({ step: i + 1, applied: true, skipped: 0 });
  }
  return [before, await loss()];
}

describe('optimizers', () => {
  const makers: [string, (params: Record<string, Tensor>) => Optimizer][] = [
    ['AdamW', (params) => new AdamW(device, params, { lr: 0.05 })],
    ['AdamW of 8 bits', (params) => new AdamW(device, params, { lr: 0.05, state: 'int8' })],
    ['GaLore', (params) => new GaLore(device, params, { lr: 0.05, rank: 8, scale: 1, updateProjGap: 10 })],
    [
      'GaLore of both sides',
      (params) =>
        new GaLore(device, params, {
          lr: 0.2,
          rank: 16,
          scale: 1,
          updateProjGap: 50,
          projType: 'full',
          refresh: 'exact',
        }),
    ],
    ['Conda', (params) => new Conda(device, params, { lr: 0.05, scale: 1, updateProjGap: 20 })],
    ['Muon', (params) => new Muon(device, params, { lr: 0.15, scaling: 'rms' })],
    ['APOLLO', (params) => new Apollo(device, params, { lr: 0.05, rank: 8, updateProjGap: 10 })],
    ['APOLLO-Mini', (params) => new Apollo(device, params, { lr: 0.01, mini: true, updateProjGap: 10 })],
    [
      'Fira with a packed projector',
      (params) => new Fira(device, params, { lr: 0.05, rank: 4, updateProjGap: 10, projector: 'int4' }),
    ],
  ];
  test.each(makers)('%s comes down', async (_, make) => {
    const [before, after] = await descend(make, 60);
    expect(after).toBeLessThan(0.2 * before);
  });

  test('groups: matrices in the subspace, what is dense and what is no matrix with AdamW', async () => {
    const params = {
      q: matrix(1, 80, 64),
      embedding: matrix(2, 100, 64),
      norm: device.tensor(numbers(3, 64)),
    };
    const { embedding, ...others } = params;
    const groups = [
      { params: others, rank: 16 },
      { params: { embedding }, dense: true, lr: 0.001 },
    ];
    const optimizer = new GaLore(device, groups, { lr: 0.01, state: 'int8', projector: 'bf16' });
    expect(optimizer.names).toEqual(['q', 'norm', 'embedding']);
    const gradients = {
      q: matrix(4, 80, 64),
      embedding: matrix(5, 100, 64),
      norm: device.tensor(numbers(6, 64)),
    };
    const report = await optimizer.step(gradients);
    expect(report).toMatchObject({ step: 1, refreshed: 1 });
    expect(report.gradNorm).toBeGreaterThan(1);
    // Of q 80 · 16 elements and of the norm 64, both few, as f32; of the embedding as codes.
    expect(await optimizer.memory()).toEqual({
      weights: 4 * (80 * 64 + 100 * 64 + 64),
      moments: 8 * (80 * 16 + 64) + 2 * 6400,
      scales: 8 * 25,
      projectors: 2 * 64 * 16,
      accumulated: 0,
    });
  });

  test('micro-batches and layers add up to one step, in the subspace between two bases', async () => {
    const options = { rank: 4, updateProjGap: 2, lr: 0.01, maxGradNorm: 100 } as const;
    const make = (): { params: Record<'a' | 'b', Tensor>; optimizer: GaLore } => {
      const params = { a: matrix(1, 24, 16), b: matrix(2, 16, 24) };
      return { params, optimizer: new GaLore(device, params, options) };
    };
    const [whole, parts] = [make(), make()];
    for (let t = 0; t < 4; t++) {
      // Of full rank, so that rounding turns no basis.
      const random = (seed: number, shape: readonly number[]): Tensor =>
        device.philox({ shape, draw: 'normal', seed });
      const micro = [0, 1].map((m) => ({
        a: random(4 * t + m, [24, 16]),
        b: random(50 + 4 * t + m, [16, 24]),
      }));
      const [first, second] = micro as [Record<'a' | 'b', Tensor>, Record<'a' | 'b', Tensor>];
      await parts.optimizer.accumulate({ b: first.b });
      await parts.optimizer.accumulate(second);
      const { accumulated } = await parts.optimizer.memory();
      expect(accumulated).toBe(t % 2 === 0 ? 2 * 4 * 24 * 16 : 2 * 4 * 24 * 4);
      if (t === 0) expect((await failure(() => parts.optimizer.save())).details.path).toBe('a');
      await parts.optimizer.accumulate({ a: first.a });
      const report = await parts.optimizer.step();
      second.a.axpby(1, first.a, 1);
      second.b.axpby(1, first.b, 1);
      expect(report).toMatchObject({
        step: t + 1,
        refreshed: (await whole.optimizer.step(second)).refreshed,
      });
    }
    for (const name of ['a', 'b'] as const) {
      const [one, other] = [
        await parts.params[name].toFloat32Array(),
        await whole.params[name].toFloat32Array(),
      ];
      expect(Math.max(...one.map((x, i) => Math.abs(x - (other[i] ?? NaN))))).toBeLessThan(1e-5);
    }
    expect((await failure(() => parts.optimizer.step())).details.path).toBe('a');
    const stranger = await failure(() => parts.optimizer.accumulate({ c: matrix(1, 24, 16) }));
    expect([stranger.code, stranger.details.column]).toEqual(['INVALID_ARGUMENT', 'gradients']);
  });

  test('a state goes through a file, and the next steps have the same bits', async () => {
    const file = join(scratch(), 'step-3.safetensors');
    const start = numbers(1, 80 * 64);
    const options = { rank: 60, updateProjGap: 4, lr: 0.01, state: 'int8', maxGradNorm: 1 } as const;
    const run = async (optimizer: Optimizer, from: number, to: number): Promise<void> => {
      for (let t = from; t < to; t++) await optimizer.step({ w: matrix(10 + t, 80, 64) });
    };
    const weight = device.tensor(start, { shape: [80, 64] });
    const straight = new GaLore(device, { w: weight }, options);
    await run(straight, 0, 3);
    const saved = await straight.save(file);
    const atSave = await weight.toFloat32Array();
    await run(straight, 3, 6);

    const again = device.tensor(atSave, { shape: [80, 64] });
    const resumed = new GaLore(device, { w: again }, options);
    await resumed.load(file);
    expect(await resumed.save()).toEqual(saved);
    await run(resumed, 3, 6);
    expect(await again.toFloat32Array()).toEqual(await weight.toFloat32Array());
    expect(await resumed.save()).toEqual(await straight.save());

    // Nothing but numbers and JSON is in it.
    const header = JSON.parse(
      readFileSync(file)
        .subarray(8, 8 + Number(readFileSync(file).readBigUInt64LE()))
        .toString(),
    ) as Record<string, Record<string, string>>;
    expect(Object.keys(header).sort()).toEqual(['__metadata__', 'w.absmax', 'w.codes', 'w.proj']);
    expect(JSON.parse(header['__metadata__']?.['gristmill'] ?? '')).toMatchObject({
      step: 3,
      params: { w: { lowRank: { refreshes: 1, gap: 4 } } },
    });
  });

  test('random bases are drawn again where a state is loaded, and packed ones are in it', async () => {
    const make = {
      apollo: (w: Tensor) => new Apollo(device, { w }, { rank: 4, updateProjGap: 4, lr: 0.01, seed: 9 }),
      mini: (w: Tensor) => new Apollo(device, { w }, { mini: true, updateProjGap: 2, lr: 0.01 }),
      fira: (w: Tensor) => new Fira(device, { w }, { rank: 4, projector: 'int4', lr: 0.01 }),
      galore: (w: Tensor) => new GaLore(device, { w }, { rank: 4, projector: 'int4', lr: 0.01 }),
    };
    const packed = ['w.proj', 'w.proj_scale', 'w.proj_zero'];
    const more = {
      apollo: ['w.scaled_grad'],
      mini: ['w.scaled_grad'],
      fira: [...packed, 'w.scaled_grad'],
      galore: packed,
    };
    for (const name of ['apollo', 'mini', 'fira', 'galore'] as const) {
      const run = async (optimizer: Optimizer, from: number, to: number): Promise<void> => {
        for (let t = from; t < to; t++) await optimizer.step({ w: matrix(10 + t, 24, 16) });
      };
      const weight = matrix(1, 24, 16);
      const straight = make[name](weight);
      await run(straight, 0, 3);
      const saved = await straight.save();
      const again = weight.copy();
      await run(straight, 3, 6);
      const resumed = make[name](again);
      await resumed.load(saved);
      await run(resumed, 3, 6);
      expect(await again.toFloat32Array(), name).toEqual(await weight.toFloat32Array());
      const length = Number(Buffer.from(saved).readBigUInt64LE());
      const header = JSON.parse(Buffer.from(saved.subarray(8, 8 + length)).toString()) as object;
      const keys = Object.keys(header).filter((key) => key !== '__metadata__');
      expect(keys.sort()).toEqual(['w.exp_avg', 'w.exp_avg_sq', ...more[name]]);
      const { projectors, scales } = await straight.memory();
      const seeded = name === 'apollo' || name === 'mini';
      const limiter = name === 'galore' ? 0 : 4;
      expect([projectors, scales]).toEqual([seeded ? 0 : (16 * 4) / 2, (seeded ? 0 : 8) + limiter]);
    }
  });

  test('APOLLO with a basis from elsewhere, as a loop that is written down here', async () => {
    const [rows, columns, lr, eps] = [3, 2, 0.5, 1e-8];
    const weight = device.tensor('f32', { shape: [rows, columns] });
    const optimizer = new Apollo(device, { w: weight }, { rank: 1, projector: 'given', lr, eps });
    await optimizer.setProjector('w', device.tensor(Float32Array.of(2, -1), { shape: [columns, 1] }));
    const gradient = [1, 2, 3, 4, 5, 7];
    await optimizer.step({ w: device.tensor(Float32Array.from(gradient), { shape: [rows, columns] }) });
    // The direction of the first step is a sign over √(1 − β₂) / (1 − β₁), which the step size has.
    const want = gradient.map((g, i) => {
      const row = Math.floor(i / columns);
      const projected = 2 * (gradient[row * columns] ?? NaN) - (gradient[row * columns + 1] ?? NaN);
      return projected === 0 ? 0 : (-lr * g) / Math.abs(projected);
    });
    const got = await weight.toFloat32Array();
    want.forEach((x, i) => {
      expect(got[i]).toBeCloseTo(x, 4);
    });
  });

  test('states of other programs', async () => {
    const folder = new URL('../crates/optim/tests/fixtures/states/', import.meta.url);
    using weight = matrix(1, 64, 64);
    using optimizer = new AdamW(device, { w: weight }, { state: 'int8' });
    await optimizer.importState(fileURLToPath(new URL('bitsandbytes.safetensors', folder)));
    expect(await optimizer.step({ w: matrix(2, 64, 64) })).toMatchObject({ step: 4 });
    const refused = await failure(() =>
      optimizer.importState(readFileSync(new URL('adamw.safetensors', folder))),
    );
    expect([refused.code, refused.details.path]).toEqual(['SHAPE_MISMATCH', 'w']);
  });

  test('calls are carried out in their order, awaited or not', async () => {
    const weight = matrix(1, 8, 6);
    const optimizer = new AdamW(device, { w: weight });
    const gradient = matrix(2, 8, 6);
    const reports = await Promise.all([1, 2, 3, 4, 5].map(() => optimizer.step({ w: gradient })));
    expect(reports.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5]);
    await optimizer.setLr(0);
    const before = await weight.toFloat32Array();
    await optimizer.step({ w: gradient });
    expect(await weight.toFloat32Array()).toEqual(before);
  });

  test('after dispose, what was called before is done and nothing else is', async () => {
    using weight = matrix(3, 24, 16);
    using gradient = matrix(4, 24, 16);
    const optimizer = new GaLore(device, { w: weight }, { rank: 4 });
    const first = optimizer.step({ w: gradient });
    optimizer.dispose();
    optimizer.dispose();
    expect(optimizer.disposed).toBe(true);
    expect(await first).toMatchObject({ step: 1, applied: true });
    expect((await failure(() => optimizer.step({ w: gradient }))).code).toBe('DISPOSED');
    expect(await weight.toFloat32Array()).toHaveLength(24 * 16);
  });

  test('gradients that are not finite change nothing and are counted', async () => {
    const weight = matrix(1, 8, 6);
    const optimizer = new GaLore(device, { w: weight }, { rank: 2 });
    const before = await weight.toFloat32Array();
    const wrong = device.tensor(new Float32Array(48).fill(NaN), { shape: [8, 6] });
    expect(await optimizer.step({ w: wrong })).toMatchObject({ step: 0, applied: false, skipped: 1 });
    expect(await weight.toFloat32Array()).toEqual(before);
  });

  test('a basis from elsewhere', async () => {
    const weight = device.tensor('f32', { shape: [3, 2] });
    const optimizer = new GaLore(device, { w: weight }, { rank: 1, refresh: 'given', scale: 1, lr: 0.5 });
    const gradient = device.tensor(Float32Array.of(1, 2, 3, 4, 5, 6), { shape: [3, 2] });
    expect((await failure(() => optimizer.step({ w: gradient }))).details.path).toBe('w');
    await optimizer.setProjector('w', device.tensor(Float32Array.of(1, 0), { shape: [2, 1] }));
    await optimizer.step({ w: gradient });
    // The first step of Adam is a sign: down along the first column alone.
    const moved = [...(await weight.toFloat32Array())].map((x) => Math.round(x * 1e4) / 1e4 + 0);
    expect(moved).toEqual([-0.5, 0, -0.5, 0, -0.5, 0]);
  });

  test('what cannot be is refused with its name', async () => {
    const w = matrix(1, 8, 6);
    for (const [make, code, column] of [
      [() => new GaLore(device, { w }, { rnak: 2 } as never), 'INVALID_ARGUMENT', 'rnak'],
      [() => new GaLore(device, { w }, { rank: 0 }), 'INVALID_ARGUMENT', 'rank'],
      [() => new AdamW(device, { w }, { lr: -1 }), 'INVALID_ARGUMENT', 'lr'],
      [() => new AdamW(device, { w: 3 as never }), 'INVALID_ARGUMENT', 'w'],
      [() => new Conda(device, { w }, { state: 'int8' }), 'INVALID_ARGUMENT', 'state'],
      [() => new Apollo(device, { w }, { scale: -1 }), 'INVALID_ARGUMENT', 'scale'],
      [() => new Apollo(device, { w }, { projType: 'left' } as never), 'INVALID_ARGUMENT', 'projType'],
      [() => new Fira(device, { w }, { projType: 'full' } as never), 'INVALID_ARGUMENT', 'projType'],
    ] as const) {
      const error = await failure(make);
      expect([error.code, error.details.column]).toEqual([code, column]);
    }
    const heard: string[] = [];
    await using told = await openDevice({ device: 'cpu', logger: { warn: (text) => heard.push(text) } });
    using small = told.tensor('f32', { shape: [8, 6] });
    new GaLore(told, { small }, { rank: 7 }).dispose();
    expect(heard).toEqual(['small: a rank of 7 is more than its smaller side: 6 is used']);
    const strict = await failure(() => new GaLore(told, { small }, { rank: 7, clampRank: false }));
    expect([strict.code, strict.details.column, strict.details.path]).toEqual([
      'INVALID_ARGUMENT',
      'rank',
      'small',
    ]);
    const shared = await failure(() => new AdamW(device, { w, part: w.narrow(0, 2) }));
    expect([shared.code, shared.details.path]).toEqual(['INVALID_ARGUMENT', 'part']);
    const optimizer = new AdamW(device, { w });
    const missing = await failure(() => optimizer.step({}));
    expect([missing.code, missing.details.column]).toEqual(['INVALID_ARGUMENT', 'w']);
    const stranger = await failure(() => optimizer.step({ w, x: w }));
    expect(stranger.message).toContain('"x"');
    const shape = await failure(() => optimizer.step({ w: matrix(1, 6, 8) }));
    expect([shape.code, shape.details.path]).toEqual(['SHAPE_MISMATCH', 'w']);
    const hostile = await failure(() => optimizer.load(Buffer.from('not a state at all')));
    expect(hostile.code).toBe('CORRUPT_DATA');
    const absent = await failure(() => optimizer.load('/nowhere/at/all'));
    expect([absent.code, absent.details.path]).toEqual(['IO', '/nowhere/at/all']);
  });
});

describe('memory', () => {
  test('of a model that the papers train', () => {
    const galore = {
      config: 'llama-7b',
      optimizer: 'galore',
      rank: 1024,
      projector: 'bf16',
      state: 'int8',
    } as const;
    const { weights, moments, scales, projectors } = optimizerMemory(galore);
    const gb = (n: number): number => Math.round(n / 1e7) / 100;
    expect([gb(weights), gb(moments + projectors), gb(scales)]).toEqual([13.48, 5.64, 0.06]);
    const lost = optimizerMemory({ config: 'llama-1b', optimizer: 'lost', rank: 512, state: 'bf16' });
    expect(gb(lost.weights + lost.moments)).toBeCloseTo(4.02, 1);
    const all = optimizerMemory({ config: 'llama-1b', optimizer: 'lost', rank: 512, sparsity: 1 });
    expect(all.weights).toBeGreaterThan(optimizerMemory({ config: 'llama-1b' }).weights);
    const packed = optimizerMemory({ ...galore, projector: 'int4' });
    expect(gb(packed.moments + packed.projectors)).toBe(4.23);
    const state = (optimizer: 'apollo' | 'apollo-mini' | 'fira', rank?: number): number => {
      const options = {
        config: 'llama-7b',
        optimizer,
        state: 'bf16',
        ...(rank !== undefined && { rank }),
      } as const;
      const memory = optimizerMemory(options);
      return gb(memory.moments + memory.scales + memory.projectors);
    };
    expect([state('apollo', 1024), state('apollo-mini'), state('fira', 1024)]).toEqual([7.53, 1.06, 11.28]);
  });

  test('from the command line, by name or of a config.json', async () => {
    const args = ['memory', '--config', 'llama-7b', '--optimizer', 'galore', '--rank', '1024'];
    const text = await cli(args);
    expect(text.code).toBe(0);
    expect(text.stdout).toMatch(/galore, int8 +13\.48 GB +3\.76 GB +58\.8 MB +1\.88 GB +5\.70 GB +19\.18 GB/);
    const config = {
      model_type: 'llama',
      hidden_size: 64,
      intermediate_size: 176,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      vocab_size: 300,
    };
    const path = put(join(scratch(), 'config.json'), JSON.stringify(config));
    const json = await cli(['memory', '--config', path, '--json', '--weights', 'f32']);
    const elements = 2 * 300 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 176 + 2 * 64) + 64;
    const { states } = JSON.parse(json.stdout) as {
      states: { state: string; weights: number; moments: number }[];
    };
    expect(states[0]).toMatchObject({ state: 'f32', weights: 4 * elements, moments: 8 * elements });
    const lost = await cli(['memory', '--config', 'llama-60m', '--optimizer', 'lost', '--sparsity', '0.05']);
    expect(lost.stdout).toMatch(/lost, bf16 +8\d\.\d MB/);
    const mini = await cli(['memory', '--config', 'llama-7b', '--optimizer', 'apollo-mini']);
    expect(mini.stdout).toMatch(/apollo-mini, bf16 +13\.48 GB +1\.06 GB/);
    const fira = await cli(['memory', '--config', path, '--optimizer', 'fira', '--projector', 'int4']);
    expect(fira.stdout).toContain('fira, int8');
    const unknown = await cli(['memory', '--config', 'llama-8t']);
    expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining('llama-60m')]);
    expect((await cli(['memory', '--config', '/nowhere.json'])).code).toBe(1);
  });
});
