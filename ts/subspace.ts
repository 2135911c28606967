import type * as Native from '../bindings/node/index.js';
import * as arg from './args.js';
import { type Device, placeOf } from './device.js';
import { attempt } from './job.js';
import { native } from './native.js';
import { handleOf, optionalHandleOf, Tensor } from './tensor.js';

/** The types of activations. */
export type ActivationType = 'f32' | 'bf16' | 'f16';

/** What a boundary is made for. */
export interface SubspaceOptions<D extends ActivationType = ActivationType> {
  /** Type of the activations. @defaultValue 'f32' */
  dtype?: D;
  /**
   * The anchor: the table whose rows at the tokens' ids are subtracted before and added after; `[vocabulary, width]`, copied.
   * Both ends have the same. @defaultValue nothing is subtracted
   */
  anchor?: Tensor<ActivationType>;
}

/** A basis that is drawn. */
export interface RandomSubspaceOptions<D extends ActivationType = ActivationType> extends SubspaceOptions<D> {
  /** Components of an activation, d. */
  width: number;
  /** Numbers that are sent of it, k. */
  rank: number;
  /** Both ends that give the same have the same bits; a whole number below 2^64. @defaultValue 0 */
  seed?: number | bigint;
}

/**
 * The boundary of two pipeline stages on a thin link: activations and their gradients cross it as coordinates in
 * a subspace with the orthonormal basis `U`, `[width, rank]`, `width / rank` times fewer numbers each way (subspace networks,
 * arXiv 2506.01260; between replicas that train by {@link SparseLoCo}, arXiv 2601.02360).
 *
 * | stage | forward | backward |
 * |---|---|---|
 * | sender | {@link project}: `X̃ = (X − X₀) U` | {@link expandGradient}: `G̃ Uᵀ` |
 * | receiver | {@link expand}: `X̂ = X̃ Uᵀ + X₀` | {@link projectGradient}: `G̃ = G U` |
 *
 * `X₀` are the anchor's rows at the tokens' ids. Operations enqueue and throw as those of a {@link Tensor} do.
 *
 * @example
 * ```ts
 * using boundary = await Subspace.random(dev, { width: 4096, rank: 512, seed: 7, anchor });
 * using sent = boundary.project(activations, ids); // [tokens, 512]
 * ```
 */
export class Subspace<D extends ActivationType = ActivationType> implements Disposable {
  /** Where it computes. */
  readonly device: Device;
  readonly #handle: Native.SubspaceHandle;
  #stepping = false;
  #disposed = false;

  private constructor(device: Device, handle: Native.SubspaceHandle) {
    this.device = device;
    this.#handle = handle;
  }

  /**
   * A basis of the span of random vectors, which depends on width, rank and seed alone, to the bit, on every machine. Rejects
   * with `INVALID_ARGUMENT` unless `rank` is 1 to `width`.
   */
  static async random<D extends ActivationType = 'f32'>(
    device: Device,
    options: RandomSubspaceOptions<D>,
  ): Promise<Subspace<D>> {
    const op = 'Subspace.random';
    const known = ['width', 'rank', 'seed', 'dtype', 'anchor'] as const;
    const given = arg.options<RandomSubspaceOptions<D>>(op, options, known);
    const place = placeOf(op, device);
    const [width, rank] = [arg.number(op, 'width', given.width), arg.number(op, 'rank', given.rank)];
    const seed = arg.word(op, 'seed', given.seed ?? 0);
    const [dtype, anchor] = shared(op, given);
    const work = (): Promise<Native.SubspaceHandle> =>
      native().randomSubspace(place, width, rank, seed, dtype, anchor);
    return new Subspace<D>(device, await attempt(undefined, work));
  }

  /**
   * A basis of the span of the columns of a matrix, `[width, rank]`. Columns that are orthonormal already stay as they are to
   * the bit, so that a basis that was saved comes back. Rejects with `INVALID_VALUE` for a matrix that is not of full rank.
   */
  static async spanned<D extends ActivationType = 'f32'>(
    matrix: Tensor<'f32'>,
    options?: SubspaceOptions<D>,
  ): Promise<Subspace<D>> {
    const op = 'Subspace.spanned';
    const given = arg.options<SubspaceOptions<D>>(op, options, ['dtype', 'anchor']);
    const columns = handleOf(op, 'matrix', matrix);
    const [dtype, anchor] = shared(op, given);
    const work = (): Promise<Native.SubspaceHandle> => native().spannedSubspace(columns, dtype, anchor);
    return new Subspace<D>(matrix.device, await attempt(undefined, work));
  }

  /** Whether it, or its device, was disposed of. */
  get disposed(): boolean {
    return this.#disposed || this.device.disposed;
  }

  /** A copy of the basis, `[width, rank]`. */
  basis(): Tensor<'f32'> {
    return this.#make('basis', (handle) => handle.basis());
  }

  /** A copy of the anchor's table. */
  anchor(): Tensor<ActivationType> {
    return this.#make('anchor', (handle) => handle.anchor());
  }

