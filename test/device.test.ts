/** Devices and tensors as a user holds them: opening, elements in and out, lifetimes, and what is refused and how. */

import * as arrow from 'apache-arrow';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

import {
  bf16,
  type Device,
  DeviceUnavailableError,
  DisposedError,
  doctor,
  f32,
  GristmillError,
  openDevice,
  OutOfMemoryError,
  Ragged,
  ShapeError,
  Tensor,
  u32,
} from '../ts/index.js';
import { program, root } from './helpers.js';

let dev: Device;
beforeAll(async () => {
  dev = await openDevice({ device: 'cpu' });
});
afterAll(() => dev.dispose());

/** The error that `work` throws. */
function thrown(work: () => unknown): GristmillError {
  try {
    work();
  } catch (error) {
    expect(error).toBeInstanceOf(GristmillError);
    return error as GristmillError;
  }
  throw new Error('it did not throw');
}

async function rejected(work: Promise<unknown>): Promise<GristmillError> {
  const error: unknown = await work.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(GristmillError);
  return error as GristmillError;
}

describe('opening', () => {
  test('auto opens what doctor says, and says why it passed over others', async () => {
    await using auto = await openDevice();
    const { auto: expected, backends } = doctor();
    expect(auto.info.selector).toBe(expected.selector);
    expect(auto.passedOver).toEqual(expected.passedOver);
    for (const { available, reason, devices } of backends) {
      expect(available ? devices.length > 0 : reason?.why).toBeTruthy();
    }
  });

  test('a device that is not there is an error with a reason for each that was looked at', async () => {
    for (const device of ['cuda:97', 'wgpu:97'] as const) {
      const error = await rejected(openDevice({ device }));
      expect(error).toBeInstanceOf(DeviceUnavailableError);
      expect(error.code).toBe('DEVICE_UNAVAILABLE');
      const [reason] = error instanceof DeviceUnavailableError ? error.reasons : [];
      expect(reason?.device).toContain(device.slice(0, 4));
      expect(error.message).toContain(reason?.why);
      expect(error.hint).toBeTruthy();
    }
  });

  test.each(['gpu', 'cpu:1', 'cuda:', 'wgpu:-1', '', 7, null])('%j is no device', async (device) => {
    const error = await rejected(openDevice({ device: device as never }));
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.details.column).toBe('device');
  });

  test('an aborted signal rejects with its reason', async () => {
    const reason = new Error('enough');
    await expect(openDevice({ device: 'cpu', signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const opening = openDevice({ device: 'cpu', signal: controller.signal });
    controller.abort(reason);
    await expect(opening).rejects.toBe(reason);
  });
});

describe('elements', () => {
  test('what the issue of every step looks like', async () => {
    await using dev = await openDevice({ device: 'cpu' });
    using logits = dev.tensor(f32, { shape: [3, 4] });
    using targets = dev.tensor(new Uint32Array([0, 1, 3]));
    using nll = logits.nll(targets);
    const values = await nll.toFloat32Array();
    // All logits equal: every word has a quarter.
    expect([...values]).toEqual(Array(3).fill(expect.closeTo(Math.log(4), 6)));
  });

  test.each([
    [new Float32Array([1.5, -2]), 'f32'],
    [new Float64Array([Math.PI]), 'f64'],
    [new Uint8Array([0, 255]), 'u8'],
    [new Int32Array([-1, 2 ** 31 - 1]), 'i32'],
    [new Uint32Array([0, 2 ** 32 - 1]), 'u32'],
  ] as const)('%o comes back as it went in', async (data, dtype) => {
    using tensor = dev.tensor(data);
    expect([tensor.dtype, tensor.shape, tensor.byteLength]).toEqual([dtype, [data.length], data.byteLength]);
    expect(await tensor.toTypedArray()).toEqual(data);
  });

  test('halves are bits', async () => {
    using half = dev.tensor('bf16', { data: new Uint16Array([0x3f80, 0xc000]) });
    expect([...(await half.toFloat32Array())]).toEqual([1, -2]);
    using cast = dev.tensor(f32, { data: [1, -2] }).cast(bf16);
    expect([...(await cast.toTypedArray())]).toEqual([0x3f80, 0xc000]);
  });

  test('an array is copied, and may change afterwards', async () => {
    const data = new Float32Array(1000).fill(1);
    using tensor = dev.tensor(data);
    data.fill(2);
    expect((await tensor.toTypedArray()).every((x) => x === 1)).toBe(true);
    const shared = new Float32Array(new SharedArrayBuffer(16)).fill(3);
    expect([...(await dev.tensor(shared).toTypedArray())]).toEqual([3, 3, 3, 3]);
    const part = new Float32Array([1, 2, 3, 4]).subarray(1, 3);
    expect([...(await dev.tensor(part).toTypedArray())]).toEqual([2, 3]);
  });

  test('a transferred array is ours alone', async () => {
    const data = new Float32Array([1, 2, 3, 4]);
    using tensor = dev.tensor(data.subarray(1), { shape: [3], transfer: true });
    expect(data.length).toBe(0);
    expect([...(await tensor.toTypedArray())]).toEqual([2, 3, 4]);
    // In place: what was lent is never written to, and what reads it sees the change.
    tensor.scale(1);
    expect([...(await tensor.fill(7).toTypedArray())]).toEqual([7, 7, 7]);
    const kept = new Float32Array(3);
    thrown(() => dev.tensor(kept, { shape: [4], transfer: true }));
    expect(kept.length).toBe(3);
  });

  test('views share memory, and keep it', async () => {
    const whole = dev.tensor(f32, { shape: [3, 2], data: [1, 2, 3, 4, 5, 6] });
    using rows = whole.narrow(1, 2);
    using flat = whole.reshape([6]);
    flat.fill(0);
    rows.fill(9);
    expect([...(await whole.toTypedArray())]).toEqual([0, 0, 9, 9, 9, 9]);
    whole.dispose();
    expect([...(await rows.toTypedArray())]).toEqual([9, 9, 9, 9]);
  });

  test('from and to Arrow', async () => {
    const table = new arrow.Table({
      x: arrow.vectorFromArray([1, 2.5, -3], new arrow.Float32()),
      lists: arrow.vectorFromArray(
        [[1, 2], [], [3]],
        new arrow.List(new arrow.Field('item', new arrow.Int32(), true)),
      ),
    });
    using x = await dev.fromArrow(table, 'x');
    if (!(x instanceof Tensor)) throw new Error('not a tensor');
    expect([...(await x.toFloat32Array())]).toEqual([1, 2.5, -3]);
    const back = await (await x.toArrow({ name: 'y' })).toTable();
    expect([...(back.getChild('y') ?? [])]).toEqual([1, 2.5, -3]);
    using lists = await dev.fromArrow(arrow.tableToIPC(table, 'file'), 'lists');
    if (!(lists instanceof Ragged)) throw new Error('not ragged');
    expect([...(await lists.offsets.toTypedArray())]).toEqual([0, 2, 2, 3]);
    const again = await (await lists.toArrow()).toTable();
    expect(again.toArray().map((row) => [...(row as { values: number[] }).values])).toEqual([
      [1, 2],
      [],
      [3],
    ]);
    const matrix = await dev.tensor(f32, { shape: [2, 2], data: [1, 2, 3, 4] }).toArrow();
    const rows = (await matrix.toTable()).getChild('values');
    expect([...(rows ?? [])].map((row) => [...(row as number[])])).toEqual([
      [1, 2],
      [3, 4],
    ]);
  });
});

describe('lifetimes', () => {
  test('disposing is idempotent, and use afterwards is an error that names operation and argument', async () => {
    const tensor = dev.tensor(f32, { shape: [2, 2] });
    const other = dev.tensor(f32, { shape: [2, 2] });
    tensor.dispose();
    tensor.dispose();
    expect([tensor.disposed, tensor.dtype, tensor.shape]).toEqual([true, 'f32', [2, 2]]);
    for (const work of [
      () => tensor.scale(2),
      () => other.matmul(tensor),
      () => other.axpy(1, tensor),
      () => tensor.narrow(0, 1),
    ]) {
      expect(thrown(work)).toBeInstanceOf(DisposedError);
    }
    const error = thrown(() => other.matmul(tensor));
    expect([error.message, error.details.column]).toEqual(['matmul: the tensor was disposed of', 'b']);
    expect(await rejected(tensor.toTypedArray())).toBeInstanceOf(DisposedError);
    other.dispose();
  });

  test('a device settles the reads under way, and then takes its tensors with it', async () => {
    const mine = await openDevice({ device: 'cpu' });
    const tensor = mine.tensor(f32, { shape: [4], data: [1, 2, 3, 4] });
    const reading = tensor.scale(2).toTypedArray();
    const closing = mine.dispose();
    expect(mine.dispose()).toBe(closing);
    expect([...(await reading)]).toEqual([2, 4, 6, 8]);
    await closing;
    expect(tensor.disposed).toBe(true);
    for (const work of [() => tensor.copy(), () => mine.tensor(f32, { shape: [1] })]) {
      expect(thrown(work)).toBeInstanceOf(DisposedError);
    }
    expect(await rejected(mine.synchronize())).toBeInstanceOf(DisposedError);
    expect(mine.memory).toMatchObject({ liveBytes: expect.any(Number) as number, pooledBytes: 0 });
    tensor.dispose();
    expect(mine.memory.liveTensors).toBe(1);
  });

  test('memory that was disposed of comes back, and is used again', async () => {
    await using mine = await openDevice({ device: 'cpu' });
    for (let step = 0; step < 200; step++) {
      using x = mine.tensor(f32, { shape: [64, 64] });
      using y = x.scale(2);
      using stats = y.softmaxStats();
      using view = stats.lse.narrow(0, 1);
      await view.toTypedArray();
    }
    await mine.synchronize();
    expect(mine.memory).toMatchObject({ liveBytes: 0, liveTensors: 0 });
    expect(mine.memory.peakBytes).toBe(2 * 64 * 64 * 4 + 2 * 64 * 4);
    // Of each size as many as are alive at once, and one or two more while a release is on its way.
    expect(mine.memory.allocations).toBeLessThan(20);
  });

  test('what is not disposed of is collected, and the logger hears of it', async () => {
    const script = `
      import { openDevice } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      const heard = [];
      const logger = { warn: (message) => heard.push(message) };
      const dev = await openDevice({ device: 'cpu', logger });
      for (let i = 0; i < 100; i++) dev.tensor('f32', { shape: [1000, 1000] }).scale(2);
      dev.tensor('f32', { shape: [1] }).dispose();
      for (let i = 0; i < 100 && dev.memory.liveTensors > 0; i++) {
        globalThis.gc();
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      console.log(JSON.stringify([dev.memory.liveTensors, heard.length, heard[0]]));
      await dev.dispose();
    `;
    const args = ['--expose-gc', '--input-type=module', '-e', script];
    const { code, stdout, stderr } = await program(process.execPath, args, { cwd: root });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [live, heard, first] = JSON.parse(stdout) as [number, number, string];
    expect([live, heard]).toEqual([0, 200]);
    expect(first).toContain('f32 tensor of shape [1000, 1000]');
  });

  test('the collector knows how much memory tensors hold, and collects without being told', async () => {
    const script = `
      import { openDevice } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      const dev = await openDevice({ device: 'cpu' });
      for (let i = 0; i < 1000; i++) {
        await dev.tensor('f32', { shape: [1 << 20] }).narrow(0, 1).toTypedArray();
      }
      console.log(dev.memory.peakBytes);
      await dev.dispose();
    `;
    const { stdout } = await program(process.execPath, ['--input-type=module', '-e', script], { cwd: root });
    // Of 4 GB in handles of a few bytes, which alone would never have filled a heap.
    expect(Number(stdout)).toBeLessThan(1e9);
  });

  test('a process ends by itself with a device that nobody disposed of', async () => {
    const script = `
      import { openDevice } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      const dev = await openDevice({ device: 'cpu' });
      dev.tensor('f32', { shape: [100] }).fill(1);
      console.log('end');
    `;
    const { code, stdout } = await program(process.execPath, ['--input-type=module', '-e', script], {
      cwd: root,
    });
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'end\n' });
  });
});

