/**
 * Gristmill selects training data for language models: it fits n-gram models, scores a corpus of any size with them,
 * and keeps the documents that are most like what you want, exactly to a budget.
 *
 * @example
 * ```ts
 * import { select } from 'gristmill';
 *
 * const summary = await select({
 *   target: 'books/*.parquet',
 *   pool: 'crawl/**\/*.jsonl.gz',
 *   budget: '10%',
 *   output: 'selected/',
 * });
 * console.log(summary.kept, summary.fitted?.discrimination.auc);
 * ```
 *
 * @packageDocumentation
 */

import { Job, run } from './job.js';
import type { FitOptions, PerplexityOptions, ScoreOptions, SelectOptions } from './options.js';
import type { FitSummary, PerplexitySummary, ScoreSummary, SelectSummary } from './summaries.js';

export type { ArrowInput, RecordBatchLike, TableLike } from './arrow.js';
export { Batch, readBatches } from './batches.js';
export { benchDevice, type BenchOptions, type BenchRate, type BenchReport, type BenchRow } from './bench.js';
export { checkDevice, type CheckOptions, type CheckReport, type CheckRow } from './check.js';
export {
  Device,
  type DeviceInfo,
  type DeviceMemory,
  type DeviceName,
  openDevice,
  type OpenDeviceOptions,
  type PhiloxOptions,
  type TensorOptions,
} from './device.js';
export { doctor, type Doctor, type DoctorBackend } from './doctor.js';
export {
  type DpClipping,
  type DpEmbedding,
  type DpGradient,
  type DpGradients,
  type DpLinear,
  type DpNoiseSource,
  type DpNorm,
  type DpPrivateCounts,
  type DpRagged,
  type DpRecorded,
  DpSgd,
  type DpSgdOptions,
  type DpStepOptions,
  type DpTied,
} from './dp-sgd.js';
export * from './dtypes.js';
export {
  type DeviceReason,
  DeviceUnavailableError,
  DisposedError,
  ERROR_CODES,
  type ErrorCode,
  type ErrorDetails,
  GristmillError,
  JobMismatchError,
  NativeUnavailableError,
  OutOfMemoryError,
  ShapeError,
} from './errors.js';
export { Job } from './job.js';
export * from './mix/index.js';
export {
  LanguageModel,
  loadModel,
  type LoadModelOptions,
  type ModelConfig,
  type TokenWindow,
} from './language-model.js';
export {
  capturedEnergy,
  leadingVectors,
  type LeadingVectorsOptions,
  type Matrix,
  type MatrixSide,
  newtonSchulz,
  type NewtonSchulzOptions,
  orthonormalize,
  rangeFind,
  type RangeFindOptions,
  rotate,
  rotateBack,
  type SideOptions,
} from './linalg.js';
export type { Logger } from './logger.js';
export {
  type LostActivation,
  type LostGradients,
  LostLinear,
  type LostOptions,
  type LostParts,
  type LostType,
} from './lost.js';
export {
  AdamW,
  type AdamOptions,
  type AdamWOptions,
  Apollo,
  type ApolloOnly,
  type ApolloOptions,
  Conda,
  type CondaOnly,
  type CondaOptions,
  Fira,
  type FiraOnly,
  type FiraOptions,
  GaLore,
  type GaLoreOnly,
  type GaLoreOptions,
  Muon,
  type MuonOnly,
  type MuonOptions,
  Optimizer,
  optimizerMemory,
  type OptimizerMemory,
  type OptimizerMemoryOptions,
  type OptimizerParams,
  type ParamGroup,
  type Schedule,
  type OptimizerOptions,
  type StateType,
  type StepReport,
} from './optim.js';
export type * from './options.js';
export {
  DeMo,
  type DeMoOptions,
  DiLoCo,
  type DiLoCoOptions,
  type Metering,
  type Params,
  Replica,
  type ReplicaCallOptions,
  SparseLoCo,
  type SparseLoCoOptions,
} from './method.js';
export {
  hashParams,
  inspectPayload,
  type OpenedPayload,
  openPayload,
  type PayloadFormat,
  type PayloadHeader,
  type PayloadInspection,
  type PayloadParam,
  sealPayload,
} from './payload.js';
export {
  calibrateNoise,
  type CalibrateNoiseOptions,
  type PoissonBatch,
  PoissonSampler,
  type PoissonSamplerOptions,
  type PoissonSamplerState,
  PrivacyAccountant,
  type PrivacyAccountantState,
  type PrivacyMethod,
  type PrivacySpent,
  type PrivacySteps,
} from './privacy.js';
export { Ragged } from './ragged.js';
export {
  combine,
  type CombineOptions,
  type CombineSummary,
  type Contradicted,
  type Estimate,
  rate,
  type Rated,
  type RateOptions,
  type RaterReport,
} from './raters.js';
export { scoreBatches, type ScoreBatchesOptions } from './score-batches.js';
export {
  type ActivationType,
  type RandomSubspaceOptions,
  Subspace,
  type SubspaceOptions,
} from './subspace.js';
export type * from './summaries.js';
export type {
  ActivationKind,
  ActivationOptions,
  AttentionOptions,
  NormKind,
  NormOptions,
  QuantizeRtnOptions,
  RopeOptions,
  SsNormOptions,
} from './layers.js';
export {
  embeddingProjection,
  type EmbeddingProjectionOptions,
  excessKurtosis,
  mergeEmbeddingProjection,
} from './osp.js';
export type {
  ClipLinearOptions,
  ClipOptions,
  ClipPath,
  ClipRule,
  EmbeddingOptions,
  NoiseGenerator,
  NoiseOptions,
  NormsMethod,
  NormsOptions,
} from './clipping.js';
export {
  type AcceptedPayload,
  type AcceptedRound,
  type GatherOptions,
  type PublishedPayload,
  RoundSync,
  type RoundSyncOptions,
  type SyncCallOptions,
  type SyncMeter,
} from './sync.js';
export {
  type AddMatmulOptions,
  type GramOptions,
  type MatmulOptions,
  type NllOptions,
  type Outputs,
  type Reduction,
  Tensor,
} from './tensor.js';

