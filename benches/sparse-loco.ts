/**
 * What a payload of SparseLoCo takes and loses, for benches/peers/torch_sparse_loco.py: bits for each of 2^22 parameters,
 * and for each quantiser the squared error of the values that are sent, over their squares, where local training moved
 * the parameters by standard normal numbers. Prints one object.
 *
 *     npx tsx benches/sparse-loco.ts
 */

import { openDevice, SparseLoCo, type SparseLoCoOptions } from '../ts/index.js';

const SHAPE = [2048, 2048];

await using dev = await openDevice({ device: 'cpu' });
using moved = dev.philox({ shape: SHAPE, draw: 'normal', seed: 1 });

/** The square of what one round leaves unsent, and the bits of its payload. */
async function left(quantizer: NonNullable<SparseLoCoOptions['quantizer']>): Promise<[number, number]> {
  using start = dev.tensor('f32', { shape: SHAPE });
  using loco = new SparseLoCo(dev, { w: start }, { quantizer });
  const payload = await loco.encode({ w: moved });
  const { errorFeedbackNorm = NaN } = await loco.metering();
  return [errorFeedbackNorm ** 2, 8 * payload.byteLength];
}

using squares = moved.reshape([1, moved.length]).rowReduce('sumSquares');
const [all = NaN] = await squares.toFloat32Array();
// Without quantisation, what is left is what was not chosen: the same for all of them in the first round.
const [unchosen] = await left('none');
const error = async (quantizer: NonNullable<SparseLoCoOptions['quantizer']>): Promise<number> =>
  ((await left(quantizer))[0] - unchosen) / (all - unchosen);

const [, bits] = await left('signMagnitude');
const relativeSquaredError = {
  signMagnitude: await error('signMagnitude'),
  reference: await error('reference'),
  int8: await error('int8'),
};
console.log(JSON.stringify({ bitsPerParameter: bits / moved.length, relativeSquaredError }));
