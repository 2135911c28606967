import type { Method } from './options.js';
import type { Rated } from './raters.js';

/** How much text. */
export interface Counts {
  documents: number;
  tokens: number;
  /** Bytes of UTF-8 text. */
  bytes: number;
}

/** Why a document is not among those kept. */
export type DropReason =
  | 'filtered'
  | 'quarantined'
  | 'nullText'
  | 'emptyText'
  | 'notANumber'
  | 'duplicateId'
  | 'belowThreshold'
  | 'noShare'
  | 'overBudget';

/** What was read and what became of it. The counts add up. */
export interface Tally {
  /** Everything in the input. */
  read: Counts;
  /** What has a score; for {@link fit}, what was learnt from. */
  scored: Counts;
  /** What was left out, by reason. */
  dropped: Partial<Record<DropReason, Counts>>;
}

/** How long a phase took. */
export interface Phase {
  phase: string;
  seconds: number;
}

/** One document, as an example of a good or a bad score. */
export interface Example {
  id: string;
  score: number;
  file: string;
  row: number;
  /** How its text begins. */
  text: string;
}

/** A model file that took part. */
export interface ModelUsed {
  role: string;
  path: string;
  /** SHA-256 of the file, or of the files of a transformer, in hexadecimal. */
  sha256: string;
}

/** How well target and pool can be told apart, on documents that the models did not see. */
export interface Discrimination {
  /**
   * The probability that a held-out target document scores better than a pool document: 0.5 is chance, 1 is
   * perfect.
   */
  auc: number;
  targetDocuments: number;
  poolDocuments: number;
}

/** What was learnt from the target and a sample of the pool. */
export interface Fitted {
  /** Order of both models, or of the longest n-grams of `dsir` and `classifier`. */
  order?: number;
  /** Share of the target's own model in the conditional one; absent without models. */
  weight?: number;
  /** Words of the shared vocabulary, or buckets of hashed n-grams. */
  vocabulary: number;
  target: Counts;
  pool: Counts;
  discrimination: Discrimination;
  /** What self-training of the classifier made of the pool's sample. */
  selfTrained?: {
    /** Rounds until no label changed, or as many as were asked for. */
    rounds: number;
    /** Documents labelled as the target is. */
    target: number;
    /** Documents labelled as not wanted. */
    other: number;
    /** Documents that were left out. */
    unsure: number;
  };
}

/** Shards of the input, and what was done about them. */
export interface ShardCounts {
  total: number;
  /** Done by this run. */
  done: number;
  /** Found done by an earlier run or by another worker. */
  resumed: number;
  /** Left to other workers and not done yet. */
  pending: number;
}

/** The result of {@link fit}. */
export interface FitSummary extends Tally {
  /** The version of this form. */
  schema: 1;
  output: string;
  /** SHA-256 of the model file, in hexadecimal. */
  sha256: string;
  order: number;
  normalizer: string;
  /** Words of the model, the three special ones included. */
  vocabulary: number;
  /** N-grams per order. */
  ngrams: number[];
  /** Discounts per order, for n-grams seen once, twice, and more often. */
  discounts: [number, number, number][];
  /** Parts of files that could not be read and were put aside; their documents are not in the counts. */
  damaged: number;
  /** Bytes of input as stored. */
  inputBytes: number;
  timings: Phase[];
}

/** The result of {@link perplexity}. */
export interface PerplexitySummary {
  /** The version of this form. */
  schema: 1;
  /** The model that was measured. */
  model: ModelUsed;
  /** Exactly what was predicted from what: two perplexities compare only if this is the same. */
  spec: ScoreSpec;
  /** Documents that have a text, empty ones included. */
  documents: number;
  /** Their tokens. */
  nTokens: number;
  /** Predictions in the sum. */
  nScored: number;
  /** Bytes of text, in UTF-8. */
  nBytes: number;
  /** The sum of negative log-likelihoods, in nats. */
  nllSum: number;
  /** `exp(nllSum / nScored)`: of the corpus as a whole, not the mean over documents. */
  perplexity: number;
  /** `nllSum / (nBytes · ln 2)`: what models with different tokenizers compare by. */
  bitsPerByte: number;
  timings: Phase[];
}

