/** A share, or another number, for each domain by its name. */
export type Mixture = Readonly<Record<string, number>>;

/** How predictions compare with measurements, in the unit of the measurements. `null` where one side is constant. */
export interface Agreement {
  /** Rank correlation, -1 to 1. */
  spearman: number | null;
  /** Linear correlation, -1 to 1. */
  pearson: number | null;
  /** Root mean squared error. */
  rmse: number;
  /** Mean of predicted minus measured. */
  bias: number;
  /** Share of the variance that the predictions explain: 1 is perfect, below 0 worse than the mean. */
  r2: number | null;
}

/** A number with what the bootstrap says of it. */
export interface BaggedEstimate {
  /** By the model fitted to all runs. */
  value: number;
  /** Standard deviation over the bootstrap models; 0 without them. */
  sd: number;
  /** The 5% quantile over them; `value` without them. */
  low: number;
  /** The 95% quantile. */
  high: number;
}
