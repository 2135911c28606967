import type * as Native from '../bindings/node/index.js';
import * as arg from './args.js';
import { type Device, placeOf } from './device.js';
import { attempt } from './job.js';
import { native } from './native.js';
import { stateOf, writeWhole } from './state-file.js';
import { handleOf, optionalHandleOf, type Outputs, Tensor } from './tensor.js';

/** The types of a layer. */
export type LostType = 'f32' | 'bf16';

/** What stands between the two thin matrices: `z / (1 + exp(−z))`, or nothing. */
export type LostActivation = 'silu' | 'identity';

/** How a dense weight becomes a {@link LostLinear}. */
export interface LostOptions {
  /** Columns of the thin matrices, 1 to the smaller side of the weight. @defaultValue 128 */
  rank?: number;
  /** Weight of the thin part, from 0 to 1; the whole columns have the rest. @defaultValue 0.5 */
  gamma?: number;
  /** Share of the columns of the weight that stay whole, above 0 and up to 1; at least one does. @defaultValue 0.05 */
  sparsity?: number;
  /** What stands between the thin matrices. @defaultValue 'silu' */
  activation?: LostActivation;
  /** Components behind the rank by which columns are chosen. @defaultValue 256 */
  sparseSvdRank?: number;
  /** Whether columns are chosen by those components, or by a seeded draw. @defaultValue 'svd' */
  channels?: 'svd' | 'random';
  /**
   * How singular vectors are found: by an eigendecomposition on the host, or by random projections, far faster for large
   * matrices and close where singular values fall. @defaultValue 'exact'
   */
  decomposition?: 'exact' | 'randomized';
  /** What columns and projections are drawn with; a whole number. @defaultValue 0 */
  seed?: number;
  /** What is added to every row of results: `[out]`, `f32`, copied. @defaultValue nothing */
  bias?: Tensor<'f32'>;
}

/** The tensors of a {@link LostLinear}, all of one type but for the last two. */
export interface LostParts<D extends LostType = LostType> {
  /** A, `[in, rank]`. */
  a: Tensor<D>;
  /** B, `[rank, out]`. */
  b: Tensor<D>;
  /** The whole columns of the dense weight, `[out, k]`. */
  sparse: Tensor<D>;
  /** Their numbers, ascending: `[k]`. They never change. */
  index: Tensor<'u32'>;
  /** What is added to every row of results, `[out]`. */
  bias?: Tensor<'f32'>;
}

/** The gradients of a {@link LostLinear}: those at its parameters are `f32`, whatever it is. */
export interface LostGradients<D extends LostType = LostType> {
  /** At the input. */
  x: Tensor<D>;
  a: Tensor<'f32'>;
  b: Tensor<'f32'>;
  sparse: Tensor<'f32'>;
  /** There if the layer has one. */
  bias?: Tensor<'f32'>;
}

const NAMES = ['a', 'b', 'sparse', 'index', 'bias'] as const;
const ACTIVATIONS = ['silu', 'identity'] as const;
const OPTIONS = [
  'rank',
  'gamma',
  'sparsity',
  'activation',
  'sparseSvdRank',
  'channels',
  'decomposition',
  'seed',
  'bias',
] as const;

/**
 * A linear layer of fewer parameters, for training from the start ("LOST: low-rank and sparse pre-training", arXiv
 * 2508.02668): two thin matrices and a few whole columns of a dense weight,
 * `y = γ · σ(x A) B + (1 − γ) · x_I W_sᵀ + bias`.
 *
 * Its parameters are plain tensors ({@link params}), which an optimizer changes in place.
 *
 * @example
 * ```ts
 * using layer = await LostLinear.fromDense(weight, { rank: 128 });
 * using adam = new AdamW(dev, layer.params());
 * using forward = layer.forward(x);
 * using gradients = layer.backward(x, forward.z, dy); // dy is that at forward.y
 * const { a, b, sparse } = gradients;
 * await adam.step({ a, b, sparse });
 * ```
 */
