import type * as Native from '../bindings/node/index.js';
import * as arg from './args.js';
import { type ClipPath, NORMS_METHODS, type NormsMethod } from './clipping.js';
import { type Device, placeOf } from './device.js';
import { ask, attempt } from './job.js';
import { PrivacyAccountant, type PrivacyAccountantState } from './privacy.js';
import { stateOf, writeWhole } from './state-file.js';
import { handleOf, optionalHandleOf, Tensor } from './tensor.js';

/**
 * How the gradients of samples are clipped, and what the sensitivity of their sum is.
 *
 * | mode | factor of a gradient of norm `n` | sensitivity |
 * | --- | --- | --- |
 * | `flat` | `min(1, C / (n + 1e-6))`, all layers together | `C` |
 * | `per-layer` | the same, each layer by itself, to `C / √L` or to its own norm | `√Σ C_l²` |
 * | `per-group` | the same, groups of layers | `√Σ C_g²` |
 * | `automatic` | `C / (n + gamma)`, whatever the norm (AUTO-S) | `C` |
 * | `unit` | `1 / n` | 1 |
 * | `threshold` | 1 where `n ≤ C`, else 0 ("global" in fastDP) | `C` |
 * | `adaptive` | as `flat`, with a `C` that follows a quantile of the norms | `C` of the step |
 */
export type DpClipping =
  | { mode: 'flat'; maxGradNorm: number }
  | {
      mode: 'per-layer';
      /** For all layers together, each of which gets an equal part of the square; or for each, by name. */
      maxGradNorm: number | Readonly<Record<string, number>>;
      /**
       * Whether a layer is clipped when it is recorded, as soon as its norm is known: its activations can then go at once,
       * and a sample that is not finite in one layer is left out of that layer and of those recorded later. Without it, of
       * all layers. @defaultValue true
       */
      eager?: boolean;
    }
  | {
      mode: 'per-group';
      /** Groups by name. A layer is in exactly one of them. */
      groups: Readonly<Record<string, { layers: readonly string[]; maxGradNorm: number }>>;
    }
  | {
      mode: 'automatic';
      /** @defaultValue 1 */
      maxGradNorm?: number;
      /** Keeps small gradients small. @defaultValue 0.01 */
      gamma?: number;
    }
  | { mode: 'unit' }
  | { mode: 'threshold'; maxGradNorm: number }
  | {
      mode: 'adaptive';
      /** Before the first step. */
      maxGradNorm: number;
      /** Which share of the samples is not clipped. @defaultValue 0.5 */
      quantile?: number;
      /** How fast the norm follows. @defaultValue 0.2 */
      learningRate?: number;
      /**
       * Standard deviation of the noise of the count of samples that were not clipped; above half the noise multiplier. Its
       * cost is in that of the step. @defaultValue a twentieth of the expected batch size, or √2 noise multipliers if that
       * is more
       */
      countNoise?: number;
    };

/**
 * Where noise comes from. **A claim of privacy needs `secure` or `discrete`.**
 *
 * - `secure`: ChaCha20 under a key from the operating system that is in no file. Nobody can compute the noise.
 * - `discrete`: the same with clipped gradients on a grid of integers, exact sums and discrete Gaussian noise, against attacks
 *   on the rounding of floating-point numbers. Slower.
 * - `reproducible`: Philox under a seed; the same bits on every device and in every run. For tests: whoever has the seed can
 *   take the noise away.
 */
export type DpNoiseSource = 'secure' | 'reproducible' | 'discrete';

/** What {@link DpSgd} takes. All of it goes into checkpoints; a run goes on with the same options only. */
export interface DpSgdOptions {
  clipping: DpClipping;
  /** Standard deviation of the noise in units of the sensitivity: 0.001 to 1,000,000. */
  noiseMultiplier: number;
  /** The probability with which an example takes part in a step (Poisson sampling): 0 to 1. */
  sampleRate: number;
  /**
   * What sums are divided by: a public constant, customarily the sample rate times the number of examples. Not the size that a
   * batch happens to have, which is private.
   */
  expectedBatchSize: number;
  /** @defaultValue 'secure' */
  rng?: DpNoiseSource;
  /** For `reproducible`, and only there. */
  seed?: number;
  /** Names of all layers. @defaultValue those of the first batch, or those that the clipping names */
  layers?: readonly string[];
}