test('too much memory is a typed error, after which the device still works', async () => {
  await using mine = await openDevice({ device: 'cpu' });
  const huge = mine.tensor(f32, { shape: [2 ** 46] });
  const dependent = huge.scale(2);
  for (const tensor of [huge, dependent]) {
    const error = await rejected(tensor.toTypedArray());
    expect(error).toBeInstanceOf(OutOfMemoryError);
    expect(error.code).toBe('OUT_OF_MEMORY');
  }
  using small = mine.tensor(f32, { data: [1, 2] });
  expect([...(await small.scale(3).toTypedArray())]).toEqual([3, 6]);
});

describe('bad input', () => {
  const matrix = (rows: number, columns: number): Tensor<'f32'> =>
    dev.tensor(f32, { shape: [rows, columns] });
  const ids = (...values: number[]): Tensor<'u32'> => dev.tensor(u32, { data: values });

  test.each<[name: string, work: () => unknown, code: string, column: string | undefined, says: RegExp]>([
    [
      'sizes that overflow',
      () => dev.tensor(f32, { shape: [2 ** 40, 2 ** 40] }),
      'SHAPE_MISMATCH',
      undefined,
      /too many/,
    ],
    [
      'a negative size',
      () => dev.tensor(f32, { shape: [-1] }),
      'INVALID_ARGUMENT',
      'shape',
      /whole number.*given -1/,
    ],
    ['half a size', () => dev.tensor(f32, { shape: [1.5] }), 'INVALID_ARGUMENT', 'shape', /given 1\.5/],
    [
      'a size that is none',
      () => dev.tensor(f32, { shape: [NaN] }),
      'INVALID_ARGUMENT',
      'shape',
      /given NaN/,
    ],
    [
      'a size of text',
      () => dev.tensor(f32, { shape: ['2'] as never }),
      'INVALID_ARGUMENT',
      'shape',
      /tensor: .*"2"/,
    ],
    ['no shape', () => dev.tensor(f32, {}), 'INVALID_ARGUMENT', 'shape', /a shape or data/],
    [
      'an unknown dtype',
      () => dev.tensor('fp8' as never, { shape: [1] }),
      'INVALID_ARGUMENT',
      'dtype',
      /one of f32.*given "fp8"/,
    ],
    [
      'an unknown option',
      () => dev.tensor(f32, { shap: [1] } as never),
      'INVALID_ARGUMENT',
      'shap',
      /no option "shap"/,
    ],
    [
      'too few elements',
      () => dev.tensor(f32, { shape: [3], data: [1, 2] }),
      'SHAPE_MISMATCH',
      undefined,
      /8 bytes.*12/,
    ],
    [
      'an array of another type',
      () => dev.tensor(f32, { data: new Int32Array(1) as never }),
      'DTYPE_MISMATCH',
      'data',
      /a Float32Array for f32, given Int32Array/,
    ],
    [
      'an array that may be two types',
      () => dev.tensor(new Uint16Array(1) as never),
      'DTYPE_MISMATCH',
      'data',
      /given Uint16Array/,
    ],
    [
      'a number that the type has not',
      () => dev.tensor(u32, { data: [1, -1] }),
      'INVALID_VALUE',
      'data',
      /-1 is no u32/,
    ],
    [
      'a matrix that does not fit',
      () => matrix(2, 3).matmul(matrix(2, 3)),
      'SHAPE_MISMATCH',
      'b',
      /matmul: cannot multiply \[2, 3\] by \[2, 3\]/,
    ],
    [
      'no tensor',
      () => matrix(2, 2).matmul([1] as never),
      'INVALID_ARGUMENT',
      'b',
      /matmul: expected a tensor, given an array/,
    ],
    [
      'a factor that is NaN',
      () => matrix(2, 2).scale(NaN),
      'INVALID_ARGUMENT',
      'alpha',
      /scale: expected a finite number, given NaN/,
    ],
    [
      'a factor too large',
      () => matrix(2, 2).scale(1e300),
      'INVALID_ARGUMENT',
      'alpha',
      /too large for a 32-bit float/,
    ],
    [
      'a factor of text',
      () => matrix(2, 2).axpy('1' as never, matrix(2, 2)),
      'INVALID_ARGUMENT',
      'alpha',
      /axpby: expected a number, given "1"/,
    ],
    [
      'targets of floats',
      () => matrix(2, 2).nll(matrix(1, 2) as never),
      'DTYPE_MISMATCH',
      'targets',
      /nll: expected u32 or i32, given f32/,
    ],
    [
      'too few targets',
      () => matrix(2, 2).nll(ids(1)),
      'SHAPE_MISMATCH',
      'targets',
      /nll: expected shape \[2\], given \[1\]/,
    ],
    [
      'a vocabulary too large',
      () => matrix(2, 2).nll(ids(0, 1), { vocab: 3 }),
      'SHAPE_MISMATCH',
      'vocab',
      /nll: .*given 3/,
    ],
    [
      'a cap below zero',
      () => matrix(2, 2).nll(ids(0, 1), { softcap: -1 }),
      'INVALID_ARGUMENT',
      'softcap',
      /positive/,
    ],
    [
      'integers where floats are needed',
      () => ids(1, 2).rowReduce('sum'),
      'DTYPE_MISMATCH',
      'x',
      /row_reduce: .*given u32/,
    ],
    [
      'an unknown reduction',
      () => matrix(1, 1).rowReduce('mean' as never),
      'INVALID_ARGUMENT',
      'reduction',
      /one of sum, max, sumSquares, given "mean"/,
    ],
    [
      'no offsets at all',
      () => dev.tensor(new Float32Array(1)).segmentSum(ids()),
      'SHAPE_MISMATCH',
      'offsets',
      /segment_reduce/,
    ],
    [
      'more of a chunk than it has',
      () => matrix(2, 2).topk(3),
      'INVALID_ARGUMENT',
      'k',
      /topk: expected 1 to the chunk of 2, given 3/,
    ],
    [
      'a norm of zero',
      () => matrix(2, 2).rowNormScale(0),
      'INVALID_ARGUMENT',
      'maxNorm',
      /positive number, given 0/,
    ],
    [
      'a seed that is none',
      () => dev.philox({ shape: [1], draw: 'bits', seed: -1 }),
      'INVALID_ARGUMENT',
      'seed',
      /given -1/,
    ],
    [
      'a seed too large',
      () => dev.philox({ shape: [1], draw: 'bits', seed: 2n ** 64n }),
      'INVALID_ARGUMENT',
      'seed',
      /2\^64/,
    ],
    [
      'draws beyond the last',
      () => dev.philox({ shape: [2], draw: 'bits', seed: 1, offset: 2n ** 64n - 1n }),
      'INVALID_ARGUMENT',
      'offset',
      /philox/,
    ],
    [
      'rows that are not there',
      () => matrix(2, 2).narrow(1, 2),
      'SHAPE_MISMATCH',
      undefined,
      /narrow: rows 1\.\.3 of a tensor that has 2/,
    ],
    [
      'another number of elements',
      () => matrix(2, 2).reshape([5]),
      'SHAPE_MISMATCH',
      undefined,
      /reshape: cannot reshape/,
    ],
  ])('%s', (_, work, code, column, says) => {
    const error = thrown(work);
    expect([error.code, error.details.column]).toEqual([code, column]);
    expect(error.message).toMatch(says);
    if (code === 'SHAPE_MISMATCH') expect(error).toBeInstanceOf(ShapeError);
  });

  test('what is written may not be read in one operation', () => {
    using x = matrix(2, 2);
    using view = x.reshape([2, 2]);
    const error = thrown(() => x.axpy(1, view));
    expect([error.code, error.message]).toEqual([
      'INVALID_ARGUMENT',
      expect.stringMatching(/^axpby: .*shares memory/),
    ]);
  });

  test('tensors of two devices do not mix', async () => {
    await using other = await openDevice({ device: 'reference' });
    const error = thrown(() => matrix(2, 2).matmul(other.tensor(f32, { shape: [2, 2] })));
    expect(error.code).toBe('DEVICE_MISMATCH');
    expect(error.message).toMatch(/^matmul: .*reference/);
  });

  test('a target outside the vocabulary shows at the read, with its row, and spoils nothing else', async () => {
    using logits = matrix(4, 3);
    using losses = logits.nll(ids(0, 1, 3, 9));
    using sums = losses.segmentSum(ids(0, 4));
    for (const tensor of [losses, sums]) {
      const error = await rejected(tensor.toTypedArray());
      expect(error).toMatchObject({ code: 'INVALID_VALUE', details: { row: 2, column: 'targets' } });
      expect(error.message).toMatch(/^nll: .*vocabulary of 3/);
    }
    expect([...(await logits.toTypedArray())]).toEqual(Array(12).fill(0));
    using padded = logits.nll(ids(0, 1, 2, 1), { vocab: 2 });
    expect((await rejected(padded.toTypedArray())).details.row).toBe(2);
  });

  test('offsets that do not ascend show at the read, with their segment', async () => {
    using x = dev.tensor(new Float32Array(10));
    for (const [offsets, row] of [
      [[0, 5, 3, 10], 1],
      [[0, 11], 0],
    ] as const) {
      const error = await rejected(x.segmentSum(ids(...offsets)).toTypedArray());
      expect(error).toMatchObject({ code: 'INVALID_VALUE', details: { row, column: 'offsets' } });
    }
  });

  test('a column that is no tensor', async () => {
    const table = new arrow.Table({
      text: arrow.vectorFromArray(['a'], new arrow.Utf8()),
      holes: arrow.vectorFromArray([1], new arrow.Float32()),
      none: arrow.vectorFromArray([null], new arrow.Float32()),
    });
    expect((await rejected(dev.fromArrow(table, 'absent'))).code).toBe('MISSING_COLUMN');
    expect((await rejected(dev.fromArrow(table, 'text'))).code).toBe('WRONG_TYPE');
    const error = await rejected(dev.fromArrow(table, 'none'));
    expect(error).toMatchObject({ code: 'INVALID_VALUE', details: { row: 0, column: 'none' } });
    expect((await rejected(dev.fromArrow(new Uint8Array(64), 'x'))).code).toBe('CORRUPT_DATA');
    expect((await rejected(dev.tensor(bf16, { shape: [2] }).toArrow())).code).toBe('UNSUPPORTED');
  });
});
