/** The jobs from TypeScript: summaries that add up, progress, abort, resumption, batches of the result. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import {
  type Counts,
  doctor,
  fit,
  Job,
  type Progress,
  readBatches,
  score,
  select,
  type Tally,
} from '../ts/index.js';
import { documents, jsonl, put, scratch, smallPool } from './helpers.js';

function sum(parts: Counts[]): Counts {
  return parts.reduce(
    (a, b) => ({
      documents: a.documents + b.documents,
      tokens: a.tokens + b.tokens,
      bytes: a.bytes + b.bytes,
    }),
    { documents: 0, tokens: 0, bytes: 0 },
  );
}

/** Reads = kept + dropped, in documents. */
function addsUp({ read, kept, dropped }: Tally & { kept?: Counts }): void {
  const settled = sum([kept ?? { documents: 0, tokens: 0, bytes: 0 }, ...Object.values(dropped)]);
  expect(settled.documents).toBe(read.documents);
}

/** The rows of a result. */
async function rows(
  batches: AsyncIterable<{ toTable(): Promise<Iterable<unknown>> }>,
): Promise<Record<string, unknown>[]> {
  const all: Record<string, unknown>[] = [];
  for await (const batch of batches) {
    for (const row of await batch.toTable()) all.push({ ...(row as { toJSON(): object }).toJSON() });
  }
  return all;
}

/** Every file below a directory with its content, the clock apart. */
function files(dir: string): Record<string, string> {
  const names = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  return Object.fromEntries(names.map((name) => [name.slice(dir.length), readFileSync(name, 'base64')]));
}