export class LostLinear<D extends LostType = LostType> implements Disposable {
  /** Where it computes. */
  readonly device: Device;
  /** A, `[in, rank]`. */
  readonly a: Tensor<D>;
  /** B, `[rank, out]`. */
  readonly b: Tensor<D>;
  /** The whole columns of the dense weight, `[out, k]`. */
  readonly sparse: Tensor<D>;
  /** Their numbers, ascending: `[k]`. */
  readonly index: Tensor<'u32'>;
  /** What is added to every row of results, `[out]`; undefined where there is none. */
  readonly bias: Tensor<'f32'> | undefined;
  /** Weight of the thin part. */
  readonly gamma: number;
  /** What stands between the thin matrices. */
  readonly activation: LostActivation;
  readonly #handle: Native.LostHandle;
  #disposed = false;

  private constructor(device: Device, handle: Native.LostHandle) {
    this.device = device;
    this.#handle = handle;
    const tensors = arg.call(() => handle.parts()).map((part) => new Tensor(device, part));
    [this.a, this.b, this.sparse, this.index] = tensors as unknown as [
      Tensor<D>,
      Tensor<D>,
      Tensor<D>,
      Tensor<'u32'>,
    ];
    this.bias = tensors[4] as Tensor<'f32'> | undefined;
    this.gamma = arg.call(() => handle.gamma());
    this.activation = arg.call(() => handle.activation()) as LostActivation;
  }

  /**
   * The layer that a dense weight, `[out, in]`, becomes. With `Wᵀ = U S Vᵀ`, singular values falling: `A = U_r √S_r` and
   * `B = √S_r V_rᵀ`; the columns that stay whole are those of the greatest norms in the `sparseSvdRank` components behind
   * the rank, and have the numbers of the weight itself. Rejects with `INVALID_ARGUMENT`, `SHAPE_MISMATCH` or
   * `DTYPE_MISMATCH`, and with `INVALID_VALUE` for a weight that is not finite.
   */
  static async fromDense<D extends LostType>(
    weight: Tensor<D>,
    options?: LostOptions,
  ): Promise<LostLinear<D>> {
    const op = 'LostLinear.fromDense';
    const { bias, ...rest } = arg.options<LostOptions>(op, options, OPTIONS);
    const [from, terms] = [handleOf(op, 'weight', weight), optionalHandleOf(op, 'bias', bias)];
    const text = arg.json(op, rest);
    const work = (): Promise<Native.LostHandle> => native().lostFromDense(from, terms, text);
    return new LostLinear<D>(weight.device, await attempt(undefined, work));
  }

  /** A layer of these tensors, which it shares. An index that does not ascend shows where results are read. */
  static fromParts<D extends LostType>(
    parts: LostParts<D>,
    options?: {
      /** Weight of the thin part. @defaultValue 0.5 */
      gamma?: number;
      /** What stands between the thin matrices. @defaultValue 'silu' */
      activation?: LostActivation;
    },
  ): LostLinear<D> {
    const op = 'LostLinear.fromParts';
    const { a, b, sparse, index, bias } = arg.options<LostParts<D>>(op, parts, NAMES);
    const { gamma = 0.5, activation = 'silu' } = arg.options(op, options, ['gamma', 'activation']);
    const handles = [
      handleOf(op, 'a', a),
      handleOf(op, 'b', b),
      handleOf(op, 'sparse', sparse),
      handleOf(op, 'index', index),
      optionalHandleOf(op, 'bias', bias),
    ] as const;
    arg.number(op, 'gamma', gamma);
    arg.oneOf(op, 'activation', activation, ACTIVATIONS);
    const make = (): Native.LostHandle => new (native().LostHandle)(...handles, gamma, activation);
    return new LostLinear<D>(parts.a.device, arg.call(make));
  }

