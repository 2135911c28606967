import * as arg from './args.js';
import type { DeviceInfo, DeviceName } from './device.js';
import { attempt } from './job.js';
import { native } from './native.js';

/** What to check. */
export interface CheckOptions {
  /** Which device. @defaultValue 'auto' */
  device?: DeviceName;
  /** Only these operations. @defaultValue all */
  ops?: readonly string[];
  /** The seed of an earlier run, to repeat it exactly; below 2^64. @defaultValue a fresh one */
  seed?: string;
  /** Hears of every case as soon as it is done, as a line of the table. */
  onRow?: (row: string) => void;
  /** Stops between two operations. The promise then rejects with `signal.reason`. */
  signal?: AbortSignal;
}

/** A line of the table of promises. */
export interface CheckRow {
  /** Operation, sizes, types and kind of input. */
  case: string;
  /** The operation. */
  op: string;
  /** How close the results had to be to those of the scalar reference: `exact`, or the greatest error. */
  bound: 'exact' | number;
  /** The greatest error that was seen. */
  error?: number;
  /** Whether it held. */
  outcome: 'passed' | 'failed' | 'skipped';
  /** Why not. */
  why?: string;
}

/** What {@link checkDevice} found. */
export interface CheckReport {
  /** The device. */
  device: DeviceInfo;
  /** What repeats this run exactly. */
  seed: string;
  /** The cases that ran. */
  rows: CheckRow[];
}

/**
 * Holds a device against the promises of every operation: runs a table of several hundred cases with fresh random
 * inputs, some of them nasty, and compares with the scalar reference.
 *
 * Rejects with {@link DeviceUnavailableError}; `INVALID_ARGUMENT` for an operation that does not exist. What a case
 * finds is in the report.
 */
export async function checkDevice(options: CheckOptions = {}): Promise<CheckReport> {
  const op = 'checkDevice';
  const known = ['device', 'ops', 'seed', 'onRow', 'signal'] as const;
  const { device = 'auto', ops, seed, onRow, signal } = arg.options<CheckOptions>(op, options, known);
  arg.text(op, 'device', device);
  signal?.throwIfAborted();
  const addon = native();
  const cancel = new addon.CancelHandle();
  const stop = (): void => cancel.cancel();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const request = arg.json(op, { ops, seed });
    const report = await attempt(signal, () => addon.check(device, request, cancel, onRow));
    return JSON.parse(report) as CheckReport;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
