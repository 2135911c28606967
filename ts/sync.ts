import type * as Native from '../bindings/node/index.js';
import { json } from './args.js';
import { ask, call } from './job.js';
import type { Progress } from './options.js';
import type { PayloadFormat } from './payload.js';

/** What {@link RoundSync} takes. `run`, `peers` and `format` should be equal on all peers. */
export interface RoundSyncOptions {
  /** The name of this peer, unlike that of any other: letters, digits, `.`, `_` and `-`. */
  peer: string;
  /** How many peers a round waits for; with all of them there it is decided at once. */
  peers: number;
  /** The run. @defaultValue the last part of the URL */
  run?: string;
  /** Peers that suffice once the deadline has passed. @defaultValue `peers` */
  quorum?: number;
  /** Peers that a round takes at the most, so that others may join. @defaultValue `peers` */
  maxPeers?: number;
  /** Milliseconds, from the start of {@link RoundSync.gather}, after which the quorum suffices. */
  deadlineMs?: number;
  /** Milliseconds to wait before giving up. @defaultValue 600000 */
  timeoutMs?: number;
  /** Milliseconds between two looks at the store, at the most. @defaultValue 1000 */
  pollMs?: number;
  /** Milliseconds that one request may take. @defaultValue 120000 */
  requestTimeoutMs?: number;
  /** How often a request that fails for a passing reason is tried again, after growing pauses. @defaultValue 6 */
  retries?: number;
  /** Downloads at a time. @defaultValue 8 */
  parallel?: number;
  /** The codec and the tensors. @defaultValue those of the first payload that this peer publishes or replays */
  format?: PayloadFormat;
  /** The secret Ed25519 key to sign payloads with: its seed of 32 bytes in hexadecimal. */
  key?: string;
  /** The public keys of the peers, in hexadecimal. With any, only these peers are taken, and only signed. */
  keys?: Readonly<Record<string, string>>;
}

/** A payload of a round. */
export interface AcceptedPayload {
  peer: string;
  /** The BLAKE3 hash of its bytes. */
  hash: string;
  bytes: Uint8Array;
}

/** A round that is decided: what every peer applies. */
export interface AcceptedRound {
  round: number;
  /** The hash of the parameters that it began with. */
  base: string;
  /** The payloads in the order in which they are to be applied. */
  payloads: AcceptedPayload[];
  /** What whoever decided the round refused, and why. */
  refused: { peer: string; hash: string; reason: string; detail: string }[];
  /** What became of this peer's own payload. `leftOut`: what it holds was not applied, by anybody. */
  own: 'taken' | 'leftOut' | 'absent';
}

/** A payload that was published. */
export interface PublishedPayload {
  /** The BLAKE3 hash under which others know it. */
  hash: string;
  /** Whether it was not there before. */
  fresh: boolean;
  /** Whether the round was decided already without it; then nothing was uploaded. */
  late: boolean;
}

/** Bytes, requests and seconds of an exchange so far. */
export interface SyncMeter {
  rounds: number;
  bytesUp: number;
  bytesDown: number;
  requests: number;
  retries: number;
  refused: number;
  publishSeconds: number;
  listSeconds: number;
  fetchSeconds: number;
  verifySeconds: number;
  commitSeconds: number;
  waitSeconds: number;
}

/** What the methods of {@link RoundSync} take that ask the store. */
export interface SyncCallOptions {
  signal?: AbortSignal;
}

/** What {@link RoundSync.gather} and {@link RoundSync.replay} take. */
export interface GatherOptions extends SyncCallOptions {
  /**
   * The hash of the parameters that the round began with. @defaultValue that of what this peer published in the round;
   * where it published nothing, others must decide the round
   */
  base?: string;
  /** How many peers are there. */
  onProgress?: (event: Progress) => void;
}

/**
 * A peer's part in the rounds of a run that trains on several machines: peers share nothing but a directory or a bucket,
 * and all of them apply the same payloads in the same order.
 *
 * @example
 * ```ts
 * const sync = new RoundSync('s3://bucket/run-7', { peer: 'a', peers: 8 });
 * await sync.publish(round, payload);
 * const { payloads } = await sync.gather(round);
 * ```
 */