/**
 * Estimates an interpolated modified Kneser-Ney language model from a corpus and writes it to a file.
 *
 * @example
 * ```ts
 * const { vocabulary, ngrams } = await fit({ corpus: 'wiki/', order: 5, output: 'general.gml' });
 * ```
 */
export function fit(options: FitOptions): Promise<FitSummary> {
  return run((addon) => addon.fit, options);
}

/**
 * Scores every document of a pool and writes score files beside each other in a directory: id, row, counts, sums of
 * negative log-likelihoods, score. Stopped at any moment, the same call continues.
 *
 * @example
 * ```ts
 * for await (const batch of score({ pool: 'crawl/', model: 'general.gml', output: 'scores/' })) {
 *   console.log((await batch.toTable()).numRows);
 * }
 * ```
 */
export function score(options: ScoreOptions): Job<ScoreSummary> {
  return new Job(
    run((addon) => addon.score, options),
    options.output,
    options.signal,
  );
}

/**
 * Selects from a pool the documents that are most like a target sample, exactly to a budget, and writes them out with
 * every column they had. Stopped at any moment, the same call continues.
 *
 * @example
 * ```ts
 * const summary = await select({ target: 'books/', pool: 'crawl/', budget: '10%', output: 'selected/' });
 * ```
 */
export function select(options: SelectOptions): Job<SelectSummary> {
  return new Job(
    run((addon) => addon.select, options),
    options.output,
    options.signal,
  );
}

/**
 * Measures a model on text: its perplexity, and its bits per byte of text.
 *
 * @example
 * ```ts
 * const { perplexity: ppl, bitsPerByte } = await perplexity({ model: './SmolLM2-135M', text: 'books/*.txt' });
 * ```
 *
 * Rejects with `INVALID_VALUE` when the text has no token to predict, `UNSUPPORTED` for a model of a family that is not
 * implemented, `INVALID_MODEL` for damaged files.
 */
export function perplexity(options: PerplexityOptions): Promise<PerplexitySummary> {
  return run((addon) => addon.perplexity, options);
}
