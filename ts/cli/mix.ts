import { readFileSync } from 'node:fs';

import { type Command, Option } from 'commander';

import { GristmillError } from '../errors.js';
import {
  fitMixtureRegression,
  MixtureModel,
  type MixtureModelSummary,
  optimizeMixture,
  type Regressor,
  type SampledMixtures,
  sampleMixtures,
} from '../mix/index.js';
import type { Agreement, Mixture } from '../mix/types.js';
import { integer as grouped, table } from './format.js';
import { common, type CommonFlags, defined, integer, number } from './options.js';
import { addSearch, digits, printOptimum } from './mix-search.js';
import { execute } from './run.js';

export function addMix(program: Command): void {
  const mix = program
    .command('mix')
    .description('decide how much of which domain: search a mixture, or fit and optimise runs that one has');
  addSearch(mix);
  addFit(mix);
  addOptimize(mix);
  addSample(mix);
}

interface FitFlags extends CommonFlags {
  mixtures: string;
  losses: string;
  target: string;
  output: string;
  regressor?: 'gbdt' | 'linear' | 'concave';
  trees?: number;
  bags?: number;
  folds?: number;
  seed?: number;
  plot?: string;
}

function addFit(mix: Command): void {
  const command = mix
    .command('fit')
    .description('fit the loss of a target to the mixtures of runs that one has, from any trainer')
    .requiredOption('--mixtures <file>', 'CSV file with a column per domain and a row per run')
    .requiredOption('--losses <file>', 'CSV file with a column per target')
    .requiredOption('--target <name>', 'target, by its name or a part of it')
    .requiredOption('-o, --output <file>', 'model, a JSON file')
    .addOption(
      new Option('--regressor <name>', 'what is fitted (default: gbdt)').choices([
        'gbdt',
        'linear',
        'concave',
      ]),
    )
    .option('--trees <n>', 'trees of gbdt (default: 1000)', integer(1))
    .option('--bags <n>', 'bootstrap models, for intervals (default: 16)', integer(0))
    .option('--folds <n>', 'folds for the error on unseen runs, 0 for none (default: 5)', integer(0))
    .option('--plot <file>', 'also draw predicted against measured, as an SVG file')
    .option('--seed <n>', 'seed of folds and bootstrap samples (default: 0)', integer(0));
  common(command).action((flags: FitFlags) => {
    const { mixtures, losses, target, output, regressor, trees, bags, folds, seed, plot } = flags;
    return execute(
      'mix fit',
      flags,
      async ({ signal }) => {
        const kind: Regressor | undefined = trees === undefined ? regressor : { kind: 'gbdt', trees };
        if (trees !== undefined && regressor !== undefined && regressor !== 'gbdt') {
          throw new GristmillError('INVALID_ARGUMENT', `${regressor} has no trees`);
        }
        const fitted = await fitMixtureRegression({
          runs: { mixtures, losses },
          target,
          output,
          ...defined({ regressor: kind, bags, folds, seed, plot }),
          signal,
        });
        return { ...fitted.summary, output };
      },
      printFit,
    );
  });
}

function agreement(name: string, a: Agreement): string[] {
  return [name, digits(a.spearman), digits(a.r2), a.rmse.toPrecision(3), a.bias.toPrecision(2)];
}

function printFit(summary: MixtureModelSummary & { output: string }): string {
  const { report } = summary;
  return (
    `Wrote ${summary.output}: ${summary.target} by ${summary.domains.length} domains, ` +
    `${grouped(report.runs)} runs, ${summary.bags} bootstrap models\n\n` +
    table([
      ['', 'rank correlation', 'R²', 'error', 'bias'],
      agreement('fitted runs', report.fitted),
      ...(report.heldOut ? [agreement('held-out runs', report.heldOut)] : []),
    ])
  );
}

interface OptimizeFlags extends CommonFlags {
  model: string[];
  weight?: number[];
  prior: string;
  max?: string[];
  draws?: number;
  best?: number;
  strength?: number;
  seed?: number;
  output?: string;
  plot?: string;
}

