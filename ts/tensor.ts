import type * as Native from '../bindings/node/index.js';
import * as arg from './args.js';
import { Batch } from './batches.js';
import type { Device } from './device.js';
import { DTYPES, type DType, type SumOf, type TypedArrays } from './dtypes.js';
import { fromNative } from './errors.js';
import {
  ACTIVATION_KINDS,
  type ActivationKind,
  type ActivationOptions,
  type AttentionOptions,
  NORM_KINDS,
  type NormKind,
  type NormOptions,
  type QuantizeRtnOptions,
  type RopeOptions,
  SCALE_NORMS,
  type SsNormOptions,
} from './layers.js';
import { disposedOf, watch } from './logger.js';
import {
  CLIP_PATHS,
  CLIP_RULES,
  type ClipLinearOptions,
  type ClipOptions,
  type ClipPath,
  type EmbeddingOptions,
  NOISE_GENERATORS,
  type NoiseOptions,
  NORMS_METHODS,
  type NormsOptions,
} from './clipping.js';

/** A rule of a reduction: sum, maximum (NaN if there is one), or sum of squares. */
export type Reduction = 'sum' | 'max' | 'sumSquares';

const REDUCTIONS: readonly Reduction[] = ['sum', 'max', 'sumSquares'];

/** Several tensors that one operation gave; `using` releases all of them. */
export type Outputs<T extends Record<string, Tensor>> = Readonly<T> & Disposable;

/** How to multiply matrices. */
export interface MatmulOptions<D extends DType = DType> {
  /** Whether this tensor is stored transposed: `[k, m]`. @defaultValue false */
  transA?: boolean;
  /** Whether the right factor is stored transposed: `[n, k]`. @defaultValue false */
  transB?: boolean;
  /** Factor of the product; finite. @defaultValue 1 */
  alpha?: number;
  /** Type of the result: that of the factors, or `f32`. @defaultValue that of the factors */
  dtype?: D;
}

/** How to multiply a matrix with its own transpose. */
export interface GramOptions<D extends DType = DType> {
  /** Whether columns are multiplied with columns (`xᵀ · x`), rather than rows with rows. @defaultValue false */
  columns?: boolean;
  /** Factor of the product; finite. @defaultValue 1 */
  alpha?: number;
  /** A symmetric matrix of the type of the result that is added. @defaultValue none */
  c?: Tensor<D>;
  /** Factor of that matrix; finite. @defaultValue 1 */
  beta?: number;
  /** Type of the result: that of the matrix, or `f32`. @defaultValue that of the matrix */
  dtype?: D;
}

/** How to multiply matrices into an existing tensor. */
export interface AddMatmulOptions {
  /** Whether the left factor is stored transposed: `[k, m]`. @defaultValue false */
  transA?: boolean;
  /** Whether the right factor is stored transposed: `[n, k]`. @defaultValue false */
  transB?: boolean;
  /** Factor of the product; finite. @defaultValue 1 */
  alpha?: number;
  /** Factor of what was there; with 0 that does not matter, not even NaN. @defaultValue 1 */
  beta?: number;
}

/** How logits become losses. */
export interface NllOptions {
  /** How many of the columns are vocabulary; those behind are padding and take no part. @defaultValue all */
  vocab?: number;
  /** `c` of `c · tanh(z / c)`, applied to logits first; above 0. @defaultValue none */
  softcap?: number;
  /** What is added to every row of logits before the cap: `[vocab]`, `f32`. @defaultValue nothing */
  bias?: Tensor<'f32'>;
}

/**
 * A handle of elements on a device.
 *
 * Every operation validates its arguments at once, enqueues the work and returns handles of the results: nothing waits,
 * and nothing moves off the device. Only reads ({@link toTypedArray} and its kind) are promises. An operation that
 * fails on the device spoils its results, and the error surfaces where they, or what was computed from them, are read.
 *
 * What all methods throw: {@link ShapeError} (`SHAPE_MISMATCH`), `DTYPE_MISMATCH`, `DEVICE_MISMATCH` when tensors live
 * on different devices, `INVALID_ARGUMENT`, `UNSUPPORTED` for what a device does not do, and {@link DisposedError}.
 * `details.column` names the argument. What all reads reject with besides: {@link OutOfMemoryError}, `INVALID_VALUE`
 * with `details.row` for data that breaks a contract, `DEVICE_LOST`.
 *
 * @example
 * ```ts
 * await using dev = await openDevice({ device: 'auto' });
 * using logits = dev.tensor(f32, { shape: [2, 3], data: [1, 2, 3, 0, 0, 0] });
 * using targets = dev.tensor(new Uint32Array([2, 0]));
 * using losses = logits.nll(targets);
 * console.log(await losses.toFloat32Array()); // 0.4076, 1.0986
 * ```
 */
export class Tensor<D extends DType = DType> implements Disposable {
  /** The device that it lives on. */
  readonly device: Device;
  readonly #handle: Native.TensorHandle;
  #dtype: D | undefined;
  #shape: readonly number[] | undefined;
  #disposed = false;

  /** @internal */
  constructor(device: Device, handle: Native.TensorHandle) {
    this.device = device;
    this.#handle = handle;
    const { logger } = device;
    if (logger) watch(this, logger, `a ${this.dtype} tensor of shape [${this.shape.join(', ')}]`);
  }

