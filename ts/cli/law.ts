import { type Command, Option } from 'commander';

import { GristmillError } from '../errors.js';
import {
  criticalMixtureRatio,
  type CriticalRatio,
  fitLaw,
  LAW_VARIABLES,
  type Law,
  type LawFit,
  type LawForm,
  type LawPoint,
  loadLaw,
  predictLaw,
  type RatioSolution,
  solveMixtureRatio,
} from '../mix/index.js';
import { integer as grouped, table } from './format.js';
import { common, type CommonFlags, defined, integer, number } from './options.js';
import { execute } from './run.js';

export function addLaw(program: Command): void {
  const law = program
    .command('law')
    .description('fit scaling laws of mixing, and solve them for a ratio of domain text');
  addFit(law);
  addRatio(law);
  addCritical(law);
}

interface FitFlags extends CommonFlags {
  kind: LawForm;
  loss?: string;
  residual?: 'log' | 'plain';
  delta?: number;
  starts?: number;
  folds?: number;
  seed?: number;
  output?: string;
  plot?: string;
}

function addFit(law: Command): void {
  const command = law
    .command('fit')
    .description('fit a law to runs')
    .argument('<runs>', 'CSV file with the columns of the law (such as N, D, r) and loss')
    .addOption(
      new Option('--kind <form>', 'shape of the law')
        .choices(Object.keys(LAW_VARIABLES))
        .makeOptionMandatory(),
    )
    .option('--loss <column>', 'column with the loss (default: loss)')
    .addOption(
      new Option('--residual <kind>', 'residuals of logarithms or of losses (default: log)').choices([
        'log',
        'plain',
      ]),
    )
    .option('--delta <x>', 'where the Huber loss turns absolute (default: 0.001)', number)
    .option('--starts <n>', 'random starts (default: 40)', integer(1))
    .option('--folds <n>', 'folds for the error on held-out points, 0 for none (default: 5)', integer(0))
    .option('-o, --output <file>', 'also write the law to this JSON file')
    .option('--plot <file>', 'also draw curves and residuals, as an SVG file')
    .option('--seed <n>', 'seed of starts and folds (default: 0)', integer(0));
  common(command).action((runs: string, flags: FitFlags) => {
    const { kind: form, loss, residual, delta, starts, folds, seed, output, plot } = flags;
    return execute(
      'law fit',
      flags,
      ({ signal }) =>
        fitLaw({
          form,
          file: runs,
          ...defined({ loss, residual, delta, starts, folds, seed, output, plot }),
          signal,
        }),
      (fit) => printFit(fit) + (output === undefined ? '' : `\nWrote ${output}\n`),
    );
  });
}

function printFit({ law, starts, fitted, heldOut, extrapolation, residuals }: LawFit): string {
  const agree = (name: string, a: { rmse: number; bias: number; r2: number | null }): string[] => [
    name,
    a.rmse.toPrecision(3),
    a.bias.toPrecision(2),
    a.r2 === null ? 'undefined' : a.r2.toFixed(4),
  ];
  return (
    `The ${law.form} law of ${grouped(residuals.length)} points; ${starts.nearBest} of ${starts.count} starts end ` +
    `within 1% of the best\n\n` +
    table([
      ['parameter', 'value', 'over those starts'],
      ...starts.spread.map((p) => [
        p.name,
        p.value.toPrecision(5),
        `${p.low.toPrecision(5)} to ${p.high.toPrecision(5)}`,
      ]),
    ]) +
    '\n' +
    table([
      ['', 'error', 'bias', 'R²'],
      agree('fitted points', fitted),
      ...(heldOut ? [agree('held-out points', heldOut)] : []),
      ...extrapolation.map((e) => agree(`${e.variable} = ${e.value}, fitted without`, e.agreement)),
    ])
  );
}

interface RatioFlags extends CommonFlags {
  law: string;
  maxGeneralLoss?: string;
  before?: number;
  domainTokens?: number;
  at?: string[];
}

function addRatio(law: Command): void {
  const command = law
    .command('ratio')
    .description('solve a law for the share of domain text')
    .requiredOption('--law <file>', 'law of `law fit`')
    .option(
      '--max-general-loss <loss>',
      'the law is of the general loss, which may be at most this: 2.95, or +3% above what it was',
    )
    .option(
      '--before <loss>',
      'what the general loss was (default: what the law says of no domain text)',
      number,
    )
    .option(
      '--domain-tokens <n>',
      'the law is of the domain loss: its best share with so many tokens of it',
      number,
    )
    .option('--at <values...>', 'the other variables: N=1.8 D=10');
  common(command).action((flags: RatioFlags) =>
    execute('law ratio', flags, () => Promise.resolve(ratio(flags)), printRatio),
  );
}