function addOptimize(mix: Command): void {
  const command = mix
    .command('optimize')
    .description('search the mixture with the lowest predicted loss')
    .requiredOption('--model <files...>', 'models of `mix fit` or `mix search`; their losses are added up')
    .requiredOption('--prior <file>', 'JSON file with the share of each domain, or the report of a search')
    .option('--weight <numbers...>', 'what each model counts (default: 1)', numbers)
    .option('--max <bounds...>', 'the most that a domain may have: NAME=SHARE')
    .option('--draws <n>', 'mixtures drawn (default: 100000)', integer(1))
    .option('--best <n>', 'the result is the mean of this many best ones (default: 128)', integer(1))
    .option('--strength <x>', 'concentration of the draws around the prior (default: 1)', number)
    .option('--plot <file>', 'also draw the mixture, as an SVG file')
    .option('-o, --output <file>', 'also write the result to this JSON file')
    .option('--seed <n>', 'seed of the draws (default: 0)', integer(0));
  common(command).action((flags: OptimizeFlags) => {
    const { weight: weights, draws, best, strength, seed, output, plot } = flags;
    return execute(
      'mix optimize',
      flags,
      async ({ signal }) =>
        optimizeMixture({
          models: await Promise.all(flags.model.map((path) => MixtureModel.load(path))),
          prior: readPrior(flags.prior),
          ...defined({ weights, maxWeights: bounds(flags.max), draws, best, strength, seed, output, plot }),
          signal,
        }),
      (optimum) =>
        printOptimum(optimum) +
        `\nPredicted loss ${optimum.predicted.value.toFixed(4)}, ${optimum.gain.value.toFixed(4)} below the prior ` +
        `(${optimum.gain.low.toFixed(4)} to ${optimum.gain.high.toFixed(4)})\n`,
    );
  });
}

/** Collects the values of an option that may be given more than once. */
function numbers(text: string, before: number[] | undefined): number[] {
  return [...(before ?? []), number(text)];
}

function bounds(list: readonly string[] | undefined): Mixture | undefined {
  return (
    list &&
    Object.fromEntries(
      list.map((bound) => {
        const at = bound.lastIndexOf('=');
        const value = Number(bound.slice(at + 1));
        if (at < 1 || bound.slice(at + 1).trim() === '' || !Number.isFinite(value)) {
          throw new GristmillError(
            'INVALID_ARGUMENT',
            `${JSON.stringify(bound)} is no bound of the form NAME=SHARE`,
          );
        }
        return [bound.slice(0, at), value];
      }),
    )
  );
}

/** `{"web": 0.7, …}`, or the natural mixture of a search's report. */
function readPrior(path: string): Mixture {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new GristmillError(
      missing ? 'NOT_FOUND' : 'CORRUPT_DATA',
      missing ? 'no such file' : 'the prior is no JSON',
      {
        details: { path },
        cause,
      },
    );
  }
  const report = value as { domains?: { name: string; natural: number }[] };
  if (Array.isArray(report.domains) && report.domains.every((d) => typeof d.natural === 'number')) {
    return Object.fromEntries(report.domains.map((d) => [d.name, d.natural]));
  }
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : [];
  const wrong = entries.find(([, share]) => typeof share !== 'number');
  if (entries.length === 0 || Array.isArray(value) || wrong) {
    throw new GristmillError('INVALID_VALUE', 'a prior holds a number for each domain', {
      details: wrong ? { path, column: wrong[0] } : { path },
      hint: 'such as {"web": 0.7, "code": 0.3}',
    });
  }
  return Object.fromEntries(entries as [string, number][]);
}

interface SampleFlags extends CommonFlags {
  prior: string;
  n?: number;
  temperature?: number;
  minStrength?: number;
  maxStrength?: number;
  maxUsage?: number;
  minWeight?: number;
  seed?: number;
  output?: string;
}

function addSample(mix: Command): void {
  const command = mix
    .command('sample')
    .description('draw mixtures to train small runs on, as RegMix draws them: CSV on standard output')
    .requiredOption('--prior <file>', 'JSON file with the share or the tokens of each domain')
    .option('--n <n>', 'how many mixtures (default: 512)', integer(1))
    .option('--temperature <t>', 'power of the shares: below 1 evens them out (default: 0.5)', number)
    .option('--min-strength <x>', 'smallest Dirichlet factor (default: 0.1)', number)
    .option('--max-strength <x>', 'largest Dirichlet factor (default: 5)', number)
    .option(
      '--max-usage <x>',
      'most that a domain may have, as a multiple of its share (default: 15)',
      number,
    )
    .option('--min-weight <x>', 'smaller weights become zero (default: 0.0002)', number)
    .option('--seed <n>', 'seed of the draws (default: 0)', integer(0))
    .option('-o, --output <file>', 'write the CSV to this file instead');
  common(command).action((flags: SampleFlags) => {
    const { n, temperature, minStrength, maxStrength, maxUsage, minWeight, seed, output } = flags;
    return execute(
      'mix sample',
      flags,
      async ({ signal }) =>
        sampleMixtures({
          prior: readPrior(flags.prior),
          ...defined({ n, temperature, minStrength, maxStrength, maxUsage, minWeight, seed, output }),
          signal,
        }),
      ({ csv, mixtures, domains }: SampledMixtures) =>
        output === undefined
          ? csv
          : `Wrote ${output}: ${grouped(mixtures.length)} mixtures of ${domains.length} domains\n`,
    );
  });
}
