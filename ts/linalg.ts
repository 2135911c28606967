import type * as Native from '../bindings/node/index.js';
import * as arg from './args.js';
import { attempt } from './job.js';
import { native } from './native.js';
import { handleOf, optionalHandleOf, Tensor } from './tensor.js';

/** A matrix, `[rows, columns]`. */
export type Matrix = Tensor<'f32' | 'bf16'>;

/** Which side of a matrix `[rows, columns]` a basis is of: its rows' indices (`left`) or its columns' (`right`). */
export type MatrixSide = 'left' | 'right';

/** Options of {@link rangeFind}. */
export interface RangeFindOptions {
  /** Dimensions of the subspace, from 1 to the smaller side of the matrix. */
  rank: number;
  /** The side: the basis is `[rows, rank]` or `[columns, rank]`. @defaultValue 'left' */
  side?: MatrixSide;
  /** Random directions beyond the rank; those that capture least are dropped in the end. @defaultValue 8 */
  oversample?: number;
  /** Passes of the power iteration after the first, two products of the matrix each; at most 1,000. @defaultValue 1, or 0 from a start */
  power?: number;
  /** A basis to start from instead of random directions, such as that of an earlier gradient. @defaultValue none */
  start?: Tensor<'f32' | 'bf16'>;
  /** What random directions are drawn with; a whole number below 2^64. @defaultValue 0 */
  seed?: number | bigint;
}

/** Options of {@link leadingVectors}. */
export interface LeadingVectorsOptions {
  /** How many, at least 1; not more than the side has. */
  rank: number;
  /** @defaultValue 'left' */
  side?: MatrixSide;
}

/** Options of {@link newtonSchulz}. */
export interface NewtonSchulzOptions<D extends 'f32' | 'bf16' = 'bf16'> {
  /** Iterations, at most 1,000. @defaultValue 5 */
  steps?: number;
  /** Type of the products and of the result. @defaultValue 'bf16', as published */
  dtype?: D;
}

/** Options of {@link rotate}, {@link rotateBack} and {@link capturedEnergy}. */
export interface SideOptions {
  /** The side that the basis is of. @defaultValue 'left' */
  side?: MatrixSide;
}

const SIDES: readonly MatrixSide[] = ['left', 'right'];

function isRight(op: string, side: MatrixSide = 'left'): boolean {
  return arg.oneOf(op, 'side', side, SIDES) === 'right';
}

async function promised<D extends 'f32' | 'bf16'>(
  x: Matrix,
  work: () => Promise<Native.TensorHandle>,
): Promise<Tensor<D>> {
  return new Tensor<D>(x.device, await attempt(undefined, work));
}

/**
 * An orthonormal basis that captures nearly as much of the energy of a matrix, the sum of its squares, as any of `rank`
 * dimensions can (Halko, Martinsson and Tropp 2011, algorithm 4.4): approximate singular vectors, those of the greatest
 * singular values first. With a `start` it costs two products of the matrix. The greatest component of a vector is positive,
 * or its sign agrees with the start. Rejects with `INVALID_ARGUMENT`, `SHAPE_MISMATCH`, and with `INVALID_VALUE` for numbers
 * that are not finite.
 *
 * @example
 * ```ts
 * using basis = await rangeFind(gradient, { rank: 128, side: 'right' });
 * using next = await rangeFind(later, { rank: 128, side: 'right', start: basis });
 * ```
 */
export async function rangeFind(x: Matrix, options: RangeFindOptions): Promise<Tensor<'f32'>> {
  const op = 'rangeFind';
  const known = ['rank', 'side', 'oversample', 'power', 'start', 'seed'] as const;
  const given = arg.options<RangeFindOptions>(op, options, known);
  const [handle, rank, right] = [
    handleOf(op, 'x', x),
    arg.number(op, 'rank', given.rank),
    isRight(op, given.side),
  ];
  const oversample = arg.optionalNumber(op, 'oversample', given.oversample);
  const power = arg.optionalNumber(op, 'power', given.power);
  const start = optionalHandleOf(op, 'start', given.start);
  const seed = arg.word(op, 'seed', given.seed ?? 0);
  return promised(x, () => native().rangeFind(handle, rank, right, oversample, power, start, seed));
}

