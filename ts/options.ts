import type { DeviceName } from './device.js';

/** How a document is scored. The sign is always such that the summary's `best` documents are the wanted ones. */
export type Method =
  | 'perplexity'
  | 'bits-per-byte'
  | 'loss-reduction'
  | 'moore-lewis'
  | 'difference'
  | 'ccnet'
  | 'dsir'
  | 'classifier'
  | 'bradley-terry'
  | 'rating'
  | 'combined';

/** From which probability on the classifier labels a document. */
export interface Labels {
  /** Documents of at least this probability are labelled `target`. @defaultValue 0.9 */
  above?: number;
  /** Documents of at most this probability are labelled `other`. @defaultValue 0.1 */
  below?: number;
}

/** Options of learning from a `target`; all but the first are of `method: 'classifier'`. */
export interface LearningOptions {
  /**
   * How much text of the pool to learn from: documents drawn by hash, and all of them when it is more than there are.
   * It is held in memory meanwhile; the classifier keeps counted features, in a temporary file where they do not fit
   * into `memory`. The summary says how much text it was (`fitted.pool`). @defaultValue '32MiB'
   */
  poolSample?: number | string;
  /**
   * The penalty λ of `λ/2 |w|² + Σ loss`, both classes weighing the same: `1/C` of scikit-learn. @defaultValue 1
   */
  l2?: number;
  /**
   * Rounds of self-training: documents of the pool's sample of which the classifier is sure, by probabilities of
   * models that did not see them, get that label and are learnt from. @defaultValue 0: all of the sample counts as
   * what is not wanted
   */
  rounds?: number;
  /** Adds a column `label` to the scores; and which probabilities are sure. @defaultValue no labels; 0.9 and 0.1 */
  labels?: Labels;
}

/**
 * Where documents come from: a path, directory, glob or object-store URL (`s3://`, `gs://`, `az://`), several of
 * them, or a table that also says how to read them.
 */
export type Source = string | readonly string[] | SourceTable;

/** Documents, and how to read them. */
export interface SourceTable {
  /** Paths, directories, globs and object-store URLs. */
  paths: string | readonly string[];
  /** The format of the files. @defaultValue by the file name */
  format?: 'parquet' | 'jsonl' | 'arrow' | 'text';
  /** The column that holds the text. @defaultValue detected */
  text?: string;
  /** The column that holds the id. @defaultValue detected; made from file and row when there is none */
  id?: string;
  /** A row filter in the Common Expression Language, such as `lang == "en" && score > 0.5`. */
  where?: string;
  /** For plain text: every line is a document, instead of every file. @defaultValue false */
  lines?: boolean;
}

/** What becomes of a document or a file that cannot be read. */
export type OnError = 'fail' | 'quarantine';

/** How far a job is. */
export interface Progress {
  /** What is being done, such as `estimate`, `score` or `write`. A phase may come more than once. */
  phase: string;
  /** How much of it is done. */
  done: number;
  /** Out of how much, when that is known. */
  total?: number;
  /** What `done` and `total` count. */
  unit: 'documents' | 'tokens' | 'bytes' | 'shards' | 'runs';
  /** Documents so far in this phase. */
  documents: number;
  /** Tokens so far in this phase. */
  tokens: number;
}

/** What every job takes besides its own options. */
export interface RunOptions {
  /**
   * Stops the job between two chunks of work. The promise then rejects with `signal.reason`; what was committed
   * stays, and the same call continues from there.
   */
  signal?: AbortSignal;
  /**
   * Called at most ten times a second, besides the first and the last report of each phase. What it throws stops
   * the job, whose promise rejects with it.
   */
  onProgress?: (progress: Progress) => void;
}

/** What {@link fit} takes. */
export interface FitOptions extends RunOptions {
  /** The text to learn from. */
  corpus: Source;
  /** The model file: Gristmill's own form, or ARPA when the name ends in `.arpa` or `.arpa.gz`. */
  output: string;
  /** Length of the longest n-gram, 1 to 6. @defaultValue 5 */
  order?: number;
  /**
   * How text becomes tokens: `unicode-words/1`, `wordpunct/1`, `whitespace/1`, `ccnet/1`, or the path of
   * a `tokenizer.json` or SentencePiece model. @defaultValue 'unicode-words/1'
   */
  normalizer?: string;
  /** Memory for the estimation; what outgrows it goes to disk. Bytes, or with a unit. @defaultValue '2GB' */
  memory?: number | string;
  /** Drop n-grams of order k that were seen at most `prune[k - 1]` times. @defaultValue nothing is dropped */
  prune?: readonly number[];
  /**
   * Discounts for counts that allow no estimate: `true` for the published (0.5, 1, 1.5), or three numbers.
   * @defaultValue false: such counts are an error with the code `DISCOUNT_FAILED`
   */
  discountFallback?: boolean | readonly [number, number, number];
  /** Words in fewer documents than this are trained as one unknown word. @defaultValue 1 */
  minDocuments?: number;
  /** Threads. @defaultValue all that the process may use */
  threads?: number;
  /** Where goes what outgrows the memory. @defaultValue the temporary directory of the system */
  tempDir?: string;
  /** What to do with what cannot be read. @defaultValue 'fail' */
  onError?: OnError;
}

