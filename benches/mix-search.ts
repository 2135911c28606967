/**
 * `gristmill mix search` of 128 trigram runs over the labelled pool of the tests (5 MB of text in seven domains), as a
 * user runs it: how long it takes, and the losses of fresh models side by side.
 *
 *     npx tsx benches/mix-search.ts        (after npm run build)
 *
 * Prints one JSON object; `npm run bench` writes it to benches/results.
 */

import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, statSync, readdirSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';

import type { SearchMixtureSummary } from '../ts/mix/search.js';
import { corpora, prepare } from '../ts/scripts/corpora.js';
import { root } from '../ts/scripts/run.js';

const { documents, words, kinds } = await prepare();
const targets = Object.keys(kinds).filter((kind) => (kinds[kind]?.target ?? 0) > 0);
const work = join(root, 'target/bench/mix-search');
rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });

const args = [
  'dist/cli/main.js',
  ...['mix', 'search', '--pool', join(corpora, 'pool'), '--domain', 'label', '--proxy', 'ngram:3'],
  ...['--target', ...targets.map((kind) => join(corpora, `target/${kind}.jsonl.gz`))],
  ...['--runs', '128', '-o', join(work, 'mix.json'), '--json'],
];
const start = performance.now();
const { stdout, status } = spawnSync(process.execPath, args, {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 1 << 28,
  stdio: ['ignore', 'pipe', 'inherit'],
});
const seconds = (performance.now() - start) / 1000;
if (status !== 0) throw new Error(`mix search ended with ${status}`);
const summary = JSON.parse(stdout) as SearchMixtureSummary;

const round = (x: number): number => Math.round(x * 1e4) / 1e4;
const stored = readdirSync(join(corpora, 'pool')).reduce(
  (sum, name) => sum + statSync(join(corpora, 'pool', name)).size,
  0,
);
const result = {
  date: new Date().toISOString().slice(0, 10),
  cpu: cpus()[0]?.model,
  cores: availableParallelism(),
  versions: { node: process.version },
  task: '128 trigram runs, regressions, optima and checks for each target and for their mean',
  pool: { documents, words, storedBytes: stored, domains: summary.domains.length },
  tokensPerRun: summary.tokens,
  targets: targets.length,
  seconds: round(seconds),
  secondsByPhase: Object.fromEntries((summary.timings ?? []).map((p) => [p.phase, round(p.seconds)])),
  limit: { seconds: 180, reached: seconds < 180 },
  heldOutLoss: Object.fromEntries(
    summary.objectives.map((o) => [
      o.name,
      Object.fromEntries(o.check.map((c) => [c.mixture, { mean: round(c.mean), sd: round(c.sd) }])),
    ]),
  ),
  predictors: Object.fromEntries(
    summary.targets.map((t) => [
      t.name,
      Object.fromEntries(
        t.predictors.map((p) => [
          p.predictor,
          { spearman: round(p.heldOut.spearman ?? NaN), rmse: round(p.heldOut.rmse) },
        ]),
      ),
    ]),
  ),
};
console.log(JSON.stringify(result, null, 2));
