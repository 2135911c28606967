import type * as Native from '../bindings/node/index.js';
import * as arg from './args.js';
import { type ArrowInput, toIpc } from './arrow.js';
import type { DType, DTypeOf, PlainTypedArray, TypedArrays } from './dtypes.js';
import type { DeviceReason } from './errors.js';
import { attempt } from './job.js';
import { disposedOf, type Logger, loggerOr, watch } from './logger.js';
import { native } from './native.js';
import { Ragged } from './ragged.js';
import { Tensor } from './tensor.js';

/**
 * Which device to open. `auto` takes CUDA, else wgpu on hardware, else the CPU. Software adapters of graphics APIs are
 * taken only by name; `reference` is the scalar definition of every operation, for comparison.
 */
export type DeviceName = 'auto' | 'cpu' | 'wgpu' | `wgpu:${number}` | 'cuda' | `cuda:${number}` | 'reference';

/** How to open a device. */
export interface OpenDeviceOptions {
  /** Which. @defaultValue 'auto' */
  device?: DeviceName;
  /** Gives up waiting for a driver. The promise then rejects with `signal.reason`. */
  signal?: AbortSignal;
  /**
   * Hears of tensors that were collected and not disposed of.
   *
   * @defaultValue silent; standard error where the environment variable `GRISTMILL_LOG` is `warn`
   */
  logger?: Logger;
}

/** What a device is. */
export interface DeviceInfo {
  /** The backend: `cpu`, `wgpu`, `cuda` or `reference`. */
  backend: string;
  /** The name that opens this very device, such as `wgpu:1`. */
  selector: string;
  /** The device by its maker's name. */
  name: string;
  /** What it is made of. */
  kind: 'cpu' | 'integrated-gpu' | 'discrete-gpu' | 'virtual-gpu' | 'software' | 'other';
  /** The driver and its version, or what stands in for one. */
  driver: string;
  /** Its memory in bytes, where the driver tells. */
  memory?: number;
  /** Limits that matter, by name. */
  limits: [name: string, value: number][];
  /** Optional capabilities that are used. */
  features: string[];
}

/** How much memory the tensors of a device take. */
export interface DeviceMemory {
  /** Bytes of the tensors that somebody holds. */
  liveBytes: number;
  /** Tensors with memory of their own (views apart) that somebody holds. */
  liveTensors: number;
  /** Bytes that were given back and wait for another use. */
  pooledBytes: number;
  /** The most that `liveBytes` has been. */
  peakBytes: number;
  /** How often the backend was asked for memory. */
  allocations: number;
}

/** What a new tensor is. */
export interface TensorOptions<D extends DType = DType> {
  /** Its dimensions. @defaultValue one, as long as the data */
  shape?: readonly number[];
  /** Its elements in row-major order: the typed array of the dtype, or numbers. @defaultValue zeros */
  data?: TypedArrays[D] | readonly number[];
  /**
   * Takes the memory of the typed array instead of copying it: its whole `ArrayBuffer` is transferred, and the array is
   * empty afterwards. The CPU then computes in that memory. @defaultValue false
   */
  transfer?: boolean;
}

/** Which random numbers. */
export interface PhiloxOptions<K extends 'bits' | 'uniform' | 'normal' = 'bits' | 'uniform' | 'normal'> {
  /** Dimensions of the result. */
  shape: readonly number[];
  /** 32 random bits as `u32`, uniform on (0, 1) as `f32`, or standard normal as `f32`. */
  draw: K;
  /** The key, a whole number below 2^64. */
  seed: number | bigint;
  /** Which of 2^64 independent sequences. @defaultValue 0 */
  stream?: number | bigint;
  /** Number of the first draw. @defaultValue 0 */
  offset?: number | bigint;
}

/**
 * Something that computes: the processor, or a graphics card. It has a queue and a thread of its own; see
 * {@link Tensor} for what that means. Made by {@link openDevice}.
 */
