/** Low-communication methods as a user holds them: equal replicas, resumption, refusals, and rounds over a directory. */

import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import {
  DeMo,
  type Device,
  type DeviceName,
  DiLoCo,
  DisposedError,
  doctor,
  f32,
  GristmillError,
  openDevice,
  openPayload,
  type Params,
  type Replica,
  RoundSync,
  ShapeError,
  SparseLoCo,
  type Tensor,
} from '../ts/index.js';
import { scratch } from './helpers.js';

/** The devices that are here, software too. */
const names: DeviceName[] = ['cpu', 'reference'];
for (const { name, available } of doctor().backends)
  if (name !== 'cpu' && available) names.push(name as 'wgpu');

const SHAPES = { embedding: [130, 100], norm: [77], scale: [] } as const;

/** Parameters of a seed: what local training made of them is as good as any other numbers. */
function params(dev: Device, seed: number): Record<keyof typeof SHAPES, Tensor<'f32'>> {
  const draw = (stream: number, shape: readonly number[]): Tensor<'f32'> =>
    dev.philox({ shape, draw: 'uniform', seed, stream });
  return {
    embedding: draw(0, SHAPES.embedding),
    norm: draw(1, SHAPES.norm),
    scale: draw(2, SHAPES.scale),
  };
}

const flat = (payload: Uint8Array): Buffer =>
  Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);

async function values(params: Params): Promise<Record<string, readonly number[]>> {
  const entries = Object.entries(params).map(
    async ([name, t]) => [name, [...(await t.toTypedArray())]] as const,
  );
  return Object.fromEntries(await Promise.all(entries));
}

/** The shared parameters of a replica. */
async function shared(replica: Replica): Promise<Record<string, readonly number[]>> {
  const into = params(replica.device, 0);
  await replica.copyTo(into);
  return values(into);
}

async function rejected(work: Promise<unknown>): Promise<GristmillError> {
  const error: unknown = await work.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(GristmillError);
  return error as GristmillError;
}

const METHODS: Record<string, (dev: Device, start: Params) => Replica> = {
  SparseLoCo: (dev, start) => new SparseLoCo(dev, start, { outerLr: 0.7 }),
  DiLoCo: (dev, start) => new DiLoCo(dev, start),
  DeMo: (dev, start) => new DeMo(dev, start, { lr: 0.1 }),
};