/** How a transformer reads and scores documents. */
export interface TransformerOptions {
  /** Where it computes. @defaultValue 'auto' */
  device?: DeviceName;
  /**
   * What it computes in. `bf16` takes half the memory and shifts small differences of losses.
   * @defaultValue 'f32' below 10⁹ parameters, else 'bf16'
   */
  dtype?: 'f32' | 'bf16';
  /** How documents are cut. @defaultValue 'huggingface' */
  recipe?: Recipe;
  /** Tokens of a window. @defaultValue the model's context, or 2,048 if that is less */
  window?: number;
  /** With `huggingface`: tokens from one window to the next. @defaultValue half a window */
  stride?: number;
  /**
   * Tokens that go through the model together; no score depends on it. When memory runs out, it is halved.
   * @defaultValue 2,048 on a CPU, else 16,384
   */
  batchTokens?: number;
}

/**
 * How a document is cut for a transformer, by the names that users of other tools know. They give different numbers.
 *
 * - `huggingface`: windows of `window` tokens that begin `stride` apart, as on Hugging Face's page on perplexity; each
 *   scores what the one before did not reach. The first token of a document is not scored.
 * - `lm-eval`: the rolling log-likelihood of lm-evaluation-harness: a marker (BOS, else EOS) stands first, so that every
 *   token is scored, in windows of `window` targets with one token of context.
 * - `document`: the document at once; an error when it is longer than `window`. The first token is not scored.
 * - `truncated`: the first `window` tokens, of which the first is not scored; the rest is not seen.
 */
export type Recipe = 'huggingface' | 'lm-eval' | 'document' | 'truncated';

/** What {@link perplexity} takes. */
export interface PerplexityOptions extends RunOptions {
  /**
   * The model: a transformer (a folder with `config.json`, `tokenizer.json` and safetensors, or a `.gguf` file), or an
   * n-gram model. `lm:` or `ngram:` before the path says which where the path does not.
   */
  model: string;
  /** The text; a plain text file is one document. */
  text: Source;
  /** How text becomes tokens, where an n-gram model's file does not say; transformers have their tokenizer. */
  normalizer?: string;
  /** How a transformer reads and scores. */
  transformer?: TransformerOptions;
}

/** What {@link score} takes. */
export interface ScoreOptions extends RunOptions, LearningOptions {
  /** The documents to score. */
  pool: Source;
  /** The directory or URL for the score files. */
  output: string;
  /**
   * One model, for `perplexity`, `bits-per-byte` and `ccnet`: the path of an n-gram model, or of a transformer (a folder
   * or a `.gguf` file). `ngram:` or `lm:` before the path says which where the path does not.
   */
  model?: string;
  /** The general model of a method that compares two. */
  prior?: string;
  /** The target's model of a method that compares two. */
  conditional?: string;
  /** How transformers read and score. Refused beside other models. */
  transformer?: TransformerOptions;
  /**
   * Keeps the tokens that transformers read, one Parquet file per input file and tokenizer, so that another model or
   * another run does not make them again: `true` in the folder `gristmill-tokens` beside the output, or a folder of this
   * machine. What is there is proven to be of the text before it is used, and made again where it is not.
   * @defaultValue false
   */
  tokenCache?: boolean | string;
  /** A sample of the wanted text, instead of models: they are then fitted on it and on a sample of the pool. */
  target?: Source;
  /** A column of numbers that the pool has already: these are then the scores. */
  rating?: string;
  /** The lowest and the highest `rating` that there is, such as `[1, 5]`: another one stops the job. */
  ratingRange?: readonly [number, number];
  /** How to score. @defaultValue 'perplexity' with one model, else 'loss-reduction' */
  method?: Method;
  /** With `ccnet`: where the head ends and the tail begins, which adds the column `bucket`. */
  cutoffs?: { head: number; tail: number };
  /** Percentiles of the scores to report, 0 to 100: what cut-offs and thresholds are made of. */
  percentiles?: readonly number[];
  /** With `target`: the order of the fitted models. @defaultValue the one that discriminates best */
  order?: number;
  /** With `target`: the share of the target's own model in the conditional one. @defaultValue the best */
  weight?: number;
  /** With `target`: how text becomes tokens. @defaultValue 'unicode-words/1' */
  normalizer?: string;
  /** `i/n`, i from 0 to n − 1: score only this share of the shards. The shares meet in `output`. */
  worker?: string;
  /** Start over instead of resuming what is in `output`. @defaultValue false */
  fresh?: boolean;
  /** Threads. @defaultValue all that the process may use */
  threads?: number;
  /** Memory for counts while models are fitted. @defaultValue '512MB' */
  memory?: number | string;
  /** What to do with what cannot be read. @defaultValue 'fail' */
  onError?: OnError;
  /** Seed of all sampling. @defaultValue 0 */
  seed?: number;
}

