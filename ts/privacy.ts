import type * as Native from '../bindings/node/index.js';
import * as arg from './args.js';
import { ask } from './job.js';

/**
 * How epsilon is computed.
 *
 * | method | what it is |
 * | --- | --- |
 * | `pld` | the privacy loss distribution, discretised pessimistically and composed by FFT: the tightest upper bound |
 * | `rdp` | Rényi differential privacy at the best order: an upper bound, 5 to 30% above, more where epsilon is small |
 * | `gdp` | Gaussian differential privacy in the limit: **under-estimates**; for diagnostics only |
 */
export type PrivacyMethod = 'pld' | 'rdp' | 'gdp';

/** What steps have cost. */
export interface PrivacySpent {
  /** In nats. */
  epsilon: number;
  /** The probability that the bound does not cover. */
  delta: number;
  method: PrivacyMethod;
  /** Whether this is an upper bound. No claim of privacy can rest on a figure that is not (`gdp`). */
  guaranteed: boolean;
  /** The Rényi order that was best (`rdp`). */
  order?: number;
}

/** Steps of one kind. */
export interface PrivacySteps {
  /** The standard deviation of the noise in units of the sensitivity: 0.001 to 1,000,000. */
  noiseMultiplier: number;
  /** The probability with which an example takes part in a step (Poisson sampling): 0 to 1. */
  sampleRate: number;
  /** How many. @defaultValue 1 */
  steps?: number;
}

/** The state of a {@link PrivacyAccountant} as plain data. */
export interface PrivacyAccountantState {
  readonly format: string;
  readonly recorded: readonly Readonly<Required<PrivacySteps>>[];
}

/**
 * Records the steps of a differentially private run and says what they cost: for data sets that differ in one example
 * that is added or removed, and Poisson sampling. Answers take milliseconds and are computed where they are asked for.
 *
 * An answer is never below the true epsilon (`pld` and `rdp`): the errors of the computation are added to it, and where
 * they would decide it, the question is refused.
 *
 * @example
 * ```ts
 * const accountant = new PrivacyAccountant();
 * accountant.record({ noiseMultiplier: 1.1, sampleRate: 0.01, steps: 10_000 });
 * const { epsilon } = accountant.epsilon({ delta: 1e-5 });
 * const restored = PrivacyAccountant.fromJSON(JSON.parse(JSON.stringify(accountant)));
 * ```
 */
export class PrivacyAccountant {
  #native = ask((addon) => new addon.PrivacyLedger());

  /** The accountant of a state that `toJSON` gave; one that is damaged is refused. */
  static fromJSON(state: PrivacyAccountantState): PrivacyAccountant {
    const accountant = new PrivacyAccountant();
    accountant.#native = ask((addon) => new addon.PrivacyLedger(arg.json('PrivacyAccountant', state)));
    return accountant;
  }

