/** Scoring of logits and log-probabilities on devices: by definition, and the same on every device within the promise. */

import * as arrow from 'apache-arrow';
import { describe, expect, test } from 'vitest';

import {
  type Batch,
  type DeviceName,
  doctor,
  GristmillError,
  openDevice,
  scoreBatches,
  type ScoreBatchesOptions,
} from '../ts/index.js';
import { random } from './helpers.js';

const VOCAB = 7;

/** Documents by their tokens: logits of two models, and targets. Some have no tokens. */
function documents(
  count: number,
  seed: number,
): { prior: number[][]; conditional: number[][]; targets: number[] }[] {
  const next = random(seed);
  const row = (): number[] => Array.from({ length: VOCAB }, () => Math.fround(6 * next() - 3));
  return Array.from({ length: count }, () => {
    const length = Math.floor(next() * 6);
    const rows = (): number[][] => Array.from({ length }, row);
    const targets = Array.from({ length }, () => Math.floor(next() * VOCAB));
    return { prior: rows(), conditional: rows(), targets };
  });
}

const lists = (type: arrow.DataType): arrow.List => new arrow.List(new arrow.Field('item', type, true));
const logitLists = lists(new arrow.FixedSizeList(VOCAB, new arrow.Field('item', new arrow.Float32(), true)));

function table(docs: ReturnType<typeof documents>): arrow.Table {
  return new arrow.Table({
    prior: arrow.vectorFromArray(docs.map((d) => d.prior), logitLists),
    conditional: arrow.vectorFromArray(docs.map((d) => d.conditional), logitLists),
    targets: arrow.vectorFromArray(docs.map((d) => d.targets), lists(new arrow.Uint32())),
  }); // prettier-ignore
}

/** The loss by its definition. */
function loss(logits: readonly number[][], targets: readonly number[], softcap?: number): number {
  const cap = (z: number): number => (softcap === undefined ? z : softcap * Math.tanh(z / softcap));
  return targets.reduce((sum, target, i) => {
    const z = (logits[i] ?? []).map(cap);
    return sum + Math.log(z.reduce((s, x) => s + Math.exp(x), 0)) - (z[target] ?? NaN);
  }, 0);
}

async function all(source: arrow.Table[], options: ScoreBatchesOptions): Promise<Batch[]> {
  const batches: Batch[] = [];
  for await (const batch of scoreBatches(source, options)) batches.push(batch);
  return batches;
}

async function columns(batches: Batch[], name: string): Promise<number[]> {
  const values: number[] = [];
  for (const batch of batches) values.push(...((await batch.toTable()).getChild(name) as Iterable<number>));
  return values;
}

async function rejection(work: Promise<unknown>): Promise<GristmillError> {
  const error: unknown = await work.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(GristmillError);
  return error as GristmillError;
}

const names: DeviceName[] = ['cpu', 'reference'];
for (const { name, available } of doctor().backends)
  if (name !== 'cpu' && available) names.push(name as 'wgpu');

