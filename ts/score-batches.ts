import { type ArrowInput, toIpc } from './arrow.js';
import { Batch } from './batches.js';
import { attempt } from './job.js';
import { native } from './native.js';
import type { Method } from './options.js';

/**
 * What {@link scoreBatches} takes. The input is one of three: text or token ids, which need models, or the per-token
 * log-probabilities of one or two models that ran elsewhere.
 */
export interface ScoreBatchesOptions {
  /** The column of text to score. */
  text?: string;
  /** The column of token ids to score: lists of int32 or uint32, as the model numbers its words. */
  tokens?: string;
  /**
   * The columns of per-token log-probabilities: lists of float32 or float64. One, or two in the order prior,
   * conditional. A first token without a context is null or left out.
   */
  logProbs?: string | readonly [string] | readonly [string, string];
  /** The base of the log-probabilities. @defaultValue 'e' */
  logBase?: 'e' | '2' | '10';
  /** One model: a path, or `ngram:` and a path. */
  model?: string;
  /** The general model of a method that compares two. */
  prior?: string;
  /** The target's model of a method that compares two. */
  conditional?: string;
  /** How text becomes tokens, where the model file does not say. */
  normalizer?: string;
  /** How to score. @defaultValue 'perplexity' of one model, 'loss-reduction' of two */
  method?: Method;
  /** The column from which bytes are counted, beside token ids or log-probabilities: text, or a number. */
  bytes?: string;
  /** Whether the columns of the input stay in the result. @defaultValue true */
  keepColumns?: boolean;
  /** Stops between two batches or in the middle of one. The iteration then rejects with `signal.reason`. */
  signal?: AbortSignal;
}

/**
 * Scores Arrow data in memory, batch by batch, for pipelines that have no files: what comes out has the rows that went
 * in, with the columns `n_tokens`, `n_scored`, `n_bytes`, the sums of negative log-likelihoods and `score`.
 *
 * The next input is asked for when the next output is, so a slow consumer slows the producer down.
 *
 * @example
 * ```ts
 * for await (const batch of scoreBatches(tables, { text: 'body', model: 'general.gml' })) {
 *   console.log((await batch.toTable()).getChild('score')?.toArray());
 * }
 * ```
 */
export async function* scoreBatches(
  source: Iterable<ArrowInput> | AsyncIterable<ArrowInput>,
  options: ScoreBatchesOptions,
): AsyncGenerator<Batch, void, undefined> {
  const { signal, model, prior, conditional, normalizer, logProbs, ...rest } = options;
  signal?.throwIfAborted();
  const columns = typeof logProbs === 'string' ? [logProbs] : logProbs;
  const addon = native();
  const cancel = new addon.CancelHandle();
  const stop = (): void => cancel.cancel();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const scorer = await attempt(
      signal,
      () =>
        new addon.BatchScorer(
          JSON.stringify({ ...rest, logProbs: columns }),
          JSON.stringify({ model, prior, conditional, normalizer }),
          cancel,
        ),
    );
    for await (const input of source) {
      const ipc = await toIpc(input);
      yield new Batch(await attempt(signal, () => scorer.score(ipc)));
    }
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
