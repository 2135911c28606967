import { basename } from 'node:path';

import { type Command, Option } from 'commander';

import { GristmillError } from '../errors.js';
import {
  type MixtureObjective,
  type Optimum,
  type Predictor,
  searchMixture,
  type SearchMixtureSummary,
} from '../mix/index.js';
import type { Source } from '../options.js';
import { integer as grouped, table, timings } from './format.js';
import {
  defined,
  integer,
  job,
  type JobFlags,
  number,
  source,
  type SourceFlags,
  toSource,
} from './options.js';
import { execute } from './run.js';

interface SearchFlags extends JobFlags, SourceFlags {
  pool: string[];
  domain?: string;
  target: string[];
  targetText?: string;
  targetWhere?: string;
  output: string;
  work?: string;
  plot?: string;
  proxy?: string;
  runs?: number;
  tokens?: number;
  epochs?: number;
  mixtures?: string;
  losses?: string;
  predictor?: Predictor;
  bags?: number;
  draws?: number;
  checkSeeds?: number;
  normalizer?: string;
  fresh?: boolean;
  seed?: number;
}

const PREDICTORS: readonly Predictor[] = [
  'auto',
  'linear',
  'concave',
  'gbdt',
  'linear-experts',
  'concave-experts',
  'gbdt-experts',
  'experts',
];

export function addSearch(mix: Command): void {
  const command = mix
    .command('search')
    .description('search the mixture of a pool that lowers the loss on a target most, with n-gram models')
    .requiredOption('--pool <paths...>', 'documents to mix: files, directories, globs or URLs')
    .requiredOption('--target <targets...>', 'samples of wanted text: PATH, or NAME=PATH')
    .requiredOption('-o, --output <file>', 'report, a JSON file; a directory beside it makes it resumable')
    .option('--domain <column>', 'column with the domain (default: by file)')
    .option('--target-text <column>', 'column with the text of the targets (default: that of --text)')
    .option('--target-where <expression>', 'row filter of the targets')
    .option('--proxy <model>', 'what is trained: ngram:N, N from 1 to 6 (default: ngram:3)')
    .option('--runs <n>', 'mixtures to train on (default: 128)', integer(0))
    .option(
      '--tokens <n>',
      'tokens of one run (default: a quarter of the pool, at most 2 million)',
      integer(1),
    )
    .option('--epochs <x>', 'how often a document may be used in one run (default: 1)', number)
    .option('--mixtures <file>', 'runs that one has, a CSV file with a column per domain')
    .option('--losses <file>', 'their losses, a CSV file with a column per target')
    .addOption(
      new Option('--predictor <name>', 'what predicts the loss (default: the best)').choices(PREDICTORS),
    )
    .option('--bags <n>', 'bootstrap models, for intervals (default: 16)', integer(0))
    .option('--draws <n>', 'mixtures drawn in search of the optimum (default: 100000)', integer(1))
    .option('--check-seeds <n>', 'fresh models per mixture in the check (default: 3)', integer(1))
    .option(
      '--normalizer <name>',
      'how text becomes tokens: a name or a tokenizer file (default: unicode-words/1)',
    )
    .option('--work <dir>', 'directory of the runs (default: the output with .runs instead of .json)')
    .option('--plot <file>', 'also draw the result, as an SVG file')
    .option('--fresh', 'start over instead of continuing')
    .option('--seed <n>', 'seed of all sampling (default: 0)', integer(0));
  source(job(command)).action((flags: SearchFlags) => {
    const { pool, domain, output, work, plot, proxy, runs, tokens, epochs, predictor } = flags;
    const { bags, draws, checkSeeds, normalizer, fresh, seed, mixtures, losses, threads, onError } = flags;
    return execute(
      'mix search',
      flags,
      async ({ paths, ...run }) =>
        searchMixture({
          pool: toSource(await paths(pool, flags.format), flags),
          targets: toTargets(flags),
          output,
          ...defined({ domain, work, plot, proxy, runs, tokens, epochs, predictor, bags, draws }),
          ...defined({ checkSeeds, normalizer, fresh, seed, threads, onError }),
          ...external(mixtures, losses),
          ...run,
        }),
      printSearch,
    );
  });
}