describe.each(names)('on %s', (device) => {
  const parts = [documents(40, 1), documents(1, 2), documents(25, 3)];
  const docs = parts.flat();
  const close = (got: number[], want: number[]): void => {
    expect(got.length).toBe(want.length);
    for (const [i, g] of got.entries()) {
      const w = want[i] ?? NaN;
      expect(Number.isNaN(w) ? Number.isNaN(g) : Math.abs(g - w) < 1e-5, `${i}: ${g} ${w}`).toBe(true);
    }
  };

  test('logits of two models, batch by batch', async () => {
    await using dev = await openDevice({ device });
    const options: ScoreBatchesOptions = {
      logits: ['prior', 'conditional'],
      targets: 'targets',
      device: dev,
    };
    const batches = await all(parts.map(table), options);
    expect(batches.length).toBe(3);
    const sums = docs.map((d) => [loss(d.prior, d.targets), loss(d.conditional, d.targets)] as const);
    close(await columns(batches, 'nll_sum_prior'), sums.map(([a]) => a)); // prettier-ignore
    close(await columns(batches, 'nll_sum_conditional'), sums.map(([, b]) => b)); // prettier-ignore
    close(await columns(batches, 'n_scored'), docs.map((d) => d.targets.length)); // prettier-ignore
    const scores = sums.map(([a, b], i) => (a - b) / (docs[i]?.targets.length ?? 0));
    close(await columns(batches, 'score'), scores);
    expect(dev.disposed).toBe(false);
    await dev.synchronize();
    expect(dev.memory.liveBytes).toBe(0);
  });

  test('logits of one model with a cap and a smaller vocabulary', async () => {
    const small = docs.map((d) => ({ ...d, targets: d.targets.map((t) => t % 4) }));
    const options: ScoreBatchesOptions = {
      logits: 'prior',
      targets: 'targets',
      vocab: 4,
      softcap: 2,
      device,
    };
    const sums = small.map((d) => loss(d.prior.map((row) => row.slice(0, 4)), d.targets, 2)); // prettier-ignore
    close(await columns(await all([table(small)], options), 'nll_sum'), sums);
  });

  test('log-probabilities of two models', async () => {
    const given = docs.map((d) => ({
      prior: d.targets.map((t, i) => -loss([d.prior[i] ?? []], [t])),
      conditional: d.targets.map((t, i) => -loss([d.conditional[i] ?? []], [t])),
    }));
    const source = new arrow.Table({
      prior: arrow.vectorFromArray(given.map((d) => d.prior), lists(new arrow.Float64())),
      conditional: arrow.vectorFromArray(given.map((d) => d.conditional), lists(new arrow.Float64())),
    }); // prettier-ignore
    const options: ScoreBatchesOptions = { logProbs: ['prior', 'conditional'] };
    for (const name of ['score', 'nll_sum_prior', 'nll_sum_conditional', 'n_scored']) {
      const expected = await columns(await all([source], options), name);
      close(await columns(await all([source], { ...options, device }), name), expected);
    }
  });
});

describe('what does not fit', () => {
  const options: ScoreBatchesOptions = { logits: 'prior', targets: 'targets' };

  test('a target outside the vocabulary is refused by its row and column', async () => {
    const docs = documents(10, 5).map((d, i) =>
      i === 7 ? { ...d, prior: [[...Array(VOCAB).keys()]], targets: [VOCAB] } : d,
    );
    const error = await rejection(all([table(docs)], options));
    expect(error).toMatchObject({ code: 'INVALID_VALUE', details: { row: 7, column: 'targets' } });
    expect(error.message).toContain(`the target ${VOCAB} lies outside the vocabulary of ${VOCAB}`);
  });

  test('logits that are not of as many tokens as there are targets', async () => {
    const docs = documents(10, 6).map((d, i) => (i === 4 ? { ...d, targets: [...d.targets, 0] } : d));
    const error = await rejection(all([table(docs)], options));
    expect(error).toMatchObject({ code: 'INVALID_VALUE', details: { row: 4, column: 'prior' } });
  });

  test('options', async () => {
    const source = [table(documents(3, 7))];
    for (const [wrong, column] of [
      [{ logits: 'prior' }, 'targets'],
      [{ ...options, logProbs: 'prior' }, 'text'],
      [{ ...options, vocab: VOCAB + 1 }, 'vocab'],
      [{ logProbs: 'prior', softcap: 3 }, 'softcap'],
      [{ ...options, device: 'gpu' as never }, 'device'],
    ] as const) {
      const error = await rejection(all(source, wrong));
      expect([error.code, error.details.column]).toEqual(['INVALID_ARGUMENT', column]);
    }
    expect((await rejection(all(source, { ...options, logits: 'absent' }))).code).toBe('MISSING_COLUMN');
    expect((await rejection(all(source, { ...options, logits: 'targets' }))).code).toBe('WRONG_TYPE');
    const closed = await openDevice({ device: 'cpu' });
    await closed.dispose();
    expect((await rejection(all(source, { ...options, device: closed }))).code).toBe('DISPOSED');
  });
});