/** Offsets of ragged samples: `[samples + 1]`, where the rows of each begin. */
export interface DpRagged {
  /** @defaultValue those of {@link DpSgd.batch}; or else samples are the first dimension */
  offsets?: Tensor<'u32' | 'i32'>;
}

/** What {@link DpSgd.linear} takes: `y = x Wᵀ + b`. */
export interface DpLinear extends DpRagged {
  /** What went in: `[samples, d]`, `[samples, T, d]`, or with offsets `[rows, d]`. */
  x: Tensor;
  /** Gradients of the samples' own losses at what came out, `[.., p]`. Not of the mean over the batch. */
  dy: Tensor;
  /** Whether there is a bias. @defaultValue false */
  bias?: boolean;
  /** How norms are computed. @defaultValue whichever takes fewer operations */
  method?: NormsMethod;
}

/** What {@link DpSgd.embedding} takes. */
export interface DpEmbedding extends DpRagged {
  /** Rows that were looked up: `[samples]`, `[samples, T]`, or with offsets `[rows]`. */
  ids: Tensor<'u32' | 'i32'>;
  /** Gradients at what was found there, `[.., d]`. */
  dy: Tensor;
  /** How many rows the table has. @defaultValue as many as in the batch before; needed in the first */
  vocabulary?: number;
  /** A row that is not trained. @defaultValue none */
  paddingIdx?: number;
}

/** What {@link DpSgd.norm} takes: `y = scale · xhat + shift`. */
export interface DpNorm extends DpRagged {
  /** What was scaled, `[.., n]`. */
  xhat: Tensor;
  /** Gradients at what came out, `[.., n]`. */
  dy: Tensor;
  /** Whether there is a shift, as LayerNorm has and RMSNorm has not. @defaultValue false */
  bias?: boolean;
}

/** What {@link DpSgd.tied} takes: one table that is embedding and head. */
export interface DpTied extends DpRagged {
  /** Rows that were looked up: `[samples]`, `[samples, T]`, or with offsets `[rows]`. */
  ids: Tensor<'u32' | 'i32'>;
  /** Gradients at what was found there, `[.., d]`. */
  dy: Tensor;
  /** What went into the head, `[.., d]`. */
  h: Tensor;
  /** Gradients at the logits, `[.., vocabulary]`. */
  dlogits: Tensor;
  /** Whether the head has a bias. @defaultValue false */
  bias?: boolean;
}

/**
 * What became of a layer: it is `kept` until the norms of all are known; or it was clipped and added to the sum, in one pass
 * over its gradients (`fused`) or two.
 */
export type DpRecorded = 'kept' | ClipPath;

/** A gradient with noise. */
export interface DpGradient {
  /** Of the weight, the table or the scale. */
  weight: Tensor<'f32'>;
  /** Of the bias or the shift. */
  bias?: Tensor<'f32'>;
}

/** Gradients with noise by the names of the layers; `using` releases all of them. */
export type DpGradients = Readonly<Record<string, DpGradient>> & Disposable;

/** What the samples of a step came to. Private: whoever publishes it tells something about who is in the data. */
export interface DpPrivateCounts {
  /** Samples that took part. */
  samples: number;
  /** Samples that were left out because the norm of their gradient is no finite number. */
  nonFinite: number;
  /** How many have a norm within the bound, by group or layer; `all` where there is one bound for all. */
  unclipped: Record<string, number>;
}

/** How {@link DpSgd.step} goes. */
export interface DpStepOptions {
  /** Whether nobody was drawn into the batch, and no layer was recorded. @defaultValue false */
  empty?: boolean;
}