describe.each(Object.keys(METHODS))('%s', (name) => {
  const make = METHODS[name] ?? expect.unreachable(name);

  test('two replicas have the same bits, whatever the order of arrival', async () => {
    await using dev = await openDevice({ device: 'cpu' });
    const start = params(dev, 1);
    const before = await values(start);
    using a = make(dev, start);
    using b = make(dev, { scale: start.scale, norm: start.norm, embedding: start.embedding });
    const hashes = [await a.hash()];
    for (let round = 0; round < 3; round++) {
      const payloads = [await a.encode(params(dev, 10 + round)), await b.encode(params(dev, 20 + round))];
      await Promise.all([a.apply(payloads), b.apply(payloads.toReversed())]);
      expect(await a.hash()).toBe(await b.hash());
      expect(await shared(a)).toEqual(await shared(b));
      hashes.push(await a.hash());
    }
    expect(new Set(hashes).size).toBe(4);
    expect(await values(start)).toEqual(before);
    const metering = await a.metering();
    expect(metering).toMatchObject({ encoded: 3, applied: 3 });
    expect(metering.bytesDown).toBe(2 * metering.bytesUp);
    expect(metering.sealSeconds).toBeLessThanOrEqual(metering.encodeSeconds);
    expect(metering.verifySeconds).toBeLessThanOrEqual(metering.applySeconds);
    if (name === 'DiLoCo') {
      expect(metering.density).toBe(1);
      expect(metering.errorFeedbackNorm).toBeUndefined();
    } else {
      expect(metering.density).toBeLessThan(0.05);
      expect(metering.errorFeedbackNorm).toBeGreaterThan(0);
    }
  });

  test('a resumed replica is the uninterrupted one', async () => {
    await using dev = await openDevice({ device: 'cpu' });
    using whole = make(dev, params(dev, 1));
    using first = make(dev, params(dev, 1));
    using second = make(dev, params(dev, 2));
    const round = async (replica: Replica, seed: number): Promise<Buffer> => {
      const payload = await replica.encode(params(dev, seed));
      await replica.apply([payload]);
      return flat(payload);
    };
    for (const seed of [10, 11]) expect(await round(first, seed)).toEqual(await round(whole, seed));
    const state = await first.save();
    expect(flat(state).toString('latin1')).toContain('param/embedding');
    await second.load(state);
    expect(await second.hash()).toBe(await whole.hash());
    for (const seed of [12, 13]) expect(await round(second, seed)).toEqual(await round(whole, seed));
    const last = await second.save();
    expect(flat(last)).toEqual(flat(await whole.save()));

    // What is no state of it is refused, and changes nothing.
    expect((await rejected(second.load(state.slice(0, -1)))).code).toMatch(/CORRUPT_DATA|SHAPE_MISMATCH/);
    expect((await rejected(second.load(new Uint8Array(3)))).code).toBe('CORRUPT_DATA');
    using other = new SparseLoCo(dev, params(dev, 1), { topK: 3 });
    expect(await rejected(other.load(state))).toBeInstanceOf(ShapeError);
    expect(flat(await second.save())).toEqual(flat(last));
  });

  test('a payload that is forged, stopped or not its own changes nothing', async () => {
    await using dev = await openDevice({ device: 'cpu' });
    using a = make(dev, params(dev, 1));
    using b = make(dev, params(dev, 1));
    using stranger = make(dev, params(dev, 2));
    const good = await a.encode(params(dev, 3));
    const foreign = await stranger.encode(params(dev, 3));
    const forged = good.slice();
    forged[good.length >> 1] = (forged[good.length >> 1] ?? 0) ^ 1;
    const before = flat(await b.save());
    for (const [bad, code, reason] of [
      [forged, 'CORRUPT_DATA', /BLOCK_CHECKSUM|HASH/],
      [foreign, 'JOB_MISMATCH', /BASE_MISMATCH/],
      [good.slice(0, -1), 'CORRUPT_DATA', /LENGTH/],
      [new Uint8Array(), 'CORRUPT_DATA', /LENGTH|MAGIC/],
    ] as const) {
      const error = await rejected(b.apply([good, bad]));
      expect(error).toMatchObject({ code, details: { row: 1 } });
      expect(error.message).toMatch(reason);
      expect(flat(await b.save())).toEqual(before);
    }
    expect((await rejected(b.apply([]))).code).toBe('EMPTY_INPUT');
    const reason = new Error('enough');
    const signal = AbortSignal.abort(reason);
    await expect(b.apply([good], { signal })).rejects.toBe(reason);
    await expect(b.encode(params(dev, 4), { signal })).rejects.toBe(reason);
    // Stopped at any moment, all of it was done or nothing.
    const stop = new AbortController();
    const applied = b.apply([good], { signal: stop.signal }).then(
      () => true,
      (error: unknown) => expect(error).toBeUndefined,
    );
    stop.abort(reason);
    if ((await applied) !== true) {
      expect(flat(await b.save())).toEqual(before);
      await b.apply([good]);
    }
    await a.apply([good]);
    expect(await b.hash()).toBe(await a.hash());
    // Once more: it begins from parameters that are no longer there.
    expect(await rejected(b.apply([good]))).toMatchObject({ code: 'JOB_MISMATCH', details: { row: 0 } });
    expect(await b.hash()).toBe(await a.hash());
  });

  test('what is not finite is found, and costs nothing', async () => {
    await using dev = await openDevice({ device: 'cpu' });
    using a = make(dev, params(dev, 1));
    const before = flat(await a.save());
    const diverged = { ...params(dev, 2), norm: dev.tensor(f32, { shape: [77] }).fill(NaN) };
    const error = await rejected(a.encode(diverged));
    expect(error).toMatchObject({ code: 'INVALID_VALUE', details: { column: 'norm' } });
    expect(flat(await a.save())).toEqual(before);
  });
});