describe('fit', () => {
  test('writes a model and says what is in it', async () => {
    const dir = scratch();
    const { pool } = smallPool(dir);
    const output = join(dir, 'model.gml');
    const summary = await fit({ corpus: pool, order: 3, output });
    expect(summary).toMatchObject({ schema: 1, order: 3, normalizer: 'unicode-words/1', output });
    expect(summary.ngrams).toHaveLength(3);
    expect(summary.ngrams[0]).toBe(summary.vocabulary);
    expect(summary.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(summary.read.documents).toBe(600);
    expect(existsSync(output)).toBe(true);
  });

  test('writes ARPA by the name of the file', async () => {
    const dir = scratch();
    const { pool } = smallPool(dir, 1, 50);
    const output = join(dir, 'model.arpa');
    const { ngrams } = await fit({ corpus: pool, order: 2, discountFallback: true, output });
    const arpa = readFileSync(output, 'utf8');
    expect(arpa).toContain('\\data\\');
    expect(arpa).toContain(`ngram 1=${ngrams[0]}`);
    expect(arpa.trimEnd().endsWith('\\end\\')).toBe(true);
  });

  test('is the same file with any number of threads', async () => {
    const dir = scratch();
    const { pool } = smallPool(dir);
    const hashes = new Set<string>();
    for (const threads of [1, 2, 8]) {
      hashes.add(
        (await fit({ corpus: pool, order: 3, threads, output: join(dir, `${threads}.gml`) })).sha256,
      );
    }
    expect(hashes.size).toBe(1);
  });
});

describe('score', () => {
  test('gives every document its counts, its loss and its score', async () => {
    const dir = scratch();
    const { pool } = smallPool(dir);
    const model = join(dir, 'm.gml');
    await fit({ corpus: pool, order: 2, output: model });
    const job = score({ pool, model: `ngram:${model}`, output: join(dir, 'scores') });
    expect(job).toBeInstanceOf(Job);
    const summary = await job;
    expect(summary).toMatchObject({ schema: 1, method: 'perplexity', complete: true });
    expect(summary.scored.documents).toBe(600);
    expect(summary.best).toHaveLength(10);
    addsUp({ ...summary, kept: summary.scored });
    const scored = await rows(job);
    expect(scored).toHaveLength(600);
    for (const row of scored) {
      expect(Object.keys(row)).toEqual(
        expect.arrayContaining(['id', 'row', 'n_tokens', 'n_scored', 'n_bytes', 'score']),
      );
    }
    const ids = scored.map((row) => row['id']);
    expect(ids).toEqual(
      documents('pool/part-0.jsonl.gz')
        .slice(0, 600)
        .map((doc) => doc.id),
    );
  });
});

describe('select', () => {
  test('keeps what is like the target, exactly to the budget, with every column it had', async () => {
    const dir = scratch();
    const output = join(dir, 'selected');
    const report = join(dir, 'report.json');
    const options = { ...smallPool(dir), budget: '50docs', output, report };
    const job = select(options);
    const summary = await job;
    expect(summary).toMatchObject({ schema: 1, method: 'loss-reduction', complete: true });
    expect(summary.kept?.documents).toBe(50);
    addsUp(summary);
    // A fifth of this pool is of the target's own kind and cannot be told from it.
    expect(summary.fitted?.discrimination.auc).toBeGreaterThan(0.8);
    expect(JSON.parse(readFileSync(report, 'utf8'))).toMatchObject({ kept: summary.kept });

    const kept = await rows(job);
    expect(kept).toHaveLength(50);
    const byId = new Map(documents('pool/part-0.jsonl.gz').map((doc) => [doc.id, doc]));
    for (const row of kept) expect(row).toMatchObject({ ...byId.get(row['id'] as string) });
    const mails = kept.filter((row) => row['label'] === 'mail').length;
    expect(mails / kept.length).toBeGreaterThan(0.8);
  });

  test('over finished scores is a step of its own, with the same result', async () => {
    const dir = scratch();
    const { pool, target } = smallPool(dir);
    const direct = await select({ pool, target, budget: '10%', output: join(dir, 'direct') });
    await score({ pool, target, output: join(dir, 'scores') });
    const later = await select({
      pool,
      scores: join(dir, 'scores'),
      budget: '10%',
      output: join(dir, 'later'),
    });
    expect(later.kept).toEqual(direct.kept);
    expect(later.cut).toEqual(direct.cut);
    const ids = async (path: string): Promise<unknown[]> =>
      (await rows(readBatches(path))).map((row) => row['id']);
    expect(await ids(join(dir, 'later'))).toEqual(await ids(join(dir, 'direct')));
  });

  test('writes the same bytes with 1, 2 and 8 threads', async () => {
    const dir = scratch();
    const options = { ...smallPool(dir), budget: '20%' };
    const outputs = [1, 2, 8].map((threads) => ({ threads, output: join(dir, `out-${threads}`) }));
    for (const output of outputs) await select({ ...options, ...output });
    const [first, ...others] = outputs.map(({ output }) => files(output));
    for (const other of others) expect(other).toEqual(first);
  });

  test('shares the work between workers', async () => {
    const dir = scratch();
    const options = { ...smallPool(dir), budget: '20%', output: join(dir, 'out') };
    const first = await select({ ...options, worker: '0/2' });
    expect(first.complete).toBe(false);
    expect(first.shards.pending).toBeGreaterThan(0);
    const second = await select({ ...options, worker: '1/2' });
    expect(second.complete).toBe(true);
    const alone = await select({ ...options, output: join(dir, 'alone') });
    expect(second.kept).toEqual(alone.kept);
  });

  test('divides the budget over the groups of a column', async () => {
    const dir = scratch();
    const docs = documents('pool/part-1.jsonl.gz')
      .slice(0, 300)
      .map((doc, i) => ({ ...doc, site: i % 3 === 0 ? 'a' : 'b' }));
    const pool = put(join(dir, 'pool.jsonl'), jsonl(docs));
    const target = smallPool(dir).target;
    const quotas = { column: 'site', shares: { a: 1, b: 3 } };
    const summary = await select({ pool, target, budget: '40docs', quotas, output: join(dir, 'out') });
    const kept: Record<string, number> = Object.fromEntries(
      (summary.groups ?? []).map((g) => [String(g.group), g.kept]),
    );
    expect(kept).toEqual({ a: 10, b: 30 });
  });
});

describe('progress', () => {
  test('is reported phase by phase, and ends at its total', async () => {
    const dir = scratch();
    const seen: Progress[] = [];
    await select({
      ...smallPool(dir),
      budget: '10%',
      output: join(dir, 'out'),
      onProgress: (p) => seen.push(p),
    });
    for (const { done, total, unit } of seen) {
      expect(['documents', 'tokens', 'bytes', 'shards']).toContain(unit);
      expect(done).toBeLessThanOrEqual(total ?? Infinity);
    }
    for (const phase of ['score', 'write']) {
      const reports = seen.filter((p) => p.phase === phase);
      expect(reports.length).toBeGreaterThan(0);
      expect(Math.max(...reports.map((p) => p.done))).toBe(reports[0]?.total);
    }
    expect(Math.max(...seen.filter((p) => p.phase === 'score').map((p) => p.documents))).toBe(600);
  });

  test('a callback that throws stops the job, which rejects with that error', async () => {
    const dir = scratch();
    const mine = new Error('mine');
    const onProgress = (): never => {
      throw mine;
    };
    await expect(fit({ corpus: smallPool(dir).pool, output: join(dir, 'm.gml'), onProgress })).rejects.toBe(
      mine,
    );
  });
});

describe('abort', () => {
  test('a signal that is aborted already stops it before it starts', async () => {
    const dir = scratch();
    const reason = new Error('changed my mind');
    const output = join(dir, 'out');
    const job = select({ ...smallPool(dir), budget: '10%', output, signal: AbortSignal.abort(reason) });
    await expect(job).rejects.toBe(reason);
    expect(existsSync(output)).toBe(false);
  });

  test('rejects with the reason, and the same call continues to the same bytes', async () => {
    const dir = scratch();
    const options = { ...smallPool(dir, 6, 120), budget: '10%', threads: 1 };
    const whole = join(dir, 'whole');
    await select({ ...options, output: whole });

    const output = join(dir, 'stopped');
    const controller = new AbortController();
    const reason = { why: 'enough' };
    const onProgress = ({ phase, done }: Progress): void => {
      if (phase === 'score' && done > 0) controller.abort(reason);
    };
    const job = select({ ...options, output, signal: controller.signal, onProgress });
    await expect(job).rejects.toBe(reason);

    const summary = await select({ ...options, output });
    expect(summary.complete).toBe(true);
    expect(files(output)).toEqual(files(whole));
  });

  test('batches stop too', async () => {
    const dir = scratch();
    const { pool } = smallPool(dir);
    const controller = new AbortController();
    const batches = readBatches(join(pool, '0.jsonl'), { signal: controller.signal });
    expect((await batches.next()).done).toBe(false);
    const reason = new Error('no more');
    controller.abort(reason);
    await expect(batches.next()).rejects.toBe(reason);
  });
});

test('a job behaves like a promise', async () => {
  const dir = scratch();
  const job = score({ pool: join(dir, 'nothing'), model: 'm', output: join(dir, 's') });
  let finished = false;
  const caught = job.finally(() => (finished = true)).catch((error: unknown) => error);
  expect(await caught).toBeInstanceOf(Error);
  expect(finished).toBe(true);
  await expect(job[Symbol.asyncIterator]().next()).rejects.toThrow();
});

test('doctor knows this machine', () => {
  const report = doctor();
  expect(report.node).toBe(process.version);
  expect(report.cpu.threads).toBeGreaterThan(0);
  expect(report.backends.find((b) => b.name === 'cpu')).toMatchObject({
    available: true,
    devices: [{ selector: 'cpu', kind: 'cpu' }],
  });
  expect(report.reads.formats).toEqual(expect.arrayContaining(['parquet', 'jsonl', 'arrow', 'text']));
});