const OPTIONS = [
  'clipping',
  'noiseMultiplier',
  'sampleRate',
  'expectedBatchSize',
  'rng',
  'seed',
  'layers',
] as const;

/**
 * Differentially private SGD (Abadi et al. 2016): gradients of samples are clipped, added up, and drowned in noise, on the
 * device. A training loop gives what its backward pass has at every layer; gradients of single samples are never in memory
 * together.
 *
 * What has to be true for the epsilon of {@link accountant}:
 *
 * - noise is secret (`rng: 'secure'` or `'discrete'`);
 * - batches are Poisson samples ({@link PoissonSampler} without a seed); padding has weight 0; an empty batch takes its step;
 * - `dy` are gradients of the samples' own losses, and nothing in the model mixes samples;
 * - every parameter that is trained is recorded here;
 * - norms, losses, real batch sizes and {@link privateCounts} are not published.
 *
 * It is for data sets that differ in one sample that is there or not. The key of the noise is drawn anew by the constructor and
 * by {@link load} and is in no file, so that no noise comes twice, however often a state is restored.
 *
 * @example
 * ```ts
 * const dp = new DpSgd(dev, { clipping: { mode: 'flat', maxGradNorm: 1.0 }, noiseMultiplier: 1.1,
 *                             sampleRate: 0.01, expectedBatchSize: 256, rng: 'secure' });
 * dp.linear('h.0.mlp.up', { x, dy, bias: true });
 * dp.embedding('wte', { ids, dy: de, vocabulary: 50257 });
 * dp.norm('ln_f', { xhat, dy: dn });
 * using grads = dp.step(); // grads['h.0.mlp.up'].weight
 * const { epsilon } = dp.accountant.epsilon({ delta: 1e-5 });
 * ```
 */
export class DpSgd implements Disposable {
  /** The device that it works on. */
  readonly device: Device;
  readonly #handle: Native.DpSgdHandle;
  #disposed = false;

  constructor(device: Device, options: DpSgdOptions) {
    const handle = placeOf('DpSgd', device);
    const { rng = 'secure', ...rest } = arg.options('DpSgd', options, OPTIONS);
    const text = arg.json('DpSgd', { rng, ...rest });
    this.device = device;
    this.#handle = ask((addon) => new addon.DpSgdHandle(handle, text));
  }

  /** Steps so far. */
  get steps(): number {
    return this.#ask('steps', (handle) => handle.steps());
  }

  /** A copy of the accountant with the steps so far: each is recorded before anything of it can be seen. */
  get accountant(): PrivacyAccountant {
    const state = this.#ask('accountant', (handle) => handle.accountant());
    return PrivacyAccountant.fromJSON(JSON.parse(state) as PrivacyAccountantState);
  }

  /**
   * By how much one sample changes the sum of clipped gradients of all parameters at the most: added or removed, or, with
   * `adjacency: 'replace-one'`, replaced by another, which is twice as much. The accountant is for the former. With adaptive
   * clipping it waits for the step before.
   */
  sensitivity(options?: {
    /** @defaultValue 'add-remove' */
    adjacency?: 'add-remove' | 'replace-one';
  }): number {
    const { adjacency = 'add-remove' } = arg.options('sensitivity', options, ['adjacency']);
    arg.oneOf('sensitivity', 'adjacency', adjacency, ['add-remove', 'replace-one']);
    return this.#ask('sensitivity', (handle) => handle.sensitivity(adjacency));
  }

  /**
   * Says of the next (micro-)batch where its samples begin and which of them are padding, before its first layer. Batches of
   * samples of equal length without padding do without.
   */
  batch(options: {
    /** Where the rows of each sample begin: `[samples + 1]`. @defaultValue samples are the first dimension */
    offsets?: Tensor<'u32' | 'i32'>;
    /** 1 for a sample, 0 for padding: `[samples]`. @defaultValue no padding */
    weights?: Tensor<'f32'>;
  }): void {
    const { offsets, weights } = arg.options('batch', options, ['offsets', 'weights']);
    const ends = optionalHandleOf('batch', 'offsets', offsets);
    const which = optionalHandleOf('batch', 'weights', weights);
    this.#ask('batch', (handle) => handle.batch(ends, which));
  }