  /**
   * What is sent of activations `[tokens, width]`: `[tokens, rank]` of the same type. With an anchor the ids of the tokens
   * are needed; one outside its table rejects at the read with `INVALID_VALUE` and its row.
   */
  project(x: Tensor<D>, ids?: Tensor<'u32' | 'i32'>): Tensor<D> {
    const [from, rows] = [handleOf('project', 'x', x), optionalHandleOf('project', 'ids', ids)];
    return this.#make('project', (handle) => handle.project(from, rows));
  }

  /** What the receiver makes of it: `[tokens, width]`. */
  expand(sent: Tensor<D>, ids?: Tensor<'u32' | 'i32'>): Tensor<D> {
    const [from, rows] = [handleOf('expand', 'sent', sent), optionalHandleOf('expand', 'ids', ids)];
    return this.#make('expand', (handle) => handle.expand(from, rows));
  }

  /** What is sent back of the gradient at {@link expand}: `[tokens, rank]`. */
  projectGradient(gradient: Tensor<D>): Tensor<D> {
    const from = handleOf('projectGradient', 'gradient', gradient);
    return this.#make('projectGradient', (handle) => handle.projectGradient(from));
  }

  /** What the sender makes of it, the gradient at its activations: `[tokens, width]`. */
  expandGradient(sent: Tensor<D>): Tensor<D> {
    const from = handleOf('expandGradient', 'sent', sent);
    return this.#make('expandGradient', (handle) => handle.expandGradient(from));
  }

  /** The sender's part of the gradient at the basis, `(X − X₀)ᵀ G̃`, of what it sent and what was sent back. */
  senderGradient(x: Tensor<D>, returned: Tensor<D>, ids?: Tensor<'u32' | 'i32'>): Tensor<'f32'> {
    const op = 'senderGradient';
    const [from, back] = [handleOf(op, 'x', x), handleOf(op, 'returned', returned)];
    const rows = optionalHandleOf(op, 'ids', ids);
    return this.#make(op, (handle) => handle.senderGradient(from, back, rows));
  }

  /** The receiver's part, `Gᵀ X̃`, of the gradient at {@link expand} and what it had been sent. */
  receiverGradient(gradient: Tensor<D>, sent: Tensor<D>): Tensor<'f32'> {
    const op = 'receiverGradient';
    const [from, to] = [handleOf(op, 'gradient', gradient), handleOf(op, 'sent', sent)];
    return this.#make(op, (handle) => handle.receiverGradient(from, to));
  }

  /**
   * A step of the basis against the sum of both parts of its gradient, on the manifold of orthonormal matrices; ends that hold
   * the same basis and give the same sum have the same bits after it. In double precision on one core: about
   * `8 · width · rank²` operations. Until it is settled everything else throws.
   */
  async step(gradient: Tensor<'f32'>, options: { lr: number }): Promise<void> {
    const { lr } = arg.options<{ lr: number }>('step', options, ['lr']);
    const rate = arg.number('step', 'lr', lr);
    const from = handleOf('step', 'gradient', gradient);
    const handle = this.#use('step');
    this.#stepping = true;
    try {
      await attempt(undefined, () => handle.step(from, rate));
    } finally {
      this.#stepping = false;
    }
  }

  /**
   * After an outer step, which moves embeddings T (`[vocabulary, width]`) out of the subspace: `T⊥ ← T⊥ + T − T U Uᵀ` in the
   * anchor, which must be `f32`, and `T ← T U Uᵀ` in place. Their sum, which the model computes with, stays what it was.
   */
  adapt(embeddings: Tensor<'f32'>): void {
    const table = handleOf('adapt', 'embeddings', embeddings);
    const handle = this.#use('adapt');
    arg.call(() => handle.adapt(table));
  }

  /** Releases its memory, once the work that was enqueued is done with it. Idempotent. */
  dispose(): void {
    this.#disposed = true;
    this.#handle.dispose();
  }

  /** {@link dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #make<E extends ActivationType>(
    op: string,
    work: (handle: Native.SubspaceHandle) => Native.TensorHandle,
  ): Tensor<E> {
    const handle = this.#use(op);
    return new Tensor<E>(
      this.device,
      arg.call(() => work(handle)),
    );
  }

  #use(op: string): Native.SubspaceHandle {
    if (this.#disposed) throw arg.disposed(op, 'subspace', 'this');
    if (this.device.disposed) throw arg.disposed(op, 'device', 'this');
    if (this.#stepping) {
      throw arg.refused(
        'INVALID_ARGUMENT',
        op,
        'this',
        'a subspace that is not taking a step',
        'one that is',
      );
    }
    return this.#handle;
  }
}

/** The options that both kinds have. */
function shared(
  op: string,
  { dtype = 'f32', anchor }: Partial<SubspaceOptions>,
): [dtype: string, anchor: Native.TensorHandle | undefined] {
  return [arg.oneOf(op, 'dtype', dtype, ['f32', 'bf16', 'f16']), optionalHandleOf(op, 'anchor', anchor)];
}
