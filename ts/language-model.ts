import type * as Native from '../bindings/node/index.js';
import * as arg from './args.js';
import { Device, type DeviceName, openDevice } from './device.js';
import { attempt, call } from './job.js';

/** How to load a model. */
export interface LoadModelOptions {
  /**
   * Where the weights go: an open device, which then has to outlive the model, or the name of one that the model opens
   * and disposes of by itself. @defaultValue 'auto'
   */
  device?: Device | DeviceName;
  /**
   * What it computes in. `bf16` takes half the memory and shifts small differences of losses.
   * @defaultValue 'f32' below 10⁹ parameters, else 'bf16'
   */
  dtype?: 'f32' | 'bf16';
  /** The most tokens that it will read at once. @defaultValue the model's context, or 2,048 if that is less */
  longest?: number;
  /** Gives up loading. The promise then rejects with `signal.reason`. */
  signal?: AbortSignal;
}

/** What a language model is. */
export interface ModelConfig {
  /** The family, as `model_type` of a `config.json` names it, such as `llama`. */
  architecture: string;
  /** How many layers. */
  layers: number;
  /** Width of the residual stream. */
  hidden: number;
  /** Ids are below this. */
  vocab: number;
  /** The longest sequence that it was made for, in tokens. */
  context: number;
  /** How many parameters. */
  parameters: number;
  /** What it computes in. */
  dtype: 'f32' | 'bf16';
  /** The most tokens that it reads at once. */
  longest: number;
  /** SHA-256 of its files, in hexadecimal. */
  fingerprint: string;
  /** The id that begins a text; `null` if there is none. */
  bos: number | null;
  /** The id that ends a text; `null` if there is none. */
  eos: number | null;
}

/** Tokens that the model sees at one time. */
export interface TokenWindow {
  /** Input and targets; the last is only a target. */
  ids: Uint32Array;
  /** The first that is predicted, from all before it: at least 1. @defaultValue 1 */
  first?: number;
}

/**
 * A language model on a device: text to ids, ids to losses. Made by {@link loadModel}; {@link scoreBatches} takes it in
 * place of a path, so that it is read once for many calls.
 */
export class LanguageModel implements AsyncDisposable {
  /** What it is. */
  readonly config: Readonly<ModelConfig>;
  /** Where it is. */
  readonly device: Device;
  readonly #handle: Native.ModelHandle;
  /** Whether the device was opened for this model alone. */
  readonly #own: boolean;
  /** What is under way, which its own device has to wait for. */
  readonly #running = new Set<Promise<unknown>>();
  #disposed = false;

  /** @internal */
  constructor(handle: Native.ModelHandle, device: Device, own: boolean) {
    this.config = Object.freeze(JSON.parse(arg.call(() => handle.describe())) as ModelConfig);
    this.device = device;
    this.#handle = handle;
    this.#own = own;
  }

  /** Whether {@link dispose} was called. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /** The ids of a text, without the markers that a tokenizer may put around it. */
  async encode(text: string): Promise<Uint32Array> {
    arg.text('encode', 'text', text);
    const handle = this.handle('encode', 'model');
    return await attempt(undefined, () => handle.encode(text));
  }

  /**
   * The losses of tokens in nats: for each window one for every token from its `first` on, `-ln p(token | those before
   * it in the window)`. They do not depend on what else is asked for in the same call.
   *
   * Rejects with `INVALID_VALUE` for an id that the model does not have, or a window of more tokens than it was loaded
   * for; with `signal.reason` when stopped, between two batches.
   */
  async losses(
    windows: readonly (TokenWindow | Uint32Array)[],
    options?: {
      /** Stops between two batches. */
      signal?: AbortSignal;
    },
  ): Promise<Float32Array[]> {
    const { signal } = arg.options('losses', options, ['signal']);
    if (!Array.isArray(windows)) {
      throw arg.refused('INVALID_ARGUMENT', 'losses', 'windows', 'an array of windows', windows);
    }
    const asked = (windows as readonly (TokenWindow | Uint32Array)[]).map(toWindow);
    const ids = asked.map((window) => window.ids);
    const first = asked.map((window) => window.first);
    const handle = this.handle('losses', 'model');
    const work = call(signal, (_, cancel) => handle.losses(ids, first, cancel));
    this.#running.add(work);
    try {
      return await work;
    } finally {
      this.#running.delete(work);
    }
  }

  /** Releases it, and its device if that was opened for it. Work under way ends first. Idempotent. */
  async dispose(): Promise<void> {
    if (!this.#disposed) {
      this.#disposed = true;
      this.#handle.dispose();
    }
    await Promise.allSettled(this.#running);
    if (this.#own) await this.device.dispose();
  }

  /** {@link dispose}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }

  /** @internal */
  handle(op: string, argument: string): Native.ModelHandle {
    if (this.#disposed) throw arg.disposed(op, 'model', argument);
    if (this.device.disposed) throw arg.disposed(op, 'device', argument);
    return this.#handle;
  }
}

/** A window with its first target. */
function toWindow(window: TokenWindow | Uint32Array): { ids: Uint32Array; first: number } {
  const { ids, first = 1 } =
    window instanceof Uint32Array ? { ids: window } : arg.options('losses', window, ['ids', 'first']);
  if (!(ids instanceof Uint32Array)) {
    throw arg.refused('INVALID_ARGUMENT', 'losses', 'ids', 'a Uint32Array', ids);
  }
  return { ids, first: arg.number('losses', 'first', first) };
}

/**
 * Loads a transformer: a folder with `config.json`, `tokenizer.json` and safetensors, or a GGUF file.
 *
 * @example
 * ```ts
 * await using model = await loadModel('./SmolLM2-135M');
 * const ids = await model.encode('The mill turns.');
 * const [losses] = await model.losses([ids]);
 * ```
 *
 * Rejects with `NOT_FOUND` where a file is missing, `INVALID_MODEL` for damaged ones, `UNSUPPORTED` for a family or an
 * option that is not implemented, {@link OutOfMemoryError} when the weights do not fit, {@link DeviceUnavailableError}.
 */
export async function loadModel(path: string, options?: LoadModelOptions): Promise<LanguageModel> {
  const {
    device = 'auto',
    dtype,
    longest,
    signal,
  } = arg.options('loadModel', options, ['device', 'dtype', 'longest', 'signal']);
  arg.text('loadModel', 'path', path);
  if (dtype !== undefined) arg.oneOf('loadModel', 'dtype', dtype, ['f32', 'bf16']);
  arg.optionalNumber('loadModel', 'longest', longest);
  const own = !(device instanceof Device);
  const place = own ? await openDevice({ device, ...(signal && { signal }) }) : device;
  try {
    const where = place.handle('loadModel');
    const handle = await call(signal, (addon, cancel) =>
      addon.loadModel(path, where, cancel, dtype, longest),
    );
    return new LanguageModel(handle, place, own);
  } catch (error) {
    if (own) await place.dispose();
    throw error;
  }
}
