import { type Command, InvalidArgumentError, Option } from 'commander';

import { score } from '../index.js';
import type { Labels, Method } from '../options.js';
import type { ScoreSummary } from '../summaries.js';
import { bytes, examples, integer as grouped, tally, timings } from './format.js';
import {
  defined,
  integer,
  job,
  type JobFlags,
  number,
  source,
  type SourceFlags,
  target,
  type TargetFlags,
  toJob,
  toSource,
  toTarget,
  toTransformer,
  transformer,
  type TransformerFlags,
} from './options.js';
import { execute } from './run.js';

/** Flags of the two commands that score. */
export interface ScoringFlags extends JobFlags, SourceFlags, TargetFlags, TransformerFlags {
  pool: string[];
  output: string;
  model?: string;
  prior?: string;
  conditional?: string;
  method?: Method;
  order?: number;
  weight?: number;
  l2?: number;
  rounds?: number;
  poolSample?: string;
  labels?: Labels;
  rating?: string;
  ratingRange?: [number, number];
  normalizer?: string;
  tokenCache?: string | true;
  worker?: string;
  fresh?: boolean;
  seed?: number;
}

interface Flags extends ScoringFlags {
  cutoffs?: { head: number; tail: number };
  percentiles?: number[];
}

/** CCNet's cut-offs, as `340,520`. */
function cutoffs(text: string): { head: number; tail: number } {
  const [head, tail, ...rest] = text.split(',').map(number);
  if (head === undefined || tail === undefined || rest.length > 0) {
    throw new InvalidArgumentError('It must be two numbers with a comma between.');
  }
  return { head, tail };
}

function percentiles(text: string): number[] {
  return text.split(',').map(integer(0, 100));
}

/** Options of the two commands that score. */
export function scoring(command: Command, methods: readonly Method[]): Command {
  command
    .option(
      '--model <model>',
      'one model: a file of n-grams (.gml, ARPA, KenLM binary) or a transformer (a folder, .gguf); ngram: or lm: ' +
        'before the path says which',
    )
    .option('--prior <model>', 'the general model of a method that compares two')
    .option('--conditional <model>', "the target's model of a method that compares two");
  return transformer(command)
    .option(
      '--token-cache [folder]',
      'transformers: keep the tokens of documents (default folder: gristmill-tokens beside the output)',
    )
    .addOption(
      new Option(
        '--method <name>',
        'how to score (default: perplexity with --model, rating with --rating, else loss-reduction)',
      ).choices(methods),
    )
    .option('--rating <column>', 'score by a column of numbers that the pool has')
    .option('--rating-range <least,most>', 'stop at a rating outside of this, such as 1,5', toRange)
    .option('--order <n>', 'order of the fitted models, 1 to 6 (default: the best)', integer(1, 6))
    .option('--weight <w>', "share of the target's own model, 0 to 1 (default: the best)", number)
    .option('--pool-sample <size>', 'text of the pool to learn from with a target (default: 32MiB)')
    .option('--l2 <penalty>', 'of the classifier: 1/C (default: 1)', number)
    .option('--rounds <n>', 'of the classifier: rounds of self-training (default: 0)', integer(0, 100))
    .option(
      '--labels <above,below>',
      'of the classifier: add labels at probabilities, such as 0.9,0.1',
      toLabels,
    )
    .option(
      '--normalizer <name>',
      'how text becomes tokens: a name or a tokenizer file (default: unicode-words/1)',
    )
    .option('--worker <i/n>', 'score only this share, i from 0 to n-1; the shares meet in the output')
    .option('--fresh', 'start over instead of continuing what is in the output')
    .option('--seed <n>', 'seed of all sampling (default: 0)', integer(0));
}

function toRange(text: string): [number, number] {
  const [least, most, ...more] = text.split(',').map(number);
  if (least === undefined || most === undefined || more.length > 0) {
    throw new InvalidArgumentError('It must be two numbers, such as 1,5.');
  }
  return [least, most];
}

function toLabels(text: string): Labels {
  const [above, below, ...more] = text.split(',').map(number);
  if (above === undefined || below === undefined || more.length > 0) {
    throw new InvalidArgumentError('It must be two probabilities, such as 0.9,0.1.');
  }
  return { above, below };
}

