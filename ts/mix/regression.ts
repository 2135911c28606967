import type * as Native from '../../bindings/node/index.js';
import { json } from '../args.js';
import { ask, attempt, call } from '../job.js';
import { native } from '../native.js';
import type { Agreement, BaggedEstimate, Mixture } from './types.js';

/** What {@link sampleMixtures} takes. The defaults are those published with RegMix. */
export interface SampleMixturesOptions {
  /** The share of each domain, or its tokens: of any scale. A domain of share zero stays at zero. */
  prior: Mixture;
  /** How many mixtures. @defaultValue 512 */
  n?: number;
  /** The power to which shares are raised: below 1 it evens the domains out. @defaultValue 0.5 */
  temperature?: number;
  /** The smallest factor from prior to Dirichlet concentration. @defaultValue 0.1 */
  minStrength?: number;
  /** The largest. @defaultValue 5 */
  maxStrength?: number;
  /** How many factors between the two. @defaultValue 15 */
  strengths?: number;
  /** No domain may have more than this many times its own share. @defaultValue 15 */
  maxUsage?: number;
  /** Weights below this become zero, and all others are rounded to multiples of it. @defaultValue 2e-4 */
  minWeight?: number;
  /** Draws per mixture that is kept. @defaultValue 100 */
  oversample?: number;
  /** @defaultValue 0 */
  seed?: number;
  /** Also write the mixtures to this CSV file. */
  output?: string;
  /** Stops it. */
  signal?: AbortSignal;
}

/** The result of {@link sampleMixtures}. */
export interface SampledMixtures {
  /** The domains, in the order of all weights. */
  domains: string[];
  /** One mixture per row. Rows sum to one within half a grid step per domain. */
  mixtures: number[][];
  /** Draws made. */
  drawn: number;
  /** Draws that asked more of a domain than `maxUsage` allows. */
  overUsed: number;
  /** Draws that equal another after rounding. */
  duplicates: number;
  /** The mixtures as the text of a CSV file, with a column `index`. */
  csv: string;
}

/**
 * Draws mixtures to train small runs on, exactly as RegMix publishes it. On the CPU.
 *
 * @example
 * ```ts
 * const { domains, mixtures } = await sampleMixtures({ prior: { web: 0.7, code: 0.2, forum: 0.1 }, n: 64 });
 * ```
 */
export async function sampleMixtures(options: SampleMixturesOptions): Promise<SampledMixtures> {
  const { prior, output, signal, ...sample } = options;
  const text = await call(signal, (addon, cancel) =>
    addon.mixSample(json('sampleMixtures', { prior, output, sample }), cancel),
  );
  return JSON.parse(text) as SampledMixtures;
}

/** Training runs that differ in their mixture: two CSV files with a row per run, or the numbers themselves. */
export type RunsSource =
  | {
      /** A CSV file with a column per domain. A column `index` or `run` in both files matches rows. */
      mixtures: string;
      /** A CSV file with a column per target. */
      losses: string;
    }
  | {
      /** The names of the domains. */
      domains: readonly string[];
      /** One row per run; each sums to one within 0.005. */
      mixtures: readonly (readonly number[])[];
      /** The names of the targets. */
      targets: readonly string[];
      /** One row per run, of any unit in which lower is better. */
      losses: readonly (readonly number[])[];
    };

/** Boosted trees. The defaults are LightGBM's but for the learning rate and the number of trees. */
export interface GbdtOptions {
  /** @defaultValue 1000 */
  trees?: number;
  /** @defaultValue 0.01 */
  learningRate?: number;
  /** The most leaves of a tree, 2 to 64. @defaultValue 31 */
  leaves?: number;
  /** @defaultValue 20 */
  minRowsPerLeaf?: number;
  /** @defaultValue 255 */
  maxBins?: number;
  /** @defaultValue 3 */
  minRowsPerBin?: number;
  /** The weight of squared leaf values. @defaultValue 0 */
  l2?: number;
  /** A split must lower the squared error by more than this. @defaultValue 0 */
  minGain?: number;
  /** When to stop before all trees are grown, by the error on training rows that are set aside. @defaultValue never */
  earlyStopping?: {
    /** @defaultValue 0.2 */
    share?: number;
    /** @defaultValue 20 */
    patience?: number;
    /** Fit again on all rows with the number of trees found. @defaultValue true */
    refit?: boolean;
    /** @defaultValue 0 */
    seed?: number;
  };
}

/**
 * Which function of the mixture predicts a loss: boosted trees (the one to use on hundreds of runs), `concave` (linear
 * in weights and their square roots: smooth, and good on few runs), or `linear` (a baseline, whose optimum is always a
 * single domain).
 */
export type Regressor =
  | 'gbdt'
  | 'linear'
  | 'concave'
  | ({ kind: 'gbdt' } & GbdtOptions)
  | { kind: 'linear' | 'concave'; l2?: number };

/** What {@link fitMixtureRegression} takes. */
export interface FitMixtureOptions {
  /** The runs: at least as many as domains, better eight times as many. */
  runs: RunsSource;
  /** The target: its name, or a part of it that no other has. */
  target: string;
  /** @defaultValue 'gbdt' */
  regressor?: Regressor;
  /** Models fitted to bootstrap samples of the runs, for intervals. @defaultValue 16 */
  bags?: number;
  /** Folds for the error on runs that a model did not see; 0 for none. @defaultValue 5 */
  folds?: number;
  /** @defaultValue 0 */
  seed?: number;
  /** Also write the model to this file. */
  output?: string;
  /** Also draw predicted against measured, as an SVG file. */
  plot?: string;
  /** Stops the fit between two trees. */
  signal?: AbortSignal;
}

