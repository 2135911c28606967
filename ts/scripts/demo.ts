/**
 * The main job on real text: selects from a labelled pool (mails, presidential addresses, a novel, fifteen genres of
 * the Brown corpus) the documents that are most like a small sample of one kind, and counts how many are of that kind.
 *
 *     npm run demo [-- KIND]
 */

import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';

import { readBatches } from '../index.js';
import { corpora, prepare } from './corpora.js';
import { npm, root, run } from './run.js';

const DEFAULT_KIND = 'science';

await npm('build');
const { documents, words, kinds } = await prepare();
const withTarget = Object.keys(kinds).filter((kind) => (kinds[kind]?.target ?? 0) > 0);
const kind = process.argv[2] ?? withTarget.find((k) => k === DEFAULT_KIND) ?? withTarget[0] ?? '';
const relevant = kinds[kind]?.pool ?? 0;
if (!existsSync(join(corpora, `target/${kind}.jsonl.gz`))) {
  throw new Error(`no sample of ${kind}; there are: ${withTarget.join(', ')}`);
}

const short = (path: string): string => relative(root, path);
const output = join(root, 'demo-output');
const args = [
  'select',
  ...['--target', short(join(corpora, `target/${kind}.jsonl.gz`))],
  ...['--pool', short(join(corpora, 'pool'))],
  ...['--budget', `${relevant}docs`],
  ...['-o', short(join(output, 'selected'))],
  ...['--report', short(join(output, 'report.json'))],
  '--fresh',
];
console.log(
  `A pool of ${documents.toLocaleString('en')} documents (${words.toLocaleString('en')} words) of ` +
    `${Object.keys(kinds).length} kinds, ${relevant} of them ${kind}; a sample of ${kinds[kind]?.target} other ` +
    `documents of that kind; a budget of as many documents as there are to find.\n`,
);
console.log(`$ gristmill ${args.join(' ')}\n`);
await run(process.execPath, ['dist/cli/main.js', ...args]);

let kept = 0;
let right = 0;
for await (const batch of readBatches(join(output, 'selected'))) {
  for (const label of (await batch.toTable()).getChild('label') ?? []) {
    kept += 1;
    if (label === kind) right += 1;
  }
}
const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;
const precision = right / kept;
const random = relevant / documents;
console.log(
  `\nOf the ${kept} selected documents ${right} are ${kind}: ${percent(precision)}. ` +
    `Choosing at random gives ${percent(random)}.`,
);
