/**
 * Does it select the right text? For every kind of text in the prepared pool of which a sample was held out: select as
 * many documents as there are of that kind, and count how many of them are.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { select } from '../ts/index.js';
import { prepare } from '../ts/scripts/corpora.js';
import { corpora, documents, root, scratch } from './helpers.js';

/** What the reference package of DSIR reaches on the same documents (test/corpora/dsir_reference.py). */
interface Reference {
  corpora: string;
  kinds: Record<string, { random: number; sum: number; mean: number }>;
}

const manifest = await prepare();
const kinds = Object.entries(manifest.kinds).filter(([, { target }]) => target > 0);
const reference = JSON.parse(
  readFileSync(join(root, 'test/corpora/dsir_reference.json'), 'utf8'),
) as Reference;
/** What scikit-learn's logistic regression reaches with the same features (test/corpora/sklearn_reference.py). */
const sklearn = JSON.parse(readFileSync(join(root, 'test/corpora/sklearn_reference.json'), 'utf8')) as {
  corpora: string;
  average: Record<string, number>;
};
const labels = new Map(
  [0, 1, 2, 3].flatMap((i) => documents(`pool/part-${i}.jsonl.gz`)).map((doc) => [doc.id, doc.label]),
);
const precisions = new Map<string, number>();

test('the pool is the one that the reference was run on, with at least six targets', () => {
  expect(reference.corpora).toBe(manifest.content);
  expect(kinds.length).toBeGreaterThanOrEqual(6);
  expect(Object.keys(reference.kinds).sort()).toEqual(kinds.map(([kind]) => kind).sort());
});

test.each(kinds)('%s', async (kind, { pool: relevant }) => {
  const output = join(scratch(), 'selected');
  const job = select({
    pool: join(corpora, 'pool'),
    target: join(corpora, `target/${kind}.jsonl.gz`),
    budget: `${relevant}docs`,
    output,
  });
  let kept = 0;
  let right = 0;
  for await (const batch of job) {
    for (const row of await batch.toTable()) {
      kept += 1;
      if (labels.get((row as { id: string }).id) === kind) right += 1;
    }
  }
  expect(kept).toBe(relevant);
  const random = relevant / manifest.documents;
  const precision = right / kept;
  precisions.set(kind, precision);
  console.log(
    `${kind}: ${precision.toFixed(3)}, at random ${random.toFixed(3)}, DSIR ${dsir(kind).toFixed(3)}`,
  );
  if (random < 0.2) expect(precision).toBeGreaterThanOrEqual(4 * random);
});

test('on average at least as precise as the reference package of DSIR', () => {
  const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  expect(precisions.size).toBe(kinds.length);
  const ours = mean([...precisions.values()]);
  const theirs = mean(kinds.map(([kind]) => dsir(kind)));
  console.log(`average: ${ours.toFixed(4)}, DSIR ${theirs.toFixed(4)}`);
  expect(ours).toBeGreaterThanOrEqual(theirs);
});

/** The better of the package's two ways to rank: the sum that it defines, and the sum per n-gram. */
function dsir(kind: string): number {
  const { sum, mean } = reference.kinds[kind] ?? { sum: Number.NaN, mean: Number.NaN };
  return Math.max(sum, mean);
}

test('the classifier is as precise as that of scikit-learn, and more than DSIR', async () => {
  expect(sklearn.corpora).toBe(manifest.content);
  const dir = scratch();
  let sum = 0;
  for (const [kind, { pool: relevant }] of kinds) {
    const job = select({
      pool: join(corpora, 'pool'),
      target: join(corpora, `target/${kind}.jsonl.gz`),
      method: 'classifier',
      budget: `${relevant}docs`,
      output: join(dir, kind),
    });
    let right = 0;
    for await (const batch of job) {
      for (const row of await batch.toTable()) {
        if (labels.get((row as { id: string }).id) === kind) right += 1;
      }
    }
    console.log(`${kind}: ${(right / relevant).toFixed(3)} by the classifier, DSIR ${dsir(kind).toFixed(3)}`);
    sum += right / relevant;
  }
  const ours = sum / kinds.length;
  const theirs = Math.max(...Object.values(sklearn.average));
  console.log(`average: ${ours.toFixed(4)}, scikit-learn ${theirs.toFixed(4)}`);
  expect(ours).toBeGreaterThanOrEqual(theirs);
  expect(ours).toBeGreaterThan(kinds.reduce((mean, [kind]) => mean + dsir(kind) / kinds.length, 0));
});
