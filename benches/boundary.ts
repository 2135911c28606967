/**
 * What crossing from JavaScript to a device and back costs: one call, one round trip, one megabyte in and out, each
 * beside what the same would cost without crossing, in the same run.
 *
 *     npx tsx benches/boundary.ts [--device cpu]        (after npm run build)
 *
 * Prints one JSON object; `npm run bench` writes it to benches/results. Times are medians of batches, in microseconds.
 */

import { cpus } from 'node:os';
import { parseArgs } from 'node:util';

import { type DeviceName, openDevice } from '../ts/index.js';

const { values } = parseArgs({ options: { device: { type: 'string', default: 'cpu' } } });
const BATCHES = 31;
const MEGABYTE = 1 << 20;

/** The median time of one call, in microseconds, over batches of so many. */
async function time(calls: number, work: () => unknown): Promise<number> {
  const batch = async (): Promise<number> => {
    const start = performance.now();
    for (let i = 0; i < calls; i++) {
      const result = work();
      if (result instanceof Promise) await result;
    }
    return ((performance.now() - start) * 1000) / calls;
  };
  await batch();
  const times: number[] = [];
  for (let i = 0; i < BATCHES; i++) times.push(await batch());
  return times.sort((a, b) => a - b)[BATCHES >> 1] ?? NaN;
}

const dev = await openDevice({ device: values.device as DeviceName });
const one = dev.tensor('f32', { shape: [1] });
const plain = new Float32Array(MEGABYTE / 4).fill(1.5);
const large = dev.tensor(plain);
const copy = new Float32Array(plain.length);

const call = await time(1000, () => one.narrow(0, 1).dispose());
const operation = await time(1000, () => one.fill(1));
await dev.synchronize();
const withResult = await time(1000, () => one.scale(2).dispose());
await dev.synchronize();
const roundTrip = await time(100, () => one.toTypedArray());
const inCopied = await time(20, () => dev.tensor(plain).dispose());
await dev.synchronize();
// The transferred arrays are made outside of what is timed, and one of them is used once.
const inTransferred: number[] = [];
for (let i = 0; i < 200; i++) {
  const mine = plain.slice();
  const start = performance.now();
  dev.tensor(mine, { transfer: true }).dispose();
  inTransferred.push((performance.now() - start) * 1000);
}
await dev.synchronize();
const out = await time(20, () => large.toTypedArray());
const memcpy = await time(20, () => copy.set(plain));
await dev.dispose();

const rounded = (microseconds: number): number => Math.round(microseconds * 100) / 100;
console.log(
  JSON.stringify(
    {
      machine: cpus()[0]?.model ?? 'unknown',
      date: new Date().toISOString().slice(0, 10),
      node: process.version,
      device: values.device,
      microseconds: {
        'a view and its release: two calls': rounded(call),
        'enqueue an operation in place': rounded(operation),
        'enqueue an operation, and release its result': rounded(withResult),
        'read one element': rounded(roundTrip),
        '1 MB in, copied': rounded(inCopied),
        '1 MB in, transferred': rounded(inTransferred.sort((a, b) => a - b)[100] ?? NaN),
        '1 MB out': rounded(out),
        '1 MB copied within JavaScript': rounded(memcpy),
      },
      ratios: {
        'in, copied / copy': rounded(inCopied / memcpy),
        'out / copy': rounded(out / memcpy),
      },
    },
    null,
    2,
  ),
);
