import type * as Native from '../bindings/node/index.js';
import * as arg from './args.js';
import { type Device, placeOf } from './device.js';
import { call } from './job.js';
import { native } from './native.js';
import type { PayloadFormat } from './payload.js';
import type { AcceptedPayload } from './sync.js';
import { handleOf, named, Tensor } from './tensor.js';

/** Tensors by the names of parameters. In what order does not matter. */
export type Params = Readonly<Record<string, Tensor<'f32'>>>;

/** Rows and columns of the blocks that a parameter is cut into, seen as rows by its last dimension. */
type Blocks = Readonly<Record<string, readonly [rows: number, columns: number]>>;

/** How a {@link SparseLoCo} works. All but `innerSteps` must be equal on all peers of a run. */
export interface SparseLoCoOptions {
  /** Steps of local training between two rounds, H: for the training loop, as {@link SparseLoCo.innerSteps}. @defaultValue 30 */
  innerSteps?: number;
  /** The outer learning rate α, 0 or more. @defaultValue 1 */
  outerLr?: number;
  /** The decay β of what was left unsent, from 0 (nothing is kept) to 1. @defaultValue 0.95 */
  errorFeedback?: number;
  /** Elements of a chunk, up to 4096. @defaultValue 4096 */
  chunk?: number;
  /** Entries of a chunk that are sent. @defaultValue 64 */
  topK?: number;
  /** What is kept of each: sign and one of two magnitudes of the chunk, the published 4 bins, 8 bits, or all. @defaultValue 'signMagnitude' */
  quantizer?: 'signMagnitude' | 'reference' | 'int8' | 'none';
  /** How positions are written. @defaultValue 'eliasFano' */
  indices?: 'eliasFano' | 'packed12';
  /** What a sum is divided by: the peers that sent something for an element, or all. @defaultValue 'contributors' */
  divideBy?: 'contributors' | 'peers';
  /** Whether a peer's tensor is scaled down to the lower median of the peers' norms. @defaultValue true */
  clip?: boolean;
  /** The blocks of some parameters. @defaultValue square blocks of `chunk` elements for matrices, runs for the rest */
  blocks?: Blocks;
}

/** How a {@link DiLoCo} works. Equal on all peers of a run. */
export interface DiLoCoOptions {
  /** The outer learning rate, 0 or more. @defaultValue 0.7 */
  outerLr?: number;
  /** The outer Nesterov momentum, from 0 to below 1. @defaultValue 0.9 */
  momentum?: number;
}

/** How a {@link DeMo} works. Equal on all peers of a run. */
export interface DeMoOptions {
  /** The learning rate, 0 or more. @defaultValue 1e-3 */
  lr?: number;
  /** The decay of the momentum, from 0 to 1. @defaultValue 0.999 */
  decay?: number;
  /** Elements of a chunk, up to 4096. @defaultValue 4096 */
  chunk?: number;
  /** Entries of a chunk that are sent. @defaultValue 32 */
  topK?: number;
  /** What is kept of each. @defaultValue 'none' */
  quantizer?: 'signMagnitude' | 'reference' | 'int8' | 'none';
  /** The blocks of some parameters. @defaultValue as of {@link SparseLoCoOptions} */
  blocks?: Blocks;
}

/** What a replica exchanged so far. */
export interface Metering {
  /** Payloads that were made. */
  encoded: number;
  /** Rounds that were applied. */
  applied: number;
  /** Bytes of the payloads that were made. */
  bytesUp: number;
  /** Bytes of the payloads that were applied, one's own among them. */
  bytesDown: number;
  /** Bytes of the parameters as 32-bit floats, over those of the last payload. */
  compression: number;
  /** Of the values of the parameters, the share that a payload has entries for. */
  density: number;
  /** Seconds spent making payloads, `sealSeconds` among them. */
  encodeSeconds: number;
  /** Seconds spent hashing the parameters and writing payloads around what the device had made. */
  sealSeconds: number;
  /** Seconds spent applying payloads, `verifySeconds` among them. */
  applySeconds: number;
  /** Seconds spent checking payloads. */
  verifySeconds: number;
  /** The Euclidean norm of what was left unsent; not there for {@link DiLoCo}, which sends all. */
  errorFeedbackNorm?: number;
}