type Answer = RatioSolution & { before?: number; limit?: number };

function ratio(flags: RatioFlags): Answer {
  const law = loadLaw(flags.law);
  const at = point(flags.at ?? [], law);
  const { maxGeneralLoss, domainTokens } = flags;
  if ((maxGeneralLoss === undefined) === (domainTokens === undefined)) {
    throw new GristmillError('INVALID_ARGUMENT', 'give --max-general-loss or --domain-tokens');
  }
  if (domainTokens !== undefined) return solveMixtureRatio({ law, at, domainTokens });
  const { limit, before } = toLimit(maxGeneralLoss ?? '', flags.before, law, at);
  return {
    ...solveMixtureRatio({ law, at, maxGeneralLoss: limit }),
    limit,
    ...(before !== undefined && { before }),
  };
}

/** `2.95`, or `+3%` of what the loss was: given, or at a general share of one. */
function toLimit(
  text: string,
  given: number | undefined,
  law: Law,
  at: LawPoint,
): { limit: number; before?: number } {
  const relative = /^\+([\d.]+)%$/.exec(text);
  const value = Number(relative?.[1] ?? text);
  if (text.trim() === '' || !Number.isFinite(value)) {
    throw new GristmillError('INVALID_ARGUMENT', `${JSON.stringify(text)} is neither a loss nor +PERCENT%`, {
      details: { column: 'max-general-loss' },
    });
  }
  if (!relative) return { limit: value };
  const before = given ?? predictLaw(law, { ...at, r: 1 }).loss;
  return { limit: before * (1 + value / 100), before };
}

function point(values: readonly string[], law: Law): LawPoint {
  const names: readonly string[] = LAW_VARIABLES[law.form];
  const entries = values.map((text): [string, number] => {
    const [name = '', value = ''] = text.split('=');
    if (!names.includes(name) || value.trim() === '' || !Number.isFinite(Number(value))) {
      throw new GristmillError(
        'INVALID_ARGUMENT',
        `${JSON.stringify(text)} is no value of a variable of the law`,
        {
          hint: `its variables: ${names.join(', ')}`,
        },
      );
    }
    return [name, Number(value)];
  });
  return Object.fromEntries(entries);
}

function printRatio(answer: Answer): string {
  const against =
    answer.limit === undefined
      ? ''
      : ` (at most ${answer.limit.toFixed(4)}` +
        `${answer.before === undefined ? '' : `, ${answer.before.toFixed(4)} before`})`;
  if (answer.status === 'infeasible') {
    return (
      `Infeasible: no share of domain text keeps the loss at ${answer.limit.toFixed(4)}; the least is ` +
      `${answer.leastLoss.toFixed(4)}, at a share of ${answer.atRatio.toFixed(4)}\n`
    );
  }
  const beyond =
    answer.extrapolated.length === 0 ? '' : `An extrapolation along ${answer.extrapolated.join(', ')}\n`;
  return `Domain share ${answer.domainRatio.toFixed(4)}, loss ${answer.loss.toFixed(4)}${against}\n${beyond}`;
}

interface CriticalFlags extends CommonFlags {
  tokens: number;
  tolerance?: number;
}

function addCritical(law: Command): void {
  const command = law
    .command('critical')
    .description('the largest ratio of domain text that keeps the general loss, from curves of several runs')
    .argument(
      '<curves>',
      'CSV file with the columns ratio, tokens, general and domain (losses minus the first)',
    )
    .requiredOption('--tokens <n>', 'after how many tokens, in the unit of the curves', number)
    .option('--tolerance <nats>', 'by how much the general loss may rise (default: 0.05)', number);
  common(command).action((file: string, flags: CriticalFlags) =>
    execute(
      'law critical',
      flags,
      () =>
        Promise.resolve(
          criticalMixtureRatio({
            file,
            tokens: flags.tokens,
            ...defined({ tolerance: flags.tolerance }),
          }),
        ),
      printCritical,
    ),
  );
}

function printCritical(answer: CriticalRatio): string {
  if (answer.status === 'feasible') {
    const edge = answer.atEdge ? ', the largest ratio that was trained: a larger one may do as well' : '';
    return `Critical mixture ratio ${(100 * answer.ratio).toFixed(1)}%${edge}\n`;
  }
  switch (answer.reason.why) {
    case 'domainStalls':
      return 'Infeasible: wherever the general loss is kept, the domain loss no longer falls\n';
    case 'outOfRange':
      return `Infeasible: the law gives ${answer.reason.value.toFixed(4)}, which is no share\n`;
    case 'generalRises':
      return (
        `Infeasible: the general loss rises by at least ${answer.reason.least.toFixed(4)}, ` +
        `at a ratio of ${answer.reason.atRatio}\n`
      );
  }
}
