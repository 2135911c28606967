/** The type of a tensor's elements. `f64` is on the CPU only. */
export type DType = 'f32' | 'f64' | 'bf16' | 'f16' | 'u8' | 'i32' | 'u32';

/** 32-bit floats. */
export const f32 = 'f32';
/** 64-bit floats; on the CPU only. */
export const f64 = 'f64';
/** The upper halves of 32-bit floats. In JavaScript, their bits in a `Uint16Array`. */
export const bf16 = 'bf16';
/** IEEE half-precision floats. In JavaScript, their bits in a `Uint16Array`. */
export const f16 = 'f16';
/** Bytes. */
export const u8 = 'u8';
/** Signed 32-bit integers. */
export const i32 = 'i32';
/** Unsigned 32-bit integers. */
export const u32 = 'u32';

/** The typed array that holds elements of each type. */
export interface TypedArrays {
  f32: Float32Array;
  f64: Float64Array;
  bf16: Uint16Array;
  f16: Uint16Array;
  u8: Uint8Array;
  i32: Int32Array;
  u32: Uint32Array;
}

/** A typed array that says by itself which elements it holds. */
export type PlainTypedArray = Float32Array | Float64Array | Uint8Array | Int32Array | Uint32Array;

/** The type of the elements of a typed array. */
export type DTypeOf<A extends PlainTypedArray> = A extends Float32Array
  ? 'f32'
  : A extends Float64Array
    ? 'f64'
    : A extends Int32Array
      ? 'i32'
      : A extends Uint32Array
        ? 'u32'
        : 'u8';

/** The type of the sums of elements of a type. */
export type SumOf<D extends DType> = D extends 'f64' ? 'f64' : 'f32';

/** Every {@link DType}, with the size of an element in bytes and the class of its array. */
export const DTYPES = {
  f32: { size: 4, array: Float32Array },
  f64: { size: 8, array: Float64Array },
  bf16: { size: 2, array: Uint16Array },
  f16: { size: 2, array: Uint16Array },
  u8: { size: 1, array: Uint8Array },
  i32: { size: 4, array: Int32Array },
  u32: { size: 4, array: Uint32Array },
} as const satisfies Record<DType, { size: number; array: new (length: number) => TypedArrays[DType] }>;
