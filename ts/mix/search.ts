import { run } from '../job.js';
import type { OnError, RunOptions, Source } from '../options.js';
import type { Phase } from '../summaries.js';
import type { Optimum } from './regression.js';
import type { Agreement } from './types.js';

/** Which function of the mixture the optimum is searched on. */
export type Predictor =
  'auto' | 'linear' | 'concave' | 'gbdt' | 'linear-experts' | 'concave-experts' | 'gbdt-experts' | 'experts';

/** What {@link searchMixture} takes. */
export interface SearchMixtureOptions extends RunOptions {
  /** The documents to mix. */
  pool: Source;
  /**
   * The column that names the domain of a document. @defaultValue by file: the first directory below what the files
   * have in common, or the file's own name
   */
  domain?: string;
  /** Samples of what is wanted, by name; each of at least two documents. */
  targets: Readonly<Record<string, Source>>;
  /** The report, a JSON file. */
  output: string;
  /** The directory of the runs, from which a search continues. @defaultValue the output with `.runs` for `.json` */
  work?: string;
  /** Also draw the result, as an SVG file. */
  plot?: string;
  /** What is trained: `ngram:` and the order, 1 to 6. @defaultValue 'ngram:3' */
  proxy?: string;
  /** How many mixtures are drawn and trained on; 0 with `external`. @defaultValue 128 */
  runs?: number;
  /** Tokens of one run. @defaultValue a quarter of the pool, at most two million */
  tokens?: number;
  /** How often a document may be used in one run, which limits the weights of small domains. @defaultValue 1 */
  epochs?: number;
  /**
   * Runs with losses from elsewhere, as CSV files with a column per domain and per target. They are fitted together
   * with those made here, so the losses must be of the same kind, unless `runs` is 0.
   */
  external?: { mixtures: string; losses: string };
  /** @defaultValue 'auto': for each target the one with the least error on runs that it did not see */
  predictor?: Predictor;
  /** Bootstrap models per target. @defaultValue 16 */
  bags?: number;
  /** Mixtures drawn in search of the optimum. @defaultValue 100000 */
  draws?: number;
  /** Fresh proxies per mixture in the check. @defaultValue 3 */
  checkSeeds?: number;
  /** How text becomes tokens. @defaultValue 'unicode-words/1' */
  normalizer?: string;
  /** Text of each domain that is kept in memory at most, as bytes or with a unit. @defaultValue '64MB' */
  domainBytes?: number | string;
  /** Start over instead of resuming. @defaultValue false */
  fresh?: boolean;
  /** Threads. @defaultValue all that the process may use */
  threads?: number;
  /** What to do with what cannot be read. @defaultValue 'fail' */
  onError?: OnError;
  /** Seed of all sampling. @defaultValue 0 */
  seed?: number;
}

/** The result of {@link searchMixture}. */
export interface SearchMixtureSummary {
  /** The version of this form. */
  schema: 1;
  output: string;
  /** The directory of the runs: `mixtures.csv`, `losses.csv`, `models/*.json`. */
  work: string;
  plot?: string;
  proxy: string;
  normalizer: string;
  /** Words of the shared vocabulary. */
  vocabulary: number;
  /** Tokens of one run. */
  tokens: number;
  /** The domains, in the order of all weights. */
  domains: {
    name: string;
    documents: number;
    tokens: number;
    /** Its share in the pool. */
    natural: number;
    /** The largest weight that it may have. */
    most: number;
  }[];
  targets: {
    name: string;
    documents: number;
    /** Tokens that the search looks at. */
    searchTokens: number;
    /** Tokens that only the check looks at. */
    heldOutTokens: number;
    /** Each judged on runs that it did not see. */
    predictors: { predictor: Predictor; heldOut: Agreement }[];
    /** The one that was taken. */
    predictor: Predictor;
    measured: number[];
    predicted: number[];
  }[];
  /** Runs that were trained here. */
  runs: number;
  /** Those of them that an earlier start of this search had trained. */
  resumed?: number;
  /** Runs from elsewhere, and how well the runs made here foretell them. */
  external?: { runs: number; agreement?: Agreement[] };
  /** Documents of the pool that equal one of a target, and were used for nothing. */
  inTarget: number;
  /** Documents of the pool without a domain. */
  withoutDomain: number;
  /** Rows of pool and targets that could not be read, under `onError: 'quarantine'`. */
  quarantined: number;
  /** What was found for each target, and for their mean when there are several. */
  objectives: MixtureObjective[];
  timings?: Phase[];
}

/** The best mixture for one target, or for the mean of all. */
export interface MixtureObjective {
  /** The target's name, or `mean`. */
  name: string;
  targets: string[];
  optimum: Optimum;
  /** The run with the lowest loss. */
  bestSampled: { run: number; weights: number[]; loss: number };
  /** Fresh proxies, with the same seeds for all mixtures, on target text that the search has not seen. */
  check: {
    mixture: 'optimum' | 'best-sampled' | 'natural' | 'uniform';
    weights: number[];
    /** How often the documents of the most asked-for domain were used. */
    epochs: number;
    /** One loss per seed, in nats per token. */
    losses: number[];
    mean: number;
    sd: number;
  }[];
  belowUniform: boolean;
  belowNatural: boolean;
  atMostSampled: boolean;
}

/**
 * Searches how much of each domain of a pool lowers the loss on target text most, without a GPU: n-gram models on many
 * sampled mixtures, a regression from mixture to loss, its optimum, and a check with fresh models on held-out text.
 * Stopped at any moment, the same call continues with the runs that are missing. On the CPU.
 *
 * @example
 * ```ts
 * const { objectives } = await searchMixture({
 *   pool: 'corpus/',
 *   domain: 'source',
 *   targets: { books: 'books.jsonl' },
 *   output: 'mix.json',
 * });
 * for (const { mixture, mean } of objectives[0]?.check ?? []) console.log(mixture, mean);
 * ```
 */
export function searchMixture(options: SearchMixtureOptions): Promise<SearchMixtureSummary> {
  const { targets, ...rest } = options;
  const named = Object.entries(targets).map(([name, source]) => ({ name, source }));
  const job = { ...rest, targets: named };
  return run((addon) => addon.mixSearch, job);
}
