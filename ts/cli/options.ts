/** Options that several commands share, and how text becomes their values. */

import { type Command, InvalidArgumentError, Option } from 'commander';

import type { DeviceName } from '../device.js';
import type { Recipe, Source, TransformerOptions } from '../options.js';
import type { Format } from './stdin.js';

/** What every command takes. */
export interface CommonFlags {
  json?: boolean;
  quiet?: boolean;
}

/** What every job takes. */
export interface JobFlags extends CommonFlags {
  threads?: number;
  memory?: string;
  onError?: 'fail' | 'quarantine';
}

/** How documents are read. */
export interface SourceFlags {
  format?: Format;
  text?: string;
  id?: string;
  where?: string;
  lines?: boolean;
}

const FORMATS = ['parquet', 'jsonl', 'arrow', 'text'];

export function integer(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const n = Number(text);
    if (!/^\d+$/.test(text) || n < min || n > max) {
      throw new InvalidArgumentError(
        `It must be a whole number ${max < 1e9 ? `from ${min} to ${max}` : `of at least ${min}`}.`,
      );
    }
    return n;
  };
}

export function number(text: string): number {
  const n = Number(text);
  if (text.trim() === '' || !Number.isFinite(n)) throw new InvalidArgumentError('It must be a number.');
  return n;
}

/** Options of every command. */
export function common(command: Command): Command {
  return command
    .option('--json', 'print the result as JSON')
    .option('-q, --quiet', 'no progress and no notes on standard error');
}

/** Options of every job. */
export function job(command: Command, takes: { memory?: boolean; onError?: boolean } = {}): Command {
  common(command).option(
    '--threads <n>',
    'threads (default: all that the process may use)',
    integer(1, 4096),
  );
  if (takes.memory !== false) command.option('--memory <size>', 'memory for counts, such as 512MB or 2GB');
  if (takes.onError === false) return command;
  return command.addOption(
    new Option('--on-error <rule>', 'what to do with input that cannot be read').choices([
      'fail',
      'quarantine',
    ]),
  );
}

/** How to read the documents; the column with the text is named with `--text`, unless that is taken. */
export function source(command: Command, text: '--text' | '--column' = '--text'): Command {
  return command
    .addOption(new Option('--format <format>', 'format of the files (default: by name)').choices(FORMATS))
    .option(`${text} <column>`, 'column with the text (default: detected)')
    .option('--id <column>', 'column with the id (default: detected, else made from file and row)')
    .option('--where <expression>', 'row filter in the Common Expression Language, such as \'lang == "en"\'')
    .option('--lines', 'plain text: every line is a document, not every file');
}

/** The sample of the wanted text. */
export interface TargetFlags {
  target?: string[];
  targetFormat?: Format;
  targetText?: string;
  targetWhere?: string;
}

/** Which sample to learn from, and how to read it. */
export function target(command: Command): Command {
  return command
    .option(
      '--target <paths...>',
      'sample of the wanted text: files, directories, globs, URLs, or - for stdin',
    )
    .addOption(
      new Option('--target-format <format>', 'format of the target (default: by name)').choices(FORMATS),
    )
    .option('--target-text <column>', 'column with the text of the target (default: that of --text)')
    .option('--target-where <expression>', 'row filter of the target');
}

/** The target that the flags describe; columns are named as in the pool unless said otherwise. */
export async function toTarget(
  flags: TargetFlags & SourceFlags,
  paths: (list: readonly string[], format: Format | undefined) => Promise<string[]>,
): Promise<{ target?: Source }> {
  if (!flags.target) return {};
  const { targetFormat: format, targetText, targetWhere: where, lines } = flags;
  const read = defined({ format, text: targetText ?? flags.text, where, lines });
  return { target: toSource(await paths(flags.target, format), read) };
}

/** How transformers read and score. */
export interface TransformerFlags {
  device?: DeviceName;
  dtype?: 'f32' | 'bf16';
  recipe?: Recipe;
  window?: number;
  stride?: number;
  batchTokens?: number;
}

/** Options of the commands that take transformers. */
export function transformer(command: Command): Command {
  return command
    .option('--device <name>', 'transformers: auto, cpu, wgpu, wgpu:N, cuda or cuda:N (default: auto)')
    .addOption(
      new Option(
        '--dtype <type>',
        'transformers: what to compute in (default: f32 below 1B parameters)',
      ).choices(['f32', 'bf16']),
    )
    .addOption(
      new Option(
        '--recipe <name>',
        'transformers: how documents are cut (default: huggingface, in windows that overlap)',
      ).choices(['huggingface', 'lm-eval', 'document', 'truncated']),
    )
    .option(
      '--window <n>',
      'transformers: tokens of a window (default: the context, at most 2048)',
      integer(1),
    )
    .option('--stride <n>', 'huggingface: tokens from window to window (default: half a window)', integer(1))
    .option('--batch-tokens <n>', 'transformers: tokens of a batch (default: by device)', integer(1));
}

/** What the flags say of transformers. */
export function toTransformer(flags: TransformerFlags): { transformer?: TransformerOptions } {
  const { device, dtype, recipe, window, stride, batchTokens } = flags;
  const given = defined({ device, dtype, recipe, window, stride, batchTokens });
  return Object.keys(given).length > 0 ? { transformer: given } : {};
}

/** An object without the properties that are `undefined`. */
export type Defined<T> = {
  [K in keyof T as undefined extends T[K] ? never : K]: T[K];
} & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** Leaves out what was not given. */
export function defined<T extends object>(flags: T): Defined<T> {
  return Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined)) as Defined<T>;
}

/** The source that paths and flags describe. */
export function toSource(paths: readonly string[], flags: SourceFlags): Source {
  const { format, text, id, where, lines } = flags;
  return { paths, ...defined({ format, text, id, where, lines }) };
}

/** What of the flags of every job the job itself takes. */
export function toJob({ threads, memory, onError }: JobFlags): Defined<Omit<JobFlags, keyof CommonFlags>> {
  return defined({ threads, memory, onError });
}
