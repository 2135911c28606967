import * as arg from './args.js';
import type { DeviceInfo, DeviceName } from './device.js';
import { attempt } from './job.js';
import { native } from './native.js';

/** What to measure. */
export interface BenchOptions {
  /** Which device. @defaultValue 'auto' */
  device?: DeviceName;
  /** Only these operations. @defaultValue all */
  ops?: readonly string[];
  /** How often each case is timed; the fastest time counts. @defaultValue 5 */
  rounds?: number;
  /** Seconds that a round takes at the least. @defaultValue 0.1 */
  seconds?: number;
  /** Hears of every case as soon as it is done, as a line of the table. */
  onRow?: (row: string) => void;
  /** Stops between two cases. The promise then rejects with `signal.reason`. */
  signal?: AbortSignal;
}

/** A rate that a device reached. */
export interface BenchRate {
  /** 10⁹ bytes that had to be read or written, or 10⁹ floating-point operations, per second. */
  unit: 'GB/s' | 'GFLOP/s';
  value: number;
}

/** A line of the table of rates. */
export interface BenchRow {
  /** Operation, sizes and types. */
  case: string;
  /** The operation. */
  op: string;
  /** Seconds of one operation, in the fastest round. */
  seconds: number;
  /** What it reached. */
  rate: BenchRate;
  /** The limit that binds it. */
  limit: string;
  /** The part of that limit that it reached. */
  share: number;
}

/** What {@link benchDevice} measured. */
export interface BenchReport {
  /** The device. */
  device: DeviceInfo;
  /** What it can do at all, measured in the same run: a large copy, a large sum, large matrix products. */
  limits: { name: string; rate: BenchRate }[];
  /** The cases that ran; those that the device does not do, or has no memory for, are left out. */
  rows: BenchRow[];
}

/**
 * Measures the operations of a device beside what the device can do at all. Takes some seconds for each operation, and
 * up to a few gigabytes of memory.
 *
 * Rejects with {@link DeviceUnavailableError}; `INVALID_ARGUMENT` for an operation that does not exist.
 */
export async function benchDevice(options: BenchOptions = {}): Promise<BenchReport> {
  const op = 'benchDevice';
  const known = ['device', 'ops', 'rounds', 'seconds', 'onRow', 'signal'] as const;
  const { device = 'auto', onRow, signal, ...rest } = arg.options<BenchOptions>(op, options, known);
  arg.text(op, 'device', device);
  signal?.throwIfAborted();
  const addon = native();
  const cancel = new addon.CancelHandle();
  const stop = (): void => cancel.cancel();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const report = await attempt(signal, () => addon.bench(device, arg.json(op, rest), cancel, onRow));
    return JSON.parse(report) as BenchReport;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
