/**
 * Anything at all as arguments of devices and tensors, and anything at all as Arrow bytes: every call either works or
 * throws one of our errors, and the device works on. The seed is in the name of each test.
 */

import * as arrow from 'apache-arrow';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import { type Device, GristmillError, openDevice, Ragged, scoreBatches, Tensor } from '../ts/index.js';
import { native } from '../ts/native.js';
import { random, SEED } from './helpers.js';

let dev: Device;
beforeAll(async () => {
  dev = await openDevice({ device: 'cpu' });
});
afterAll(() => dev.dispose());

async function works(): Promise<void> {
  using x = dev.tensor('f32', { data: [1, 2, 3] });
  expect([...(await x.scale(2).toTypedArray())]).toEqual([2, 4, 6]);
}

describe(`seed ${SEED}`, () => {
  test('arguments of methods', async () => {
    const next = random(SEED);
    const below = (n: number): number => Math.floor(next() * n);
    const pick = <T>(list: readonly T[]): T => list[below(list.length)] as T;
    const cyclic: Record<string, unknown> = {};
    cyclic['self'] = cyclic;
    const held: Tensor[] = [];
    /** Anything: mostly what is nearly right. */
    const anything = (depth = 0): unknown => {
      const deeper = (): unknown => (depth < 2 ? anything(depth + 1) : below(5));
      return pick<() => unknown>([
        () => held[below(held.length)],
        () => below(5),
        () => pick([NaN, Infinity, -1, 0.5, 2 ** 53, 2 ** 31, -0, 1e-320, 1e300]),
        () => pick([0n, 7n, -1n, 2n ** 64n, 2n ** 200n]),
        () => pick(['', 'f32', 'bf16', 'u32', 'sum', 'max', 'bits', 'auto', '\0', '🌾']),
        () => Array.from({ length: below(4) }, () => below(4)),
        () => [pick([NaN, -1, 2 ** 40, '2', null, undefined, {}])],
        () => pick([null, undefined, true, false, Symbol('s'), () => 1, cyclic, new Date(), new Map()]),
        () =>
          pick([
            new Float32Array(below(9)),
            new Uint32Array(below(9)),
            new Uint8Array(3),
            new BigInt64Array(1),
          ]),
        () => pick([new ArrayBuffer(8), new DataView(new ArrayBuffer(8)), new SharedArrayBuffer(8)]),
        () => ({ shape: deeper(), data: deeper(), transfer: pick([true, false, 1]) }),
        () => ({ vocab: deeper(), softcap: deeper(), bias: deeper() }),
        () => ({ transA: deeper(), alpha: deeper(), beta: deeper(), dtype: deeper() }),
        () => ({ offsets: deeper(), factors: deeper(), grad: deeper(), maxNorm: deeper() }),
        () => ({ kind: pick(['rms', 'layer']), weight: deeper(), eps: deeper(), block: deeper() }),
        () => ({ bits: deeper(), group: deeper(), symmetric: deeper(), centered: deeper() }),
        () => ({ shape: [below(4)], draw: pick(['bits', 'uniform', 'normal', 'x']), seed: deeper() }),
        () => new Proxy({}, { get: () => 1 }),
      ])();
    };
    const described = Object.entries(Object.getOwnPropertyDescriptors(Tensor.prototype));
    const methods = described
      .filter(
        ([name, { value }]) => typeof value === 'function' && !['constructor', 'dispose'].includes(name),
      )
      .map(([name]) => name);
    expect(methods.length).toBeGreaterThan(50);
    const start = (): void => {
      held.forEach((tensor) => tensor.dispose());
      held.splice(0);
      held.push(
        dev.tensor('f32', { shape: [2, 3], data: [1, 2, 3, 4, 5, 6] }),
        dev.tensor('f32', { shape: [3, 2] }),
        dev.tensor('f32', { shape: [4] }),
        dev.tensor(new Uint32Array([0, 2, 4])),
        dev.tensor(new Int32Array([0, 1])),
        dev.tensor('bf16', { shape: [2, 3] }),
        dev.tensor('f64', { shape: [3] }),
        dev.tensor('u8', { shape: [0, 5] }),
      );
    };
    start();
    let worked = 0;
    const keep = (result: unknown): void => {
      worked += 1;
      if (result instanceof Tensor && result.length < 1000) held.push(result as Tensor);
      if (held.length > 40) start();
    };
    for (let i = 0; i < 20_000; i++) {
      const args = Array.from({ length: below(4) }, () => anything());
      try {
        const which = below(10);
        if (which === 0) keep(dev.tensor(...(args as [never])));
        else if (which === 1) keep(dev.philox(...(args as [never])));
        else {
          const target = pick(held) as unknown as Record<string, (...args: unknown[]) => unknown>;
          const result = target[pick(methods)]?.(...args);
          keep(result instanceof Promise ? await result : result);
        }
      } catch (error) {
        if (!(error instanceof GristmillError) || error.code === 'INTERNAL') throw error;
      }
    }
    expect(worked).toBeGreaterThan(1000);
    start();
    await works();
  });

  test('arguments of the addon itself, which types do not guard', async () => {
    const next = random(SEED + 1);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
    const addon = native();
    const handle = await addon.openDevice('cpu', new addon.CancelHandle());
    const tensors = [handle.zeros('f32', [2, 2]), handle.zeros('u32', [2]), handle.zeros('f32', [0])];
    const values = (): unknown =>
      pick([
        ...tensors, handle, new addon.CancelHandle(), {}, [], null, undefined, 'f32', 'x', '', 1, -1, NaN, Infinity, 2n,
        true, new Uint8Array(16), new Float32Array(4), new ArrayBuffer(4), [1, 2], ['a'], Symbol('x'), () => 1,
        Object.create(Object.getPrototypeOf(tensors[0] as object) as object),
      ]); // prettier-ignore
    const names = (of: object): string[] =>
      Object.getOwnPropertyNames(Object.getPrototypeOf(of)).filter(
        (n) => n !== 'constructor' && n !== 'close',
      );
    let refused = 0;
    for (let i = 0; i < 20_000; i++) {
      const target: object = pick([handle, ...tensors]);
      const method = (target as Record<string, (...args: unknown[]) => unknown>)[pick(names(target))];
      const args = Array.from({ length: Math.floor(next() * 8) }, values);
      // Also with another receiver than the method belongs to.
      const receiver = next() < 0.1 ? values() : target;
      try {
        const result = method?.apply(receiver, args);
        if (result instanceof Promise) await result;
      } catch (error) {
        refused += 1;
        if (!(error instanceof Error)) throw error;
        expect((error as { code?: string }).code).not.toBe('INTERNAL');
      }
      if (i % 100 === 0) {
        tensors.forEach((tensor) => tensor.dispose());
        tensors.splice(0, 3, handle.zeros('f32', [2, 2]), handle.zeros('u32', [2]), handle.zeros('f32', [0]));
      }
    }
    expect(refused).toBeGreaterThan(1000);
    await handle.close();
    await works();
  });

  test('Arrow bytes', async () => {
    const next = random(SEED + 2);
    const below = (n: number): number => Math.floor(next() * n);
    const lists = (type: arrow.DataType, rows: unknown[]): arrow.Vector =>
      arrow.vectorFromArray(rows, new arrow.List(new arrow.Field('item', type, true)));
    const table = new arrow.Table({
      x: arrow.vectorFromArray([1, 2, 3], new arrow.Float32()),
      logits: lists(new arrow.Float32(), [[1, 2, 3, 4], [], [1, 2]]),
      targets: lists(new arrow.Uint32(), [[0, 1], [], [1]]),
    });
    const options = { logits: 'logits', targets: 'targets', device: dev };
    const sound = [arrow.tableToIPC(table, 'stream'), arrow.tableToIPC(table, 'file')];
    for (const bytes of sound) {
      for await (const batch of scoreBatches([bytes], options))
        expect((await batch.toTable()).numRows).toBe(3);
    }
    let refused = 0;
    for (let i = 0; i < 1500; i++) {
      const bytes = Uint8Array.from(sound[i % 2] ?? []);
      for (let n = below(6); n >= 0; n--) bytes[below(bytes.length)] = next() < 0.5 ? below(256) : 0xff;
      const cut = next() < 0.2 ? bytes.subarray(0, below(bytes.length)) : bytes;
      try {
        if (i % 3 === 0) for await (const batch of scoreBatches([cut], options)) await batch.toTable();
        else {
          const column = await dev.fromArrow(cut, i % 3 === 1 ? 'logits' : 'x');
          if (column instanceof Ragged) await column.segmentSum().toTypedArray();
          else await column.toTypedArray();
          column.dispose();
        }
      } catch (error) {
        refused += 1;
        if (!(error instanceof GristmillError) || error.code === 'INTERNAL') throw error;
      }
    }
    expect(refused).toBeGreaterThan(300);
    await works();
  });
});
