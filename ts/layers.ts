/** Options of the operations that make up the layers of a transformer. */

import type { DType } from './dtypes.js';
import type { Tensor } from './tensor.js';

/** What rows are brought to: a root mean square of 1, or a mean of 0 and a variance of 1. */
export type NormKind = 'rms' | 'layer';

/** @internal */
export const NORM_KINDS: readonly NormKind[] = ['rms', 'layer'];

/** How rows are normalised. */
export interface NormOptions<D extends DType = DType> {
  /** What is added to the mean of squares; at least 0. @defaultValue 1e-5 */
  eps?: number;
  /** Factor of each column: `[columns]`, `f32`. @defaultValue none */
  weight?: Tensor<'f32'>;
  /** What is added to each column: `[columns]`, `f32`. @defaultValue nothing */
  bias?: Tensor<'f32'>;
  /** Type of the result: `f32`, `bf16` or `f16`. @defaultValue that of the rows */
  dtype?: D;
}

/** The heads that {@link Tensor.rope} turns. */
export interface RopeOptions {
  /** Components of a head. */
  headDim: number;
  /** Whether pair `i` are the components `2i` and `2i + 1`, not `i` and `i + pairs`. @defaultValue false */
  interleaved?: boolean;
}

/** The heads that {@link Tensor.attention} works with. */
export interface AttentionOptions {
  /** Heads of the queries; a multiple of `kvHeads`. */
  heads: number;
  /** Heads of the keys and values. @defaultValue as many as of the queries */
  kvHeads?: number;
  /** Factor of the products of queries and keys. @defaultValue 1 / sqrt(components of a head) */
  scale?: number;
}

/** A function of single numbers: `x · Φ(x)`, its approximation by tanh, or `x / (1 + exp(−x))`. */
export type ActivationKind = 'gelu' | 'geluTanh' | 'silu';

/** @internal */
export const ACTIVATION_KINDS: readonly ActivationKind[] = ['gelu', 'geluTanh', 'silu'];

/** How {@link Tensor.quantizeRtn} rounds. */
export interface QuantizeRtnOptions {
  /** Bits of a level, 2 to 8. @defaultValue 4 */
  bits?: number;
  /** Columns of a group; divides the columns. @defaultValue those of a row */
  group?: number;
  /**
   * Whether levels are as many on both sides of 0, but for one, as for weights; else they reach from the least to the
   * greatest number of the group, as for activations. @defaultValue true
   */
  symmetric?: boolean;
  /** What the ends of a group are multiplied by, from 0.01 to 1. @defaultValue 1 */
  clip?: number;
}

/** How {@link Tensor.ssNorm} normalises. */
export interface SsNormOptions {
  /** What is added to the mean of squares; at least 0. @defaultValue 1e-6 */
  eps?: number;
  /**
   * What rows are divided by: their root mean square, as released models do, or their length, as the paper of
   * outlier-safe pre-training writes it. @defaultValue 'rms'
   */
  by?: 'rms' | 'length';
}

/** @internal */
export const SCALE_NORMS: readonly NonNullable<SsNormOptions['by']>[] = ['rms', 'length'];

/** What {@link Tensor.activation} does beside the function. */
export interface ActivationOptions<D extends DType = DType> {
  /** What is added to each column before: `[columns]`, `f32`. @defaultValue nothing */
  bias?: Tensor<'f32'>;
  /** Factors of the results, in the shape of the arguments. @defaultValue none */
  times?: Tensor<D>;
}