/** What {@link Replica.encode} and {@link Replica.apply} take. */
export interface ReplicaCallOptions {
  /** Stops the work; nothing has changed then. The promise rejects with `signal.reason`. */
  signal?: AbortSignal;
}

/**
 * A replica of a model that several machines train together, each on its own for a while. It holds the parameters that
 * all replicas share, and what this peer has not told the others yet; {@link SparseLoCo}, {@link DiLoCo} and {@link DeMo}
 * differ in what they send and in the step that they take.
 *
 * Calls of one replica are done one after the other, in the order in which they were made. Tensors that were given must
 * stay as they are until the promise is settled. A call that rejects has changed nothing.
 *
 * What all methods that take tensors reject with: {@link ShapeError} (`SHAPE_MISMATCH`), `DTYPE_MISMATCH`,
 * `DEVICE_MISMATCH`, `INVALID_ARGUMENT`, with the parameter in `details.column`; {@link DisposedError}.
 */
export abstract class Replica implements Disposable {
  /** Where it computes. */
  readonly device: Device;
  readonly #handle: Native.MethodHandle;
  readonly #names: readonly string[];
  readonly #format: PayloadFormat;
  /** Settled once the calls before are done; never rejected. */
  #last: Promise<unknown> = Promise.resolve();
  #disposed = false;

  /** @internal */
  protected constructor(
    method: 'SparseLoCo' | 'DiLoCo' | 'DeMo',
    device: Device,
    params: Params,
    options: Native.MethodOptions,
  ) {
    const place = placeOf(method, device);
    const names = Object.keys(named(method, 'params', params)).sort();
    const tensors = names.map((name) => handleOf(method, name, params[name]));
    this.device = device;
    this.#names = names;
    this.#handle = arg.call(() => new (native().MethodHandle)(place, method, options, names, tensors));
    this.#format = JSON.parse(this.#handle.format()) as PayloadFormat;
  }

  /** The codec and the tensors, as {@link RoundSyncOptions} take them: equal on all peers of a run. */
  get format(): PayloadFormat {
    return this.#format;
  }

  /** Whether {@link dispose} was called. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * What this peer has to say, as a payload for {@link RoundSync.publish}: of its parameters after local training, or
   * for {@link DeMo} of its gradients. Rejects with `INVALID_VALUE` for what is not finite, or beyond 2^30, with the
   * parameter in `details.column` and the chunk in `details.row`.
   *
   * What is in the payload counts as sent, and is not said again: keep the payload with what {@link save} gives after
   * this, before it is published, so that a process that is killed goes on with both.
   */
  async encode(given: Params, options?: ReplicaCallOptions): Promise<Uint8Array> {
    const signal = signalOf('encode', options);
    return await this.#call('encode', signal, (handle, cancel) =>
      handle.encode(this.#tensors('encode', given), cancel),
    );
  }

  /**
   * Applies the payloads of all peers, in whatever order they are given: checks every bit of all of them, adds them up
   * and takes the outer step. Replicas that apply the same set end with the same bits, on every device ({@link DiLoCo}:
   * on every device of one kind).
   *
   * A payload that is refused rejects with its reason in the message and its number in `details.row`: `CORRUPT_DATA`
   * where it is damaged, `JOB_MISMATCH` where it begins from other parameters, is of another run or round than those
   * before it, or the second one of a peer. None at all rejects with `EMPTY_INPUT`.
   */
  async apply(
    payloads: readonly (Uint8Array | Pick<AcceptedPayload, 'bytes'>)[],
    options?: ReplicaCallOptions,
  ): Promise<void> {
    const signal = signalOf('apply', options);
    await this.#call('apply', signal, (handle, cancel) => handle.apply(bytesOf(payloads), cancel));
  }

