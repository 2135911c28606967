/** Raters from TypeScript and from the command line: the classifier, judgements of pairs, combined scores, orders. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { combine, rate, readBatches, score, select } from '../ts/index.js';
import { cli, type Doc, documents, jsonl, put, scratch, smallPool } from './helpers.js';

/** The columns of all rows of an output. */
async function rows(path: string): Promise<Record<string, unknown>[]> {
  const all: Record<string, unknown>[] = [];
  for await (const batch of readBatches(path)) {
    for (const row of await batch.toTable()) all.push({ ...(row as { toJSON(): object }).toJSON() });
  }
  return all;
}

/** A pool of real text, and judgements that prefer what comes first in `order`, made on half of it. */
function judged(
  dir: string,
  order: readonly string[],
): { pool: string; pairs: string; unseen: Map<string, number> } {
  const docs = documents('pool/part-0.jsonl.gz').filter((doc) => order.includes(doc.label));
  const rank = (doc: Doc): number => order.length - order.indexOf(doc.label);
  const half = docs.slice(0, Math.floor(docs.length / 2));
  const lines: object[] = [];
  for (let i = 0; lines.length < 1500; i++) {
    const [a, b] = [half[(i * 7919) % half.length], half[(i * 104729 + 13) % half.length]];
    if (a && b && rank(a) !== rank(b)) lines.push({ a: a.id, b: b.id, p: rank(a) > rank(b) ? 0.95 : 0.05 });
  }
  const pool = put(join(dir, 'pool/docs.jsonl'), jsonl(docs));
  const pairs = put(join(dir, 'pairs.jsonl'), jsonl(lines));
  return { pool, pairs, unseen: new Map(docs.slice(half.length).map((doc) => [doc.id, rank(doc)])) };
}

/** How often a document of a higher rank has the higher score. */
function auc(scored: readonly Record<string, unknown>[], ranks: Map<string, number>): number {
  const known = scored.flatMap((row) => {
    const rank = ranks.get(row['id'] as string);
    return rank === undefined ? [] : [{ rank, score: row['score'] as number }];
  });
  let right = 0;
  let pairs = 0;
  for (const a of known) {
    for (const b of known) {
      if (a.rank <= b.rank) continue;
      pairs += 1;
      right += a.score > b.score ? 1 : a.score === b.score ? 0.5 : 0;
    }
  }
  return right / pairs;
}

