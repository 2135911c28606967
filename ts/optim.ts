import type * as Native from '../bindings/node/index.js';
import * as arg from './args.js';
import { type Device, placeOf } from './device.js';
import { GristmillError } from './errors.js';
import { ask, attempt } from './job.js';
import type { LostOptions } from './lost.js';
import { stateOf, writeWhole } from './state-file.js';
import { handleOf, named, type Tensor } from './tensor.js';

/** Parameters by name: `f32` or `bf16`, updated in place. */
export type OptimizerParams = Readonly<Record<string, Tensor>>;

/** How moments are kept; `int8` takes a quarter of `f32`, `bf16` half. */
export type StateType = 'f32' | 'bf16' | 'int8';

/**
 * What the learning rate is multiplied by, step by step from 1. `floor` and `constant` are shares of it; `infinite` has no
 * end until `annealFrom` is set.
 */
export type Schedule =
  | { kind: 'constant'; warmup: number }
  | { kind: 'linear' | 'cosine'; warmup: number; total: number; floor: number }
  | { kind: 'wsd'; warmup: number; total: number; decay: number; floor: number }
  | { kind: 'rewarm'; warmup: number; period: number; floor: number }
  | {
      kind: 'infinite';
      warmup: number;
      cooldown: number;
      constant: number;
      annealFrom: number | null;
      anneal: number;
      floor: number;
    };

/** Numbers that a group of parameters has. */
export interface AdamOptions {
  /** Learning rate. @defaultValue 0.001 */
  lr?: number;
  /** Decay of both moments. @defaultValue [0.9, 0.999] */
  betas?: readonly [number, number];
  /** Added to the root of the second moment. @defaultValue 1e-8 */
  eps?: number;
  /** Decoupled weight decay. @defaultValue 0 */
  weightDecay?: number;
  /** How moments are kept; tensors of fewer than 4,096 elements keep `f32` instead of `int8`. @defaultValue 'f32' */
  state?: StateType;
  /** What the learning rate is multiplied by. @defaultValue 1 throughout */
  schedule?: Schedule;
}

/** What {@link GaLore} adds. */
export interface GaLoreOnly {
  /** Dimensions of the subspace. @defaultValue 128 */
  rank?: number;
  /**
   * Whether a rank of more than the smaller side of a parameter is taken as that side, with a warning to the device's
   * logger, or refused. @defaultValue true
   */
  clampRank?: boolean;
  /** Steps from one basis to the next. @defaultValue 200 */
  updateProjGap?: number;
  /** Factor of the update. @defaultValue 0.25 */
  scale?: number;
  /** Which side is projected: the smaller one, the other one, always left or right, or both. @defaultValue 'std' */
  projType?: 'std' | 'reverse_std' | 'left' | 'right' | 'full';
  /**
   * How a basis is found: by random projections, from the basis before where there is one; by an eigendecomposition on the
   * host; or not at all, but by {@link Optimizer.setProjector}. @defaultValue 'randomized'
   */
  refresh?: 'randomized' | 'exact' | 'given';
  /** How bases are kept; `int4`: in 4.25 bits an element, as Q-GaLore has them. @defaultValue 'f32' */
  projector?: 'f32' | 'bf16' | 'int4';
  /** Q-GaLore: the gap doubles while the last five bases agree by this cosine; 0.4 in its paper. @defaultValue never */
  cosThreshold?: number;
}

/** What {@link Conda} adds. */
export interface CondaOnly {
  /** Steps from one basis to the next. @defaultValue 2000 */
  updateProjGap?: number;
  /** Factor of the update. @defaultValue 0.25 */
  scale?: number;
}

/** What {@link Muon} adds. */
export interface MuonOnly {
  /** Decay of the momentum. @defaultValue 0.95 */
  momentum?: number;
  /** Whether the update looks ahead along the momentum. @defaultValue true */
  nesterov?: boolean;
  /** Iterations of Newton and Schulz, at most 1,000. @defaultValue 5 */
  nsSteps?: number;
  /** Whether their products are of `bf16`, as published, or of `f32`. @defaultValue true */
  bf16?: boolean;
  /** `spectral`: √max(1, rows / columns); `rms`: 0.2 √max(rows, columns), as Moonlight has it. @defaultValue 'spectral' */
  scaling?: 'spectral' | 'rms';
  /**
   * Whether vectors and single numbers move along their momentum too, brought to a length of 0.2 √elements, as outlier-safe
   * pre-training has it, rather than by AdamW. @defaultValue false
   */
  vectors?: boolean;
}