  /**
   * Records a linear layer. A pair of LoRA is two of them. What it is given must not be written to before the step, which is
   * refused otherwise; it may be disposed of at once.
   */
  linear(name: string, layer: DpLinear): DpRecorded {
    const known = ['x', 'dy', 'bias', 'offsets', 'method'] as const;
    const { x, dy, bias, offsets, method } = arg.options<DpLinear>('linear', layer, known);
    const [input, output] = [handleOf('linear', 'x', x), handleOf('linear', 'dy', dy)];
    const ends = optionalHandleOf('linear', 'offsets', offsets);
    if (method !== undefined) arg.oneOf('linear', 'method', method, NORMS_METHODS);
    const with_ = arg.flag('linear', 'bias', bias);
    return this.#record('linear', name, (h, of) => h.linear(of, input, output, with_, ends, method));
  }

  /** Records a table of embeddings. */
  embedding(name: string, layer: DpEmbedding): DpRecorded {
    const known = ['ids', 'dy', 'vocabulary', 'paddingIdx', 'offsets'] as const;
    const { ids, dy, vocabulary, paddingIdx, offsets } = arg.options<DpEmbedding>('embedding', layer, known);
    const [rows, output] = [handleOf('embedding', 'ids', ids), handleOf('embedding', 'dy', dy)];
    const ends = optionalHandleOf('embedding', 'offsets', offsets);
    const size = arg.optionalNumber('embedding', 'vocabulary', vocabulary);
    const padding = arg.optionalNumber('embedding', 'paddingIdx', paddingIdx);
    return this.#record('embedding', name, (h, of) => h.embedding(of, rows, output, size, padding, ends));
  }

  /** Records a LayerNorm (`bias: true`) or an RMSNorm. */
  norm(name: string, layer: DpNorm): DpRecorded {
    const { xhat, dy, bias, offsets } = arg.options<DpNorm>('norm', layer, ['xhat', 'dy', 'bias', 'offsets']);
    const [input, output] = [handleOf('norm', 'xhat', xhat), handleOf('norm', 'dy', dy)];
    const ends = optionalHandleOf('norm', 'offsets', offsets);
    const with_ = arg.flag('norm', 'bias', bias);
    return this.#record('norm', name, (h, of) => h.norm(of, input, output, with_, ends));
  }

  /** Records a table that is both embedding and head, whose two gradients are one. */
  tied(name: string, layer: DpTied): DpRecorded {
    const known = ['ids', 'dy', 'h', 'dlogits', 'bias', 'offsets'] as const;
    const { ids, dy, h, dlogits, bias, offsets } = arg.options<DpTied>('tied', layer, known);
    const [rows, found] = [handleOf('tied', 'ids', ids), handleOf('tied', 'dy', dy)];
    const [hidden, logits] = [handleOf('tied', 'h', h), handleOf('tied', 'dlogits', dlogits)];
    const ends = optionalHandleOf('tied', 'offsets', offsets);
    const with_ = arg.flag('tied', 'bias', bias);
    return this.#record('tied', name, (e, of) => e.tied(of, rows, found, hidden, logits, with_, ends));
  }

  /** Ends a micro-batch that is not the last one of its step: clipped gradients are added up, without noise. */
  accumulate(): void {
    this.#ask('accumulate', (handle) => handle.accumulate());
  }

  /**
   * Ends a step: what was recorded since the last one becomes gradients with noise, clipped, summed and divided by the expected
   * batch size, and the step is recorded with the accountant. Throws `INVALID_ARGUMENT` where nothing was recorded since the
   * last step or a layer is missing.
   *
   * With `empty`, the step of a batch that nobody was drawn into: noise alone. Batches that are padded go without.
   *
   * Nothing waits but for adaptive clipping, which needs the counts of the step before, and discrete noise, which is drawn on
   * the host: {@link stepAsync} then does not hold up the event loop.
   */
  step(options?: DpStepOptions): DpGradients {
    const { empty } = arg.options('step', options, ['empty']);
    const nobody = arg.flag('step', 'empty', empty);
    return this.#gradients(this.#ask('step', (handle) => handle.step(nobody)));
  }

