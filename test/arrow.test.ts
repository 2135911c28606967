/** Arrow in and out: IPC bytes, tables, record batches, tables of a copy of apache-arrow that is not ours. */

import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import * as arrow from 'apache-arrow';
import { describe, expect, test } from 'vitest';

import {
  type ArrowInput,
  Batch,
  fit,
  GristmillError,
  scoreBatches,
  type ScoreBatchesOptions,
} from '../ts/index.js';
import { documents, scratch, smallPool } from './helpers.js';

const float32Lists = (rows: (number | null)[][]): arrow.Vector =>
  arrow.vectorFromArray(rows, new arrow.List(new arrow.Field('item', new arrow.Float32(), true)));

/** Two documents whose losses one can add up by hand; the first token of each has no context. */
function losses(lib: typeof arrow = arrow): arrow.Table {
  const list = (rows: (number | null)[][]): arrow.Vector =>
    lib.vectorFromArray(rows, new lib.List(new lib.Field('item', new lib.Float32(), true)));
  return new lib.Table({
    name: lib.vectorFromArray(['a', 'b'], new lib.Utf8()),
    prior: list([
      [null, -3, -5],
      [null, -2],
    ]),
    conditional: list([
      [null, -2, -4],
      [null, -2.5],
    ]),
  });
}

const twoModels: ScoreBatchesOptions = { logProbs: ['prior', 'conditional'] };

async function all(
  source: Iterable<ArrowInput> | AsyncIterable<ArrowInput>,
  options: ScoreBatchesOptions,
): Promise<Batch[]> {
  const batches: Batch[] = [];
  for await (const batch of scoreBatches(source, options)) batches.push(batch);
  return batches;
}

async function scores(batch: Batch | undefined): Promise<unknown[]> {
  const column: Iterable<unknown> = (await batch?.toTable())?.getChild('score') ?? [];
  return [...column];
}

async function rejection(work: Promise<unknown>): Promise<GristmillError> {
  const error: unknown = await work.catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(GristmillError);
  return error as GristmillError;
}

describe('log-probabilities of two models', () => {
  const table = losses();
  const ipc = arrow.tableToIPC(table, 'stream');
  const [recordBatch] = table.batches;
  if (!recordBatch) throw new Error('a table without a batch');
  const inputs: [string, ArrowInput][] = [
    ['IPC stream bytes', ipc],
    ['IPC file bytes', arrow.tableToIPC(table, 'file')],
    ['an ArrayBuffer', new Uint8Array(ipc).buffer],
    ['a table', table],
    ['a record batch', recordBatch],
    ['one of our own batches', new Batch(ipc)],
  ];

  test.each(inputs)('%s', async (_, input) => {
    const [batch] = await all([input], twoModels);
    // Mean loss under the prior minus mean loss under the conditional: (3+5-2-4)/2 and (2-2.5)/1.
    expect(await scores(batch)).toEqual([1, -0.5]);
    const result = await batch?.toTable();
    expect([...(result?.getChild('name') ?? [])]).toEqual(['a', 'b']);
    expect(result?.schema.fields.map((f) => f.name)).toEqual(
      expect.arrayContaining(['n_tokens', 'n_scored', 'score']),
    );
  });

  test('a table of another copy of apache-arrow', async () => {
    // The CommonJS build is a copy whose tables the IPC writer of the ES build cannot write.
    const other = createRequire(import.meta.url)('apache-arrow') as typeof arrow;
    const foreign = losses(other);
    expect(other.Table).not.toBe(arrow.Table);
    const [batch] = await all([foreign], twoModels);
    expect(await scores(batch)).toEqual([1, -0.5]);
  });

  test('sums stay beside the score, and the specification in the schema', async () => {
    const [batch] = await all([table], twoModels);
    const result = await batch?.toTable();
    const column = (name: string): unknown[] => [...(result?.getChild(name) ?? [])];
    expect(column('n_scored')).toEqual([2, 1]);
    const sums = result?.schema.fields.map((f) => f.name).filter((name) => name.startsWith('nll_sum')) ?? [];
    expect(sums.map(column)).toEqual([
      [8, 2],
      [6, 2.5],
    ]);
    expect([...(result?.schema.metadata.values() ?? [])].join()).toContain('loss-reduction');
  });

  test('without the columns of the input', async () => {
    const [batch] = await all([table], { ...twoModels, keepColumns: false });
    expect((await batch?.toTable())?.getChild('name')).toBeNull();
  });

  test('one model, in bits', async () => {
    const options: ScoreBatchesOptions = { logProbs: 'prior', logBase: '2', method: 'perplexity' };
    const [batch] = await all([table], options);
    expect(await scores(batch)).toEqual([expect.closeTo(16, 9), expect.closeTo(4, 9)]);
  });

  test('a log-probability above zero is refused by row and column', async () => {
    const wrong = new arrow.Table({ p: float32Lists([[-1], [0.5]]) });
    const error = await rejection(all([wrong], { logProbs: 'p' }));
    expect(error.code).toBe('INVALID_VALUE');
    expect(error.details).toMatchObject({ row: 1, column: 'p' });
  });
});

