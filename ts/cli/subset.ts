import { type Command, Option } from 'commander';

import { subset, type SubsetMethod, type SubsetOptions, type SubsetSummary } from '../mix/index.js';
import { integer as grouped } from './format.js';
import { common, type CommonFlags, defined, integer, number } from './options.js';
import { execute } from './run.js';

const METHODS: readonly SubsetMethod[] = [
  'facility-location',
  'graph-cut',
  'log-determinant',
  'feature-based',
  'partitioned',
  'masks',
  'k-means',
  'farthest-point',
];

interface Flags
  extends CommonFlags, Omit<SubsetOptions, 'memory' | 'first' | 'steps' | 'iterations' | 'concave'> {}

export function addSubset(program: Command): void {
  const command = program
    .command('subset')
    .description('choose the few rows of a file of embeddings that represent all')
    .requiredOption(
      '--embeddings <path>',
      'Parquet, Arrow or JSONL with a column of lists of numbers: file, directory, glob or URL',
    )
    .requiredOption('--budget <n>', 'how many rows to choose', integer(1))
    .requiredOption('-o, --output <file>', 'table of the chosen rows: .parquet or .jsonl')
    .addOption(new Option('--method <name>', 'how to choose (default: facility-location)').choices(METHODS))
    .option('--column <name>', 'column with the embeddings (default: detected)')
    .option('--id <name>', 'column with the ids, which must be distinct (default: detected)')
    .option('--quality <name>', 'masks: column with a quality to weigh against diversity')
    .addOption(
      new Option('--kernel <name>', 'how alike two rows are (default: cosine)').choices([
        'cosine',
        'squared-cosine',
        'squared-correlation',
        'euclidean',
        'rbf',
      ]),
    )
    .option('--gamma <x>', 'of rbf (default: one over the dimension)', number)
    .option('--neighbors <k>', 'keep only the k most alike rows of each, for large files', integer(1))
    .addOption(
      new Option('--optimizer <name>', 'how the best row of each round is found (default: lazy)').choices([
        'naive',
        'lazy',
        'stochastic',
        'lazier-than-lazy',
      ]),
    )
    .option(
      '--device <name>',
      'what computes the similarities: auto, cpu, wgpu, cuda:0, … (default: all threads of the processor)',
    )
    .option('--epsilon <x>', 'of the stochastic optimizers (default: 0.1)', number)
    .option('--lambda <x>', 'of graph-cut (default: 2) and of masks (default: 0.5)', number)
    .option('--ridge <x>', 'of log-determinant (default: 0)', number)
    .option('--partitions <n>', 'of partitioned (default: 1)', integer(1))
    .addOption(
      new Option('--pick <rule>', 'how rows of a partition are taken (default: greedy)').choices([
        'greedy',
        'taylor-softmax',
      ]),
    )
    .option('--seed <n>', 'seed of all sampling (default: 0)', integer(0));
  common(command).action((flags: Flags) => {
    const { embeddings, output, budget, method, column, id, quality, kernel, gamma, neighbors, device } =
      flags;
    const { optimizer, epsilon, lambda, ridge, partitions, pick, seed } = flags;
    return execute(
      'subset',
      flags,
      ({ signal, onProgress }) =>
        subset({
          embeddings,
          output,
          ...defined({ budget, method, column, id, quality, kernel, gamma, neighbors, device }),
          ...defined({ optimizer, epsilon, lambda, ridge, partitions, pick, seed }),
          signal,
          ...(onProgress && { onProgress }),
        }),
      print,
    );
  });
}

function print(summary: SubsetSummary): string {
  const { output, chosen, rows, dimension, method, value, evaluations, first, comparison } = summary;
  let text =
    `Wrote ${output}: ${grouped(chosen)} of ${grouped(rows)} rows of ${grouped(dimension)} numbers by ${method}\n` +
    `First: ${first.join(', ')}\n`;
  if (value !== undefined) text += `Value ${value.toPrecision(6)}`;
  if (evaluations !== undefined) text += `, ${grouped(evaluations)} gains computed`;
  if (value !== undefined) text += '\n';
  if (comparison) {
    const { greedy, seconds, random, gapClosed } = comparison;
    text +=
      `Masks took ${seconds.toFixed(2)} s. Greedy comes to ${greedy.value.toPrecision(6)} in ` +
      `${greedy.seconds.toFixed(2)} s, random sets to ${random.toPrecision(6)}: masks close ` +
      `${(100 * gapClosed).toFixed(1)}% of that gap.\n`;
  }
  return text;
}
