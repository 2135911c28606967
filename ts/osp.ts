/** Parts of outlier-safe pre-training (OSP, arXiv 2506.19697). */

import type * as Native from '../bindings/node/index.js';
import * as arg from './args.js';
import { type Device, placeOf } from './device.js';
import { attempt } from './job.js';
import { native } from './native.js';
import { handleOf, Tensor } from './tensor.js';

/** What {@link embeddingProjection} makes. */
export interface EmbeddingProjectionOptions {
  /** Components of an embedding. */
  width: number;
  /** Decides the matrix; a whole number below 2^64. @defaultValue 0 */
  seed?: number | bigint;
}

/**
 * The learnable projection of embeddings at its start: an orthogonal matrix `[width, width]`, as a linear layer has it:
 * `h = e Pᵀ`. One stands behind the embedding and one before the head, and Muon trains both; afterwards
 * {@link mergeEmbeddingProjection} leaves no trace of them.
 */
export async function embeddingProjection(
  device: Device,
  options: EmbeddingProjectionOptions,
): Promise<Tensor<'f32'>> {
  const op = 'embeddingProjection';
  const given = arg.options<EmbeddingProjectionOptions>(op, options, ['width', 'seed']);
  const place = placeOf(op, device);
  const width = arg.number(op, 'width', given.width);
  const seed = arg.word(op, 'seed', given.seed ?? 0);
  const work = (): Promise<Native.TensorHandle> => native().embeddingProjection(place, width, seed);
  return new Tensor<'f32'>(device, await attempt(undefined, work));
}

/**
 * A table `[vocabulary, width]` that does what a table and its projection `[width, width]` of the same type did: `E Pᵀ` for
 * one behind an embedding, `H P` for one before a head.
 */
export function mergeEmbeddingProjection<D extends 'f32' | 'bf16'>(
  table: Tensor<D>,
  projection: Tensor<D>,
  stands: 'embedding' | 'head',
): Tensor<D> {
  const op = 'mergeEmbeddingProjection';
  const [from, turn] = [handleOf(op, 'table', table), handleOf(op, 'projection', projection)];
  const head = arg.oneOf(op, 'stands', stands, ['embedding', 'head']) === 'head';
  return new Tensor<D>(
    table.device,
    arg.call(() => from.mergeEmbeddingProjection(turn, head)),
  );
}

/**
 * The published measure of outliers: the mean over all tokens of `max(0, E[x⁴] / std⁴ − 3)`, of hidden states
 * `[tokens, width]`, of one layer or of several one after the other. NaN where the numbers of a token are all equal or not
 * all finite.
 *
 * The paper takes the states of whole sequences. The released script gives the model every token as a sequence of its own,
 * for which no state depends on another token: for numbers that compare with those, make the states so.
 */
export async function excessKurtosis(
  states: Tensor<'f32' | 'bf16' | 'f16'> | readonly Tensor<'f32' | 'bf16' | 'f16'>[],
): Promise<number> {
  const all = Array.isArray(states) ? (states as readonly Tensor[]) : [states as Tensor];
  const handles = all.map((tensor) => handleOf('excessKurtosis', 'states', tensor));
  return await attempt(undefined, () => native().excessKurtosis(handles));
}
