import type { Batch } from './batches.js';
import type { DType, SumOf } from './dtypes.js';
import type { Reduction, Tensor } from './tensor.js';

/** Rows of different lengths on a device: the elements of all rows, and where each row begins. */
export class Ragged<D extends DType = DType> implements Disposable {
  /** The entries of all rows, one after the other along the first dimension. */
  readonly values: Tensor<D>;
  /** Where each row begins among the values and the last one ends: `[rows + 1]`, ascending; `u32` or `i32`. */
  readonly offsets: Tensor<'u32' | 'i32'>;

  /** @internal */
  constructor(values: Tensor<D>, offsets: Tensor<'u32' | 'i32'>) {
    this.values = values;
    this.offsets = offsets;
  }

  /** How many rows there are. */
  get rows(): number {
    return Math.max(0, this.offsets.length - 1);
  }

  /** The sum of every row; see {@link Tensor.segmentSum}. */
  segmentSum(): Tensor<SumOf<D>> {
    return this.values.segmentSum(this.offsets);
  }

  /** A sum, maximum or sum of squares of every row; see {@link Tensor.segmentReduce}. */
  segmentReduce(reduction: Reduction): Tensor<SumOf<D>> {
    return this.values.segmentReduce(this.offsets, reduction);
  }

  /** The rows as a column of lists of an Arrow table. Rejects as {@link Tensor.toArrow} does. */
  toArrow(options?: {
    /** The name of the column. @defaultValue 'values' */
    name?: string;
  }): Promise<Batch> {
    return this.values.toArrowLists(this.offsets, options);
  }

  /** Releases both tensors. */
  dispose(): void {
    this.values.dispose();
    this.offsets.dispose();
  }

  /** {@link dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}