/** What {@link Apollo} adds. */
export interface ApolloOnly {
  /**
   * APOLLO-Mini: a `rank` of 1, one factor for the whole of a matrix and a `scale` of 128, unless they are given.
   * @defaultValue false
   */
  mini?: boolean;
  /** Dimensions of the subspace. @defaultValue 128 */
  rank?: number;
  /**
   * Whether a rank of more than the smaller side of a parameter is taken as that side, with a warning to the device's
   * logger, or refused. @defaultValue true
   */
  clampRank?: boolean;
  /** Steps from one random basis to the next. @defaultValue 200 */
  updateProjGap?: number;
  /** The square of the factor of the update. @defaultValue 1 */
  scale?: number;
  /** What has a factor: each row or column along the larger side of a matrix, or all of it. @defaultValue 'channel' */
  scaleType?: 'channel' | 'tensor';
  /** Whether the limiter sees the update with the factor of `scale`. @defaultValue false */
  scaleFront?: boolean;
  /** Whether there is no limiter, which lets updates grow by 1% a step at the most. @defaultValue false */
  disableNl?: boolean;
  /**
   * How random bases are kept: as a seed, from which they are drawn again at every step; as numbers; or not at all but given
   * by {@link Optimizer.setProjector}. @defaultValue 'seeded'
   */
  projector?: 'seeded' | 'f32' | 'bf16' | 'given';
}

/** What {@link Fira} adds: all of GaLore, `scale` being Fira's `alpha`; `projType` is not `full`. */
export interface FiraOnly extends Omit<GaLoreOnly, 'projType'> {
  /** Which side is projected: the smaller one, the other one, always left or right. @defaultValue 'std' */
  projType?: 'std' | 'reverse_std' | 'left' | 'right';
  /** Whether there is no limiter, which lets what is outside of the subspace grow by 1% a step at the most. @defaultValue false */
  disableNl?: boolean;
}

/** What all groups share. */
export interface OptimizerOptions {
  /** The norm that all gradients together are clipped to. @defaultValue not at all */
  maxGradNorm?: number;
  /** Whether a step with a gradient that is not finite is left out, and counted. @defaultValue true */
  checkFinite?: boolean;
  /**
   * Whether `eps` is beside the uncorrected second moment and weights decay after the update, as in `galore_torch` and
   * Conda, rather than as in AdamW of PyTorch. @defaultValue false
   */
  parity?: boolean;
  /** Whether refreshes are spread over the steps of a gap. @defaultValue false */
  stagger?: boolean;
  /**
   * Whether moments, and weights of AdamW, of {@link Apollo}, and of those with a basis of one side and at most 256
   * dimensions, are rounded to `bf16` at random, right on average; other weights are rounded to the nearest.
   * @defaultValue true
   */
  stochasticRounding?: boolean;
  /** What random numbers are drawn with. @defaultValue 0 */
  seed?: number;
}

/** Options of {@link AdamW}. */
export type AdamWOptions = AdamOptions & OptimizerOptions;
/** Options of {@link GaLore}. */
export type GaLoreOptions = AdamOptions & GaLoreOnly & OptimizerOptions;
/** Options of {@link Conda}. */
export type CondaOptions = AdamOptions & CondaOnly & OptimizerOptions;
/** Options of {@link Muon}. */
export type MuonOptions = AdamOptions & MuonOnly & OptimizerOptions;
/** Options of {@link Apollo}. */
export type ApolloOptions = AdamOptions & ApolloOnly & OptimizerOptions;
/** Options of {@link Fira}. */
export type FiraOptions = AdamOptions & FiraOnly & OptimizerOptions;

/**
 * Parameters that differ from others in their options. With `dense`, they are updated by AdamW whatever their shape, as
 * embeddings and heads usually are.
 */
export type ParamGroup<Only> = AdamOptions & Only & { params: OptimizerParams; dense?: boolean };

