import { json } from '../args.js';
import type { DeviceName } from '../device.js';
import { GristmillError } from '../errors.js';
import { call, run } from '../job.js';
import type { RunOptions } from '../options.js';

/** How a subset is chosen. */
export type SubsetMethod =
  | 'facility-location'
  | 'graph-cut'
  | 'log-determinant'
  | 'feature-based'
  | 'partitioned'
  | 'masks'
  | 'k-means'
  | 'farthest-point';

/** How to choose. What a method does not use, it does not look at. */
export interface SubsetChoice {
  /** How many points to choose. @defaultValue 100 */
  budget?: number;
  /** How alike two points are. @defaultValue 'cosine' */
  kernel?: 'cosine' | 'squared-cosine' | 'squared-correlation' | 'euclidean' | 'rbf';
  /** Of `rbf`: `exp(-gamma |a - b|²)`. @defaultValue one over the dimension */
  gamma?: number;
  /** Keep only so many of the most alike points of each, for large sets. @defaultValue all, 4 n² bytes */
  neighbors?: number;
  /** The most bytes that similarities may take. @defaultValue 4 GiB */
  memory?: number;
  /** How the best point of each round is found. @defaultValue 'lazy' */
  optimizer?: 'naive' | 'lazy' | 'stochastic' | 'lazier-than-lazy';
  /** Of the stochastic optimizers and of `taylor-softmax`. @defaultValue 0.1 */
  epsilon?: number;
  /** Of graph cut, how much likeness to all counts, 2; of masks, the weight of quality, 0.5. */
  lambda?: number;
  /**
   * The device that computes the products that similarities are made of, such as `auto` or `cuda:0`; the choice itself is
   * made on the processor. @defaultValue all threads of the processor
   */
  device?: DeviceName;
  /** Of the log-determinant: what is added to the diagonal. @defaultValue 0 */
  ridge?: number;
  /** Of feature-based functions. @defaultValue 'sqrt' */
  concave?: 'sqrt' | 'log' | 'sigmoid';
  /** How many random partitions. @defaultValue 1 */
  partitions?: number;
  /** How points of a partition are taken; `taylor-softmax` is INGENIOUS's way. @defaultValue 'greedy' */
  pick?: 'greedy' | 'taylor-softmax';
  /** The most rounds of k-means. @defaultValue 25 */
  iterations?: number;
  /** The steps of mask learning. @defaultValue 300 */
  steps?: number;
  /** The first point of farthest-point. @defaultValue 0 */
  first?: number;
  /** @defaultValue 0 */
  seed?: number;
}

/** Embeddings in memory: rows of numbers, or all numbers one after the other with the length of a row. */
export type Embeddings =
  | { embeddings: readonly (readonly number[])[]; dimension?: undefined }
  | { embeddings: Float32Array; dimension: number };

/** What {@link selectSubset} chose. */
export interface Subset {
  /** The points in the order in which they were chosen (partitions, masks and k-means: ascending). */
  indices: number[];
  /**
   * By how much each raised the value; for k-means how many points are of its cluster; for farthest-point its squared
   * distance to those before it, `null` for the first. Empty for the others.
   */
  gains: (number | null)[];
  /** The value of the function that was maximised, or the squared error of k-means. */
  value?: number;
  /** How many gains were computed. */
  evaluations?: number;
  /** Of masks: greedy's result and cost beside. */
  comparison?: MaskComparison;
}

/** Mask learning beside greedy selection on the same objective. */
export interface MaskComparison {
  /** Seconds that learning masks took. */
  seconds: number;
  greedy: { indices: number[]; value: number; seconds: number };
  /** The mean objective of random sets. */
  random: number;
  /** How much of the way from random to greedy the masks come. */
  gapClosed: number;
}

/** What {@link selectSubset} takes. */
export type SelectSubsetOptions = Embeddings &
  SubsetChoice & {
    /** @defaultValue 'facility-location' */
    method?: SubsetMethod;
    /** Of masks: a quality per point. */
    quality?: readonly number[];
    signal?: AbortSignal;
  };

function flat(from: Embeddings): { data: Float32Array; dimension: number } {
  if (from.dimension !== undefined) return { data: from.embeddings, dimension: from.dimension };
  const rows = from.embeddings;
  const dimension = rows[0]?.length ?? 0;
  const data = new Float32Array(rows.length * dimension);
  rows.forEach((row, i) => {
    if (row.length !== dimension) {
      throw new GristmillError(
        'INVALID_VALUE',
        `${row.length} numbers in a row, ${dimension} in the first one`,
        {
          details: { row: i, column: 'embeddings' },
        },
      );
    }
    data.set(row, i * dimension);
  });
  return { data, dimension };
}

/**
 * Chooses points that represent all points.
 *
 * @example
 * ```ts
 * const { indices, gains } = await selectSubset({ embeddings, dimension: 384, budget: 1000 });
 * ```
 */
export async function selectSubset(options: SelectSubsetOptions): Promise<Subset> {
  const { embeddings, dimension, quality, device, signal, ...choice } = options;
  const { data, dimension: d } = flat({ embeddings, dimension } as Embeddings);
  const weights = quality && Float64Array.from(quality);
  const text = await call(signal, (addon, cancel) =>
    addon.chooseSubset(data, d, weights, json('selectSubset', choice), device, cancel),
  );
  return JSON.parse(text) as Subset;
}

