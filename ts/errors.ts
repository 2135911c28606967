/**
 * Why Gristmill refused or failed. The set is closed: a switch over it can be exhaustive.
 *
 * | code | meaning |
 * | --- | --- |
 * | `INVALID_ARGUMENT` | an option is out of its range, unknown, or contradicts another |
 * | `NOT_FOUND` | no file matches an input, or a named file does not exist |
 * | `IO` | the operating system or the object store refused a read or a write |
 * | `STORAGE_FULL` | the output device is full |
 * | `CORRUPT_DATA` | a data file is truncated, damaged, or not of the format that it claims |
 * | `INVALID_UTF8` | bytes that should be text are not UTF-8 |
 * | `MISSING_COLUMN` | a column that is needed is not there |
 * | `WRONG_TYPE` | a column is there with a type that cannot serve |
 * | `INVALID_VALUE` | a null or a NaN where the contract forbids it |
 * | `DUPLICATE_ID` | two documents carry one id where ids must be unique |
 * | `EMPTY_INPUT` | there is nothing to work on |
 * | `TARGET_TOO_SMALL` | the target sample is too small to learn from |
 * | `INVALID_MODEL` | a model file is truncated, damaged, hostile, or of an unknown kind |
 * | `UNSUPPORTED` | a well-formed request for something that this build does not do |
 * | `DISCOUNT_FAILED` | counts of counts do not allow the discounts of modified Kneser-Ney |
 * | `OUT_OF_MEMORY` | the memory limit leaves no room for the work |
 * | `JOB_MISMATCH` | the output directory holds a job with another configuration or another input |
 * | `TIMED_OUT` | what was waited for, such as other peers, did not come in time |
 * | `ABORTED` | the work was stopped |
 * | `SHAPE_MISMATCH` | a tensor's shape does not fit the others of an operation, or its elements |
 * | `DTYPE_MISMATCH` | a tensor's element type cannot serve an operation |
 * | `DEVICE_MISMATCH` | tensors of one operation live on different devices |
 * | `DEVICE_UNAVAILABLE` | no device of the kind that was asked for can be used on this machine |
 * | `DEVICE_LOST` | a device stopped working; everything on it is gone, and another can be opened |
 * | `DISPOSED` | a device or tensor was used after it was disposed of |
 * | `NATIVE_UNAVAILABLE` | the compiled part of Gristmill for this platform is missing or does not load |
 * | `INTERNAL` | a defect of Gristmill itself: please report it |
 */
export type ErrorCode = (typeof ERROR_CODES)[number];

/** Every {@link ErrorCode}, at run time. */
export const ERROR_CODES = [
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'IO',
  'STORAGE_FULL',
  'CORRUPT_DATA',
  'INVALID_UTF8',
  'MISSING_COLUMN',
  'WRONG_TYPE',
  'INVALID_VALUE',
  'DUPLICATE_ID',
  'EMPTY_INPUT',
  'TARGET_TOO_SMALL',
  'INVALID_MODEL',
  'UNSUPPORTED',
  'DISCOUNT_FAILED',
  'OUT_OF_MEMORY',
  'JOB_MISMATCH',
  'TIMED_OUT',
  'ABORTED',
  'SHAPE_MISMATCH',
  'DTYPE_MISMATCH',
  'DEVICE_MISMATCH',
  'DEVICE_UNAVAILABLE',
  'DEVICE_LOST',
  'DISPOSED',
  'NATIVE_UNAVAILABLE',
  'INTERNAL',
] as const;

/** Where in the input something went wrong, as far as it is known. Counting starts at 0. */
export interface ErrorDetails {
  /** File path or object-store URL. */
  readonly path?: string;
  /** Row group of a Parquet file, or batch of an Arrow file. */
  readonly rowGroup?: number;
  /** Row within the file; the line, for line formats. */
  readonly row?: number;
  /** Column, field, option or argument name. */
  readonly column?: string;
  /** Byte offset within the file. */
  readonly offset?: number;
}

/** What every function of Gristmill throws or rejects with, besides the reason of an aborted signal. */
export class GristmillError extends Error {
  /** Why, as one of a closed set. */
  readonly code: ErrorCode;
  /** Where. */
  readonly details: ErrorDetails;
  /** What to do about it, when there is advice. */
  readonly hint?: string;

  constructor(
    code: ErrorCode,
    message: string,
    options: { details?: ErrorDetails | undefined; hint?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined);
    this.name = new.target.name;
    this.code = code;
    this.details = options.details ?? {};
    if (options.hint !== undefined) this.hint = options.hint;
  }
}

/**
 * The output directory already holds a job with another configuration or another input. Callers branch on it to
 * ask whether to start over (`fresh: true`) or to write elsewhere.
 */
export class JobMismatchError extends GristmillError {}

/** The compiled addon for this platform is missing or does not load. */
export class NativeUnavailableError extends GristmillError {}

/** Why a device was not taken. */
export interface DeviceReason {
  /** What was not taken: a backend such as `cuda`, or one of its devices such as `wgpu:0`. */
  readonly device: string;
  /** Why. */
  readonly why: string;
  /** What to do about it. */
  readonly hint?: string;
}

/** The device that was asked for cannot be used on this machine. Callers branch on it to take another. */
export class DeviceUnavailableError extends GristmillError {
  /** Why each backend or device that was looked at cannot be used. */
  readonly reasons: readonly DeviceReason[] = [];
}

/** Shapes do not fit: see `details.column` for the argument. */
export class ShapeError extends GristmillError {}

/** A device (or a job) has no memory left for the work. The device still works: smaller work can be tried. */
export class OutOfMemoryError extends GristmillError {}

/** A device or a tensor was used after it was disposed of. */
export class DisposedError extends GristmillError {}

/** Kinds on which callers branch. */
const CLASSES: Partial<Record<ErrorCode, typeof GristmillError>> = {
  JOB_MISMATCH: JobMismatchError,
  DEVICE_UNAVAILABLE: DeviceUnavailableError,
  SHAPE_MISMATCH: ShapeError,
  OUT_OF_MEMORY: OutOfMemoryError,
  DISPOSED: DisposedError,
};

interface NativeError extends Error {
  code?: unknown;
  hint?: unknown;
  location?: ErrorDetails;
  reasons?: unknown;
}

/**
 * The {@link GristmillError} of whatever the addon threw.
 *
 * @internal
 */
export function fromNative(thrown: unknown): unknown {
  if (!(thrown instanceof Error) || thrown instanceof GristmillError) return thrown;
  const { code, hint, location, reasons, message }: NativeError = thrown;
  const known = ERROR_CODES.find((c) => c === code);
  // What did not come from our own code came from the conversion of an argument, which napi refuses by itself.
  const kind = known ?? (code === undefined ? 'INTERNAL' : 'INVALID_ARGUMENT');
  const Class = CLASSES[kind] ?? GristmillError;
  const error = new Class(kind, message, {
    details: location,
    hint: typeof hint === 'string' ? hint : undefined,
    cause: known === undefined ? thrown : undefined,
  });
  if (error instanceof DeviceUnavailableError && typeof reasons === 'string') {
    Object.assign(error, { reasons: JSON.parse(reasons) as DeviceReason[] });
  }
  return error;
}