test('every device encodes the same bytes and takes the same step', async () => {
  const quantizers = ['signMagnitude', 'reference', 'int8', 'none'] as const;
  const results = new Map<string, unknown>();
  for (const device of names) {
    await using cpu = await openDevice({ device: 'cpu' });
    await using dev = await openDevice({ device });
    // Drawn on one device: what local training does is not promised to the bit.
    const here = async (seed: number): Promise<Params> =>
      Object.fromEntries(
        await Promise.all(
          Object.entries(params(cpu, seed)).map(
            async ([name, t]) =>
              [name, dev.tensor(f32, { shape: t.shape, data: await t.toTypedArray() })] as const,
          ),
        ),
      );
    const said: unknown[] = [];
    for (const quantizer of quantizers) {
      using a = new SparseLoCo(dev, await here(1), { quantizer });
      using b = new SparseLoCo(dev, await here(1), { quantizer });
      for (const round of [10, 20]) {
        const payloads = [await a.encode(await here(round)), await b.encode(await here(round + 1))];
        await a.apply(payloads);
        await b.apply(payloads);
        said.push(
          payloads.map((p) => flat(p).toString('hex')),
          await a.hash(),
          await b.hash(),
        );
      }
      said.push(flat(await a.save()).toString('hex'));
    }
    results.set(device, said);
  }
  for (const device of names) expect(results.get(device), device).toEqual(results.get('reference'));
});