function external(mixtures?: string, losses?: string): { external?: { mixtures: string; losses: string } } {
  if (mixtures === undefined && losses === undefined) return {};
  if (mixtures === undefined || losses === undefined) {
    throw new GristmillError('INVALID_ARGUMENT', 'runs need both --mixtures and --losses');
  }
  return { external: { mixtures, losses } };
}

/** `NAME=PATH`, or a path that is its own name. */
function toTargets(flags: SearchFlags): Record<string, Source> {
  const { lines, targetText, targetWhere: where } = flags;
  const read = defined({ text: targetText ?? flags.text, where, lines });
  const targets = new Map<string, Source>();
  for (const given of flags.target) {
    const named = /^([\w .-]+)=(.+)$/.exec(given);
    const path = named?.[2] ?? given;
    const name = named?.[1] ?? basename(path).replace(/\..*$/, '');
    if (targets.has(name)) {
      throw new GristmillError('INVALID_ARGUMENT', `two targets are called ${JSON.stringify(name)}`, {
        hint: 'name them: --target NAME=PATH',
      });
    }
    targets.set(name, toSource([path], read));
  }
  return Object.fromEntries(targets);
}

const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;

const interval = ({ low, high }: { low: number; high: number }): string =>
  `${percent(low)} to ${percent(high)}`;

function printSearch(summary: SearchMixtureSummary): string {
  const { domains, targets, objectives, runs, resumed, external, tokens, proxy } = summary;
  const before = resumed === undefined || resumed === 0 ? '' : `, ${grouped(resumed)} of them done before`;
  const joined = external ? ` and ${grouped(external.runs)} runs from elsewhere` : '';
  let text =
    `${grouped(runs)} runs of ${proxy}, ${grouped(tokens)} tokens each${before}${joined}, in ${summary.work}\n\n` +
    table([
      ['domain', 'documents', 'tokens', 'natural', 'at most'],
      ...domains.map((d) => [
        d.name,
        grouped(d.documents),
        grouped(d.tokens),
        percent(d.natural),
        percent(d.most),
      ]),
    ]);
  for (const [i, a] of (external?.agreement ?? []).entries()) {
    const name = targets[i]?.name ?? '';
    text += `\nRuns from elsewhere on ${name}: rank correlation ${digits(a.spearman)}, bias ${a.bias.toFixed(3)}\n`;
  }
  for (const t of targets) {
    const chosen = t.predictors.find((p) => p.predictor === t.predictor)?.heldOut;
    const worth = chosen
      ? ` (held-out runs: rank correlation ${digits(chosen.spearman)}, error ${chosen.rmse.toFixed(3)})`
      : '';
    text += `\nThe loss on ${t.name} is predicted by ${t.predictor}${worth}.`;
  }
  text += '\n';
  for (const objective of objectives) text += printObjective(objective);
  if (summary.plot) text += `\nDrawn in ${summary.plot}\n`;
  return `${text}\n${timings(summary.timings ?? [])}\n`;
}

/** A correlation, which may be undefined. */
export function digits(x: number | null): string {
  return x === null ? 'undefined' : x.toFixed(3);
}

function printObjective({ name, targets, optimum, check }: MixtureObjective): string {
  const title = targets.length > 1 ? `the mean of ${targets.length} targets` : name;
  const labels = {
    optimum: 'optimum',
    'best-sampled': 'best sampled mixture',
    natural: 'natural mixture',
    uniform: 'uniform',
  };
  return (
    `\nFor ${title}\n` +
    printOptimum(optimum) +
    '\n' +
    table([
      ['fresh models, held-out text', 'loss', 'sd', ...(check[0]?.losses ?? []).map((_, i) => `seed ${i}`)],
      ...check.map((c) => [
        labels[c.mixture],
        c.mean.toFixed(4),
        c.sd.toFixed(4),
        ...c.losses.map((l) => l.toFixed(4)),
      ]),
    ])
  );
}

/** A mixture as a table. */
export function printOptimum({ domains }: Optimum): string {
  return table([
    ['domain', 'before', 'optimum', '5% to 95%', ''],
    ...domains.map((d) => [
      d.domain,
      percent(d.prior),
      percent(d.weight.value),
      interval(d.weight),
      d.extrapolated ? 'beyond the runs' : '',
    ]),
  ]);
}
