import { json } from '../args.js';
import { GristmillError } from '../errors.js';
import { ask, call } from '../job.js';
import type { Agreement } from './types.js';

/** The variables of each form, in the order of a row of points. */
export const LAW_VARIABLES = {
  power: ['x'],
  chinchilla: ['N', 'D'],
  ratio: ['r'],
  dcpt: ['N', 'D', 'r'],
  'cross-domain': ['N', 'D', 'r', 'k1', 'k2'],
} as const;

/**
 * The shapes of laws.
 *
 * | form | loss |
 * | --- | --- |
 * | `power` | `E + A / x^alpha` |
 * | `chinchilla` | `E + A / N^alpha + B / D^beta` |
 * | `ratio` | `E + C / (r + epsilon)^gamma` |
 * | `dcpt` | `E + A / N^alpha + B r^eta / D^beta + C / (r + epsilon)^gamma` |
 * | `cross-domain` | `dcpt`, plus `F / K^mu` with `K = w1 / k1 + w2 k2` |
 *
 * `r` is the share, in the mixture, of the corpus whose loss this is: the domain's share for the domain loss, one minus
 * it for the general loss. Any unit serves; sizes and tokens in billions keep the coefficients near one.
 */
export type LawForm = keyof typeof LAW_VARIABLES;

/** A law with its parameters. Plain data: it survives JSON, and files of `output` hold it. */
export interface Law {
  readonly format: string;
  readonly form: LawForm;
  /** In the order of the form's parameters, as `starts.spread` names them. */
  readonly parameters: readonly number[];
  /** The range of each variable that the law was fitted on. */
  readonly ranges: readonly (readonly [number, number])[] | null;
}

/** What {@link fitLaw} takes. */
export type FitLawOptions = (
  | {
      /** One row per point, in the order of {@link LAW_VARIABLES}. */
      points: readonly (readonly number[])[];
      /** One loss per point. */
      losses: readonly number[];
    }
  | {
      /** A CSV file with a column per variable. */
      file: string;
      /** The column of the loss. @defaultValue 'loss' */
      loss?: string;
    }
) & {
  form: LawForm;
  /** What residuals are taken of: logarithms, or the losses themselves. @defaultValue 'log' */
  residual?: 'log' | 'plain';
  /** Where the Huber loss turns from squared to absolute. @defaultValue 1e-3 */
  delta?: number;
  /** How many random starts. @defaultValue 40 */
  starts?: number;
  /** The most iterations of one start. @defaultValue 2000 */
  iterations?: number;
  /** Folds for the error on points that were held out, 0 for none. @defaultValue 5 */
  folds?: number;
  /** Fit again without the largest value of each growing variable, to see how well it is foretold. @defaultValue true */
  extrapolate?: boolean;
  /** @defaultValue 0 */
  seed?: number;
  /** Also write the law to this JSON file. */
  output?: string;
  /** Also draw curves and residuals, as an SVG file. */
  plot?: string;
  /** Stops the fit between two starts. */
  signal?: AbortSignal;
};

/** The result of {@link fitLaw}. */
export interface LawFit {
  /** The version of this form. */
  schema: 1;
  law: Law;
  variables: string[];
  /** The mean Huber loss of the residuals. */
  huber: number;
  /** On the points that were fitted. */
  fitted: Agreement;
  /** Predicted minus measured, point by point. */
  residuals: number[];
  starts: {
    count: number;
    converged: number;
    /** How many came within 1% of the best. */
    nearBest: number;
    /** Each parameter, and its range over those starts: a wide one means that the data do not determine it. */
    spread: { name: string; value: number; low: number; high: number }[];
  };
  /** On each point by the law of the folds without it. */
  heldOut: Agreement | null;
  /** How well the largest value of a variable is foretold by the law without it. */
  extrapolation: { variable: string; value: number; agreement: Agreement }[];
}

