/** Scores from judgements of pairs, and one score of many. */

import { Job, run } from './job.js';
import type { OnError, RunOptions, Source } from './options.js';
import type { Example, Phase, ScoreSummary, ShardCounts, Tally } from './summaries.js';

/** What {@link rate} takes. */
export interface RateOptions extends RunOptions {
  /**
   * A file of JSON lines, one judgement each: `{"a": "doc-1", "b": "doc-2", "p": 0.8}`, where `p` is how probable it
   * is that `a` is the better one; or `"better": "a"`, `"b"` or `"tie"`. Both ids are of the pool.
   */
  pairs: string;
  /** The documents to rate, those of the pairs among them. */
  pool: Source;
  /** The directory or URL for the score files. */
  output: string;
  /** A column of embeddings (lists of numbers) to learn from, instead of the words of the text. */
  embedding?: string;
  /** How text becomes tokens. @defaultValue 'unicode-words/1' */
  normalizer?: string;
  /** Length of the longest n-grams, 1 to 8. @defaultValue 2 */
  order?: number;
  /** The penalty of the weights. @defaultValue of 0.001 to 10 the one with the lowest loss on pairs held out */
  l2?: number;
  /** Judgements closer to one half than this are left out, 0 to 0.5. @defaultValue 0 */
  minConfidence?: number;
  /**
   * What becomes of pairs that are judged both ways: learnt from, which pulls towards a tie; left out; or an error
   * that names both lines. They are reported in any case. @defaultValue 'keep'
   */
  contradictions?: 'keep' | 'drop' | 'fail';
  /** `i/n`, i from 0 to n − 1: rate only this share of the shards. The shares meet in `output`. */
  worker?: string;
  /** Start over instead of resuming what is in `output`. @defaultValue false */
  fresh?: boolean;
  /** Threads. @defaultValue all that the process may use */
  threads?: number;
  /** What to do with what cannot be read. @defaultValue 'fail' */
  onError?: OnError;
  /** Seed of hashes, folds and order. @defaultValue 0 */
  seed?: number;
}

/** Two documents that were judged both ways. */
export interface Contradicted {
  a: string;
  b: string;
  /** Lines of the file, from 0, that prefer `a`. */
  forA: number[];
  /** Lines that prefer `b`. */
  forB: number[];
}

/** What was learnt from judgements of pairs. */
export interface Rated {
  /** Judgements that were learnt from. */
  judgements: number;
  /** Judgements that were left out. */
  leftOut: number;
  /** Documents that were judged. */
  documents: number;
  /** Pairs that were judged both ways. */
  contradicted: number;
  /** The first ten of them. */
  contradictions?: Contradicted[];
  l2: number;
  /** Every penalty tried, with its loss on pairs held out, in nats a pair. */
  tried?: [number, number][];
  /** What margins were multiplied with so that differences of scores are log-odds of preference. */
  slope: number;
  /** On pairs held out; absent where there are too few. */
  heldOut?: {
    pairs: number;
    /** Share of them whose better document has the higher score. */
    accuracy: number;
    /** In nats a pair; 0.693 is chance. */
    loss: number;
    /** Whether none of their documents was in a pair that was learnt from. */
    unseenDocuments: boolean;
  };
}

/**
 * Learns a rating from judgements of pairs and gives it to every document of a pool, in the files of {@link score}:
 * Bradley and Terry's model, on TF-IDF-weighted hashed n-grams or on embeddings (as QuRating fits its raters). The
 * difference of two scores is the log-odds that one document is better than the other.
 *
 * @example
 * ```ts
 * const { rated } = await rate({ pairs: 'pairs.jsonl', pool: 'pool/', output: 'scores/' });
 * await select({ pool: 'pool/', scores: 'scores/', temperature: 1, standardize: true, budget: '5%', output: 'out/' });
 * ```
 */
export function rate(options: RateOptions): Job<ScoreSummary> {
  return new Job(
    run((addon) => addon.rate, options),
    options.output,
    options.signal,
  );
}

/** What {@link combine} takes. One of `runs`, `weights` and `sample` is given. */
export interface CombineOptions extends RunOptions {
  /**
   * The scores, all of one pool: a directory whose subdirectories are outputs of {@link score} or {@link rate}, named
   * after the raters, or the output of each rater by its name.
   */
  scores: string | Readonly<Record<string, string>>;
  /** A CSV file of training runs: a column for the weight of each rater (they sum to one), and columns of losses. */
  runs?: string;
  /** The loss to lower: its column. @defaultValue the only one */
  loss?: string;
  /** Weights by rater; a rater without one has none. */
  weights?: Readonly<Record<string, number>>;
  /** Only draw so many random weights to make runs with, and write them to `output` as CSV. */
  sample?: number;
  /** The directory or URL for the score files; with `sample`, the CSV file. */
  output: string;
  /** Start over instead of resuming what is in `output`. @defaultValue false */
  fresh?: boolean;
  /** Threads. @defaultValue all that the process may use */
  threads?: number;
  /** Seed of all draws. @defaultValue 0 */
  seed?: number;
}

/** A number with what fits to bootstrap samples of the runs say of it. */
export interface Estimate {
  value: number;
  sd: number;
  /** The 5% quantile. */
  low: number;
  /** The 95% quantile. */
  high: number;
}

/** One of the scores that were combined. */
export interface RaterReport {
  rater: string;
  scores: string;
  method: string;
  /** Documents with such a score. */
  documents: number;
  mean: number;
  deviation: number;
  /** What it counts in the sum. */
  weight?: number;
}

/** The result of {@link combine}. */
export interface CombineSummary extends Tally {
  /** The version of this form. */
  schema: 1;
  output: string;
  raters: RaterReport[];
  /** Weights that were drawn. */
  drawn?: number;
  /** How the regression of the loss on the weights does: `heldOut` on runs that it did not see. */
  fit?: {
    runs: number;
    heldOut?: { spearman: number; pearson: number; rmse: number; bias: number; r2: number } | null;
    measured: number[];
    predicted: number[];
  };
  /** The weights with the lowest predicted loss. */
  optimum?: {
    domains: { domain: string; prior: number; weight: Estimate; flatness: number; extrapolated: boolean }[];
    predicted: Estimate;
    atPrior: Estimate;
    /** Equal weights minus the optimum, in the unit of the loss; better for sure where `low` is above 0. */
    gain: Estimate;
    admissible: number;
  };
  shards: ShardCounts;
  /** The ten best documents; their text is not known here. */
  best: Example[];
  worst: Example[];
  timings: Phase[];
}

/**
 * Makes one score of several, by weights that are given or that training runs say lower a loss most (Meta-rater): a
 * regression of the loss on the weights, and the weights with the lowest prediction. Each score counts by its distance
 * from its mean over the pool in standard deviations, turned round where low is good.
 *
 * @example
 * ```ts
 * await combine({ scores: 'scores/', sample: 256, output: 'weights.csv' }); // then train on a selection by each row
 * const { optimum } = await combine({ scores: 'scores/', runs: 'runs.csv', output: 'combined/' });
 * ```
 */
export function combine(options: CombineOptions): Job<CombineSummary> {
  return new Job(
    run((addon) => addon.combine, options),
    options.output,
    options.signal,
  );
}