/** What is known of a {@link MixtureModel}. */
export interface MixtureModelSummary {
  /** The version of this form. */
  schema: 1;
  target: string;
  /** The domains, in the order of the weights of a mixture. */
  domains: string[];
  /** The least and the greatest weight of each domain among the runs; outside of it a prediction extrapolates. */
  ranges: [number, number][];
  /** How many bootstrap models there are. */
  bags: number;
  report: {
    runs: number;
    /** On the runs that were fitted: always better than what to expect on others. */
    fitted: Agreement;
    /** On each run by the model of the folds without it. */
    heldOut: Agreement | null;
    measured: number[];
    /** What the models without it predict for each run; empty without folds. */
    predicted: number[];
  };
}

/** The predicted loss of one target as a function of the mixture. On the CPU. */
export class MixtureModel {
  readonly #native: Native.MixtureRegression;
  /** What is known of it. */
  readonly summary: MixtureModelSummary;

  /** @internal */
  constructor(model: Native.MixtureRegression) {
    this.#native = model;
    this.summary = ask(() => JSON.parse(model.summary()) as MixtureModelSummary);
  }

  /** Reads a model that {@link MixtureModel.save} wrote. */
  static async load(path: string): Promise<MixtureModel> {
    return new MixtureModel(await attempt(undefined, () => native().mixLoad(path)));
  }

  /** The target whose loss is predicted. */
  get target(): string {
    return this.summary.target;
  }

  /** The domains, in the order of the weights of a mixture. */
  get domains(): readonly string[] {
    return this.summary.domains;
  }

  /** The loss predicted for each mixture, with the 5% and 95% quantiles over the bootstrap models. */
  async predict(mixtures: readonly (readonly number[])[]): Promise<BaggedEstimate[]> {
    const text = await attempt(undefined, () => this.#native.estimate(json('predict', mixtures)));
    return JSON.parse(text) as BaggedEstimate[];
  }

  /** Writes the model to a JSON file, from which it comes back bit for bit. */
  save(path: string): void {
    ask(() => this.#native.save(path));
  }

  /** @internal */
  get native(): Native.MixtureRegression {
    return this.#native;
  }
}

/**
 * Fits the loss of a target to the mixtures of runs that one has, from any trainer.
 *
 * @example
 * ```ts
 * const model = await fitMixtureRegression({
 *   runs: { mixtures: 'mixtures.csv', losses: 'losses.csv' },
 *   target: 'code',
 * });
 * console.log(model.summary.report.heldOut?.spearman);
 * ```
 */
export async function fitMixtureRegression(options: FitMixtureOptions): Promise<MixtureModel> {
  const { runs, target, regressor, bags, folds, seed, output, plot, signal } = options;
  const source = 'domains' in runs ? { table: runs } : { files: runs };
  const kind = typeof regressor === 'string' ? { kind: regressor } : regressor;
  const fit = { regressor: kind, bags, folds, seed };
  const text = json('fitMixtureRegression', { runs: source, target, fit, output, plot });
  return new MixtureModel(await call(signal, (addon, cancel) => addon.mixFit(text, cancel)));
}

/** What {@link optimizeMixture} takes. The defaults are those published with RegMix. */
export interface OptimizeMixtureOptions {
  /** The model of the loss, or several whose weighted sum is to be low. */
  models: MixtureModel | readonly MixtureModel[];
  /** The share of each domain to draw around; sums to one. */
  prior: Mixture;
  /** What each model's loss counts in the sum. @defaultValue 1 for all */
  weights?: readonly number[];
  /** The most that some domains may have, such as their tokens times the epochs allowed over the budget. */
  maxWeights?: Mixture;
  /** How many mixtures are drawn. @defaultValue 100000 */
  draws?: number;
  /** The result is the mean of this many best ones. @defaultValue 128 */
  best?: number;
  /** Mixtures are drawn from Dirichlet(prior · strength). @defaultValue 1 */
  strength?: number;
  /** @defaultValue 0 */
  seed?: number;
  /** Also write the result to this JSON file. */
  output?: string;
  /** Also draw the mixture, as an SVG file. */
  plot?: string;
  /** Stops the search. */
  signal?: AbortSignal;
}

/** The result of {@link optimizeMixture}. */
export interface Optimum {
  /** The mixture, domain by domain. */
  domains: {
    domain: string;
    prior: number;
    /** The share at the optimum, with the spread of the optima that the bootstrap models find. */
    weight: BaggedEstimate;
    /** Standard deviation among the best draws: how flat the predicted loss is along this domain. */
    flatness: number;
    /** Whether the optimum lies outside of the weights that the runs had. */
    extrapolated: boolean;
  }[];
  /** The predicted loss there. */
  predicted: BaggedEstimate;
  /** The predicted loss at the prior. */
  atPrior: BaggedEstimate;
  /** At the prior minus at the optimum: when `low` is above 0, the runs agree that the optimum is better. */
  gain: BaggedEstimate;
  /** How many draws obeyed `maxWeights`. */
  admissible: number;
}

/**
 * Searches the mixture with the lowest predicted loss among Dirichlet draws around the prior.
 *
 * @example
 * ```ts
 * const { domains } = await optimizeMixture({ models: model, prior: { web: 0.7, code: 0.2, forum: 0.1 } });
 * for (const { domain, weight } of domains) console.log(domain, weight.value, [weight.low, weight.high]);
 * ```
 */
export async function optimizeMixture(options: OptimizeMixtureOptions): Promise<Optimum> {
  const { models, signal, ...rest } = options;
  const list = models instanceof MixtureModel ? [models] : models;
  const natives = list.map((model) => model.native);
  const text = await call(signal, (addon, cancel) =>
    addon.mixOptimize(natives, json('optimizeMixture', rest), cancel),
  );
  return JSON.parse(text) as Optimum;
}