export class RoundSync {
  readonly #handle: Native.RoundSyncHandle;

  /** Opens the rounds at a directory or an object-store URL. Nothing is read yet. */
  constructor(url: string, options: RoundSyncOptions) {
    this.#handle = ask((addon) => new addon.RoundSyncHandle(url, json('RoundSync', options)));
  }

  /** The run. */
  get run(): string {
    return this.#handle.run();
  }

  /** What the exchange has cost so far. */
  meter(): SyncMeter {
    return ask(() => JSON.parse(this.#handle.meter()) as SyncMeter);
  }

  /**
   * Uploads this peer's payload of a round, and signs it where there is a key. Once more with the same content, that is
   * success; with other content it rejects with `JOB_MISMATCH`, and {@link published} gives what is there.
   */
  async publish(
    round: number,
    payload: Uint8Array,
    options: SyncCallOptions = {},
  ): Promise<PublishedPayload> {
    const publish = (_: unknown, cancel: Native.CancelHandle): Promise<string> =>
      this.#handle.publish(round, payload, cancel);
    return JSON.parse(await call(options.signal, publish)) as PublishedPayload;
  }

  /** What this peer published in a round, such as before it was killed. */
  published(round: number, options: SyncCallOptions = {}): Promise<Uint8Array | null> {
    return call(options.signal, (_, cancel) => this.#handle.published(round, cancel));
  }

  /**
   * Waits until a round is decided, or decides it, and gives what every peer applies: all of it, checked to the bit, or
   * nothing. Rejects with `TIMED_OUT` when too few peers came, and with `JOB_MISMATCH` when this replica holds other
   * parameters than the others began with. The same call may be made again.
   */
  async gather(round: number, options: GatherOptions = {}): Promise<AcceptedRound> {
    const { base, signal, onProgress } = options;
    let failure: { error: unknown } | undefined;
    let settled = false;
    try {
      return accepted(
        await call(signal, (_, cancel) => {
          const report = (event: Progress): void => {
            if (settled || failure) return;
            try {
              onProgress?.(event);
            } catch (error) {
              failure = { error };
              cancel.cancel();
            }
          };
          return this.#handle.gather(round, base, cancel, onProgress && report);
        }),
      );
    } catch (error) {
      throw failure ? failure.error : error;
    } finally {
      settled = true;
    }
  }

  /** A round that is decided; `null` where it is not yet. */
  async replay(
    round: number,
    options: SyncCallOptions & { base?: string } = {},
  ): Promise<AcceptedRound | null> {
    const found = await call(options.signal, (_, cancel) => this.#handle.replay(round, options.base, cancel));
    return found && accepted(found);
  }

  /**
   * Replays all rounds that are decided, from one on, as a peer does that joins or comes back with a checkpoint. `apply`
   * gets each in turn and gives the hash of the parameters after it, or `null` to have the next taken on trust. Gives
   * the first round that is not decided yet.
   */
  async catchUp(
    from: number,
    apply: (round: AcceptedRound) => string | null | Promise<string | null>,
    options: SyncCallOptions & { base?: string } = {},
  ): Promise<number> {
    const { signal } = options;
    let base: string | null = options.base ?? null;
    for (let round = from; ; round++) {
      const found = await this.replay(round, {
        ...(base !== null && { base }),
        ...(signal && { signal }),
      });
      if (!found) return round;
      base = await apply(found);
    }
  }

  /** The first round that is not decided yet. */
  nextRound(options: SyncCallOptions = {}): Promise<number> {
    return call(options.signal, (_, cancel) => this.#handle.nextRound(cancel));
  }
}

/** Puts the bytes of the payloads where they belong. */
function accepted({ summary, payloads }: Native.AcceptedRound): AcceptedRound {
  const round = JSON.parse(summary) as AcceptedRound;
  round.payloads.forEach((payload, i) => (payload.bytes = payloads[i] ?? new Uint8Array()));
  return round;
}
