/** Worker threads come and go with work under way; nothing outlives them and nothing crashes. */

import { join } from 'node:path';
import { Worker } from 'node:worker_threads';

import { expect, test } from 'vitest';

import { program, root, scratch, smallPool } from './helpers.js';

const entry = join(root, 'dist/index.js');

/** A worker that starts a job of its own and says so at the first report of progress. */
const source = `
  const { parentPort, workerData } = require('node:worker_threads');
  import(workerData.entry).then(({ fit }) => {
    let said = false;
    const onProgress = () => {
      if (!said) parentPort.postMessage('running');
      said = true;
    };
    fit({ ...workerData.options, onProgress }).then(
      () => parentPort.postMessage('done'),
      (error) => parentPort.postMessage(String(error)),
    );
  });
`;

function start(dir: string, i: number, corpus: string): Worker {
  const options = { corpus, order: 3, output: join(dir, `${i}.gml`) };
  return new Worker(source, { eval: true, workerData: { entry: new URL(`file://${entry}`).href, options } });
}

test('a job runs in a worker thread', async () => {
  const dir = scratch();
  const worker = start(dir, 0, smallPool(dir).pool);
  const messages: string[] = [];
  worker.on('message', (message: string) => messages.push(message));
  await new Promise((resolve) => worker.on('exit', resolve));
  expect(messages.at(-1)).toBe('done');
});

test('fifty workers are terminated in the middle of a job', async () => {
  const dir = scratch();
  const { pool } = smallPool(dir);
  for (let i = 0; i < 50; i++) {
    const worker = start(dir, i, pool);
    const first = await new Promise<string>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
      worker.once('exit', (code) => reject(new Error(`it ended by itself with ${code}`)));
    });
    expect(first).toBe('running');
    await worker.terminate();
  }
  // The addon is still in order in this process.
  const { fit } = (await import(entry)) as typeof import('../ts/index.js');
  expect((await fit({ corpus: pool, order: 2, output: join(dir, 'last.gml') })).order).toBe(2);
});

/** A worker that keeps a device busy: operations and reads enqueued by the hundred, none awaited. */
const computing = `
  const { parentPort, workerData } = require('node:worker_threads');
  import(workerData.entry).then(async ({ openDevice }) => {
    const dev = await openDevice({ device: workerData.device });
    const x = dev.philox({ shape: [256, 256], draw: 'uniform', seed: 1 });
    const lent = dev.tensor(new Float32Array(65536), { transfer: true });
    for (let i = 0; i < 300; i++) {
      const y = x.matmul(x);
      y.toTypedArray().catch(() => undefined);
      if (i % 3 === 0) y.dispose();
      dev.tensor(new Float32Array(1000)).axpy(1, lent.narrow(0, 1000));
    }
    parentPort.postMessage('running');
  });
`;

test('fifty workers are terminated with a device at work', async () => {
  const data = { entry: new URL(`file://${entry}`).href, device: 'cpu' };
  for (let i = 0; i < 50; i++) {
    const worker = new Worker(computing, { eval: true, workerData: data });
    const first = await new Promise<string>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
      worker.once('exit', (code) => reject(new Error(`it ended by itself with ${code}`)));
    });
    expect(first).toBe('running');
    await worker.terminate();
  }
  // Devices are still in order in this process.
  const { openDevice } = (await import(entry)) as typeof import('../ts/index.js');
  const dev = await openDevice({ device: 'cpu' });
  const sum = dev.tensor('f32', { shape: [4], data: [1, 2, 3, 4] }).rowReduce('sum');
  expect([...(await sum.toTypedArray())]).toEqual([10]);
  await dev.dispose();
});

test('a process that ends with a device at work ends cleanly', async () => {
  const script = `
    import { openDevice } from ${JSON.stringify(new URL(`file://${entry}`).href)};
    const dev = await openDevice({ device: 'cpu' });
    const x = dev.philox({ shape: [512, 512], draw: 'uniform', seed: 1 });
    for (let i = 0; i < 1000; i++) x.matmul(x).toTypedArray();
    setTimeout(() => process.exit(7), 50);
  `;
  const start = performance.now();
  const { code, stderr } = await program(process.execPath, ['--input-type=module', '-e', script]);
  expect({ code, stderr }).toEqual({ code: 7, stderr: '' });
  // What nobody will read is not computed.
  expect(performance.now() - start).toBeLessThan(60_000);
});

test('a process that ends with a job under way ends cleanly', async () => {
  const dir = scratch();
  const { pool } = smallPool(dir);
  const script = `
    import { fit } from ${JSON.stringify(new URL(`file://${entry}`).href)};
    fit({ corpus: ${JSON.stringify(pool)}, output: ${JSON.stringify(join(dir, 'm.gml'))}, onProgress: () => process.exit(7) });
  `;
  const { code, stderr } = await program(process.execPath, ['--input-type=module', '-e', script]);
  expect({ code, stderr }).toEqual({ code: 7, stderr: '' });
});