/** What the functions that fix the method take. */
export type FixedMethodOptions = Embeddings & SubsetChoice & { signal?: AbortSignal };

/** Greedy facility location: every point is like one that was chosen. {@link selectSubset} by this method. */
export function facilityLocation(options: FixedMethodOptions): Promise<Subset> {
  return selectSubset({ ...options, method: 'facility-location' });
}

/** Greedy graph cut: like all, unlike each other. {@link selectSubset} by this method. */
export function graphCut(options: FixedMethodOptions): Promise<Subset> {
  return selectSubset({ ...options, method: 'graph-cut' });
}

/** Greedy log-determinant: unlike each other. {@link selectSubset} by this method. */
export function logDeterminant(options: FixedMethodOptions): Promise<Subset> {
  return selectSubset({ ...options, method: 'log-determinant' });
}

/** Greedy on concave sums of features of at least 0. {@link selectSubset} by this method. */
export function featureBased(options: FixedMethodOptions): Promise<Subset> {
  return selectSubset({ ...options, method: 'feature-based' });
}

/** Each next point the farthest from those before it. {@link selectSubset} by this method. */
export function farthestPoints(options: FixedMethodOptions): Promise<Subset> {
  return selectSubset({ ...options, method: 'farthest-point' });
}

/**
 * Quality and diversity by learnt masks, as DATAMASK publishes it, with greedy selection's value and cost beside. On
 * objectives that greedy can follow it comes close to greedy's value in many times its time.
 */
export function policyGradientSelect(
  options: FixedMethodOptions & { quality: readonly number[] },
): Promise<Subset & { comparison: MaskComparison }> {
  return selectSubset({ ...options, method: 'masks' }) as Promise<Subset & { comparison: MaskComparison }>;
}

/** What {@link kmeans} takes. */
export type KMeansOptions = Embeddings & {
  /** How many clusters. @defaultValue 100 */
  k?: number;
  /** The most rounds, or how many mini-batches. @defaultValue 25 */
  iterations?: number;
  /** Where to start. @defaultValue 'plus-plus' */
  init?: 'plus-plus' | 'random';
  /** Move the centres by so many random points at a time. @defaultValue all points in every round (Lloyd) */
  batch?: number;
  /** Stop when a round lowers the squared error by less than this share. @defaultValue 1e-4 */
  tolerance?: number;
  /** @defaultValue 0 */
  seed?: number;
  signal?: AbortSignal;
};

/** What {@link kmeans} found. */
export interface Clusters {
  /** The centres, row by row. */
  centres: Float32Array;
  /** The nearest centre of each point. */
  labels: Uint32Array;
  /** The squared distance of each point to it. */
  distances: Float32Array;
  /** Their sum. */
  inertia: number;
  iterations: number;
  /** Whether the tolerance was met; always false for mini-batches. */
  converged: boolean;
}

/** Clusters points around `k` centres by squared Euclidean distance. On the CPU. */
export async function kmeans(options: KMeansOptions): Promise<Clusters> {
  const { embeddings, dimension, signal, ...how } = options;
  const { data, dimension: d } = flat({ embeddings, dimension } as Embeddings);
  return call(signal, (addon, cancel) => addon.kmeans(data, d, json('kmeans', how), cancel));
}

/** What {@link subset} takes. */
export interface SubsetOptions extends RunOptions, SubsetChoice {
  /** A Parquet, Arrow or JSONL file, directory, glob or URL with a column of lists of numbers. */
  embeddings: string;
  /** That column. @defaultValue detected */
  column?: string;
  /** The column with the ids, which must be distinct. @defaultValue detected, else the number of the row */
  id?: string;
  /** The column with the quality that masks weigh against diversity. */
  quality?: string;
  /** The table of the chosen rows: Parquet, or JSON Lines when it ends in `.jsonl`. */
  output: string;
  /** @defaultValue 'facility-location' */
  method?: SubsetMethod;
}

/** The result of {@link subset}. */
export interface SubsetSummary {
  /** The version of this form. */
  schema: 1;
  /** The table: `id`, `file`, `row`, `rank`, and `gain` where the method has one. */
  output: string;
  method: SubsetMethod;
  rows: number;
  dimension: number;
  chosen: number;
  /** The ids of the first ten. */
  first: string[];
  value?: number;
  evaluations?: number;
  comparison?: MaskComparison;
}

/**
 * Chooses rows of a file of embeddings that represent all rows, and writes a table of them.
 *
 * @example
 * ```ts
 * await subset({ embeddings: 'e.parquet', budget: 1000, output: 'subset.parquet' });
 * ```
 */
export function subset(options: SubsetOptions): Promise<SubsetSummary> {
  const { embeddings, column, id, quality, output, device, signal, onProgress, ...choose } = options;
  const watched = { ...(signal && { signal }), ...(onProgress && { onProgress }) };
  const job = { embeddings, column, id, quality, output, device, choose, ...watched };
  return run((addon) => addon.subsetFile, job);
}