/**
 * Fits a law to points: L-BFGS with analytic gradients from many random starts. On the CPU.
 *
 * @example
 * ```ts
 * const { law, heldOut } = await fitLaw({ form: 'dcpt', file: 'runs.csv', plot: 'law.svg' });
 * ```
 */
export async function fitLaw(options: FitLawOptions): Promise<LawFit> {
  const { form, output, plot, signal, ...rest } = options;
  let points: object;
  let fit: object;
  if ('file' in rest) {
    const { file, loss, ...how } = rest;
    points = { file: { path: file, loss } };
    fit = how;
  } else {
    const { points: rows, losses, ...how } = rest;
    points = { table: { points: rows, losses } };
    fit = how;
  }
  const text = json('fitLaw', { form, points, fit, output, plot });
  return JSON.parse(await call(signal, (addon, cancel) => addon.lawFit(text, cancel))) as LawFit;
}

function answer(question: object): unknown {
  return ask((addon) => JSON.parse(addon.lawAnswer(json('a law', question))) as unknown);
}

/** A law of known parameters, in the order of the form's. */
export function makeLaw(options: { form: LawForm; parameters: readonly number[] }): Law {
  return answer({ new: options }) as Law;
}

/** Reads a law that {@link fitLaw} wrote. */
export function loadLaw(path: string): Law {
  return answer({ load: { path } }) as Law;
}

/** Values of a law's variables by name. */
export type LawPoint = Readonly<Partial<Record<'x' | 'N' | 'D' | 'r' | 'k1' | 'k2', number>>>;

/** The values in the order of the form; those that the question does not look at may be left out. */
function row(law: Law, at: LawPoint, free: readonly string[]): number[] {
  return LAW_VARIABLES[law.form].map((name) => {
    const value = at[name] ?? (free.includes(name) ? 0 : undefined);
    if (value === undefined) {
      throw new GristmillError('INVALID_ARGUMENT', `the law needs a value of ${name}`, {
        details: { column: name },
      });
    }
    return value;
  });
}

/** What a law says of one point. */
export interface LawPrediction {
  loss: number;
  /** The variables that lie outside of the range that the law was fitted on. */
  extrapolated: string[];
}

/** The loss at a point, and along which variables that is an extrapolation beyond the fitted range. */
export function predictLaw(law: Law, at: LawPoint): LawPrediction {
  return answer({ predict: { law, at: row(law, at, []) } }) as LawPrediction;
}

/** The answer to a question for a ratio: one, or explicitly none. */
export type RatioSolution =
  | {
      status: 'feasible';
      /** The share of the domain in the mixture, 0 to 1. */
      domainRatio: number;
      /** The loss of the law there. */
      loss: number;
      /** The variables along which this extrapolates. */
      extrapolated: string[];
    }
  | {
      status: 'infeasible';
      /** The loss that was asked for. */
      limit: number;
      /** The least loss that any share gives. */
      leastLoss: number;
      /** The domain share with that loss. */
      atRatio: number;
    };

/**
 * Solves a law for the domain share: the largest at which the general loss stays at or below `maxGeneralLoss` (the law
 * is that of the general loss), or the one with the least domain loss when there are only `domainTokens` of the domain
 * (the law is that of the domain loss). `r` need not be given, nor `D` with `domainTokens`.
 *
 * @example
 * ```ts
 * const solution = solveMixtureRatio({ law, at: { N: 1.8, D: 10 }, maxGeneralLoss: 1.03 * 2.86 });
 * if (solution.status === 'feasible') console.log(solution.domainRatio);
 * ```
 */
export function solveMixtureRatio(
  options: { law: Law; at?: LawPoint } & ({ maxGeneralLoss: number } | { domainTokens: number }),
): RatioSolution {
  const { law, at = {} } = options;
  const goal =
    'maxGeneralLoss' in options
      ? { goal: 'keep-general', limit: options.maxGeneralLoss }
      : { goal: 'domain-tokens', tokens: options.domainTokens };
  const free = 'maxGeneralLoss' in options ? ['r'] : ['r', 'D'];
  return answer({ ratio: { law, at: row(law, at, free), goal } }) as RatioSolution;
}