export class Device implements AsyncDisposable {
  /** What it is. */
  readonly info: Readonly<DeviceInfo>;
  /** Why others were passed over, in the order in which they were tried. */
  readonly passedOver: readonly DeviceReason[];
  /** @internal */
  readonly logger: Logger | undefined;
  readonly #handle: Native.DeviceHandle;
  #closed: Promise<void> | undefined;

  /** @internal */
  constructor(handle: Native.DeviceHandle, logger: Logger | undefined) {
    this.#handle = handle;
    const described = arg.call(() => handle.describe());
    const { info, passedOver } = JSON.parse(described) as Pick<Device, 'info' | 'passedOver'>;
    this.info = Object.freeze(info);
    this.passedOver = Object.freeze(passedOver);
    this.logger = logger;
    watch(this, logger, `the device ${info.selector}`);
  }

  /** How much memory its tensors take. */
  get memory(): DeviceMemory {
    return this.#handle.memory();
  }

  /** Whether it was disposed of. */
  get disposed(): boolean {
    return this.#closed !== undefined;
  }

  /**
   * A tensor: zeros of a dtype and shape, given elements of a dtype, or a typed array whose class says the dtype.
   * A lack of memory shows when the tensor, or what was computed from it, is read.
   *
   * @example
   * ```ts
   * const zeros = dev.tensor(f32, { shape: [4096, 50257] });
   * const halves = dev.tensor(bf16, { data: bits, shape: [64, 64] });
   * const targets = dev.tensor(new Uint32Array([1, 2, 3]));
   * ```
   *
   * @throws {@link ShapeError} when data and shape do not have as many elements, or they are too many; `DTYPE_MISMATCH`
   * when the array is of another type; `INVALID_VALUE` for a number that an integer type has not;
   * {@link DisposedError}.
   */
  tensor<D extends DType>(dtype: D, options: TensorOptions<D>): Tensor<D>;
  tensor<A extends PlainTypedArray>(data: A, options?: Omit<TensorOptions, 'data'>): Tensor<DTypeOf<A>>;
  tensor(what: DType | PlainTypedArray, options?: TensorOptions): Tensor {
    const op = 'tensor';
    this.handle(op);
    const named = typeof what === 'string';
    const known = named ? (['shape', 'data', 'transfer'] as const) : (['shape', 'transfer'] as const);
    const given = arg.options<TensorOptions>(op, options, known);
    const dtype = named ? arg.dtype(op, what) : arg.dtypeOf(op, what);
    const move = arg.flag(op, 'transfer', given.transfer);
    const data: unknown = named ? given.data : what;
    if (data === undefined) {
      if (given.shape === undefined)
        throw arg.refused('INVALID_ARGUMENT', op, 'shape', 'a shape or data', undefined);
      return this.#make(op, (handle) => handle.zeros(dtype, arg.shape(op, given.shape)));
    }
    const { bytes, length } = arg.elements(op, dtype, data);
    const shape = given.shape === undefined ? [length] : arg.shape(op, given.shape);
    // What does not fit is refused by the engine, before the memory is gone from its owner.
    if (!move || shape.reduce((n, size) => n * size, 1) !== length) {
      return this.#make(op, (handle) => handle.tensor(bytes, dtype, shape));
    }
    return this.#make(op, (handle) => handle.adopt(arg.transfer(op, bytes), dtype, shape));
  }

  /**
   * Random numbers of the counter-based generator Philox4x32-10: element `i` depends on seed, stream and `offset + i`
   * alone, on every device. For reproducible work; no generator for privacy.
   */
  philox<K extends 'bits' | 'uniform' | 'normal'>(
    options: PhiloxOptions<K>,
  ): Tensor<K extends 'bits' ? 'u32' : 'f32'> {
    const op = 'philox';
    const known = ['shape', 'draw', 'seed', 'stream', 'offset'] as const;
    const given = arg.options<PhiloxOptions>(op, options, known);
    const shape = arg.shape(op, given.shape);
    const draw = arg.oneOf(op, 'draw', given.draw, ['bits', 'uniform', 'normal']);
    const seed = arg.word(op, 'seed', given.seed);
    const stream = arg.word(op, 'stream', given.stream ?? 0);
    const offset = arg.word(op, 'offset', given.offset ?? 0);
    return this.#make(op, (handle) => handle.philox(shape, draw, seed, stream, offset));
  }

