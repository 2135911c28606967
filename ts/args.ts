/** Arguments of tensor methods: what is refused says the operation, the argument, what was expected and what given. */

import { DTYPES, type DType, type TypedArrays } from './dtypes.js';
import { DisposedError, type ErrorCode, fromNative, GristmillError, ShapeError } from './errors.js';

/** What a value is, for messages. */
function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  if (typeof value === 'bigint') return `${value}n`;
  if (value === null || ['number', 'boolean', 'undefined'].includes(typeof value)) return String(value);
  if (typeof value === 'symbol') return 'a symbol';
  if (typeof value === 'function') return 'a function';
  return arrayName(value) ?? (Array.isArray(value) ? 'an array' : 'an object');
}

/**
 * The error of an argument.
 *
 * @internal
 */
export function refused(
  code: ErrorCode,
  op: string,
  argument: string,
  expected: string,
  given: unknown,
): GristmillError {
  const Class = code === 'SHAPE_MISMATCH' ? ShapeError : GristmillError;
  return new Class(code, `${op}: expected ${expected}, given ${shown(given)}`, {
    details: { column: argument },
  });
}

/**
 * The error of something that was used after its end.
 *
 * @internal
 */
export function disposed(op: string, what: string, argument: string): DisposedError {
  return new DisposedError('DISPOSED', `${op}: the ${what} was disposed of`, {
    details: { column: argument },
  });
}

/** @internal */
export function number(op: string, argument: string, value: unknown): number {
  if (typeof value !== 'number') throw refused('INVALID_ARGUMENT', op, argument, 'a number', value);
  return value;
}

/** @internal */
export function optionalNumber(op: string, argument: string, value: unknown): number | undefined {
  return value === undefined ? undefined : number(op, argument, value);
}

/** @internal */
export function flag(op: string, argument: string, value: unknown): boolean {
  if (value !== undefined && typeof value !== 'boolean') {
    throw refused('INVALID_ARGUMENT', op, argument, 'true or false', value);
  }
  return value === true;
}

/** @internal */
export function word(op: string, argument: string, value: unknown): number | bigint {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number') return value;
  throw refused('INVALID_ARGUMENT', op, argument, 'a number or a bigint', value);
}

/** @internal */
export function text(op: string, argument: string, value: unknown): string {
  if (typeof value !== 'string') throw refused('INVALID_ARGUMENT', op, argument, 'a string', value);
  return value;
}

/** @internal */
export function oneOf<T extends string>(op: string, argument: string, value: unknown, all: readonly T[]): T {
  const found = all.find((name) => name === value);
  if (found === undefined) throw refused('INVALID_ARGUMENT', op, argument, `one of ${all.join(', ')}`, value);
  return found;
}

/** @internal */
export function dtype<D extends DType>(op: string, value: D): D {
  oneOf(op, 'dtype', value, Object.keys(DTYPES));
  return value;
}

/** @internal */
export function options<T extends object>(
  op: string,
  value: T | undefined,
  known: readonly (keyof T)[],
): Partial<T> {
  if (value === undefined) return {};
  if (typeof value !== 'object' || (value as unknown) === null) {
    throw refused('INVALID_ARGUMENT', op, 'options', 'an object', value);
  }
  const unknown = Object.keys(value).find((key) => !known.includes(key as keyof T));
  if (unknown !== undefined) {
    throw new GristmillError('INVALID_ARGUMENT', `${op}: there is no option ${JSON.stringify(unknown)}`, {
      details: { column: unknown },
      hint: `there are: ${known.join(', ')}`,
    });
  }
  return value;
}

/**
 * Options as the engine reads them. What JSON would leave out, or turn into something else, is refused: functions, symbols,
 * bigints, options that are not finite, and objects that are more than their own fields. In arrays of data a number that is
 * not finite becomes null, which the engine refuses by row and column.
 *
 * @internal
 */