  /** How many steps were recorded. */
  get steps(): number {
    return ask(() => this.#native.steps());
  }

  /** Records steps. What was recorded cannot be taken back. */
  record(steps: PrivacySteps): void {
    const known = ['noiseMultiplier', 'sampleRate', 'steps'] as const;
    const {
      noiseMultiplier,
      sampleRate,
      steps: count = 1,
    } = arg.options<PrivacySteps>('record', steps, known);
    const sigma = arg.number('record', 'noiseMultiplier', noiseMultiplier);
    const rate = arg.number('record', 'sampleRate', sampleRate);
    const times = arg.number('record', 'steps', count);
    ask(() => this.#native.record(sigma, rate, times));
  }

  /**
   * The epsilon that all steps together keep.
   *
   * @param options - `delta`: between 0 and 1, customarily less than one over the number of examples; `method`:
   * `'pld'` when not given.
   */
  epsilon(options: { delta: number; method?: PrivacyMethod }): PrivacySpent {
    const given = arg.options<typeof options>('epsilon', options, ['delta', 'method']);
    const [delta, method] = [
      arg.number('epsilon', 'delta', given.delta),
      arg.text('epsilon', 'method', given.method ?? 'pld'),
    ];
    return ask(() => JSON.parse(this.#native.epsilon(delta, method)) as PrivacySpent);
  }

  /** The delta that all steps together keep at an epsilon of zero or more. */
  delta(options: { epsilon: number; method?: PrivacyMethod }): PrivacySpent {
    const given = arg.options<typeof options>('delta', options, ['epsilon', 'method']);
    const [epsilon, method] = [
      arg.number('delta', 'epsilon', given.epsilon),
      arg.text('delta', 'method', given.method ?? 'pld'),
    ];
    return ask(() => JSON.parse(this.#native.delta(epsilon, method)) as PrivacySpent);
  }

  /** The state, for `JSON.stringify`. */
  toJSON(): PrivacyAccountantState {
    return ask(() => JSON.parse(this.#native.state()) as PrivacyAccountantState);
  }
}

/** What {@link calibrateNoise} takes. */
export interface CalibrateNoiseOptions {
  /** The epsilon that may be spent, in nats: above 0. */
  epsilon: number;
  /** At this delta, between 0 and 1. */
  delta: number;
  /** The probability with which an example takes part in a step: above 0, at most 1. */
  sampleRate: number;
  /** How many steps: at least 1. */
  steps: number;
  /** By which accountant; `gdp` guarantees nothing and is refused. @defaultValue 'pld' */
  method?: 'pld' | 'rdp';
}

/**
 * The least noise multiplier that keeps a budget, rounded up by at most a hundred-thousandth: the accountant never says
 * more than `epsilon` for it. Takes some tenths of a second.
 *
 * @example
 * ```ts
 * const noiseMultiplier = calibrateNoise({ epsilon: 8, delta: 1e-5, sampleRate: 0.01, steps: 10_000 });
 * ```
 */
export function calibrateNoise(options: CalibrateNoiseOptions): number {
  const op = 'calibrateNoise';
  const known = ['epsilon', 'delta', 'sampleRate', 'steps', 'method'] as const;
  const given = arg.options<CalibrateNoiseOptions>(op, options, known);
  const [epsilon, delta] = [arg.number(op, 'epsilon', given.epsilon), arg.number(op, 'delta', given.delta)];
  const [sampleRate, steps] = [
    arg.number(op, 'sampleRate', given.sampleRate),
    arg.number(op, 'steps', given.steps),
  ];
  const method = arg.text(op, 'method', given.method ?? 'pld');
  return ask((addon) => addon.calibrateNoise(epsilon, delta, sampleRate, steps, method));
}

/** What {@link PoissonSampler} takes. */
export interface PoissonSamplerOptions {
  /** How many examples there are to draw from: 1 to 2^32. */
  examples: number;
  /** The probability with which each of them is in a batch: 0 to 1. */
  sampleRate: number;
  /**
   * Batches that are the same on every run. Without a seed the key is secret and comes from the operating system, as a
   * claim of privacy needs: whoever can compute the batches knows who was in them.
   */
  seed?: number;
  /** Batches are padded to a multiple of this with rows of weight zero. @defaultValue 1 */
  multiple?: number;
}

/** The examples of one step. */
export interface PoissonBatch {
  /** Which step this is, from 0. */
  step: number;
  /** Ascending indices of examples, then as much padding (index 0) as it takes. */
  indices: Uint32Array;
  /** One for an example, zero for padding. */
  weights: Float32Array;
  /** How many of the rows are examples. Private: divide by the expected size, and do not publish this one. */
  privateSize: number;
}

/** The state of a {@link PoissonSampler} as plain data. It holds the key: keep it as safe as the data. */
export interface PoissonSamplerState {
  readonly format: string;
  readonly [field: string]: unknown;
}

/**
 * Draws batches for DP-SGD: every example is in a batch with the sample rate as its probability (exact to 2^-64, rounded
 * down), independently of all others. This is what accounting with a sample rate assumes. Batches depend on the key and
 * the number of the step alone: a restored sampler goes on with the very next one. A batch may be empty; a step with it
 * still adds noise and still counts.
 *
 * @example
 * ```ts
 * const sampler = new PoissonSampler({ examples: 50_000, sampleRate: 0.01, multiple: 64 });
 * const { indices, weights } = sampler.nextBatch();
 * const restored = PoissonSampler.fromJSON(JSON.parse(JSON.stringify(sampler)));
 * ```
 */
export class PoissonSampler {
  readonly #native: Native.PoissonDraws;

  constructor(options: PoissonSamplerOptions) {
    const known = ['examples', 'sampleRate', 'seed', 'multiple'] as const;
    const given = arg.options<PoissonSamplerOptions>('PoissonSampler', options, known);
    const state = (given as { [STATE]?: PoissonSamplerState })[STATE];
    const how = state === undefined ? { new: options } : { state };
    this.#native = ask((addon) => new addon.PoissonDraws(arg.json('PoissonSampler', how)));
  }

  /** The sampler of a state that `toJSON` gave; one that is damaged is refused. */
  static fromJSON(state: PoissonSamplerState): PoissonSampler {
    return new PoissonSampler({ [STATE]: state } as unknown as PoissonSamplerOptions);
  }

  /** How many batches were drawn. */
  get steps(): number {
    return ask(() => this.#native.steps());
  }

  /** The next batch. */
  nextBatch(): PoissonBatch {
    return ask(() => this.#native.nextBatch());
  }

  /** The state, for `JSON.stringify`. */
  toJSON(): PoissonSamplerState {
    return ask(() => JSON.parse(this.#native.state()) as PoissonSamplerState);
  }
}

const STATE = Symbol('state');