export function addScore(program: Command): void {
  const command = program
    .command('score')
    .description('score every document of a pool')
    .requiredOption('--pool <paths...>', 'documents: files, directories, globs, URLs, or - for stdin')
    .requiredOption('-o, --output <dir>', 'directory or URL for the score files')
    .option('--cutoffs <head,tail>', 'ccnet: perplexities where the head ends and the tail begins', cutoffs)
    .option('--percentiles <list>', 'report the scores at these percentiles, such as 30,60', percentiles);
  scoring(target(source(job(command))), [
    'perplexity',
    'bits-per-byte',
    'loss-reduction',
    'moore-lewis',
    'difference',
    'ccnet',
    'dsir',
    'classifier',
    'rating',
  ]).action((flags: Flags) => {
    const {
      pool,
      output,
      model,
      prior,
      conditional,
      cutoffs,
      percentiles,
      method,
      order,
      weight,
      l2,
      rounds,
      poolSample,
      labels,
      rating,
      ratingRange,
      normalizer,
      tokenCache,
      worker,
      fresh,
      seed,
    } = flags;
    return execute(
      'score',
      flags,
      async ({ paths, ...run }) =>
        score({
          pool: toSource(await paths(pool, flags.format), flags),
          output,
          ...(await toTarget(flags, paths)),
          ...toTransformer(flags),
          ...defined({ model, prior, conditional, cutoffs, percentiles, method, order, weight, normalizer }),
          ...defined({
            l2,
            rounds,
            poolSample,
            labels,
            rating,
            ratingRange,
            worker,
            fresh,
            seed,
            tokenCache,
          }),
          ...toJob(flags),
          ...run,
        }),
      print,
    );
  });
}

function print(summary: ScoreSummary): string {
  return (
    `Scored ${grouped(summary.scored.documents)} documents by ${summary.method} into ${summary.output}\n\n` +
    tally(summary) +
    (summary.percentiles ?? [])
      .map(({ percent, score }) => `\n${percent}% of the scores are at or below ${score}`)
      .join('') +
    (summary.percentiles ? '\n' : '') +
    progress(summary)
  );
}

/** What the summaries of score and select have in common, below the counts. */
export function progress(summary: ScoreSummary): string {
  const { fitted, shards, best, worst, models, tokenCache } = summary;
  let text = '';
  if (tokenCache) {
    const { folder, read, tokenised } = tokenCache;
    text += `\nTokens of ${grouped(read)} texts were read from ${folder}, ${grouped(tokenised)} were tokenised.\n`;
  }
  if (fitted) {
    const { auc, targetDocuments, poolDocuments } = fitted.discrimination;
    text +=
      `\nTarget and pool can be told apart with AUC ${auc.toFixed(4)} (0.5 is chance, 1 is perfect), on ` +
      `${grouped(targetDocuments)} held-out target documents and ${grouped(poolDocuments)} of the pool.\n`;
    const { order, weight, selfTrained } = fitted;
    if (selfTrained) {
      const { rounds, target, other, unsure } = selfTrained;
      text +=
        `Self-training for ${rounds} rounds: of the pool's sample ${grouped(target)} documents are like the target, ` +
        `${grouped(other)} are not, ${grouped(unsure)} are unsure.\n`;
    }
    if (order !== undefined && weight !== undefined) {
      text += `Models of order ${order} over ${grouped(fitted.vocabulary)} words, target weight ${weight.toFixed(2)}.\n`;
    }
  } else {
    text += models.map(({ role, path }) => `\n${role} ${path}`).join('') + (models.length > 0 ? '\n' : '');
  }
  if (best.length > 0) text += `\nBest\n${examples(best)}\nWorst\n${examples(worst)}`;
  const resumed = shards.resumed > 0 ? `, ${grouped(shards.resumed)} done before` : '';
  text += `\nRead ${bytes(summary.inputBytes)} in ${grouped(shards.total)} files${resumed}, in ${timings(summary.timings)}\n`;
  if (summary.damaged > 0) text += `${grouped(summary.damaged)} damaged parts of files are in quarantine.\n`;
  if (!summary.complete) text += `${grouped(shards.pending)} files are left to other workers.\n`;
  return text;
}