export function json(op: string, value: unknown): string {
  const plain = ['[object Object]', '[object Array]'];
  const fits = (part: unknown, inArray: boolean): boolean =>
    typeof part === 'number'
      ? inArray || Number.isFinite(part)
      : typeof part === 'object'
        ? part === null || plain.includes(Object.prototype.toString.call(part))
        : ['string', 'boolean', 'undefined'].includes(typeof part);
  const expected = 'a finite number, a string, true or false, an array or a plain object';
  // Indices of arrays say less than the option that the array is.
  let named = 'options';
  function check(this: Record<string, unknown>, key: string, part: unknown): unknown {
    const inArray = Array.isArray(this);
    if (key !== '' && !inArray) named = key;
    // As it was before a `toJSON` of its own.
    const given = this[key];
    if (!fits(given, inArray)) throw refused('INVALID_ARGUMENT', op, named, expected, given);
    return part;
  }
  try {
    return JSON.stringify(value, check);
  } catch (cause) {
    if (cause instanceof GristmillError) throw cause;
    throw new GristmillError('INVALID_ARGUMENT', `${op}: options that cannot be read`, {
      details: { column: named },
      hint: 'an object may not be a part of itself',
      cause,
    });
  }
}

/**
 * A shape; of what its sizes may be the engine decides.
 *
 * @internal
 */
export function shape(op: string, value: unknown): number[] {
  if (!Array.isArray(value)) throw refused('INVALID_ARGUMENT', op, 'shape', 'an array of sizes', value);
  const wrong: unknown = value.find((size) => typeof size !== 'number');
  if (wrong !== undefined || value.includes(undefined)) {
    throw refused('INVALID_ARGUMENT', op, 'shape', 'an array of sizes', wrong);
  }
  return Array.from(value as number[]);
}

/** `Float32Array` of one, whichever realm it is from; `undefined` for anything else. */
function arrayName(value: unknown): string | undefined {
  if (!ArrayBuffer.isView(value)) return undefined;
  return Object.prototype.toString.call(value).slice('[object '.length, -1);
}

const PLAIN: Record<string, DType> = {
  Float32Array: 'f32',
  Float64Array: 'f64',
  Float16Array: 'f16',
  Uint8Array: 'u8',
  Uint8ClampedArray: 'u8',
  Int32Array: 'i32',
  Uint32Array: 'u32',
};

/**
 * The type of the elements of a typed array, if its class tells.
 *
 * @internal
 */
export function dtypeOf(op: string, data: unknown): DType {
  const name = arrayName(data);
  const found = name === undefined ? undefined : PLAIN[name];
  if (found !== undefined) return found;
  const expected = 'a dtype, or a Float32Array, Float64Array, Uint8Array, Int32Array or Uint32Array';
  throw refused('DTYPE_MISMATCH', op, 'data', expected, data);
}

/**
 * The elements as a view of their bytes, and how many they are.
 *
 * @internal
 */
export function elements(op: string, type: DType, data: unknown): { bytes: Uint8Array; length: number } {
  const name = arrayName(data);
  const { array: Class, size } = DTYPES[type];
  if (name !== undefined) {
    const view = data as ArrayBufferView;
    const fits = name === Class.name || PLAIN[name] === type;
    if (!fits) throw refused('DTYPE_MISMATCH', op, 'data', `a ${Class.name} for ${type}`, data);
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    return {
      bytes: view.buffer instanceof ArrayBuffer ? bytes : bytes.slice(),
      length: view.byteLength / size,
    };
  }
  if (!Array.isArray(data) || Class === Uint16Array) {
    throw refused('DTYPE_MISMATCH', op, 'data', `a ${Class.name} for ${type}`, data);
  }
  const array = new Class(data.length) as TypedArrays['f64'];
  for (const [i, value] of (data as unknown[]).entries()) {
    array[i] = number(op, 'data', value);
    if (!type.startsWith('f') && array[i] !== value) {
      throw new GristmillError('INVALID_VALUE', `${op}: ${String(value)} is no ${type}`, {
        details: { column: 'data', row: i },
      });
    }
  }
  return { bytes: new Uint8Array(array.buffer), length: array.length };
}

/**
 * Moves the memory behind these bytes to a buffer that nobody else knows.
 *
 * @internal
 */
export function transfer(op: string, bytes: Uint8Array): Uint8Array {
  // Afterwards they are 0.
  const { byteOffset, byteLength } = bytes;
  try {
    const moved = structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] });
    return new Uint8Array(moved, byteOffset, byteLength);
  } catch (cause) {
    throw new GristmillError('INVALID_ARGUMENT', `${op}: this memory cannot be transferred`, {
      details: { column: 'data' },
      hint: 'leave `transfer` out, and the elements are copied',
      cause,
    });
  }
}

/**
 * Calls the addon; what it throws becomes one of our errors.
 *
 * @internal
 */
export function call<T>(work: () => T): T {
  try {
    return work();
  } catch (thrown) {
    throw fromNative(thrown);
  }
}
