import type { Command } from 'commander';

import { perplexity } from '../index.js';
import type { PerplexitySummary, ScoreSpec } from '../summaries.js';
import { integer as grouped, table, timings } from './format.js';
import {
  common,
  type CommonFlags,
  defined,
  source,
  type SourceFlags,
  toSource,
  toTransformer,
  transformer,
  type TransformerFlags,
} from './options.js';
import { execute } from './run.js';

interface Flags extends CommonFlags, Omit<SourceFlags, 'text'>, TransformerFlags {
  model: string;
  text: string[];
  column?: string;
  normalizer?: string;
}

export function addPerplexity(program: Command): void {
  const command = program
    .command('perplexity')
    .description('measure a language model on text: perplexity and bits per byte')
    .requiredOption(
      '--model <model>',
      'a transformer (a folder, .gguf) or a file of n-grams; lm: or ngram: before the path says which',
    )
    .requiredOption('--text <paths...>', 'the text: files, directories, globs, URLs, or - for stdin')
    .option('--normalizer <name>', 'n-grams: how text becomes tokens, where the file does not say');
  transformer(source(common(command), '--column')).action((flags: Flags) => {
    const { model, text, column, normalizer, ...read } = flags;
    return execute(
      'perplexity',
      flags,
      async ({ paths, ...run }) =>
        perplexity({
          model,
          text: toSource(await paths(text, flags.format), { ...read, ...defined({ text: column }) }),
          ...defined({ normalizer }),
          ...toTransformer(flags),
          ...run,
        }),
      print,
    );
  });
}

function print(summary: PerplexitySummary): string {
  const { model, spec, documents, nTokens, nScored, nBytes, nllSum } = summary;
  const scoring = summary.timings.find(({ phase }) => phase === 'score')?.seconds ?? 0;
  return (
    `${model.path} on ${grouped(documents)} documents of ${grouped(nBytes)} bytes\n\n` +
    table([
      ['perplexity', summary.perplexity.toFixed(4)],
      ['bits per byte', summary.bitsPerByte.toFixed(4)],
      ['nats', nllSum.toFixed(2)],
      ['tokens', grouped(nTokens)],
      ['scored', grouped(nScored)],
      ...(scoring > 0 ? [['tokens/s', grouped(nTokens / scoring)]] : []),
    ]) +
    `\n${described(spec)}\nIn ${timings(summary.timings)}\n`
  );
}

const BEFORE = {
  context: 'a marker stands before the first token',
  none: 'the first token is scored without context',
  'skip-first': 'the first token is not scored',
};

/** What was predicted from what, in a line. */
function described({ windows, bos, dtype }: ScoreSpec): string {
  const cut =
    windows.kind === 'document'
      ? 'whole documents'
      : `${windows.kind} windows of ${grouped(windows.tokens)} tokens` +
        (windows.kind === 'sliding' ? ` every ${grouped(windows.stride)}` : '');
  return [cut, BEFORE[bos], ...(dtype === undefined ? [] : [dtype])].join(', ');
}