/**
 * The leading singular vectors of a matrix by an eigendecomposition in `f64` on the host, as exact as `f32` holds them, and
 * slow: `[rows, rank]` or `[columns, rank]`. The component of greatest magnitude of each is positive.
 */
export async function leadingVectors(x: Matrix, options: LeadingVectorsOptions): Promise<Tensor<'f32'>> {
  const op = 'leadingVectors';
  const given = arg.options<LeadingVectorsOptions>(op, options, ['rank', 'side']);
  const [handle, rank] = [handleOf(op, 'x', x), arg.number(op, 'rank', given.rank)];
  const right = isRight(op, given.side);
  return promised(x, () => native().leadingVectors(handle, rank, right));
}

/**
 * An orthonormal basis of the columns of a matrix that has not more columns than rows (CholeskyQR2, Yamamoto et al. 2015;
 * Householder's QR where columns depend on each other): `‖QᵀQ − I‖` is at most 1e-5. Rejects with `SHAPE_MISMATCH`, and with
 * `INVALID_VALUE` for numbers that are not finite.
 */
export async function orthonormalize(x: Matrix): Promise<Tensor<'f32'>> {
  const handle = handleOf('orthonormalize', 'x', x);
  return promised(x, () => native().orthonormalize(handle));
}

/**
 * Nearly the orthogonal factor `UVᵀ` of the singular value decomposition, by the quintic iteration of Muon (Jordan et al.
 * 2024): singular values above 0.003 of the norm come to lie in 0.68 to 1.21. A matrix of zeros gives zeros.
 */
export async function newtonSchulz<D extends 'f32' | 'bf16' = 'bf16'>(
  x: Matrix,
  options?: NewtonSchulzOptions<D>,
): Promise<Tensor<D>> {
  const op = 'newtonSchulz';
  const { steps = 5, dtype = 'bf16' } = arg.options(op, options, ['steps', 'dtype']);
  const [handle, times] = [handleOf(op, 'x', x), arg.number(op, 'steps', steps)];
  const type = arg.oneOf(op, 'dtype', dtype, ['f32', 'bf16']);
  return promised(x, () => native().newtonSchulz(handle, times, type));
}

/** The share, from 0 to 1, of the sum of squares of a matrix that lies in the span of an orthonormal basis; 1 of zeros. */
export async function capturedEnergy(
  x: Matrix,
  basis: Tensor<'f32' | 'bf16'>,
  options?: SideOptions,
): Promise<number> {
  const op = 'capturedEnergy';
  const right = isRight(op, arg.options<SideOptions>(op, options, ['side']).side);
  const [of, columns] = [handleOf(op, 'x', x), handleOf(op, 'basis', basis)];
  return await attempt(undefined, () => native().capturedEnergy(of, columns, right));
}

/**
 * A matrix in the coordinates of an orthonormal basis `Q`: `xQ`, `[rows, rank]`, of the right side, or `xᵀQ`,
 * `[columns, rank]`, of the left one. With a whole basis nothing is lost, as in Conda; with less it is a projection, as in
 * GaLore.
 */
export function rotate(x: Matrix, basis: Tensor<'f32' | 'bf16'>, options?: SideOptions): Tensor<'f32'> {
  return turned('rotate', x, basis, options, false);
}

/** What {@link rotate} gave, back in the space of the matrix: `xQᵀ` of the right side, or `Qxᵀ` of the left one. */
export function rotateBack(x: Matrix, basis: Tensor<'f32' | 'bf16'>, options?: SideOptions): Tensor<'f32'> {
  return turned('rotateBack', x, basis, options, true);
}

function turned(
  op: string,
  x: Matrix,
  basis: Matrix,
  options: SideOptions | undefined,
  back: boolean,
): Tensor<'f32'> {
  const right = isRight(op, arg.options<SideOptions>(op, options, ['side']).side);
  const [of, columns] = [handleOf(op, 'x', x), handleOf(op, 'basis', basis)];
  return new Tensor<'f32'>(
    x.device,
    arg.call(() => native().rotate(of, columns, right, back)),
  );
}
