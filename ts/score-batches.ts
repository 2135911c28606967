import * as arg from './args.js';
import { type ArrowInput, toIpc } from './arrow.js';
import { Batch } from './batches.js';
import { Device, type DeviceName, openDevice } from './device.js';
import { attempt } from './job.js';
import { LanguageModel } from './language-model.js';
import { native } from './native.js';
import type { Method, TransformerOptions } from './options.js';

/**
 * What {@link scoreBatches} takes. The input is one of four: text or token ids, which need models, or the logits or
 * per-token log-probabilities of one or two models that ran elsewhere.
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
  /**
   * The columns of logits, with {@link targets}: for every row the logits of its tokens, float16 or float32, each token's
   * in a (fixed-size) list of its own, or all of a row's in one list. One, or two in the order prior, conditional.
   */
  logits?: string | readonly [string] | readonly [string, string];
  /** Beside logits, the column of the tokens that they predict: lists of int32 or uint32, one for each token. */
  targets?: string;
  /** Beside logits, how many of them are of words; those behind are padding. @defaultValue all */
  vocab?: number;
  /** Beside logits, `c` of the cap `c · tanh(z / c)` that the models put on them. @defaultValue none */
  softcap?: number;
  /**
   * Where the losses of logits, and the sums of documents, are computed, in 32-bit floats: an open device, or the name
   * of one that is opened for this iteration. Transformers that are named by path are put there. n-gram models run on
   * the processor and take none; loaded models have theirs.
   *
   * @defaultValue 'cpu' for logits; 'auto' for transformers; for log-probabilities, none: sums in 64-bit floats
   */
  device?: Device | DeviceName;
  /**
   * One model: the path of an n-gram model or of a transformer (`ngram:` or `lm:` before the path says which where the
   * path does not), or a transformer that is loaded.
   */
  model?: string | LanguageModel;
  /** The general model of a method that compares two. */
  prior?: string | LanguageModel;
  /** The target's model of a method that compares two. */
  conditional?: string | LanguageModel;
  /** How transformers read and score; `dtype` and `batchTokens` only for those named by path. */
  transformer?: Omit<TransformerOptions, 'device'>;
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
  const { signal, model, prior, conditional, normalizer, transformer, logProbs, logits, device, ...rest } =
    options;
  signal?.throwIfAborted();
  const names = (columns: string | readonly string[] | undefined): readonly string[] | undefined =>
    typeof columns === 'string' ? [columns] : columns;
  const columns = { logProbs: names(logProbs), logits: names(logits) };
  arg.options('scoreBatches', transformer, ['dtype', 'recipe', 'window', 'stride', 'batchTokens']);
  const models = { model, prior, conditional };
  const loaded = Object.entries(models).map(([name, value]) =>
    value instanceof LanguageModel ? value.handle('scoreBatches', name) : null,
  );
  const paths = Object.fromEntries(
    Object.entries(models).filter(([, value]) => !(value instanceof LanguageModel)),
  );
  const addon = native();
  const cancel = new addon.CancelHandle();
  const stop = (): void => cancel.cancel();
  signal?.addEventListener('abort', stop, { once: true });
  const name = device ?? (logits === undefined ? undefined : 'cpu');
  let opened: Device | undefined;
  try {
    if (name !== undefined && !(name instanceof Device)) {
      opened = await openDevice({ device: name, ...(signal && { signal }) });
    }
    const place = opened ?? (name as Device | undefined);
    const handle = place?.handle('scoreBatches');
    const scorer = await attempt(
      signal,
      () =>
        new addon.BatchScorer(
          arg.json('scoreBatches', { ...rest, ...columns }),
          arg.json('scoreBatches', { ...paths, normalizer, transformer }),
          loaded,
          cancel,
          handle,
        ),
    );
    for await (const input of source) {
      const ipc = await toIpc(input);
      yield new Batch(await attempt(signal, () => scorer.score(ipc)));
    }
  } finally {
    signal?.removeEventListener('abort', stop);
    await opened?.dispose();
  }
}
