import type { Command } from 'commander';

import { fit } from '../index.js';
import type { FitSummary } from '../summaries.js';
import { bytes, integer as grouped, table, tally, timings } from './format.js';
import {
  defined,
  integer,
  job,
  type JobFlags,
  number,
  source,
  type SourceFlags,
  toJob,
  toSource,
} from './options.js';
import { execute } from './run.js';

interface Flags extends JobFlags, SourceFlags {
  corpus: string[];
  output: string;
  order?: number;
  normalizer?: string;
  prune?: number[];
  discountFallback?: boolean;
  minDocuments?: number;
  tempDir?: string;
}

export function addFit(program: Command): void {
  const command = program
    .command('fit')
    .description('estimate an n-gram language model (interpolated modified Kneser-Ney) from a corpus')
    .requiredOption(
      '--corpus <paths...>',
      'text to learn from: files, directories, globs, URLs, or - for stdin',
    )
    .requiredOption('-o, --output <file>', 'model file; ARPA when it ends in .arpa or .arpa.gz')
    .option('--order <n>', 'length of the longest n-gram, 1 to 6 (default: 5)', integer(1, 6))
    .option(
      '--normalizer <name>',
      'how text becomes tokens: a name or a tokenizer file (default: unicode-words/1)',
    )
    .option('--prune <counts...>', 'drop n-grams of order k seen at most this often', number)
    .option('--discount-fallback', 'use the published discounts where counts allow no estimate')
    .option(
      '--min-documents <n>',
      'train words of fewer documents as one unknown word (default: 1)',
      integer(1),
    )
    .option('--temp-dir <dir>', 'where sorts spill to');
  source(job(command)).action((flags: Flags) => {
    const { corpus, output, order, normalizer, prune, discountFallback, minDocuments, tempDir } = flags;
    return execute(
      'fit',
      flags,
      async ({ paths, ...run }) =>
        fit({
          corpus: toSource(await paths(corpus, flags.format), flags),
          output,
          ...defined({ order, normalizer, prune, discountFallback, minDocuments, tempDir }),
          ...toJob(flags),
          ...run,
        }),
      print,
    );
  });
}

function print(summary: FitSummary): string {
  return (
    `Wrote ${summary.output}: order ${summary.order}, ${grouped(summary.vocabulary)} words, ${summary.normalizer}\n\n` +
    tally(summary) +
    '\n' +
    table([
      ['order', 'n-grams', 'D1', 'D2', 'D3+'],
      ...summary.ngrams.map((count, i) => [
        `${i + 1}`,
        grouped(count),
        ...(summary.discounts[i] ?? []).map((d) => d.toFixed(4)),
      ]),
    ]) +
    `\nRead ${bytes(summary.inputBytes)} in ${timings(summary.timings)}\nsha256 ${summary.sha256}\n`
  );
}