  /** The type of its elements. */
  get dtype(): D {
    return (this.#dtype ??= arg.call(() => this.#handle.dtype()) as D);
  }

  /** Its dimensions, outermost first; elements lie in row-major order. None at all is a scalar. */
  get shape(): readonly number[] {
    return (this.#shape ??= Object.freeze(arg.call(() => this.#handle.shape())));
  }

  /** How many elements it has. */
  get length(): number {
    return this.shape.reduce((n, size) => n * size, 1);
  }

  /** Bytes of its elements. */
  get byteLength(): number {
    return this.length * DTYPES[this.dtype].size;
  }

  /** Whether it, or its device, was disposed of. */
  get disposed(): boolean {
    return this.#disposed || this.device.disposed;
  }

  /** Releases its memory, once the work that was enqueued is done with it and no view is left. Idempotent. */
  dispose(): void {
    if (this.#disposed) return;
    // What it was can be asked for afterwards.
    this.#dtype = this.dtype;
    this.#shape = this.shape;
    this.#disposed = true;
    disposedOf(this);
    arg.call(() => this.#handle.dispose());
  }

  /** {@link dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /**
   * The handle of the addon, for an operation that takes this as an argument.
   *
   * @internal
   */
  handle(op: string, argument: string): Native.TensorHandle {
    if (this.#disposed) throw arg.disposed(op, 'tensor', argument);
    if (this.device.disposed) throw arg.disposed(op, 'device', argument);
    return this.#handle;
  }

  /** The elements, in the typed array of their type; for the halves, their bits. */
  async toTypedArray(): Promise<TypedArrays[D]> {
    const bytes = await this.#read('toTypedArray', (handle) => handle.read());
    const { array: Class, size } = DTYPES[this.dtype];
    return new Class(
      bytes.buffer as ArrayBuffer,
      bytes.byteOffset,
      bytes.byteLength / size,
    ) as TypedArrays[D];
  }

  /** The elements as 32-bit floats, converted on the device as {@link cast} does. */
  async toFloat32Array(): Promise<Float32Array> {
    if (this.dtype === 'f32') return (await this.toTypedArray()) as Float32Array;
    using cast = this.cast('f32');
    return await cast.toTypedArray();
  }

  /**
   * The elements as a column of an Arrow table: an entry of the first dimension for each row, in fixed-size lists for
   * further dimensions. Rejects with `UNSUPPORTED` for `bf16`, which Arrow has not: cast to `f32` first.
   */
  async toArrow(options?: {
    /** The name of the column. @defaultValue 'values' */
    name?: string;
  }): Promise<Batch> {
    const { name = 'values' } = arg.options('toArrow', options, ['name']);
    arg.text('toArrow', 'name', name);
    return new Batch(await this.#read('toArrow', (handle) => handle.toArrow(name)));
  }

  /** @internal */
  async toArrowLists(offsets: Tensor, options?: { name?: string }): Promise<Batch> {
    const { name = 'values' } = arg.options('toArrow', options, ['name']);
    arg.text('toArrow', 'name', name);
    const ends = handleOf('toArrow', 'offsets', offsets);
    return new Batch(await this.#read('toArrow', (handle) => handle.toArrowLists(ends, name)));
  }

  /** Overwrites all elements; `data` is copied, and as many. */
  write(data: TypedArrays[D] | readonly number[]): this {
    const { bytes } = arg.elements('write', this.dtype, data);
    return this.#change('write', (handle) => handle.write(bytes));
  }

  /** The same elements under another shape, without a copy: a view, to be disposed of by itself. */
  reshape(shape: readonly number[]): Tensor<D> {
    const dims = arg.shape('reshape', shape);
    return this.#make('reshape', (handle) => handle.reshape(dims));
  }

  /** `length` entries of the first dimension from `start` on, without a copy: a view, to be disposed of by itself. */
  narrow(start: number, length: number): Tensor<D> {
    arg.number('narrow', 'start', start);
    arg.number('narrow', 'length', length);
    return this.#make('narrow', (handle) => handle.narrow(start, length));
  }

  /** Sets every element, in place. The value is converted as {@link cast} converts from `f64`. */
  fill(value: number): this {
    arg.number('fill', 'value', value);
    return this.#change('fill', (handle) => handle.fill(value));
  }

  /**
   * The same numbers as another type. To a narrower float they are rounded to nearest, ties to even; to an integer
   * towards zero, saturating, NaN to 0.
   */
  cast<E extends DType>(dtype: E): Tensor<E> {
    arg.dtype('cast', dtype);
    return this.#make('cast', (handle) => handle.cast(dtype));
  }

  /** The same elements in memory of their own. */
  copy(): Tensor<D> {
    return this.#make('copy', (handle) => handle.copy());
  }

  /** Takes the elements of another tensor of the same type and shape, in place. */
  copyFrom(x: Tensor<D>): this {
    const from = handleOf('copyFrom', 'x', x);
    return this.#change('copyFrom', (handle) => handle.copyFrom(from));
  }

  /**
   * `alpha · this · b`: `[m, k]` by `[k, n]` is `[m, n]`. Both may have a batch in front, of equal size, or this alone.
   * `f32`, `bf16`, `f16` (or `f64` on the CPU), both the same; products are added in `f32` (`f64`).
   */
  matmul<E extends DType = D>(b: Tensor<D>, options?: MatmulOptions<E>): Tensor<E> {
    const known = ['transA', 'transB', 'alpha', 'dtype'] as const;
    const { transA, transB, alpha = 1, dtype } = arg.options('matmul', options, known);
    const right = handleOf('matmul', 'b', b);
    if (dtype !== undefined) arg.dtype('matmul', dtype);
    const flags = [arg.flag('matmul', 'transA', transA), arg.flag('matmul', 'transB', transB)] as const;
    arg.number('matmul', 'alpha', alpha);
    return this.#make('matmul', (handle) => handle.matmul(right, ...flags, alpha, dtype));
  }

  /**
   * `this = alpha · a · b + beta · this`, in place; shapes and types as for {@link matmul}.
   */
  addMatmul<E extends DType>(a: Tensor<E>, b: Tensor<E>, options?: AddMatmulOptions): this {
    const known = ['transA', 'transB', 'alpha', 'beta'] as const;
    const { transA, transB, alpha = 1, beta = 1 } = arg.options('matmul', options, known);
    const [left, right] = [handleOf('matmul', 'a', a), handleOf('matmul', 'b', b)];
    const flags = [arg.flag('matmul', 'transA', transA), arg.flag('matmul', 'transB', transB)] as const;
    arg.number('matmul', 'alpha', alpha);
    arg.number('matmul', 'beta', beta);
    return this.#change('matmul', (handle) => handle.matmulInto(left, right, ...flags, alpha, beta));
  }

  /**
   * `alpha · this · thisᵀ + beta · c`: of `[n, k]` it is `[n, n]`, symmetric to the bit, for half the work of
   * {@link matmul}. For a symmetric matrix it is its square. `f32`, `bf16` or `f16`; products are added in `f32`.
   */
  gram<E extends DType = D>(options?: GramOptions<E>): Tensor<E> {
    const known = ['columns', 'alpha', 'c', 'beta', 'dtype'] as const;
    const { columns, alpha = 1, c, beta = 1, dtype } = arg.options('gram', options, known);
    if (dtype !== undefined) arg.dtype('gram', dtype);
    const flag = arg.flag('gram', 'columns', columns);
    arg.number('gram', 'alpha', alpha);
    arg.number('gram', 'beta', beta);
    const added = optionalHandleOf('gram', 'c', c);
    return this.#make('gram', (handle) => handle.gram(flag, alpha, added, beta, dtype));
  }

  /**
   * The sum, maximum or sum of squares over the last dimension. Floats only; the result is `f32` (`f64` of `f64`), in
   * this shape without its last dimension. Added in a fixed order.
   */
  rowReduce(reduction: Reduction): Tensor<SumOf<D>> {
    arg.oneOf('rowReduce', 'reduction', reduction, REDUCTIONS);
    return this.#make('rowReduce', (handle) => handle.rowReduce(reduction));
  }

  /**
   * The Euclidean norm of every column of this matrix, `[rows, columns]` of `f32`, `bf16` or `f16`: `[columns]`, `f32`.
   * No square overflows or vanishes.
   */
  columnNorms(): Tensor<'f32'> {
    return this.#make('columnNorms', (handle) => handle.columnNorms());
  }

  /**
   * The sum, maximum or sum of squares of consecutive segments of this (one dimension, floats): segment `s` is
   * `offsets[s] .. offsets[s + 1]`. `offsets` is `[segments + 1]`, `u32` or `i32`, ascending; the result `[segments]`,
   * `f32` (`f64` of `f64`). Offsets that do not ascend reject at the read with `INVALID_VALUE`.
   */
  segmentReduce(offsets: Tensor<'u32' | 'i32'>, reduction: Reduction): Tensor<SumOf<D>> {
    arg.oneOf('segmentReduce', 'reduction', reduction, REDUCTIONS);
    const ends = handleOf('segmentReduce', 'offsets', offsets);
    return this.#make('segmentReduce', (handle) => handle.segmentReduce(ends, reduction));
  }

  /** {@link segmentReduce} with `'sum'`: what the tokens of each document add up to. */
  segmentSum(offsets: Tensor<'u32' | 'i32'>): Tensor<SumOf<D>> {
    return this.segmentReduce(offsets, 'sum');
  }

  /** `this = alpha · x + beta · this`, in place. Floats in one shape; computed in `f32` (`f64`) and rounded once. */
  axpby(alpha: number, x: Tensor, beta: number): this {
    arg.number('axpby', 'alpha', alpha);
    arg.number('axpby', 'beta', beta);
    const other = handleOf('axpby', 'x', x);
    return this.#change('axpby', (handle) => handle.axpby(alpha, other, beta));
  }

  /** `this = this + alpha · x`, in place; see {@link axpby}. */
  axpy(alpha: number, x: Tensor): this {
    return this.axpby(alpha, x, 1);
  }

  /** `alpha · this`. Floats; `alpha` finite. */
  scale(alpha: number): Tensor<D> {
    arg.number('scale', 'alpha', alpha);
    return this.#make('scale', (handle) => handle.scale(alpha));
  }

  /**
   * For every row its maximum and `lse = ln Σ exp(x)`, so that `softmax(x) = exp(x − lse)`. `f32`, `bf16` or `f16`; the
   * results are `f32`, in this shape without its last dimension.
   */
  softmaxStats(): Outputs<{ max: Tensor<'f32'>; lse: Tensor<'f32'> }> {
    return this.#several('softmaxStats', ['max', 'lse'], (handle) => handle.softmaxStats());
  }

  /**
   * The negative log-likelihood, in nats, of the target of every row under the softmax of these logits:
   * `out[r] = ln Σ_j exp(z[r, j]) − z[r, targets[r]]`.
   *
   * This is `[rows, columns]`, `f32`, `bf16` or `f16`; `targets` is `[rows]`, `u32` or `i32`; the result `[rows]`,
   * `f32`. A target outside the vocabulary rejects at the read with `INVALID_VALUE` and its row.
   */
  nll(targets: Tensor<'u32' | 'i32'>, options?: NllOptions): Tensor<'f32'> {
    const ids = handleOf('nll', 'targets', targets);
    const losses = this.#losses('nll', options);
    return this.#make('nll', (handle) => handle.nll(ids, ...losses));
  }

  /**
   * {@link nll} of the logits `this · headᵀ`, which are never in memory as a whole. This is `[rows, d]`, `head` is
   * `[vocabulary, d]` of the same type (rows from `vocab` on are padding).
   */
  linearNll(head: Tensor<D>, targets: Tensor<'u32' | 'i32'>, options?: NllOptions): Tensor<'f32'> {
    const weights = handleOf('linearNll', 'head', head);
    const ids = handleOf('linearNll', 'targets', targets);
    const losses = this.#losses('linearNll', options);
    return this.#make('linearNll', (handle) => handle.linearNll(weights, ids, ...losses));
  }

  /**
   * Scores of documents from the losses of their tokens under two models, in one pass: this holds those of the prior,
   * `[tokens]`, `f32`, and `conditional` those of the other. For each document both sums, and
   * `score = (priorSum − conditionalSum) / tokens`; all `[documents]`, `f32`. An empty document scores NaN.
   */
  lossReduction(
    conditional: Tensor<'f32'>,
    offsets: Tensor<'u32' | 'i32'>,
  ): Outputs<{ priorSum: Tensor<'f32'>; conditionalSum: Tensor<'f32'>; score: Tensor<'f32'> }> {
    const other = handleOf('lossReduction', 'conditional', conditional);
    const ends = handleOf('lossReduction', 'offsets', offsets);
    const names = ['priorSum', 'conditionalSum', 'score'] as const;
    return this.#several('lossReduction', names, (handle) => handle.lossReduction(other, ends));
  }

  /**
   * The `k` entries of greatest magnitude of every chunk of consecutive elements (`f32`), largest first, equal
   * magnitudes by position. `values` and `indices` (`u32`, from the start of the chunk) are `[chunks, k]`; a last chunk
   * of fewer than `k` elements fills up with 0 at 2^32 − 1. Exact on every device.
   */
  topk(
    k: number,
    options?: {
      /** Elements of a chunk. @defaultValue the last dimension */
      chunk?: number;
    },
  ): Outputs<{ values: Tensor<'f32'>; indices: Tensor<'u32'> }> {
    arg.number('topk', 'k', k);
    const { chunk = this.shape.at(-1) ?? 1 } = arg.options('topk', options, ['chunk']);
    arg.number('topk', 'chunk', chunk);
    return this.#several('topk', ['values', 'indices'], (handle) => handle.topk(k, chunk));
  }

  /**
   * Clips every row to a norm and adds the rows up: `norms[r] = ‖x[r]‖₂`, `factors[r] = min(1, maxNorm / norms[r])`,
   * `out = Σ_r factors[r] · x[r]`. This is `[rows, columns]`, `f32`, `bf16` or `f16`; the results are `f32`. A row whose
   * norm is not finite takes no part.
   */
  rowNormScale(
    maxNorm: number,
  ): Outputs<{ norms: Tensor<'f32'>; factors: Tensor<'f32'>; out: Tensor<'f32'> }> {
    arg.number('rowNormScale', 'maxNorm', maxNorm);
    const names = ['norms', 'factors', 'out'] as const;
    return this.#several('rowNormScale', names, (handle) => handle.rowNormScale(maxNorm));
  }

  /**
   * Rows of this table: `out[r] = this[ids[r]]`. This is `[rows of the table, d]`, `f32`, `bf16` or `f16`; `ids` is
   * `[rows]`, `u32` or `i32`; the result `[rows, d]`, of this type or `f32`. An index outside the table rejects at the
   * read with `INVALID_VALUE` and its row. Exact on every device.
   */
  gather<E extends DType = D>(
    ids: Tensor<'u32' | 'i32'>,
    options?: {
      /** Type of the result. @defaultValue that of the table */
      dtype?: E;
    },
  ): Tensor<E> {
    const rows = handleOf('gather', 'ids', ids);
    const { dtype } = arg.options('gather', options, ['dtype']);
    if (dtype !== undefined) arg.dtype('gather', dtype);
    return this.#make('gather', (handle) => handle.gather(rows, dtype));
  }

  /**
   * Rows brought to a common scale: with `rms`, `x / sqrt(mean(x²) + eps)`; with `layer`,
   * `(x − mean(x)) / sqrt(variance(x) + eps)`; then times `weight` and plus `bias`. This is `[rows, columns]`, `f32`,
   * `bf16` or `f16`. A row has the same bits whatever the others are.
   */
  norm<E extends DType = D>(kind: NormKind, options?: NormOptions<E>): Tensor<E> {
    arg.oneOf('norm', 'kind', kind, NORM_KINDS);
    const known = ['eps', 'weight', 'bias', 'dtype'] as const;
    const { eps = 1e-5, weight, bias, dtype } = arg.options('norm', options, known);
    arg.number('norm', 'eps', eps);
    if (dtype !== undefined) arg.dtype('norm', dtype);
    const [factors, terms] = [
      optionalHandleOf('norm', 'weight', weight),
      optionalHandleOf('norm', 'bias', bias),
    ];
    return this.#make('norm', (handle) => handle.norm(kind, eps, factors, terms, dtype));
  }

  /**
   * Rotary position embedding, in place: turns the first `2 · pairs` components of every head, in pairs, by angles whose
   * `cos` and `sin` are tables of `[positions, pairs]`, `f32`; row `r` uses row `positions[r]` of them (`u32` or `i32`).
   * This is `[rows, heads · headDim]`, `f32`, `bf16` or `f16`. A position outside the tables rejects at the read with
   * `INVALID_VALUE` and its row.
   */
  rope(cos: Tensor<'f32'>, sin: Tensor<'f32'>, positions: Tensor<'u32' | 'i32'>, options: RopeOptions): this {
    const [cosines, sines] = [handleOf('rope', 'cos', cos), handleOf('rope', 'sin', sin)];
    const rows = handleOf('rope', 'positions', positions);
    const { headDim, interleaved } = arg.options('rope', options, ['headDim', 'interleaved']);
    const components = arg.number('rope', 'headDim', headDim);
    const neighbours = arg.flag('rope', 'interleaved', interleaved);
    return this.#change('rope', (handle) => handle.rope(cosines, sines, rows, components, neighbours));
  }

  /**
   * Causal attention of these queries, `[rows, heads · headDim]`, over keys and values, `[rows, kvHeads · headDim]` of
   * the same type, within each of the documents that `offsets` cut the rows into (as a {@link Ragged} has them). Rows of
   * no document give 0. No matrix of scores is ever in memory, and a document has the same bits in whatever batch it
   * comes. Offsets that do not ascend reject at the read with `INVALID_VALUE` and their document.
   */
  attention(
    k: Tensor<D>,
    v: Tensor<D>,
    offsets: Tensor<'u32' | 'i32'>,
    options: AttentionOptions,
  ): Tensor<D> {
    const [keys, values] = [handleOf('attention', 'k', k), handleOf('attention', 'v', v)];
    const ends = handleOf('attention', 'offsets', offsets);
    const {
      heads,
      kvHeads = heads,
      scale,
    } = arg.options('attention', options, ['heads', 'kvHeads', 'scale']);
    const counts = [
      arg.number('attention', 'heads', heads),
      arg.number('attention', 'kvHeads', kvHeads),
    ] as const;
    const factor = arg.optionalNumber('attention', 'scale', scale);
    return this.#make('attention', (handle) => handle.attention(keys, values, ends, ...counts, factor));
  }

  /**
   * A function of every element: `f(x + bias) · times`; with `silu` and a second projection as `times`, SwiGLU. This is
   * `[rows, columns]`, `f32`, `bf16` or `f16`.
   */
  activation(kind: ActivationKind, options?: ActivationOptions<D>): Tensor<D> {
    arg.oneOf('activation', 'kind', kind, ACTIVATION_KINDS);
    const { bias, times } = arg.options('activation', options, ['bias', 'times']);
    const terms = optionalHandleOf('activation', 'bias', bias);
    const factors = optionalHandleOf('activation', 'times', times);
    return this.#make('activation', (handle) => handle.activation(kind, terms, factors));
  }

  /** Adds a number to every column, in place: this is `[rows, columns]`, `bias` is `[columns]`, `f32`. */
  biasAdd(bias: Tensor<'f32'>): this {
    const terms = handleOf('biasAdd', 'bias', bias);
    return this.#change('biasAdd', (handle) => handle.biasAdd(terms));
  }

  /**
   * Squares of the norms of the gradients that samples have for a linear layer `Y = XWᵀ + b`: for the rows of a sample
   * `‖dYᵀX‖²`, and with a bias plus `‖Σ dY‖²`. This is `X`, `[rows, d]`, `dy` is `[rows, p]` of the same type, `f32`,
   * `bf16` or `f16`; `offsets` cut the rows into samples (as a {@link Ragged} has them), and rows of no sample count
   * for nobody. A sample with a NaN or an infinity has a norm that is none, and no other depends on it. Offsets that do
   * not ascend reject at the read with `INVALID_VALUE` and their sample.
   */
  perSampleNorms(dy: Tensor<D>, offsets: Tensor<'u32' | 'i32'>, options?: NormsOptions): Tensor<'f32'> {
    const op = 'perSampleNorms';
    const [gradients, ends] = [handleOf(op, 'dy', dy), handleOf(op, 'offsets', offsets)];
    const { bias = false, method } = arg.options(op, options, ['bias', 'method']);
    arg.flag(op, 'bias', bias);
    if (method !== undefined) arg.oneOf(op, 'method', method, NORMS_METHODS);
    return this.#make(op, (handle) => handle.perSampleNorms(gradients, ends, bias, method));
  }

  /**
   * Adds the gradients that samples have for a linear layer, each times its factor, to `grad`, `[p, d]`, and to that of
   * the bias, `[p]`, if there is one: `grad += Σ_b factors[b] · dY_bᵀX_b`. This, `dy` and `offsets` are as in
   * {@link perSampleNorms}; `factors` is `[samples]`. A sample of factor 0 adds nothing, whatever its rows are. Offsets
   * that do not ascend reject at the read of `grad` with `INVALID_VALUE` and their sample.
   */
  clippedGrad(
    dy: Tensor<D>,
    offsets: Tensor<'u32' | 'i32'>,
    factors: Tensor<'f32'>,
    grad: Tensor<'f32'>,
    options?: {
      /** What the gradient of the bias is added to: `[p]`. @defaultValue the layer has none */
      bias?: Tensor<'f32'>;
    },
  ): this {
    const op = 'clippedGrad';
    const [gradients, ends] = [handleOf(op, 'dy', dy), handleOf(op, 'offsets', offsets)];
    const [scales, sum] = [handleOf(op, 'factors', factors), handleOf(op, 'grad', grad)];
    const bias = optionalHandleOf(op, 'bias', arg.options(op, options, ['bias']).bias);
    return this.#change(op, (handle) => handle.clippedGrad(gradients, ends, scales, sum, bias));
  }

  /**
   * Clips the gradients that samples have for one linear layer, and adds them to `grad`, `[p, d]`: what
   * {@link perSampleNorms} and {@link clippedGrad} do, for a layer that is clipped by itself. With the path `fused` each
   * gradient is made once, and kept until its factor is known. Gives the norms (not squared), the factors, and the path
   * that was taken. A sample of weight 0 is padding: it has norm and factor 0. One whose norm is no finite number has
   * factor 0. A weight other than 0 and 1 rejects at the read with `INVALID_VALUE` and its sample.
   */
  clipLinearFused(
    dy: Tensor<D>,
    offsets: Tensor<'u32' | 'i32'>,
    grad: Tensor<'f32'>,
    options: ClipLinearOptions,
  ): Outputs<{ norms: Tensor<'f32'>; factors: Tensor<'f32'> }> & { readonly path: ClipPath } {
    const op = 'clipLinearFused';
    const [gradients, ends] = [handleOf(op, 'dy', dy), handleOf(op, 'offsets', offsets)];
    const sum = handleOf(op, 'grad', grad);
    const known = ['maxNorm', 'rule', 'gamma', 'bias', 'weights', 'path'] as const;
    const { maxNorm, rule = 'flat', gamma, bias, weights, path } = arg.options(op, options, known);
    const bound = arg.number(op, 'maxNorm', maxNorm);
    arg.oneOf(op, 'rule', rule, CLIP_RULES);
    if (path !== undefined) arg.oneOf(op, 'path', path, CLIP_PATHS);
    const constant = arg.optionalNumber(op, 'gamma', gamma);
    const others = [optionalHandleOf(op, 'bias', bias), optionalHandleOf(op, 'weights', weights)] as const;
    let taken = path ?? 'fused';
    const outputs = this.#several(op, ['norms', 'factors'] as const, (handle) => {
      const [tensors, by] = handle.clipLinearFused(
        gradients,
        ends,
        sum,
        ...others,
        bound,
        rule,
        constant,
        path,
      );
      taken = by as ClipPath;
      return tensors;
    });
    return Object.defineProperty(outputs, 'path', { value: taken, enumerable: true }) as never;
  }

  /**
   * The factors that clip gradients with these squares of norms, `[groups, samples]`, `f32`, each rounded to the safe side
   * and the same on every device. A sample whose square is no finite number in some group has factor 0 in all of them.
   * `counts` is `[groups, 3]`, `u32`: how many samples took part, were left out for their norms, and are within the bound;
   * they are as private as the samples. A weight other than 0 and 1 rejects at the read with `INVALID_VALUE` and its
   * sample, a bound below 1e-18 with its group.
   */
  clipFactors(options: ClipOptions): Outputs<{ factors: Tensor<'f32'>; counts: Tensor<'u32'> }> {
    const op = 'clipFactors';
    const known = ['maxNorms', 'weights', 'rule', 'gamma'] as const;
    const { maxNorms, weights, rule = 'flat', gamma } = arg.options(op, options, known);
    const [bounds, counting] = [handleOf(op, 'maxNorms', maxNorms), optionalHandleOf(op, 'weights', weights)];
    arg.oneOf(op, 'rule', rule, CLIP_RULES);
    const constant = arg.optionalNumber(op, 'gamma', gamma);
    const names = ['factors', 'counts'] as const;
    return this.#several(op, names, (handle) => handle.clipFactors(bounds, counting, rule, constant));
  }

  /**
   * For each sample the sums of these columns, `[rows, n]`, or of their products with those of `b`: the gradients that
   * samples have for the scale of a norm (`dy.segmentProduct(offsets, { b: xhat })`), for its shift, and for any bias
   * (`dy.segmentProduct(offsets)`). `f32`, `bf16` or `f16`, `b` of the same type; the result is `[samples, n]`, `f32`.
   */
  segmentProduct(
    offsets: Tensor<'u32' | 'i32'>,
    options?: {
      /** What is multiplied by, of the same shape. @defaultValue nothing */
      b?: Tensor<D>;
    },
  ): Tensor<'f32'> {
    const op = 'segmentProduct';
    const ends = handleOf(op, 'offsets', offsets);
    const factor = optionalHandleOf(op, 'b', arg.options(op, options, ['b']).b);
    return this.#make(op, (handle) => handle.segmentProduct(factor, ends));
  }

  /**
   * Adds these rows, `[samples, n]`, `f32`, each times its factor, to `out`, `[n]`. A row of factor 0 adds nothing,
   * whatever it holds.
   */
  clippedSum(factors: Tensor<'f32'>, out: Tensor<'f32'>): this {
    const op = 'clippedSum';
    const [scales, sum] = [handleOf(op, 'factors', factors), handleOf(op, 'out', out)];
    return this.#change(op, (handle) => handle.clippedSum(scales, sum));
  }

  /**
   * Squares of the norms of the gradients that samples give an embedding table: these are the ids, `[rows]`, `u32` or
   * `i32`, and `dy`, `[rows, d]`, `f32`, `bf16` or `f16`, is the gradient of what they picked. Rows of one sample with the
   * same id are added up before they are squared. An id outside the vocabulary rejects at the read with `INVALID_VALUE`
   * and its row.
   */
  embeddingNorms(dy: Tensor, offsets: Tensor<'u32' | 'i32'>, options: EmbeddingOptions): Tensor<'f32'> {
    const op = 'embeddingNorms';
    const [gradients, ends] = [handleOf(op, 'dy', dy), handleOf(op, 'offsets', offsets)];
    const { vocabulary, paddingIdx } = arg.options(op, options, ['vocabulary', 'paddingIdx']);
    const rows = arg.number(op, 'vocabulary', vocabulary);
    const padding = arg.optionalNumber(op, 'paddingIdx', paddingIdx);
    return this.#make(op, (handle) => handle.embeddingNorms(gradients, ends, rows, padding));
  }

  /**
   * Adds the gradients that samples give an embedding table, each times its factor, to `grad`, `[vocabulary, d]`, `f32`;
   * ids, `dy` and `offsets` are as in {@link embeddingNorms}, `factors` is `[samples]`. A sample of factor 0 adds nothing,
   * whatever its rows hold.
   */
  clippedEmbeddingGrad(
    dy: Tensor,
    offsets: Tensor<'u32' | 'i32'>,
    factors: Tensor<'f32'>,
    grad: Tensor<'f32'>,
    options?: {
      /** A row of the table without a gradient. @defaultValue none */
      paddingIdx?: number;
    },
  ): this {
    const op = 'clippedEmbeddingGrad';
    const [gradients, ends] = [handleOf(op, 'dy', dy), handleOf(op, 'offsets', offsets)];
    const [scales, sum] = [handleOf(op, 'factors', factors), handleOf(op, 'grad', grad)];
    const { paddingIdx } = arg.options(op, options, ['paddingIdx']);
    const padding = arg.optionalNumber(op, 'paddingIdx', paddingIdx);
    return this.#change(op, (handle) => handle.clippedEmbeddingGrad(gradients, ends, scales, sum, padding));
  }

  /**
   * The inner products of the two gradients that samples give a table which is embedding and head, `[samples]`, `f32`:
   * the squared norm of their sum is that of each and twice this. These are the ids, `e` is the gradient of what they
   * picked and `h` what the head was given, `[rows, d]`; `dlogits` is `[rows, vocabulary]`, all of one type.
   */
  tiedNorms<E extends DType>(
    e: Tensor<E>,
    h: Tensor<E>,
    dlogits: Tensor<E>,
    offsets: Tensor<'u32' | 'i32'>,
  ): Tensor<'f32'> {
    const op = 'tiedNorms';
    const [embedded, hidden] = [handleOf(op, 'e', e), handleOf(op, 'h', h)];
    const [gradients, ends] = [handleOf(op, 'dlogits', dlogits), handleOf(op, 'offsets', offsets)];
    return this.#make(op, (handle) => handle.tiedNorms(embedded, hidden, gradients, ends));
  }

  /**
   * Adds Gaussian noise, in place: `this[i] = (this[i] + std · N(i)) · scale` for `f32`, where `N(i)` depends on
   * generator, key, step, tensor and `i` alone, and has the same bits on every device. Key, step and tensor must never
   * come together twice. A claim of privacy needs `chacha20` under a key that nobody knows, and more than this method
   * alone: clipped gradients, and an accountant.
   */
  addGaussianNoise(options: NoiseOptions): this {
    const op = 'addGaussianNoise';
    const known = ['generator', 'key', 'step', 'tensor', 'std', 'scale'] as const;
    const given = arg.options(op, options, known);
    const generator = arg.oneOf(op, 'generator', given.generator, NOISE_GENERATORS);
    const { key } = given;
    // What it is stays out of the message.
    if (!(key instanceof Uint8Array))
      throw arg.refused('INVALID_ARGUMENT', op, 'key', '32 bytes', typeof key);
    const step = arg.word(op, 'step', given.step);
    const numbers = [
      arg.number(op, 'tensor', given.tensor ?? 0),
      arg.number(op, 'std', given.std),
      arg.number(op, 'scale', given.scale ?? 1),
    ] as const;
    return this.#change(op, (handle) => handle.addGaussianNoise(generator, key, step, ...numbers));
  }

  /**
   * Adds these rows, `[samples, n]`, `f32`, each times its factor and rounded to multiples of `2^exponent`, to 64-bit
   * sums, exactly: `sums` is `[n, 2]`, `u32`, the low word and the high one of each. A row of factor 0 adds nothing. A
   * number of 2^31 steps and more rejects at the read of `sums` with `INVALID_VALUE` and its row.
   */
  gridSum(factors: Tensor<'f32'>, sums: Tensor<'u32'>, exponent: number): this {
    const op = 'gridSum';
    const [scales, totals] = [handleOf(op, 'factors', factors), handleOf(op, 'sums', sums)];
    const step = arg.number(op, 'exponent', exponent);
    return this.#change(op, (handle) => handle.gridSum(scales, totals, step));
  }

  /**
   * Columns of this matrix: `out[r, j] = this[r, index[j]]`. This is `[rows, columns]`, `f32`, `bf16` or `f16`; `index` is
   * `[k]`, `u32` or `i32`, ascending; the result `[rows, k]`. A number outside the columns, or not above the one before,
   * rejects at the read with `INVALID_VALUE` and its position. Exact on every device.
   */
  gatherColumns(index: Tensor<'u32' | 'i32'>): Tensor<D> {
    const numbers = handleOf('gatherColumns', 'index', index);
    return this.#make('gatherColumns', (handle) => handle.gatherColumns(numbers));
  }

  /**
   * Adds columns to some of those of this matrix, in place: `this[r, index[j]] += y[r, j]`, the gradient of
   * {@link gatherColumns}. `y` is `[rows, k]` of this type, `index` as there. Exact on every device.
   */
  scatterColumns(y: Tensor<D>, index: Tensor<'u32' | 'i32'>): this {
    const op = 'scatterColumns';
    const [columns, numbers] = [handleOf(op, 'y', y), handleOf(op, 'index', index)];
    return this.#change(op, (handle) => handle.scatterColumns(columns, numbers));
  }

  /**
   * The gradient of {@link activation} without bias and factors, `dy · f'(this)`: this is what the function was taken of,
   * `[rows, columns]`, and `dy` the gradient at its results, of this type.
   */
  activationGrad(kind: ActivationKind, dy: Tensor<D>): Tensor<D> {
    const op = 'activationGrad';
    arg.oneOf(op, 'kind', kind, ACTIVATION_KINDS);
    const gradient = handleOf(op, 'dy', dy);
    return this.#make(op, (handle) => handle.activationGrad(kind, gradient));
  }

  /**
   * The gradient of {@link norm} at these rows, `dx`, from that at its results, `dy`, of this type; and `dots[r]`, the inner
   * product of `dy[r]` with the normalised row, of which the sum is the gradient of a weight that is one number for all
   * columns. (That of a weight of its own for each column is `dy.segmentProduct(offsets, { b: x.norm(kind) })`.)
   */
  normGrad(
    kind: NormKind,
    dy: Tensor<D>,
    options?: {
      /** What was added to the mean of squares. @defaultValue 1e-5 */
      eps?: number;
      /** Factor of each column: `[columns]`, `f32`. @defaultValue none */
      weight?: Tensor<'f32'>;
    },
  ): Outputs<{ dx: Tensor<D>; dots: Tensor<'f32'> }> {
    const op = 'normGrad';
    arg.oneOf(op, 'kind', kind, NORM_KINDS);
    const gradient = handleOf(op, 'dy', dy);
    const { eps = 1e-5, weight } = arg.options(op, options, ['eps', 'weight']);
    arg.number(op, 'eps', eps);
    const factors = optionalHandleOf(op, 'weight', weight);
    return this.#several(op, ['dx', 'dots'], (handle) => handle.normGrad(gradient, kind, eps, factors));
  }

  /**
   * How heavy the tails of every row are: `m₄ / v² − 3`, with `v` the variance of the row, and `m₄` the mean of fourth powers,
   * of the numbers themselves or, if `centered`, of their distances from the mean. This is `[rows, columns]`, `f32`, `bf16`
   * or `f16`; the result `[rows]`. NaN for a row whose numbers are all equal, or not all finite.
   */
  kurtosis(options?: {
    /** Whether the mean is taken away from fourth powers too. @defaultValue false */
    centered?: boolean;
  }): Tensor<'f32'> {
    const { centered } = arg.options('kurtosis', options, ['centered']);
    const apart = arg.flag('kurtosis', 'centered', centered);
    return this.#make('kurtosis', (handle) => handle.kurtosis(apart));
  }

  /**
   * The orthonormal Walsh-Hadamard transform of consecutive blocks of every row, which spreads outliers over all of a block
   * and is its own inverse. This is `[rows, columns]`, `f32`, `bf16` or `f16`; `block` is a power of two up to 4096 that
   * divides the columns.
   */
  hadamard(options?: {
    /** Columns of a block. @defaultValue those of a row */
    block?: number;
  }): Tensor<D> {
    const { block } = arg.options('hadamard', options, ['block']);
    const columns = arg.optionalNumber('hadamard', 'block', block);
    return this.#make('hadamard', (handle) => handle.hadamard(columns));
  }

  /**
   * What is left of these rows when groups of columns are rounded to a few levels and back ("round to nearest"): symmetric,
   * `s = max |x| / (2^(bits−1) − 1)`, or asymmetric, `s = (max(0, x) − min(0, x)) / (2^bits − 1)`. This is `[rows, columns]`,
   * `f32`, `bf16` or `f16`. A group with a NaN or an infinity gives NaN. Exact on every device.
   */
  quantizeRtn(options?: QuantizeRtnOptions): Tensor<D> {
    const op = 'quantizeRtn';
    const known = ['bits', 'group', 'symmetric', 'clip'] as const;
    const { bits = 4, group, symmetric = true, clip = 1 } = arg.options(op, options, known);
    const levels = arg.number(op, 'bits', bits);
    const columns = arg.optionalNumber(op, 'group', group);
    const both = arg.flag(op, 'symmetric', symmetric);
    arg.number(op, 'clip', clip);
    return this.#make(op, (handle) => handle.quantizeRtn(levels, both, clip, columns));
  }

  /**
   * Single-scale normalisation (outlier-safe pre-training, arXiv 2506.19697): `γ · x / rms(x)` of every row, with one
   * number, `gamma`, `[1]`, for all columns. This is `[rows, columns]`, `f32`, `bf16` or `f16`.
   */
  ssNorm(gamma: Tensor<'f32'>, options?: SsNormOptions): Tensor<D> {
    const factor = handleOf('ssNorm', 'gamma', gamma);
    const scale = this.#scaleNorm('ssNorm', options);
    return this.#make('ssNorm', (handle) => handle.ssNorm(factor, ...scale));
  }

  /** The gradients of {@link ssNorm}, at these rows and at gamma, from that at its results, `dy`, of this type. */
  ssNormGrad(
    gamma: Tensor<'f32'>,
    dy: Tensor<D>,
    options?: SsNormOptions,
  ): Outputs<{ x: Tensor<D>; gamma: Tensor<'f32'> }> {
    const op = 'ssNormGrad';
    const [factor, gradient] = [handleOf(op, 'gamma', gamma), handleOf(op, 'dy', dy)];
    const scale = this.#scaleNorm(op, options);
    return this.#several(op, ['x', 'gamma'], (handle) => handle.ssNormGrad(factor, gradient, ...scale));
  }

  #scaleNorm(op: string, options: SsNormOptions | undefined): [eps: number, by: string] {
    const { eps = 1e-6, by = 'rms' } = arg.options<SsNormOptions>(op, options, ['eps', 'by']);
    return [arg.number(op, 'eps', eps), arg.oneOf(op, 'by', by, SCALE_NORMS)];
  }

  #losses(
    op: string,
    options: NllOptions | undefined,
  ): [vocab: number | undefined, softcap: number | undefined, bias: Native.TensorHandle | undefined] {
    const { vocab, softcap, bias } = arg.options(op, options, ['vocab', 'softcap', 'bias']);
    return [
      arg.optionalNumber(op, 'vocab', vocab),
      arg.optionalNumber(op, 'softcap', softcap),
      optionalHandleOf(op, 'bias', bias),
    ];
  }

  #make<E extends DType>(op: string, work: (handle: Native.TensorHandle) => Native.TensorHandle): Tensor<E> {
    const handle = this.handle(op, 'this');
    return new Tensor<E>(
      this.device,
      arg.call(() => work(handle)),
    );
  }

  #several<Names extends readonly string[], T extends Record<Names[number], Tensor>>(
    op: string,
    names: Names,
    work: (handle: Native.TensorHandle) => Native.TensorHandle[],
  ): Outputs<T> {
    const handle = this.handle(op, 'this');
    const tensors = arg.call(() => work(handle)).map((result) => new Tensor(this.device, result));
    const outputs = Object.fromEntries(names.map((name, i) => [name, tensors[i]]));
    const dispose = (): void => tensors.forEach((tensor) => tensor.dispose());
    return Object.defineProperty(outputs, Symbol.dispose, { value: dispose }) as unknown as Outputs<T>;
  }

  #change(op: string, work: (handle: Native.TensorHandle) => void): this {
    const handle = this.handle(op, 'this');
    arg.call(() => work(handle));
    return this;
  }