/** What {@link select} takes. */
export interface SelectOptions extends RunOptions, LearningOptions {
  /** The documents to select from. */
  pool: Source;
  /** A sample of the wanted text. Give this, models, `scores` or `rating`. */
  target?: Source;
  /** The output of a finished {@link score}: nothing is scored again. */
  scores?: string;
  /** A column of numbers that the pool has already: these are then the scores. */
  rating?: string;
  /** The lowest and the highest `rating` that there is, such as `[1, 5]`: another one stops the job. */
  ratingRange?: readonly [number, number];
  /** One model, instead of a target: as {@link ScoreOptions.model}. */
  model?: string;
  /** The general model of a method that compares two, instead of a target. */
  prior?: string;
  /** The target's model of a method that compares two, instead of a target. */
  conditional?: string;
  /** How transformers read and score. Refused beside other models. */
  transformer?: TransformerOptions;
  /**
   * Keeps the tokens that transformers read, one Parquet file per input file and tokenizer, so that another model or
   * another run does not make them again: `true` in the folder `gristmill-tokens` beside the output, or a folder of this
   * machine. What is there is proven to be of the text before it is used, and made again where it is not.
   * @defaultValue false
   */
  tokenCache?: boolean | string;
  /** The directory or URL for the selected shards. */
  output: string;
  /**
   * How much to keep: `10%` (of the pool's tokens), `2500docs`, `1.5Btokens`, `200MB`; a bare number counts tokens.
   */
  budget?: number | string;
  /** How to score. @defaultValue 'perplexity' with `model`, else 'loss-reduction' */
  method?: Method;
  /** The order of the fitted models. @defaultValue the one that discriminates best */
  order?: number;
  /** The share of the target's own model in the conditional one. @defaultValue the best */
  weight?: number;
  /** How text becomes tokens. @defaultValue 'unicode-words/1' */
  normalizer?: string;
  /** Sample without replacement in proportion to exp(score / temperature). @defaultValue the top is taken */
  temperature?: number;
  /**
   * The temperature counts standard deviations of the scores, as QuRating normalises them. @defaultValue false: it
   * counts in the unit of the score
   */
  standardize?: boolean;
  /** Sample with the same probability for all that passes the threshold. @defaultValue false */
  uniform?: boolean;
  /** Also write down in which order to train on what was selected, as `_curriculum.parquet` in the output. */
  curriculum?: Curriculum;
  /** Seed of all sampling and of the order of ties. @defaultValue 0 */
  seed?: number;
  /** Keep only scores that are at least this good. */
  threshold?: number;
  /** Divide the budget over the values of a column. */
  quotas?: Quotas;
  /** Whether the document that crosses the budget is kept. @defaultValue 'include' */
  crossing?: 'include' | 'exclude';
  /** Keep the lowest scores instead of the highest. @defaultValue by the method */
  lowest?: boolean;
  /** Also write the summary to this file. */
  report?: string;
  /** The format of the selected shards. @defaultValue that of the input; JSONL for plain text */
  outputFormat?: 'parquet' | 'jsonl' | 'arrow';
  /** Put before the names of the columns that are added, where the input has such names itself. @defaultValue '' */
  prefix?: string;
  /** `i/n`, i from 0 to n − 1: score only this share of the shards; whoever finds all of them scored selects. */
  worker?: string;
  /** Start over instead of resuming what is in `output`. @defaultValue false */
  fresh?: boolean;
  /** Threads. @defaultValue all that the process may use */
  threads?: number;
  /** Memory for counts while models are fitted. @defaultValue '512MB' */
  memory?: number | string;
  /** What to do with what cannot be read. @defaultValue 'fail' */
  onError?: OnError;
  /** What to do with documents that share an id. @defaultValue 'drop' with `onError: 'quarantine'`, else 'fail' */
  duplicateIds?: 'fail' | 'drop' | 'keep';
}

/**
 * An order to train in. With quotas their groups are topics: each goes from one end of its scores to the other, and
 * every stretch of the whole has them in proportion (Llama-3-SynE's curriculum, with perplexity as the score).
 */
export interface Curriculum {
  /** Which end of the scores comes first. @defaultValue 'ascending': low to high */
  direction?: 'ascending' | 'descending';
  /**
   * Draws the order at random (QuRating): which of two documents comes first has odds of
   * exp(difference of scores / temperature). @defaultValue sorted
   */
  temperature?: number;
}

/** Budgets per value of a column, or of several. */
export interface Quotas {
  /** The column whose values are the groups; of several, each combination is one, such as `web/science`. */
  column: string | readonly string[];
  /** The share of the budget for each group, as positive weights. @defaultValue in proportion to the pool */
  shares?: Readonly<Record<string, number>>;
}