  /** {@link step} on a thread of its own. Until it is settled everything else throws. */
  async stepAsync(options?: DpStepOptions): Promise<DpGradients> {
    const { empty } = arg.options('stepAsync', options, ['empty']);
    const nobody = arg.flag('stepAsync', 'empty', empty);
    const handle = this.#use('stepAsync');
    await attempt(undefined, () => handle.stepAsync(nobody));
    return this.#gradients(this.#ask('stepAsync', (h) => h.finished()));
  }

  /** What the samples of the last step came to. Private, as the name says. */
  async privateCounts(): Promise<DpPrivateCounts> {
    const handle = this.#use('privateCounts');
    return JSON.parse(await attempt(undefined, () => handle.privateCounts())) as DpPrivateCounts;
  }

  /**
   * Everything that is needed to go on from here, as the bytes of a JSON text: options, layers, steps, what they cost, and the
   * norm of adaptive clipping; not the key of the noise. With a path, it is written there, whole or not at all. Rejects in the
   * middle of a step.
   */
  async save(path?: string): Promise<Uint8Array> {
    const handle = this.#use('save');
    const bytes = new TextEncoder().encode(await attempt(undefined, () => handle.save()));
    if (path !== undefined) await writeWhole(path, bytes);
    return bytes;
  }

  /**
   * Goes on from what {@link save} gave, with the same options: another noise multiplier, clipping or seed rejects with
   * `INVALID_ARGUMENT` and its name, and what is no such state with `CORRUPT_DATA`; then nothing has changed. Steps whose
   * results were seen after that state was saved are not in it: they cost all the same.
   */
  async load(from: string | Uint8Array): Promise<void> {
    this.#use('load');
    const bytes = await stateOf(from);
    this.#ask('load', (handle) => handle.load(new TextDecoder().decode(bytes)));
  }

  /** Whether it, or its device, was disposed of. */
  get disposed(): boolean {
    return this.#disposed || this.device.disposed;
  }

  /** Releases its memory, once the work that was enqueued is done with it. Gradients that it gave stay. Idempotent. */
  dispose(): void {
    this.#disposed = true;
    this.#handle.dispose();
  }

  /** {@link dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #record(op: string, name: string, work: (handle: Native.DpSgdHandle, name: string) => string): DpRecorded {
    const of = arg.text(op, 'name', name);
    return this.#ask(op, (handle) => work(handle, of)) as DpRecorded;
  }

  #gradients({ names, biases, tensors }: Native.DpGradients): DpGradients {
    const all = tensors.map((handle) => new Tensor<'f32'>(this.device, handle));
    const entries: [string, DpGradient][] = [];
    let at = 0;
    for (const [i, name] of names.entries()) {
      const [weight, bias] = all.slice(at, at + (biases[i] === true ? 2 : 1));
      if (weight === undefined) break;
      entries.push([name, bias === undefined ? { weight } : { weight, bias }]);
      at += bias === undefined ? 1 : 2;
    }
    const dispose = (): void => all.forEach((tensor) => tensor.dispose());
    const gradients = Object.fromEntries(entries);
    return Object.defineProperty(gradients, Symbol.dispose, { value: dispose }) as unknown as DpGradients;
  }

  #ask<T>(op: string, work: (handle: Native.DpSgdHandle) => T): T {
    const handle = this.#use(op);
    return arg.call(() => work(handle));
  }

  #use(op: string): Native.DpSgdHandle {
    if (this.#disposed) throw arg.disposed(op, 'engine', 'this');
    if (this.device.disposed) throw arg.disposed(op, 'device', 'this');
    return this.#handle;
  }
}