describe('rate', () => {
  test('ranks real text that nobody judged as the hidden rule would', async () => {
    const dir = scratch();
    const { pool, pairs, unseen } = judged(dir, ['science', 'addresses', 'fiction']);
    const output = join(dir, 'scores');
    const summary = await rate({ pairs, pool, output });
    expect(summary).toMatchObject({ schema: 1, method: 'bradley-terry', complete: true });
    expect(summary.rated).toMatchObject({ judgements: 1500, contradicted: 0 });
    expect(summary.rated?.heldOut?.unseenDocuments).toBe(true);
    expect(summary.rated?.heldOut?.accuracy).toBeGreaterThan(0.85);
    expect(auc(await rows(output), unseen)).toBeGreaterThanOrEqual(0.9);

    const sampled = await select({
      pool,
      scores: output,
      temperature: 1,
      standardize: true,
      budget: '5%',
      curriculum: { direction: 'ascending' },
      output: join(dir, 'out'),
    });
    expect(sampled.moments?.[1]).toBeGreaterThan(0);
    const order = await rows(join(dir, 'out', sampled.curriculum?.file ?? ''));
    expect(order).toHaveLength(sampled.kept?.documents ?? -1);
    const scores = order.map((row) => row['score'] as number);
    expect(scores).toEqual([...scores].sort((a, b) => a - b));
  });

  test('on the command line, contradictions and all', async () => {
    const dir = scratch();
    const { pool, pairs } = judged(dir, ['science', 'fiction']);
    const [first = ''] = readFileSync(pairs, 'utf8').split('\n', 1);
    const { a, b, p } = JSON.parse(first) as { a: string; b: string; p: number };
    put(pairs, `${readFileSync(pairs, 'utf8')}${JSON.stringify({ a: b, b: a, p })}\n`);
    const args = ['rate', '--pairs', pairs, '--text', pool, '-o', join(dir, 'scores')];
    const { code, stdout, stderr } = await cli(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('pairs are judged both ways');
    expect(stdout).toMatch(
      /pairs held out, of documents that were not seen, \d+\.\d% are in the right order/,
    );
    const refused = await cli([...args.slice(0, -1), join(dir, 'no'), '--contradictions', 'fail', '--json']);
    expect(refused.code).toBe(1);
    expect(JSON.parse(refused.stdout)).toMatchObject({
      error: { code: 'INVALID_VALUE', details: { path: pairs } },
    });
    const selected = await cli([
      ...['select', '--pool', pool, '--scores', join(dir, 'scores'), '--temperature', '1', '--standardize'],
      ...['--budget', '5%', '-o', join(dir, 'out')],
    ]);
    expect(selected).toMatchObject({ code: 0, stderr: '' });
    expect(selected.stdout).toContain('The temperature counts in deviations of');
  });
});

describe('the classifier', () => {
  test('labels, and learns from its own labels', async () => {
    const dir = scratch();
    const options = { ...smallPool(dir), method: 'classifier', labels: { above: 0.8, below: 0.2 } } as const;
    const summary = await score({ ...options, rounds: 2, output: join(dir, 'scores') });
    expect(summary).toMatchObject({ method: 'classifier', spec: { labels: { above: 0.8, below: 0.2 } } });
    expect(summary.fitted?.selfTrained?.rounds).toBeGreaterThan(0);
    for (const row of await rows(join(dir, 'scores'))) {
      const p = row['score'] as number;
      expect(p >= 0 && p <= 1).toBe(true);
      expect(row['label']).toBe(p >= 0.8 ? 'target' : p <= 0.2 ? 'other' : null);
    }
    const { code, stdout, stderr } = await cli([
      ...['select', '--pool', options.pool, '--target', options.target, '--method', 'classifier'],
      ...[
        '--labels',
        '0.8,0.2',
        '--rounds',
        '1',
        '--l2',
        '0.5',
        '--threshold',
        '0.8',
        // The pool has a column `label` of its own.
        '--prefix',
        'gristmill_',
        '-o',
        join(dir, 'out'),
      ],
    ]);
    expect({ code, stderr }).toMatchObject({ code: 0 });
    expect(stdout).toContain('Self-training for 1 rounds');
    expect((await cli(['score', '--pool', 'x', '-o', 'y', '--labels', '0.5'])).code).toBe(2);
  });
});

describe('ratings', () => {
  test('strata of two columns, uniformly sampled', async () => {
    const dir = scratch();
    const docs = documents('pool/part-0.jsonl.gz').slice(0, 600);
    const rated = docs.map((doc, i) => ({ ...doc, overall: 1 + (i % 5), shelf: i % 2 === 0 ? 'a' : 'b' }));
    const pool = put(join(dir, 'pool.jsonl'), jsonl(rated));
    const { code, stdout, stderr } = await cli([
      ...[
        'select',
        '--pool',
        pool,
        '--rating',
        'overall',
        '--threshold',
        '5',
        '--uniform',
        '--quota',
        'shelf',
        'label',
      ],
      ...['--budget', '60docs', '-o', join(dir, 'out'), '--json'],
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { groups, method } = JSON.parse(stdout) as {
      groups: { group: string; short: number }[];
      method: string;
    };
    expect(method).toBe('rating');
    expect(groups.map((g) => g.group)).toContain('a/mail');
    for (const row of await rows(join(dir, 'out'))) expect(row).toMatchObject({ overall: 5n, score: 5 });
    const ranged = ['--rating', 'overall', '--rating-range', '1,4', '-o', join(dir, 'ranged')];
    const refused = await cli(['score', '--pool', pool, ...ranged]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('a rating of 5, where ratings are 1 to 4');
    expect((await cli(['score', '--pool', pool, '--rating-range', '1', '-o', 'y'])).code).toBe(2);
  });
});

describe('combine', () => {
  test('draws weights, and combines by weights and by runs', async () => {
    const dir = scratch();
    const docs = documents('pool/part-0.jsonl.gz').slice(0, 300);
    const pool = put(
      join(dir, 'pool.jsonl'),
      jsonl(docs.map((doc, i) => ({ ...doc, up: i, wave: Math.sin(i) }))),
    );
    for (const rater of ['up', 'wave'])
      await score({ pool, rating: rater, output: join(dir, 'scores', rater) });
    const scores = join(dir, 'scores');
    const drawn = await cli([
      'combine',
      '--scores',
      scores,
      '--sample',
      '256',
      '-o',
      join(dir, 'weights.csv'),
    ]);
    expect(drawn).toMatchObject({ code: 0, stderr: '' });
    const [header, ...lines] = readFileSync(join(dir, 'weights.csv'), 'utf8').trimEnd().split('\n');
    expect(header).toBe('run,up,wave');
    expect(lines).toHaveLength(256);
    // The loss is lowest with all weight on the first. A leaf of the regression holds 20 runs at least: of 256, those
    // with more than nine tenths there.
    const runs = lines.map((line) => `${line},${3 - Number(line.split(',')[1])}\n`).join('');
    put(join(dir, 'runs.csv'), `run,up,wave,loss\n${runs}`);
    const output = join(dir, 'combined');
    const summary = await combine({ scores, runs: join(dir, 'runs.csv'), output });
    const weights = new Map(summary.raters.map((r) => [r.rater, r.weight ?? 0]));
    expect(weights.get('up')).toBeGreaterThan(0.9);
    expect(summary.optimum?.gain.value).toBeGreaterThan(0.3);
    const selected = await select({ pool, scores: output, budget: '30docs', output: join(dir, 'out') });
    expect(selected).toMatchObject({ method: 'combined', kept: { documents: 30 } });
    const { code, stdout } = await cli([
      ...[
        'combine',
        '--scores',
        `a=${join(scores, 'up')}`,
        `b=${join(scores, 'wave')}`,
        '--weights',
        'a=1,b=1',
      ],
      ...['-o', join(dir, 'both')],
    ]);
    expect(code).toBe(0);
    expect(stdout).toContain('Combined 2 scores of 300 documents');
    expect((await cli(['combine', '--scores', 'a', 'b', '--weights', 'a=1', '-o', 'x'])).code).toBe(2);
  });
});