/** What a step did. */
export interface StepReport {
  /** Steps so far. */
  step: number;
  /** Whether this one was taken. */
  applied: boolean;
  /** Steps that were left out so far because a gradient was not finite. */
  skipped: number;
  /** The norm of all gradients together before clipping; null where it was not asked for. */
  gradNorm: number | null;
  /** Bases that were found anew. */
  refreshed: number;
}

/** Bytes of weights, and of what is kept beside them. */
export interface OptimizerMemory {
  weights: number;
  /** Moments, as numbers or codes, or the momentum of Muon. */
  moments: number;
  /** Scales of blocks of codes, with their zeros; and norms that limiters remember. */
  scales: number;
  /** Bases of subspaces, once they are there. */
  projectors: number;
  /** Gradients that were accumulated and wait for their step. */
  accumulated: number;
}

const ADAM = ['lr', 'betas', 'eps', 'weightDecay', 'state', 'schedule'] as const;
const SHARED = ['maxGradNorm', 'checkFinite', 'parity', 'stagger', 'stochasticRounding', 'seed'] as const;
const SUBSPACE = ['rank', 'clampRank', 'updateProjGap', 'scale', 'projector'] as const;
const FOUND = ['projType', 'refresh', 'cosThreshold'] as const;
const ONLY = {
  adamw: [],
  galore: [...SUBSPACE, ...FOUND],
  conda: ['updateProjGap', 'scale'],
  muon: ['momentum', 'nesterov', 'nsSteps', 'bf16', 'scaling', 'vectors'],
  apollo: [...SUBSPACE, 'scaleType', 'scaleFront', 'disableNl', 'mini'],
  fira: [...SUBSPACE, ...FOUND, 'disableNl'],
} as const;

/** What APOLLO-Mini is. */
const MINI = { rank: 1, scaleType: 'tensor', scale: 128 } as const;

type AlgorithmName = keyof typeof ONLY;

/** The entries of these keys that are there. */
function pick(from: object, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(from).filter(([key, value]) => keys.includes(key) && value !== undefined),
  );
}

/** An algorithm as the engine has it. */
function algorithm(name: AlgorithmName, options: object): { name: string } {
  const { mini, ...own } = pick(options, ONLY[name]);
  return { name, ...(mini === true && MINI), ...own };
}

/** The parts of the optimizers, which differ in what they do with matrices. */
export abstract class Optimizer implements Disposable {
  readonly #handle: Native.OptimizerHandle;
  readonly #names: readonly string[];
  /** The call before, so that calls are carried out in their order. */
  #last: Promise<unknown> = Promise.resolve();
  #disposed = false;

  /** @internal */
  protected constructor(
    name: AlgorithmName,
    device: Device,
    params: OptimizerParams | readonly ParamGroup<object>[],
    options: object = {},
  ) {
    const known = [...ADAM, ...ONLY[name]];
    arg.options(name, options as Record<string, unknown>, [...known, ...SHARED]);
    const given = Array.isArray(params)
      ? (params as readonly ParamGroup<object>[])
      : [{ params: params as OptimizerParams }];
    const groups: object[] = [];
    const tensors: Native.TensorHandle[] = [];
    const names: string[] = [];
    for (const one of given) {
      const group = arg.options<Record<string, unknown>>(name, one as object as Record<string, unknown>, [
        ...known,
        'params',
        'dense',
      ]);
      const merged = { ...options, ...group };
      const entries = Object.entries(named(name, 'params', group['params'])).map(([key, tensor]) => ({
        key,
        handle: handleOf(name, key, tensor),
        dimensions: tensor.shape.length,
      }));
      const most = (merged as MuonOnly).vectors === true ? [0, 1, 2] : [2];
      const matrix = ({ dimensions }: { dimensions: number }): boolean =>
        name !== 'adamw' && group['dense'] !== true && most.includes(dimensions);
      for (const [kind, some] of [
        [name, entries.filter(matrix)],
        ['adamw', entries.filter((entry) => !matrix(entry))],
      ] as const) {
        if (some.length === 0) continue;
        const adam = pick(merged, ADAM);
        groups.push({ algorithm: algorithm(kind, merged), adam, names: some.map(({ key }) => key) });
        names.push(...some.map(({ key }) => key));
        tensors.push(...some.map(({ handle }) => handle));
      }
    }
    const text = arg.json(name, { groups, options: pick(options, SHARED) });
    const handle = placeOf(name, device);
    this.#handle = ask((addon) => new addon.OptimizerHandle(handle, text, tensors));
    if (device.logger) this.#handle.warnings().forEach((warning) => device.logger?.warn(warning));
    this.#names = names;
  }