  /**
   * A column of Arrow data as a tensor; several batches become one. Numbers become one dimension, fixed-size lists one
   * dimension more for each, and lists {@link Ragged}: all values, and offsets. On the CPU the values stay where they
   * are in the copy that is made of the IPC bytes.
   *
   * Rejects with `CORRUPT_DATA`, `MISSING_COLUMN`, `WRONG_TYPE` for what is no tensor, and `INVALID_VALUE` with
   * `details.row` for a null.
   */
  async fromArrow(input: ArrowInput, column: string): Promise<Tensor | Ragged> {
    arg.text('fromArrow', 'column', column);
    this.handle('fromArrow');
    const ipc = await toIpc(input);
    const handle = this.handle('fromArrow');
    const found = await attempt(undefined, () => handle.fromArrow(ipc, column));
    const values = new Tensor(this, found.values());
    const offsets = found.offsets();
    return offsets ? new Ragged(values, new Tensor<'u32'>(this, offsets)) : values;
  }

  /** Rows of different lengths, of a tensor of all values and one of offsets; both are owned by what is returned. */
  ragged<D extends DType>(values: Tensor<D>, offsets: Tensor<'u32' | 'i32'>): Ragged<D> {
    for (const [argument, tensor] of Object.entries({ values, offsets })) {
      if (!(tensor instanceof Tensor))
        throw arg.refused('INVALID_ARGUMENT', 'ragged', argument, 'a tensor', tensor);
    }
    return new Ragged(values, offsets);
  }

  /** Waits for everything that was enqueued before. Failures of single operations stay with their results. */
  async synchronize(): Promise<void> {
    const handle = this.handle('synchronize');
    await attempt(undefined, () => handle.synchronize());
  }

  /**
   * Lets the work that was enqueued finish, settles the reads that wait for it, ends the device's thread and gives all
   * memory back. Its tensors are disposed of with it. Idempotent.
   */
  dispose(): Promise<void> {
    if (this.#closed === undefined) {
      disposedOf(this);
      this.#closed = attempt(undefined, () => this.#handle.close());
    }
    return this.#closed;
  }

  /** {@link dispose}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  /** @internal */
  handle(op: string): Native.DeviceHandle {
    if (this.#closed) throw arg.disposed(op, 'device', 'device');
    return this.#handle;
  }

  #make<D extends DType>(op: string, work: (handle: Native.DeviceHandle) => Native.TensorHandle): Tensor<D> {
    const handle = this.handle(op);
    return new Tensor<D>(
      this,
      arg.call(() => work(handle)),
    );
  }
}

/**
 * Opens a device.
 *
 * @example
 * ```ts
 * await using dev = await openDevice({ device: 'auto' });
 * console.log(dev.info.name, dev.passedOver);
 * ```
 *
 * Rejects with {@link DeviceUnavailableError}, whose `reasons` say why for each backend that was looked at, when the
 * device that was named cannot be used; `auto` always finds one. `INVALID_ARGUMENT` for a name that is none.
 */
export async function openDevice(options: OpenDeviceOptions = {}): Promise<Device> {
  const {
    device = 'auto',
    signal,
    logger,
  } = arg.options('openDevice', options, ['device', 'signal', 'logger']);
  arg.text('openDevice', 'device', device);
  signal?.throwIfAborted();
  const addon = native();
  const cancel = new addon.CancelHandle();
  const stop = (): void => cancel.cancel();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const handle = await attempt(signal, () => addon.openDevice(device, cancel));
    if (signal?.aborted === true) {
      await handle.close();
      throw signal.reason;
    }
    return new Device(handle, loggerOr(logger));
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/**
 * The handle of what should be a device.
 *
 * @internal
 */
export function placeOf(op: string, device: unknown): Native.DeviceHandle {
  if (device instanceof Device) return device.handle(op);
  throw arg.refused('INVALID_ARGUMENT', op, 'device', 'an open device', device);
}