describe('text', () => {
  test('scores as the files do', async () => {
    const dir = scratch();
    const { pool } = smallPool(dir);
    const model = join(dir, 'm.gml');
    await fit({ corpus: pool, order: 3, output: model });
    const docs = documents('pool/part-0.jsonl.gz').slice(0, 200);
    const table = new arrow.Table({
      id: arrow.vectorFromArray(
        docs.map((doc) => doc.id),
        new arrow.Utf8(),
      ),
      body: arrow.vectorFromArray(
        docs.map((doc) => doc.text),
        new arrow.Utf8(),
      ),
    });
    const [batch] = await all([table], { text: 'body', model });
    const inMemory = await scores(batch);

    const { score } = await import('../ts/index.js');
    const fromFiles: unknown[] = [];
    for await (const file of score({ pool: join(pool, '0.jsonl'), model, output: join(dir, 'scores') })) {
      fromFiles.push(...(await scores(file)));
    }
    expect(inMemory).toEqual(fromFiles);
    expect(new Set(inMemory).size).toBeGreaterThan(190);
  });

  test('dictionary-encoded, as apache-arrow makes it from strings', async () => {
    const dir = scratch();
    const { pool } = smallPool(dir);
    const model = join(dir, 'm.gml');
    await fit({ corpus: pool, order: 2, output: model });
    const texts = documents('pool/part-0.jsonl.gz')
      .slice(0, 20)
      .map((doc) => doc.text);
    const encoded = arrow.tableFromArrays({ body: texts });
    expect(arrow.DataType.isDictionary(encoded.getChild('body')?.type)).toBe(true);
    const plain = new arrow.Table({ body: arrow.vectorFromArray(texts, new arrow.Utf8()) });
    const [one, two] = await all([encoded, plain], { text: 'body', model });
    expect(await scores(one)).toEqual(await scores(two));
  });
});

describe('a pipeline', () => {
  test('asks for the next input only when the next output is asked for', async () => {
    let produced = 0;
    async function* source(): AsyncGenerator<arrow.Table> {
      for (;;) {
        produced += 1;
        await Promise.resolve();
        yield losses();
      }
    }
    let seen = 0;
    for await (const batch of scoreBatches(source(), twoModels)) {
      expect(batch).toBeInstanceOf(Batch);
      if (++seen === 3) break;
    }
    expect(produced).toBe(3);
  });

  test('passes on what the source throws', async () => {
    const mine = new Error('mine');
    // eslint-disable-next-line require-yield
    function* source(): Generator<arrow.Table> {
      throw mine;
    }
    await expect(all(source(), twoModels)).rejects.toBe(mine);
  });

  test('stops with the reason of the signal', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    function* source(): Generator<arrow.Table> {
      yield losses();
      controller.abort(reason);
      yield losses();
    }
    await expect(all(source(), { ...twoModels, signal: controller.signal })).rejects.toBe(reason);
  });
});

describe('what is no table', () => {
  test.each([
    ['random bytes', new Uint8Array(64).fill(7), 'CORRUPT_DATA'],
    ['a string', 'text' as never, 'INVALID_ARGUMENT'],
    ['an object', { rows: 1 } as never, 'INVALID_ARGUMENT'],
  ])('%s', async (_, input, code) => {
    expect((await rejection(all([input], twoModels))).code).toBe(code);
  });

  test('cut IPC bytes', async () => {
    const ipc = arrow.tableToIPC(losses(), 'stream');
    for (const length of [8, 100, ipc.length - 40]) {
      const error = await rejection(all([ipc.subarray(0, length)], twoModels));
      expect(['CORRUPT_DATA', 'MISSING_COLUMN']).toContain(error.code);
    }
  });

  test('a column that is not there, and one of another type', async () => {
    const missing = await rejection(all([losses()], { logProbs: 'posterior' }));
    expect(missing.code).toBe('MISSING_COLUMN');
    expect(missing.details.column).toBe('posterior');
    const wrong = await rejection(all([losses()], { logProbs: 'name' }));
    expect(wrong.code).toBe('WRONG_TYPE');
  });

  test('options that contradict each other', async () => {
    const error = await rejection(all([losses()], { logProbs: 'prior', text: 'name' }));
    expect(error.code).toBe('INVALID_ARGUMENT');
  });
});

test('apache-arrow is a peer that may be absent, in a range that holds ours', () => {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    peerDependencies: Record<string, string>;
    peerDependenciesMeta: Record<string, { optional: boolean }>;
  };
  expect(manifest.peerDependencies).toHaveProperty('apache-arrow');
  expect(manifest.peerDependenciesMeta['apache-arrow']).toEqual({ optional: true });
});
