import { type Command, InvalidArgumentError } from 'commander';

import { GristmillError } from '../errors.js';
import { combine } from '../index.js';
import type { CombineSummary } from '../raters.js';
import { integer as grouped, table, tally, timings } from './format.js';
import { defined, integer, job, type JobFlags, number, toJob } from './options.js';
import { execute } from './run.js';

interface Flags extends JobFlags {
  scores: string[];
  runs?: string;
  loss?: string;
  weights?: Record<string, number>;
  sample?: number;
  output: string;
  fresh?: boolean;
  seed?: number;
}

export function addCombine(program: Command): void {
  const command = program
    .command('combine')
    .description('make one score of several, by weights that training runs say are best')
    .requiredOption(
      '--scores <dirs...>',
      'directory with the output of each rater, or name=directory of each',
    )
    .requiredOption('-o, --output <dir>', 'directory or URL for the score files; with --sample, the CSV file')
    .option('--runs <file>', 'CSV of training runs: the weight of each rater, and the loss')
    .option('--loss <column>', 'the loss to lower (default: the only one)')
    .option('--weights <list>', 'weights instead of runs, such as edu=3,ppl=1', toWeights)
    .option('--sample <n>', 'only draw random weights for runs, and write them', integer(1))
    .option('--fresh', 'start over instead of continuing what is in the output')
    .option('--seed <n>', 'seed of all draws (default: 0)', integer(0));
  job(command, { memory: false, onError: false }).action((flags: Flags) => {
    const { runs, loss, weights, sample, output, fresh, seed } = flags;
    return execute(
      'combine',
      flags,
      async ({ signal, onProgress }) =>
        combine({
          scores: toScores(flags.scores),
          output,
          ...defined({ runs, loss, weights, sample, fresh, seed }),
          ...toJob(flags),
          signal,
          ...defined({ onProgress }),
        }),
      print,
    );
  });
}

/** `name=value`, or nothing. */
function split(text: string): [string, string] | undefined {
  const at = text.indexOf('=');
  return at < 1 ? undefined : [text.slice(0, at), text.slice(at + 1)];
}

function toWeights(text: string): Record<string, number> {
  return Object.fromEntries(
    text.split(',').map((part): [string, number] => {
      const named = split(part);
      if (!named) throw new InvalidArgumentError('It must be a list of name=weight.');
      return [named[0], number(named[1])];
    }),
  );
}

/** One directory of all, or one of each. */
function toScores(scores: readonly string[]): string | Record<string, string> {
  const [only = ''] = scores;
  if (scores.length === 1 && !split(only)) return only;
  return Object.fromEntries(
    scores.map((text) => {
      const named = split(text);
      if (named) return named;
      throw new GristmillError(
        'INVALID_ARGUMENT',
        `--scores takes one directory, or name=directory of each: ${text}`,
      );
    }),
  );
}

function print(summary: CombineSummary): string {
  const { raters, drawn, fit, optimum, output } = summary;
  if (drawn !== undefined) {
    const names = raters.map((r) => r.rater).join(', ');
    return `Drew ${grouped(drawn)} weights for ${names} into ${output}\n`;
  }
  const interval = (rater: string): string => {
    const weight = optimum?.domains.find((d) => d.domain === rater)?.weight;
    return weight ? `${weight.low.toFixed(3)} to ${weight.high.toFixed(3)}` : '';
  };
  let text =
    `Combined ${grouped(raters.length)} scores of ${grouped(summary.scored.documents)} documents into ${output}\n\n` +
    table([
      ['rater', 'method', 'mean', 'deviation', 'weight', ...(optimum ? ['5% to 95%'] : [])],
      ...raters.map((r) => [
        r.rater,
        r.method,
        r.mean.toPrecision(4),
        r.deviation.toPrecision(4),
        (r.weight ?? 0).toFixed(3),
        ...(optimum ? [interval(r.rater)] : []),
      ]),
    ]);
  if (optimum && fit) {
    const { predicted, atPrior, gain } = optimum;
    const rank = fit.heldOut ? `, rank correlation ${fit.heldOut.spearman.toFixed(3)} on runs held out` : '';
    text +=
      `\nFitted to ${grouped(fit.runs)} runs${rank}.\n` +
      `Predicted loss ${predicted.value.toPrecision(5)}, with equal weights ${atPrior.value.toPrecision(5)}: ` +
      `lower by ${gain.value.toPrecision(3)} (${gain.low.toPrecision(3)} to ${gain.high.toPrecision(3)}).\n`;
  }
  return `${text}\n${tally(summary)}\nIn ${timings(summary.timings)}\n`;
}