/** The largest domain ratio at which a measured general loss stays at or below `limit`, by linear interpolation. */
export function ratioFromMeasurements(options: {
  /** Pairs of domain ratio and general loss. */
  points: readonly (readonly [number, number])[];
  limit: number;
}): RatioSolution {
  return answer({ measured: options }) as RatioSolution;
}

/** How to spend a compute budget. */
export interface Allocation {
  /** In the unit of the law's `N`. */
  parameters: number;
  /** In the unit of the law's `D`. */
  tokens: number;
  loss: number;
  /** Whether it lies at an end of the sizes that were allowed, so that the true optimum is beyond. */
  atBound: boolean;
  /** The variables along which this extrapolates. */
  extrapolated: string[];
}

/**
 * The size and the tokens with the least loss at a fixed compute, `C = 6 N D`. `compute` is `C / 6` in the units of the
 * law; `sizes` bounds `N`.
 */
export function allocateCompute(options: {
  law: Law;
  compute: number;
  sizes: readonly [number, number];
  at?: LawPoint;
}): Allocation {
  const { law, compute, sizes, at = {} } = options;
  return answer({ allocate: { law, at: row(law, at, ['N', 'D']), compute, sizes } }) as Allocation;
}

/** A critical mixture ratio, or why there is none. */
export type CriticalRatio =
  | {
      status: 'feasible';
      /** The share of domain text, above 0 and at most 1. */
      ratio: number;
      /** Whether it is the largest ratio that was trained, so that a larger one may do as well. */
      atEdge: boolean;
    }
  | {
      status: 'infeasible';
      reason:
        | { why: 'outOfRange'; value: number }
        | { why: 'generalRises'; least: number; atRatio: number }
        | { why: 'domainStalls' };
    };

/** A run of continual training at one ratio: how far both losses have moved from where they started. */
export interface CmrCurve {
  /** The share of domain text. */
  ratio: number;
  /** Tokens at each measurement, in any one unit; at least six. */
  tokens: readonly number[];
  /** General loss minus its value before training. */
  general: readonly number[];
  /** Domain loss minus its value before training. */
  domain: readonly number[];
}

/**
 * The critical mixture ratio (Gu et al., "CMR Scaling Law"): the largest share of domain text that leaves the general
 * loss within its tolerance while the domain loss still falls; explicitly infeasible when there is none.
 */
export function criticalMixtureRatio(
  options: ({ curves: readonly CmrCurve[] } | { file: string }) & {
    /** After how many tokens, in the unit of the curves. */
    tokens: number;
    /** By how much the general loss may rise, in nats. @defaultValue 0.05 */
    tolerance?: number;
  },
): CriticalRatio {
  return answer({ critical: options }) as CriticalRatio;
}

/** `R(T) = alpha T^s + beta`: how the critical ratio grows with tokens. */
export interface CmrLaw {
  alpha: number;
  s: number;
  beta: number;
}

/** A fitted {@link CmrLaw} with what is known of its worth. */
export interface CmrFit {
  law: CmrLaw;
  /** Predicted minus given, point by point. */
  residuals: number[];
  rmse: number;
  /** Whether the points follow a logarithm, so that the law should not be carried far beyond them. */
  degenerate: boolean;
}

/** Fits {@link CmrLaw} to critical ratios after several numbers of tokens. */
export function fitCriticalRatioLaw(options: {
  tokens: readonly number[];
  ratios: readonly number[];
}): CmrFit {
  return answer({ cmrFit: options }) as CmrFit;
}

/** The critical ratio of a law after `tokens`. */
export function criticalRatioAt(options: { law: CmrLaw; tokens: number }): CriticalRatio {
  return answer({ cmrRatio: options }) as CriticalRatio;
}