  /** Writes the shared parameters into tensors of the same names and shapes: where the next local training begins. */
  copyTo(params: Params): Promise<void> {
    return this.#call('copyTo', undefined, (handle) => handle.copyTo(this.#tensors('copyTo', params)));
  }

  /** The hash of the shared parameters, as {@link GatherOptions} take it: replicas that agree on it hold the same bits. */
  hash(): Promise<string> {
    return this.#call('hash', undefined, (handle) => handle.hash());
  }

  /**
   * Everything that a replica needs to go on as if it had not stopped: parameters, what was left unsent, momentum; as a
   * safetensors file.
   */
  save(): Promise<Uint8Array> {
    return this.#call('save', undefined, (handle) => handle.save());
  }

  /**
   * Goes back to what {@link save} gave. Rejects with `CORRUPT_DATA` for what it did not, and {@link ShapeError} for the
   * state of another method or of other parameters.
   */
  load(state: Uint8Array): Promise<void> {
    return this.#call('load', undefined, (handle) => handle.load(bytes('load', 'state', state)));
  }

  /** What was exchanged so far. */
  async metering(): Promise<Metering> {
    return JSON.parse(await this.#call('metering', undefined, (handle) => handle.metering())) as Metering;
  }

  /** Releases its memory; calls under way are finished first. Idempotent. */
  dispose(): void {
    this.#disposed = true;
    // What was called before this has to find it.
    void this.#last.then(() => this.#handle.dispose());
  }

  /** {@link dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Does something once everything before is done. */
  async #call<T>(
    op: string,
    signal: AbortSignal | undefined,
    work: (handle: Native.MethodHandle, cancel: Native.CancelHandle) => Promise<T>,
  ): Promise<T> {
    if (this.#disposed) throw arg.disposed(op, 'replica', 'this');
    const turn = this.#last.then(() => {
      this.device.handle(op);
      return call(signal, (_, cancel) => work(this.#handle, cancel));
    });
    this.#last = turn.catch(() => undefined);
    return await turn;
  }

  /** The tensors that were given, one for each parameter. */
  #tensors(op: string, given: Params): Native.TensorHandle[] {
    const extra = Object.keys(named(op, 'params', given)).find((name) => !this.#names.includes(name));
    if (extra !== undefined) throw arg.refused('INVALID_ARGUMENT', op, extra, 'a name of a parameter', extra);
    return this.#names.map((name) => handleOf(op, name, given[name]));
  }
}

const QUANTIZERS = ['signMagnitude', 'reference', 'int8', 'none'] as const;

/**
 * Local training, and after it the greatest entries of each chunk of the pseudo-gradient, quantised to 2 bits, with error
 * feedback (SparseLoCo, arXiv 2508.15706): 0.164 bits for each parameter with the defaults.
 *
 * With θ the shared parameters, `acc = errorFeedback · unsent + (θ − params)`; of each chunk the `topK` greatest of `acc`
 * are sent, `unsent` is what that leaves, and `θ ← θ − outerLr · mean`, added up in the order of the peers' names.
 *
 * @example
 * ```ts
 * using loco = new SparseLoCo(dev, params, { outerLr: 0.7, errorFeedback: 0.95, chunk: 4096, topK: 64 });
 * const payload = await loco.encode(params);
 * await loco.apply(payloads);
 * await loco.copyTo(params);
 * ```
 */
export class SparseLoCo extends Replica {
  /** Steps of local training between two rounds. */
  readonly innerSteps: number;

