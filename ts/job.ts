import type * as Native from '../bindings/node/index.js';
import { json } from './args.js';
import { type Batch, readBatches } from './batches.js';
import { fromNative, GristmillError } from './errors.js';
import { native } from './native.js';
import type { Progress, RunOptions } from './options.js';

/**
 * A job under way. Await it for its summary, or iterate over it for the rows of its result as Arrow batches once it
 * is done; both may be done, and more than once.
 */
export class Job<Summary> implements Promise<Summary>, AsyncIterable<Batch> {
  readonly [Symbol.toStringTag] = 'Job';
  readonly #summary: Promise<Summary>;
  readonly #output: string;
  readonly #signal: AbortSignal | undefined;

  /** @internal */
  constructor(summary: Promise<Summary>, output: string, signal: AbortSignal | undefined) {
    this.#summary = summary;
    this.#output = output;
    this.#signal = signal;
  }

  then<A = Summary, B = never>(
    onFulfilled?: ((summary: Summary) => A | PromiseLike<A>) | null,
    onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#summary.then(onFulfilled, onRejected);
  }

  catch<B = never>(onRejected?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<Summary | B> {
    return this.#summary.catch(onRejected);
  }

  finally(onFinally?: (() => void) | null): Promise<Summary> {
    return this.#summary.finally(onFinally);
  }

  /** The rows of the result, batch by batch. Waits for the job first. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Batch, void, undefined> {
    await this.#summary;
    yield* readBatches(this.#output, this.#signal ? { signal: this.#signal } : {});
  }
}

type Entry = (
  options: string,
  cancel: Native.CancelHandle,
  onProgress?: (event: Native.ProgressEvent) => void,
) => Promise<string>;

/**
 * Runs one job of the addon: its options without what is ours, its progress, its cancellation, its errors.
 *
 * @internal
 */
export async function run<Summary>(
  pick: (addon: typeof Native) => Entry,
  options: RunOptions,
): Promise<Summary> {
  const { signal, onProgress, ...rest } = options;
  signal?.throwIfAborted();
  const addon = native();
  const cancel = new addon.CancelHandle();
  const stop = (): void => cancel.cancel();
  let settled = false;
  let failure: { error: unknown } | undefined;
  const report = (event: Progress): void => {
    // A report may still be on its way when the promise has settled.
    if (settled || failure) return;
    try {
      onProgress?.(event);
    } catch (error) {
      failure = { error };
      stop();
    }
  };
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const start = pick(addon);
    const summary = await attempt(signal, () => start(json('options', rest), cancel, onProgress && report));
    return JSON.parse(summary) as Summary;
  } catch (error) {
    throw failure ? failure.error : error;
  } finally {
    settled = true;
    signal?.removeEventListener('abort', stop);
  }
}

/**
 * Calls the addon with a handle that the signal cancels.
 *
 * @internal
 */
export async function call<T>(
  signal: AbortSignal | undefined,
  work: (addon: typeof Native, cancel: Native.CancelHandle) => T | Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const addon = native();
  const cancel = new addon.CancelHandle();
  const stop = (): void => cancel.cancel();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    return await attempt(signal, () => work(addon, cancel));
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/**
 * Calls the addon for what takes no time.
 *
 * @internal
 */
export function ask<T>(work: (addon: typeof Native) => T): T {
  try {
    return work(native());
  } catch (error) {
    throw fromNative(error);
  }
}

/**
 * Awaits a call of the addon: what it throws becomes one of our errors, or the reason of the signal where it stopped
 * because of that.
 *
 * @internal
 */
export async function attempt<T>(signal: AbortSignal | undefined, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    const error = fromNative(thrown);
    const stopped = error instanceof GristmillError && error.code === 'ABORTED';
    throw stopped && signal?.aborted === true ? signal.reason : error;
  }
}