  /**
   * The layer that {@link save} gave, with the same bits on any device. Rejects with `CORRUPT_DATA` for what is no such
   * file.
   */
  static async load(device: Device, from: string | Uint8Array): Promise<LostLinear> {
    const op = 'LostLinear.load';
    const place = placeOf(op, device);
    const file = await stateOf(from);
    return new LostLinear(device, await attempt(undefined, () => native().loadLost(place, file)));
  }

  /** Whether it, or its device, was disposed of. */
  get disposed(): boolean {
    return this.#disposed || this.device.disposed;
  }

  /** The parameters by name, for an optimizer; {@link backward} gives their gradients under the same names. */
  params(): { a: Tensor<D>; b: Tensor<D>; sparse: Tensor<D>; bias?: Tensor<'f32'> } {
    const { a, b, sparse, bias } = this;
    return { a, b, sparse, ...(bias && { bias }) };
  }

  /** The results for inputs `[rows, in]`, `y`, `[rows, out]`, and what {@link backward} takes of them, `z`, `[rows, rank]`. */
  forward(x: Tensor<D>): Outputs<{ y: Tensor<D>; z: Tensor<D> }> {
    const from = handleOf('forward', 'x', x);
    const outputs = this.#several('forward', ['y', 'z'], (handle) => handle.forward(from));
    return outputs as unknown as Outputs<{ y: Tensor<D>; z: Tensor<D> }>;
  }

  /**
   * The gradients for inputs `x`, what {@link forward} gave for them as `z`, and the gradient at its results, `dy`:
   * `dB = γ σ(Z)ᵀ dY`, `dZ = γ (dY Bᵀ) ⊙ σ'(Z)`, `dA = xᵀ dZ`, `dW_s = (1 − γ) dYᵀ x_I`, and `dx = dZ Aᵀ` with
   * `(1 − γ) dY W_s` added to its columns `I`.
   */
  backward(x: Tensor<D>, z: Tensor<D>, dy: Tensor<D>): Readonly<LostGradients<D>> & Disposable {
    const op = 'backward';
    const handles = [handleOf(op, 'x', x), handleOf(op, 'z', z), handleOf(op, 'dy', dy)] as const;
    const names = ['x', 'a', 'b', 'sparse', 'bias'];
    const outputs = this.#several(op, names, (handle) => handle.backward(...handles));
    return outputs as unknown as Readonly<LostGradients<D>> & Disposable;
  }

  /** All of it, as the bytes of a safetensors file; with a path, it is written there, whole or not at all. */
  async save(path?: string): Promise<Uint8Array> {
    const handle = this.#use('save');
    const bytes = await attempt(undefined, () => handle.save());
    if (path !== undefined) await writeWhole(path, bytes);
    return bytes;
  }

  /** Releases it and its tensors, once the work that was enqueued is done with them. Idempotent. */
  dispose(): void {
    this.#disposed = true;
    for (const tensor of [this.a, this.b, this.sparse, this.index, this.bias]) tensor?.dispose();
    this.#handle.dispose();
  }

  /** {@link dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Tensors by these names, as many as there are. */
  #several(
    op: string,
    names: readonly string[],
    work: (handle: Native.LostHandle) => Native.TensorHandle[],
  ): Readonly<Record<string, Tensor>> & Disposable {
    const handle = this.#use(op);
    const tensors = arg.call(() => work(handle)).map((result) => new Tensor(this.device, result));
    const outputs: Record<string, Tensor> = {};
    for (const [i, tensor] of tensors.entries()) outputs[names[i] ?? ''] = tensor;
    const dispose = (): void => tensors.forEach((tensor) => tensor.dispose());
    return Object.defineProperty(outputs, Symbol.dispose, { value: dispose }) as typeof outputs & Disposable;
  }

  #use(op: string): Native.LostHandle {
    if (this.#disposed) throw arg.disposed(op, 'layer', 'this');
    if (this.device.disposed) throw arg.disposed(op, 'device', 'this');
    return this.#handle;
  }
}