describe('what is refused', () => {
  test('options by their names', async () => {
    await using dev = await openDevice({ device: 'cpu' });
    const start = params(dev, 1);
    const wrong = (options: object, column: string, code = 'INVALID_ARGUMENT'): void => {
      let thrown: unknown;
      try {
        new SparseLoCo(dev, start, options);
      } catch (error) {
        thrown = error;
      }
      expect(thrown, column).toMatchObject({ code, details: { column } });
    };
    wrong({ topk: 3 }, 'topk');
    wrong({ topK: 0 }, 'topK');
    wrong({ topK: 1.5 }, 'topK');
    wrong({ topK: '3' }, 'topK');
    wrong({ chunk: 5000 }, 'chunk');
    wrong({ outerLr: NaN }, 'outerLr');
    wrong({ errorFeedback: 1.1 }, 'errorFeedback');
    wrong({ quantizer: 'int4' }, 'quantizer');
    wrong({ indices: 'rice' }, 'indices');
    wrong({ divideBy: 'two' }, 'divideBy');
    wrong({ clip: 1 }, 'clip');
    wrong({ innerSteps: 0 }, 'innerSteps');
    wrong({ blocks: { embedding: [26] } }, 'blocks');
    wrong({ blocks: { head: [2, 2] } }, 'blocks');
    expect(() => new DiLoCo(dev, start, { momentum: 1 })).toThrow(/momentum|expected 0 to below 1/);
    expect(() => new DeMo(dev, start, { decay: 2 })).toThrow(/expected 0 to 1/);
    using loco = new SparseLoCo(dev, start, { blocks: { embedding: [26, 50] } });
    expect(loco.innerSteps).toBe(30);
    expect(loco.format).toMatchObject({
      codec: 'sparse', chunk: 4096, topK: 64, quantizer: 'signMagnitude', indices: 'eliasFano', divideBy: 'contributors',
      params: [{ name: 'embedding', block: [26, 50] }, { name: 'norm' }, { name: 'scale' }],
    }); // prettier-ignore
  });

  test('tensors that are not the parameters', async () => {
    await using dev = await openDevice({ device: 'cpu' });
    await using elsewhere = await openDevice({ device: 'cpu' });
    const start = params(dev, 1);
    using loco = new SparseLoCo(dev, start);
    const { norm, ...rest } = params(dev, 2);
    expect(await rejected(loco.encode(rest))).toMatchObject({ details: { column: 'norm' } });
    expect(await rejected(loco.encode({ ...params(dev, 2), head: norm }))).toMatchObject({
      code: 'INVALID_ARGUMENT',
      details: { column: 'head' },
    });
    const narrow = await rejected(loco.encode({ ...rest, norm: dev.tensor(f32, { shape: [76] }) }));
    expect(narrow).toBeInstanceOf(ShapeError);
    expect(narrow.details.column).toBe('norm');
    const halves = { ...rest, norm: norm.cast('bf16') as never };
    expect(await rejected(loco.encode(halves))).toMatchObject({ code: 'DTYPE_MISMATCH' });
    expect(await rejected(loco.encode(params(elsewhere, 2)))).toMatchObject({ code: 'DEVICE_MISMATCH' });
    expect(await rejected(loco.apply(['payload'] as never))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(await rejected(loco.load('state' as never))).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(() => new SparseLoCo(dev, {})).toThrow(GristmillError);
    expect(() => new SparseLoCo(dev, norm as never)).toThrow(/object of tensors/);
    expect(() => new SparseLoCo('cpu' as never, start)).toThrow(/an open device/);
  });

  test('what was disposed of', async () => {
    const dev = await openDevice({ device: 'cpu' });
    const { liveTensors } = dev.memory;
    const start = params(dev, 1);
    const loco = new SparseLoCo(dev, start);
    const last = loco.encode(start);
    loco.dispose();
    loco.dispose();
    // What was asked for before is still done.
    expect((await last).byteLength).toBeGreaterThan(300);
    expect(await rejected(loco.encode(start))).toBeInstanceOf(DisposedError);
    Object.values(start).forEach((t) => t.dispose());
    await dev.synchronize();
    expect(dev.memory.liveTensors).toBe(liveTensors);
    using later = new SparseLoCo(dev, params(dev, 1));
    await dev.dispose();
    expect(await rejected(later.hash())).toBeInstanceOf(DisposedError);
  });
});

test('peers train over a directory; one is killed, comes back with a checkpoint, and catches up', async () => {
  await using dev = await openDevice({ device: 'cpu' });
  const url = join(scratch(), 'run-7');
  const peer = (name: string): { loco: SparseLoCo; sync: RoundSync } => {
    const loco = new SparseLoCo(dev, params(dev, 1), { outerLr: 0.7 });
    const options = { peer: name, peers: 2, format: loco.format, pollMs: 10, timeoutMs: 20_000 };
    return { loco, sync: new RoundSync(url, options) };
  };
  const train = async (
    { loco, sync }: ReturnType<typeof peer>,
    round: number,
    seed: number,
  ): Promise<void> => {
    await sync.publish(round, await loco.encode(params(dev, seed)));
    const { payloads, refused, base } = await sync.gather(round);
    expect(refused).toEqual([]);
    expect(base).toBe(await loco.hash());
    await loco.apply(payloads);
  };
  const [a, b] = [peer('a'), peer('b')];
  await Promise.all([train(a, 0, 10), train(b, 0, 20)]);
  const checkpoint = await b.loco.save();
  await Promise.all([train(a, 1, 11), train(b, 1, 21)]);

  // A process that has nothing but the checkpoint, and the store.
  const again = peer('b');
  await again.loco.load(checkpoint);
  const next = await again.sync.catchUp(
    1,
    async ({ payloads }) => {
      await again.loco.apply(payloads);
      return again.loco.hash();
    },
    { base: await again.loco.hash() },
  );
  expect(next).toBe(2);
  await Promise.all([train(a, 2, 12), train(again, 2, 22)]);
  expect(await again.loco.hash()).toBe(await a.loco.hash());

  // What is in the store is what was encoded, under the name of its peer.
  const stored = await a.sync.published(2);
  const { report } = await openPayload(stored ?? new Uint8Array());
  expect(report.header).toMatchObject({ run: 'run-7', round: 2, peer: 'a' });
  const twice = [stored, stored] as Uint8Array[];
  using fresh = new SparseLoCo(dev, params(dev, 1), { outerLr: 0.7 });
  expect(await rejected(fresh.apply(twice))).toMatchObject({ code: 'JOB_MISMATCH', details: { row: 0 } });
});