/** The result of {@link score}. */
export interface ScoreSummary extends Tally {
  /** The version of this form. */
  schema: 1;
  output: string;
  method: Method;
  /** Exactly what the scores mean. */
  spec: ScoreSpec;
  /** Whether every shard is done: false while other workers still have some. */
  complete: boolean;
  /** Parts of files that could not be read and were put aside; their documents are not in the counts. */
  damaged: number;
  /** Bytes of input as stored. */
  inputBytes: number;
  shards: ShardCounts;
  models: ModelUsed[];
  fitted?: Fitted;
  /** What the cache of tokens was good for, where there is one. Texts are counted once per tokenizer. */
  tokenCache?: {
    /** Where it is. */
    folder: string;
    /** Texts whose tokens were read from there. */
    read: number;
    /** Texts that were tokenised. */
    tokenised: number;
  };
  /** The percentiles of the scores that were asked for, once every shard is done (nearest rank). */
  percentiles?: { percent: number; score: number }[];
  /** What {@link rate} learnt. */
  rated?: Rated;
  /** The ten best documents. */
  best: Example[];
  /** The ten worst documents, the worst first. */
  worst: Example[];
  timings: Phase[];
}

/** How one group of a selection with quotas fared. Weights are in the unit of the budget. */
export interface GroupReport {
  /** The value of the column; `null` for documents without one. */
  group: string | null;
  /** All documents of the group. */
  pool: Counts;
  /** Documents that have a score on the right side of the threshold. */
  eligibleDocuments: number;
  /** Their weight. */
  eligible: number;
  /** The group's part of the budget. */
  budget: number;
  /** Weight of what is kept. */
  kept: number;
  /** What is missing because the group has no more. */
  short: number;
}

/** Exactly what a score means: saved with every column of scores. */
export interface ScoreSpec {
  name: Method;
  /** The version of the definition. */
  version: number;
  /** The good end. */
  keep: 'highest' | 'lowest';
  /** What stands before the first token: a begin marker as context, or nothing. */
  bos: 'context' | 'none' | 'skip-first';
  /** Whether an end marker is predicted. */
  eos: 'scored' | 'none';
  /** Predictions that are left out. */
  mask: 'none' | 'after-eos';
  /** How documents are cut. */
  windows:
    | { kind: 'document' }
    | { kind: 'truncated' | 'rolling' | 'packed' | 'filled'; tokens: number }
    | { kind: 'sliding'; tokens: number; stride: number };
  /** What the loss is divided by. */
  average: 'predictions' | 'bytes' | 'sum';
  /** How text became tokens; absent where tokens or log-probabilities came from outside. */
  normalizer?: { name: string; sha256?: string | null };
  /** What a transformer computed in; absent for other models. */
  dtype?: 'f32' | 'bf16';
  /** What is added to probabilities before the logarithm. */
  smoothing?: number;
  /** Where CCNet's head ends and its tail begins. */
  cutoffs?: { head: number; tail: number };
  /** Probabilities that are sure enough for a label. */
  labels?: { above: number; below: number };
  /** The column of ratings or embeddings. */
  column?: string;
  /** The lowest and the highest rating that there is. */
  range?: [number, number];
  /** What a combined score adds up. */
  parts?: {
    rater: string;
    weight: number;
    keep: 'highest' | 'lowest';
    mean: number;
    deviation: number;
  }[];
}

/** The result of {@link select}. */
export interface SelectSummary extends ScoreSummary {
  /** What was selected. */
  kept?: Counts;
  /** The score of the worst document that was kept; with a temperature, nothing is cut by score alone. */
  cut?: number;
  /** Per group, with quotas. */
  groups?: GroupReport[];
  /** Mean and standard deviation of the scores, with `standardize`. */
  moments?: [number, number];
  /** The order to train in, where one was asked for. */
  curriculum?: {
    /** The file in the output: `file`, `row` in it, `topic`, `n_tokens` and `score` of each document, in order. */
    file: string;
    documents: number;
    topics: number;
  };
}
