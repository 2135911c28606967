/** Options of the operations that clip the gradients of samples. */

import type { Tensor } from './tensor.js';

/** How the norms of samples' gradients are found: see {@link Tensor.perSampleNorms}. */
export type NormsMethod = 'direct' | 'gram';

/** @internal */
export const NORMS_METHODS: readonly NormsMethod[] = ['direct', 'gram'];

/** What {@link Tensor.perSampleNorms} takes into account. */
export interface NormsOptions {
  /** Whether the layer has a bias. @defaultValue false */
  bias?: boolean;
  /**
   * `direct` makes each gradient, `2 · T · d · p` operations for `T` rows; `gram` multiplies rows with rows,
   * `T² · (d + p)`. @defaultValue the one of fewer operations for the mean `T`, of those that the device has
   */
  method?: NormsMethod;
}

/**
 * How the norm `n` of a sample's gradient becomes its factor, for a bound `C`: `flat` is `min(1, C / (n + 1e-6))`,
 * `automatic` is `C / (n + gamma)`, `unit` is `C / n`, and `threshold` is 1 where `n ≤ C` and else 0. Every factor is
 * rounded to the safe side, by a part in a million.
 */
export type ClipRule = 'flat' | 'automatic' | 'unit' | 'threshold';

/** @internal */
export const CLIP_RULES: readonly ClipRule[] = ['flat', 'automatic', 'unit', 'threshold'];

/** Whether each sample's gradient is made once, or once for its norm and once for the sum. */
export type ClipPath = 'fused' | 'two-phase';

/** @internal */
export const CLIP_PATHS: readonly ClipPath[] = ['fused', 'two-phase'];

/** What {@link Tensor.clipLinearFused} clips, and to what. */
export interface ClipLinearOptions {
  /** The bound of the norms; above 0. */
  maxNorm: number;
  /** How a norm becomes a factor. @defaultValue 'flat' */
  rule?: ClipRule;
  /** What `automatic` adds to a norm. @defaultValue 0.01 */
  gamma?: number;
  /** What the gradient of the bias is added to: `[p]`, `f32`. @defaultValue the layer has none */
  bias?: Tensor<'f32'>;
  /** 1 for each sample that counts, 0 for padding: `[samples]`, `f32`. @defaultValue all count */
  weights?: Tensor<'f32'>;
  /** @defaultValue the faster of those that the device has */
  path?: ClipPath;
}