  async #read(op: string, work: (handle: Native.TensorHandle) => Promise<Uint8Array>): Promise<Uint8Array> {
    const handle = this.handle(op, 'this');
    try {
      return await work(handle);
    } catch (thrown) {
      throw fromNative(thrown);
    }
  }
}

/**
 * The handle of what should be a tensor.
 *
 * @internal
 */
export function handleOf(op: string, argument: string, value: unknown): Native.TensorHandle {
  if (value instanceof Tensor) return value.handle(op, argument);
  throw arg.refused('INVALID_ARGUMENT', op, argument, 'a tensor', value);
}

/**
 * What should be tensors by name; whether each of them is one, {@link handleOf} tells.
 *
 * @internal
 */
export function named(op: string, argument: string, value: unknown): Readonly<Record<string, Tensor>> {
  if (typeof value !== 'object' || value === null || value instanceof Tensor) {
    throw arg.refused('INVALID_ARGUMENT', op, argument, 'an object of tensors by name', value);
  }
  return value as Record<string, Tensor>;
}

/**
 * The handle of what should be a tensor where it is given.
 *
 * @internal
 */
export function optionalHandleOf(
  op: string,
  argument: string,
  value: unknown,
): Native.TensorHandle | undefined {
  return value === undefined ? undefined : handleOf(op, argument, value);
}