  /** Names of all parameters, those of a group beside each other. */
  get names(): readonly string[] {
    return this.#names;
  }

  /**
   * Takes a step along the gradients, one for each parameter by its name, `f32` or `bf16`, and along what was
   * {@link accumulate}d; without gradients, along that alone. Weights change in place. Nothing has changed where it rejects
   * with `SHAPE_MISMATCH`, `DTYPE_MISMATCH` or `INVALID_ARGUMENT`, or where a gradient is not finite, which the report says.
   */
  async step(gradients?: Readonly<Record<string, Tensor>>): Promise<StepReport> {
    if (gradients === undefined) {
      return JSON.parse(await this.#after('step', () => this.#handle.stepAccumulated())) as StepReport;
    }
    this.#known('step', gradients);
    const handles = this.#names.map((name) => handleOf('step', name, gradients[name]));
    return JSON.parse(await this.#after('step', () => this.#handle.step(handles))) as StepReport;
  }

  /**
   * Adds gradients to what the next step goes along, for any parameters: those of a micro-batch, or of one layer as its
   * backward pass comes, so that no more than one layer's need be in memory. They may change or go once the promise is
   * fulfilled. Between two bases of {@link GaLore} and {@link Conda} only the gradient in the subspace is kept; of {@link Apollo}
   * and {@link Fira} it is always all of it. Nothing is divided: scale gradients before. With `maxGradNorm` the step is clipped by the norm of what was kept, which in a subspace
   * is at most that of the gradient. Rejects as {@link step} does; nothing was added then.
   */
  async accumulate(gradients: Readonly<Record<string, Tensor>>): Promise<void> {
    this.#known('accumulate', gradients);
    const names = Object.keys(gradients);
    const handles = names.map((name) => handleOf('accumulate', name, gradients[name]));
    await this.#after('accumulate', () => this.#handle.accumulate(names, handles));
  }

  /** Refuses gradients of no parameter. */
  #known(op: string, gradients: Readonly<Record<string, Tensor>>): void {
    const given = Object.keys(named(op, 'gradients', gradients));
    const stranger = given.find((name) => !this.#names.includes(name));
    if (stranger === undefined) return;
    throw new GristmillError('INVALID_ARGUMENT', `${op}: there is no parameter ${JSON.stringify(stranger)}`, {
      details: { column: 'gradients' },
    });
  }

  /** Bytes on the device now. */
  async memory(): Promise<OptimizerMemory> {
    return JSON.parse(await this.#after('memory', () => this.#handle.memory())) as OptimizerMemory;
  }

  /**
   * Everything that is needed to go on from here but the weights, as the bytes of a safetensors file: moments or codes with
   * their scales, bases, steps, seed, gaps. With a path, it is written there, whole or not at all.
   */
  async save(path?: string): Promise<Uint8Array> {
    const bytes = await this.#after('save', () => this.#handle.save());
    if (path !== undefined) await writeWhole(path, bytes);
    return bytes;
  }

  /**
   * Goes on from what {@link save} gave, of an optimizer of the same parameters, on whatever device it was; the next step
   * has the same bits as if nothing had been. Rejects with `CORRUPT_DATA` for what is no such state, and with
   * `INVALID_ARGUMENT` or `SHAPE_MISMATCH` for one of other parameters; then nothing has changed.
   */
  async load(from: string | Uint8Array): Promise<void> {
    const state = await stateOf(from);
    await this.#after('load', () => this.#handle.load(state));
  }

  /**
   * Goes on from the state of another program, given as a safetensors file whose tensors are named
   * `<parameter>.<key of the state dictionary>`, nested keys behind a further point:
   *
   * - `exp_avg`, `exp_avg_sq`: AdamW of PyTorch; with `projector.ortho_matrix` (`.0` and `.1` of both sides) `galore_torch`
   * - `state1`, `state2`, `absmax1`, `absmax2`, `qmap1`, `qmap2`: 8-bit Adam of `bitsandbytes`, and 8-bit GaLore
   * - `exp_avg.codes`, `exp_avg.scale`, `exp_avg.qmap` and those of `exp_avg_sq`: AdamW8bit of `torchao`
   * - `momentum_buffer`: Muon
   *
   * and `step`, one number. Moments are converted to the `state` that is kept here; codes in blocks of 256 stay as they are.
   * Rejects with `CORRUPT_DATA`, `INVALID_ARGUMENT` or `SHAPE_MISMATCH`, as {@link load} does, and with `UNSUPPORTED` for
   * {@link Apollo} and {@link Fira}; then nothing has changed.
   */
  async importState(from: string | Uint8Array): Promise<void> {
    const state = await stateOf(from);
    await this.#after('importState', () => this.#handle.importState(state));
  }

  /** Sets the learning rate of all parameters. */
  async setLr(lr: number): Promise<void> {
    const value = arg.number('setLr', 'lr', lr);
    await this.#after('setLr', () => this.#handle.setLr(value));
  }

  /**
   * Gives a parameter its basis until the next refresh: orthonormal columns (of {@link Apollo} any), `[columns, rank]` for the right side,
   * `[rows, rank]` for the left one, the left one and the right one for `full`.
   */
  async setProjector(name: string, ...bases: readonly Tensor[]): Promise<void> {
    const handles = bases.map((basis) => handleOf('setProjector', name, basis));
    await this.#after('setProjector', () => this.#handle.setProjector(name, handles));
  }

  /** Whether {@link dispose} was called. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /** Releases moments and bases; calls under way are finished first, and the parameters stay. Idempotent. */
  dispose(): void {
    this.#disposed = true;
    // What was called before this has to find it.
    void this.#last.then(() => this.#handle.dispose());
  }

  /** {@link dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Carries out a call when those before it are done. */
  async #after<T>(op: string, work: () => Promise<T>): Promise<T> {
    if (this.#disposed) throw arg.disposed(op, 'optimizer', 'this');
    const result = this.#last.then(() => attempt(undefined, work));
    this.#last = result.catch(() => undefined);
    return await result;
  }
}

/** Adam with decoupled weight decay (Loshchilov and Hutter 2019); states of `f32`, `bf16` or 8 bits. */
export class AdamW extends Optimizer {
  constructor(
    device: Device,
    params: OptimizerParams | readonly ParamGroup<object>[],
    options?: AdamWOptions,
  ) {
    super('adamw', device, params, options);
  }
}

/**
 * Adam in a subspace of the gradient (Zhao et al. 2024): moments of `rank` columns instead of whole matrices. What has not two
 * dimensions, and groups that are `dense`, are updated by AdamW.
 *
 * @example
 * ```ts
 * const optimizer = new GaLore(device, { q, k, v }, { rank: 128, lr: 0.01, state: 'int8' });
 * await optimizer.step({ q: gradQ, k: gradK, v: gradV });
 * await optimizer.save('step-1.safetensors');
 * ```
 */
export class GaLore extends Optimizer {
  constructor(
    device: Device,
    params: OptimizerParams | readonly ParamGroup<GaLoreOnly>[],
    options?: GaLoreOptions,
  ) {
    super('galore', device, params, options);
  }
}

/** Adam in the rotated basis of the momentum (Wang et al. 2025); `state` is `f32` or `bf16`. Otherwise as {@link GaLore}. */
export class Conda extends Optimizer {
  constructor(
    device: Device,
    params: OptimizerParams | readonly ParamGroup<CondaOnly>[],
    options?: CondaOptions,
  ) {
    super('conda', device, params, options);
  }
}

/** Momentum made orthogonal by Newton–Schulz iterations (Jordan et al. 2024), for matrices; AdamW for all else. */
export class Muon extends Optimizer {
  constructor(
    device: Device,
    params: OptimizerParams | readonly ParamGroup<MuonOnly>[],
    options?: MuonOptions,
  ) {
    super('muon', device, params, options);
  }
}

/**
 * The gradient, its channels scaled as Adam would scale them in a random subspace (APOLLO, Zhu et al. 2024): moments of `rank`
 * columns, and nothing that is found. Usual are a learning rate of 0.01, a rank of a quarter of the width, and an `eps` of
 * 1e-6; with `mini: true` a single dimension. Steps need all of the gradient. Otherwise as {@link GaLore}.
 *
 * After a gradient of zeros, which has no size to grow from, a step is not limited; the reference code would begin at 1e-8.
 *
 * @example
 * ```ts
 * const optimizer = new Apollo(device, { q, k, v }, { mini: true, lr: 0.01, eps: 1e-6 });
 * await optimizer.step({ q: gradQ, k: gradK, v: gradV });
 * ```
 */
export class Apollo extends Optimizer {
  constructor(
    device: Device,
    params: OptimizerParams | readonly ParamGroup<ApolloOnly>[],
    options?: ApolloOptions,
  ) {
    super('apollo', device, params, options);
  }
}

/**
 * GaLore, and beside it what its subspace does not have of the gradient, each channel scaled as Adam scales it in the subspace
 * (Fira, Chen et al. 2024): a step of full rank with the state of GaLore. Steps need all of the gradient. Otherwise as
 * {@link GaLore}; limits as of {@link Apollo}.
 */
export class Fira extends Optimizer {
  constructor(
    device: Device,
    params: OptimizerParams | readonly ParamGroup<FiraOnly>[],
    options?: FiraOptions,
  ) {
    super('fira', device, params, options);
  }
}

/** What {@link optimizerMemory} takes. */
export interface OptimizerMemoryOptions extends Omit<GaLoreOnly, 'projector'>, Pick<LostOptions, 'sparsity'> {
  /**
   * The sizes: `llama-60m`, `llama-130m`, `llama-350m`, `llama-1b` or `llama-7b`, or the content of the `config.json` of a
   * model of the Llama family.
   */
  config: string | Readonly<Record<string, unknown>>;
  /**
   * What becomes of the matrices of attention and MLPs; all else goes with AdamW. With `lost` they are layers of
   * {@link LostLinear}, of this `rank` and `sparsity`, and go with AdamW too. @defaultValue 'adamw'
   */
  optimizer?: 'adamw' | 'galore' | 'conda' | 'muon' | 'apollo' | 'apollo-mini' | 'fira' | 'lost';
  /** How bases are kept. @defaultValue 'seeded' of APOLLO, 'f32' of GaLore and Fira */
  projector?: 'f32' | 'bf16' | 'int4' | 'seeded';
  /** Type of the weights. @defaultValue 'bf16' */
  weights?: 'f32' | 'bf16';
  /** How moments are kept. @defaultValue 'f32' */
  state?: StateType;
}

/** Bytes of a model's weights, and of what an optimizer keeps once it has taken a step, without allocating them. */
export function optimizerMemory(options: OptimizerMemoryOptions): OptimizerMemory {
  const known = ['config', 'optimizer', 'weights', 'state', 'sparsity', ...ONLY.galore] as const;
  const given = arg.options<OptimizerMemoryOptions>('optimizerMemory', options, known);
  const { config, optimizer = 'adamw', weights = 'bf16', state = 'f32' } = given;
  const name = arg.oneOf('optimizerMemory', 'optimizer', optimizer, [
    'adamw',
    'galore',
    'conda',
    'muon',
    'apollo',
    'apollo-mini',
    'fira',
    'lost',
  ] as const);
  const text = arg.json('optimizerMemory', { config, weights, ...inEngine(name, given), adam: { state } });
  return JSON.parse(ask((addon) => addon.optimizerMemory(text))) as OptimizerMemory;
}

/** What becomes of matrices, as the engine has it. */
function inEngine(name: AlgorithmName | 'apollo-mini' | 'lost', options: object): object {
  switch (name) {
    case 'lost':
      return { algorithm: { name: 'adamw' }, lost: pick(options, ['rank', 'sparsity']) };
    case 'apollo-mini':
      return { algorithm: algorithm('apollo', { ...options, mini: true }) };
    default:
      return { algorithm: algorithm(name, options) };
  }
}