  /** A replica of these parameters, which are copied; all peers of a run begin with the same bits. */
  constructor(device: Device, params: Params, options?: SparseLoCoOptions) {
    const op = 'SparseLoCo';
    const { innerSteps = 30, ...given } = arg.options(op, options, [
      'innerSteps', 'outerLr', 'errorFeedback', 'chunk', 'topK', 'quantizer', 'indices', 'divideBy', 'clip', 'blocks',
    ]); // prettier-ignore
    if (!Number.isSafeInteger(innerSteps) || innerSteps < 1) {
      throw arg.refused('INVALID_ARGUMENT', op, 'innerSteps', 'a whole number of at least 1', innerSteps);
    }
    super(op, device, params, checked(op, given));
    this.innerSteps = innerSteps;
  }
}

/**
 * Local training, and after it the mean of all pseudo-gradients under Nesterov momentum (DiLoCo, arXiv 2311.08105). Nothing
 * is left out: what the others are measured against.
 *
 * With `g` the mean, `m ← momentum · m + g` and `θ ← θ − outerLr · (g + momentum · m)`.
 */
export class DiLoCo extends Replica {
  /** A replica of these parameters, which are copied; all peers of a run begin with the same bits. */
  constructor(device: Device, params: Params, options?: DiLoCoOptions) {
    super(
      'DiLoCo',
      device,
      params,
      checked('DiLoCo', arg.options('DiLoCo', options, ['outerLr', 'momentum'])),
    );
  }
}

/**
 * Every step, the greatest entries of a momentum of gradients, from which they are then taken out (decoupled momentum; DeMo,
 * arXiv 2411.19870), without its cosine transform and without the sign of the sum. {@link Replica.encode} takes
 * gradients; {@link Replica.apply} takes a step of plain gradient descent by the mean of what all peers sent.
 */
export class DeMo extends Replica {
  /** A replica of these parameters, which are copied; all peers of a run begin with the same bits. */
  constructor(device: Device, params: Params, options?: DeMoOptions) {
    const given = arg.options('DeMo', options, ['lr', 'decay', 'chunk', 'topK', 'quantizer', 'blocks']);
    super('DeMo', device, params, checked('DeMo', given));
  }
}

/** Options of the types that the addon takes; of what their values may be the engine decides. */
function checked(
  op: string,
  given: Omit<SparseLoCoOptions & DiLoCoOptions & DeMoOptions, 'innerSteps'>,
): Native.MethodOptions {
  for (const name of ['outerLr', 'momentum', 'lr', 'decay', 'errorFeedback', 'chunk', 'topK'] as const) {
    arg.optionalNumber(op, name, given[name]);
  }
  if (given.quantizer !== undefined) arg.oneOf(op, 'quantizer', given.quantizer, QUANTIZERS);
  if (given.indices !== undefined) arg.oneOf(op, 'indices', given.indices, ['eliasFano', 'packed12']);
  if (given.divideBy !== undefined) arg.oneOf(op, 'divideBy', given.divideBy, ['contributors', 'peers']);
  if (given.clip !== undefined) arg.flag(op, 'clip', given.clip);
  const { blocks, ...rest } = given;
  return { ...rest, ...(blocks && { blocks: blocksOf(op, blocks) }) };
}

function blocksOf(op: string, blocks: Blocks): Record<string, number[]> {
  const block = ([name, sides]: [string, unknown]): [string, number[]] => {
    if (Array.isArray(sides) && sides.length === 2 && sides.every((side) => typeof side === 'number')) {
      return [name, sides];
    }
    throw arg.refused('INVALID_ARGUMENT', op, 'blocks', 'rows and columns', sides);
  };
  return Object.fromEntries(Object.entries(blocks).map(block));
}

function signalOf(op: string, options: ReplicaCallOptions | undefined): AbortSignal | undefined {
  return arg.options(op, options, ['signal']).signal;
}

function bytes(op: string, argument: string, value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw arg.refused('INVALID_ARGUMENT', op, argument, 'a Uint8Array', value);
}

function bytesOf(payloads: readonly (Uint8Array | Pick<AcceptedPayload, 'bytes'>)[]): Uint8Array[] {
  if (!Array.isArray(payloads)) {
    throw arg.refused('INVALID_ARGUMENT', 'apply', 'payloads', 'an array of payloads', payloads);
  }
  return (payloads as readonly (Uint8Array | Pick<AcceptedPayload, 'bytes'>)[]).map((payload) =>
    bytes(
      'apply',
      'payloads',
      payload instanceof Uint8Array ? payload : (payload as { bytes?: unknown } | null)?.bytes,
    ),
  );
}
