import { type Command, Option } from 'commander';

import { select } from '../index.js';
import type { Quotas } from '../options.js';
import type { SelectSummary } from '../summaries.js';
import { integer as grouped, table, tally } from './format.js';
import { defined, job, number, source, target, toJob, toSource, toTarget, toTransformer } from './options.js';
import { execute } from './run.js';
import { progress, scoring, type ScoringFlags } from './score.js';

interface Flags extends ScoringFlags {
  scores?: string;
  budget?: string;
  temperature?: number;
  standardize?: boolean;
  uniform?: boolean;
  curriculum?: 'ascending' | 'descending';
  curriculumTemperature?: number;
  threshold?: number;
  quota?: string[];
  shares?: string;
  crossing?: 'include' | 'exclude';
  lowest?: boolean;
  report?: string;
  outputFormat?: 'parquet' | 'jsonl' | 'arrow';
  prefix?: string;
  duplicateIds?: 'fail' | 'drop' | 'keep';
}

export function addSelect(program: Command): void {
  const command = program
    .command('select')
    .description('select from a pool the documents that are most like a target sample, or that models prefer')
    .requiredOption(
      '--pool <paths...>',
      'documents to select from: files, directories, globs, URLs, or - for stdin',
    )
    .requiredOption('-o, --output <dir>', 'directory or URL for the selected files')
    .option(
      '--budget <amount>',
      'how much to keep: 10%, 2500docs, 1.5Btokens, 200MB; a bare number counts tokens',
    )
    .option(
      '--scores <dir>',
      'output of a finished `gristmill score`, instead of --target: nothing is scored again',
    )
    .option('--threshold <score>', 'keep only scores at least this good', number)
    .option('--temperature <t>', 'sample in proportion to exp(score / t) instead of taking the top', number)
    .option('--standardize', 'count the temperature in standard deviations of the scores')
    .option('--uniform', 'sample with the same probability for all that passes the threshold')
    .addOption(
      new Option(
        '--curriculum <direction>',
        'also write the order to train in: by score, topics (--quota) in proportion throughout',
      ).choices(['ascending', 'descending']),
    )
    .option(
      '--curriculum-temperature <t>',
      'draw that order at random, with odds of exp(difference / t)',
      number,
    )
    .option('--quota <columns...>', 'divide the budget over the values of a column, or of several')
    .option(
      '--shares <list>',
      'with --quota: weights, such as en=3,de=1 (default: in proportion to the pool)',
    )
    .addOption(
      new Option('--crossing <rule>', 'whether the document that crosses the budget is kept').choices([
        'include',
        'exclude',
      ]),
    )
    .option('--lowest', 'keep the lowest scores')
    .option('--report <file>', 'also write the summary, as JSON, to this file')
    .addOption(
      new Option(
        '--output-format <format>',
        'format of the selected files (default: that of the input)',
      ).choices(['parquet', 'jsonl', 'arrow']),
    )
    .option('--prefix <text>', 'put before the names of the columns that are added')
    .addOption(
      new Option('--duplicate-ids <rule>', 'what to do with documents that share an id').choices([
        'fail',
        'drop',
        'keep',
      ]),
    );
  scoring(target(source(job(command))), [
    'loss-reduction',
    'moore-lewis',
    'difference',
    'dsir',
    'classifier',
    'perplexity',
    'bits-per-byte',
  ]).action((flags: Flags) => {
    const { pool, output, scores, budget, method, order, weight, normalizer, worker, fresh, seed } = flags;
    const { temperature, threshold, crossing, lowest, report, outputFormat, prefix, duplicateIds } = flags;
    const { model, prior, conditional, tokenCache } = flags;
    const {
      l2,
      rounds,
      poolSample,
      labels,
      rating,
      ratingRange,
      standardize,
      uniform,
      curriculumTemperature,
    } = flags;
    const direction = flags.curriculum;
    const curriculum =
      direction === undefined && curriculumTemperature === undefined
        ? undefined
        : defined({ direction, temperature: curriculumTemperature });
    const quotas = flags.quota === undefined ? undefined : toQuotas(flags.quota, flags.shares);
    return execute(
      'select',
      flags,
      async ({ paths, ...run }) =>
        select({
          pool: toSource(await paths(pool, flags.format), flags),
          output,
          ...(await toTarget(flags, paths)),
          ...toTransformer(flags),
          ...defined({ model, prior, conditional, tokenCache }),
          ...defined({ scores, rating, ratingRange, budget, method, order, weight, normalizer }),
          ...defined({ l2, rounds, labels, poolSample }),
          ...defined({ worker, fresh, seed, standardize, uniform, curriculum }),
          ...defined({
            temperature,
            threshold,
            quotas,
            crossing,
            lowest,
            report,
            outputFormat,
            prefix,
            duplicateIds,
          }),
          ...toJob(flags),
          ...run,
        }),
      print,
    );
  });
}

function toQuotas(columns: string[], shares: string | undefined): Quotas {
  const [first = ''] = columns;
  const column = columns.length === 1 ? first : columns;
  if (shares === undefined) return { column };
  const entries = shares.split(',').map((part): [string, number] => {
    const at = part.lastIndexOf('=');
    return [part.slice(0, at), number(part.slice(at + 1))];
  });
  return { column, shares: Object.fromEntries(entries) };
}

function print(summary: SelectSummary): string {
  const { kept, scored, cut, groups, moments, curriculum } = summary;
  const share =
    kept && scored.documents > 0 ? ` (${((100 * kept.documents) / scored.documents).toFixed(1)}%)` : '';
  const head = kept
    ? `Kept ${grouped(kept.documents)} of ${grouped(scored.documents)} scored documents${share} in ${summary.output}\n\n`
    : `Scored ${grouped(scored.documents)} documents\n\n`;
  return (
    head +
    tally(summary) +
    (cut === undefined ? '' : `\nThe worst score that was kept is ${cut.toPrecision(6)}.\n`) +
    (groups === undefined || groups.length === 0
      ? ''
      : '\n' +
        table([
          ['group', 'documents', 'eligible', 'budget', 'kept', 'short'],
          ...groups.map((g) => [
            g.group ?? '(none)',
            grouped(g.pool.documents),
            grouped(g.eligibleDocuments),
            grouped(g.budget),
            grouped(g.kept),
            grouped(g.short),
          ]),
        ])) +
    (moments === undefined
      ? ''
      : `\nThe temperature counts in deviations of ${moments[1].toPrecision(4)} around ${moments[0].toPrecision(4)}.\n`) +
    (curriculum === undefined
      ? ''
      : `\nThe order to train in (${grouped(curriculum.documents)} documents, ${grouped(curriculum.topics)} topics) is ${curriculum.file} in the output.\n`) +
    progress(summary)
  );
}
