import { type Command, Option } from 'commander';

import { rate } from '../index.js';
import type { ScoreSummary } from '../summaries.js';
import { integer as grouped, tally } from './format.js';
import {
  defined,
  integer,
  job,
  type JobFlags,
  number,
  type SourceFlags,
  toJob,
  toSource,
} from './options.js';
import { execute } from './run.js';
import { progress } from './score.js';

interface Flags extends JobFlags, Omit<SourceFlags, 'text'> {
  pairs: string;
  text: string[];
  textColumn?: string;
  output: string;
  embedding?: string;
  normalizer?: string;
  order?: number;
  l2?: number;
  minConfidence?: number;
  contradictions?: 'keep' | 'drop' | 'fail';
  worker?: string;
  fresh?: boolean;
  seed?: number;
}

export function addRate(program: Command): void {
  const command = program
    .command('rate')
    .description('learn a rating from judgements of pairs, and rate every document')
    .requiredOption(
      '--pairs <file>',
      'judgements, JSON lines: {"a": "id", "b": "id", "p": 0.8}, or "better": "a"',
    )
    .requiredOption('--text <paths...>', 'documents to rate: files, directories, globs, URLs, or - for stdin')
    .requiredOption('-o, --output <dir>', 'directory or URL for the score files')
    .addOption(
      new Option('--format <format>', 'format of the files (default: by name)').choices([
        'parquet',
        'jsonl',
        'arrow',
        'text',
      ]),
    )
    .option('--text-column <column>', 'column with the text (default: detected)')
    .option('--id <column>', 'column with the id (default: detected)')
    .option('--where <expression>', 'row filter in the Common Expression Language')
    .option('--lines', 'plain text: every line is a document, not every file')
    .option('--embedding <column>', 'learn from a column of embeddings instead of words')
    .option('--normalizer <name>', 'how text becomes tokens (default: unicode-words/1)')
    .option('--order <n>', 'length of the longest n-grams, 1 to 8 (default: 2)', integer(1, 8))
    .option('--l2 <penalty>', 'penalty of the weights (default: the best on pairs held out)', number)
    .option('--min-confidence <c>', 'leave out judgements closer to one half, 0 to 0.5 (default: 0)', number)
    .addOption(
      new Option('--contradictions <rule>', 'what to do with pairs judged both ways (default: keep)').choices(
        ['keep', 'drop', 'fail'],
      ),
    )
    .option('--worker <i/n>', 'rate only this share, i from 0 to n-1; the shares meet in the output')
    .option('--fresh', 'start over instead of continuing what is in the output')
    .option('--seed <n>', 'seed of hashes, folds and order (default: 0)', integer(0));
  job(command, { memory: false }).action((flags: Flags) => {
    const { pairs, output, embedding, normalizer, order, l2, minConfidence, contradictions } = flags;
    const { format, id, where, lines, worker, fresh, seed } = flags;
    return execute(
      'rate',
      flags,
      async ({ paths, ...run }) =>
        rate({
          pairs,
          pool: toSource(
            await paths(flags.text, format),
            defined({ format, text: flags.textColumn, id, where, lines }),
          ),
          output,
          ...defined({
            embedding,
            normalizer,
            order,
            l2,
            minConfidence,
            contradictions,
            worker,
            fresh,
            seed,
          }),
          ...toJob(flags),
          ...run,
        }),
      print,
    );
  });
}

function print(summary: ScoreSummary): string {
  const { rated } = summary;
  let text = `Rated ${grouped(summary.scored.documents)} documents into ${summary.output}\n`;
  if (rated) {
    text += `\nLearnt from ${grouped(rated.judgements)} judgements of ${grouped(rated.documents)} documents, penalty ${rated.l2}.\n`;
    if (rated.heldOut) {
      const { pairs, accuracy, loss, unseenDocuments } = rated.heldOut;
      const of = unseenDocuments ? 'of documents that were not seen' : 'of documents that may have been seen';
      text += `Of ${grouped(pairs)} pairs held out, ${of}, ${(100 * accuracy).toFixed(1)}% are in the right order (${loss.toFixed(3)} nats a pair; chance is 50% and 0.693).\n`;
    } else {
      text += 'There are too few pairs to hold some out: nothing is known of how good this is.\n';
    }
    if (rated.leftOut > 0) text += `${grouped(rated.leftOut)} judgements were left out.\n`;
    if (rated.contradicted > 0) {
      text += `${grouped(rated.contradicted)} pairs are judged both ways:\n`;
      for (const { a, b, forA, forB } of rated.contradictions ?? []) {
        text += `  ${a} over ${b} in line ${forA.join(', ')}, the other way in line ${forB.join(', ')} (from 0)\n`;
      }
    }
  }
  return `${text}\n${tally(summary)}${progress(summary)}`;
}
