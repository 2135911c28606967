/** What all commands have in common: standard input, progress, signals, output, exit codes. */

import { GristmillError } from '../errors.js';
import type { RunOptions } from '../options.js';
import { abortOnSignal, EXIT, Interrupted } from './exit.js';
import { describe } from './format.js';
import type { CommonFlags } from './options.js';
import { reporter } from './progress.js';
import { type Format, spool, type Spooled } from './stdin.js';

/** The version of everything that `--json` prints. */
export const SCHEMA = 1;

/** What a command may use while it runs. */
export interface Context extends RunOptions {
  signal: AbortSignal;
  /** The paths, with `-` replaced by a file that holds standard input. */
  paths: (paths: readonly string[], format: Format | undefined) => Promise<string[]>;
}

/** A command: returns what to print, as an object for `--json` and as text for people. */
export type Body<Result> = (context: Context) => Promise<Result>;

/** Runs a command to its end and sets the exit code of the process. */
export async function execute<Result extends object>(
  command: string,
  flags: CommonFlags,
  body: Body<Result>,
  print: (result: Result) => string,
): Promise<void> {
  const { onProgress, say, clear } = reporter(flags.quiet === true);
  const { signal, release } = abortOnSignal(say);
  const spooled: Spooled[] = [];
  const paths = async (list: readonly string[], format: Format | undefined): Promise<string[]> => {
    const dashes = list.filter((path) => path === '-').length;
    if (dashes + spooled.length > 1) {
      throw new GristmillError('INVALID_ARGUMENT', 'standard input (-) can be given only once');
    }
    if (dashes === 0) return [...list];
    const file = await spool(process.stdin, format, signal);
    spooled.push(file);
    return list.map((path) => (path === '-' ? file.path : path));
  };
  try {
    const result = await body({ signal, paths, ...(onProgress && { onProgress }) });
    clear();
    process.stdout.write(flags.json ? json({ schema: SCHEMA, command, ...result }) : print(result));
  } catch (error) {
    clear();
    process.exitCode = fail(command, flags, error);
  } finally {
    release();
    await Promise.all(spooled.map((file) => file.remove()));
  }
}

/** Says what went wrong and returns the exit code. */
function fail(command: string, flags: CommonFlags, thrown: unknown): number {
  if (thrown instanceof Interrupted) {
    if (!flags.quiet) {
      process.stderr.write(`${thrown.message}; run the same command again to continue where it stopped\n`);
    }
    return thrown.exitCode;
  }
  const error =
    thrown instanceof GristmillError
      ? thrown
      : new GristmillError('INTERNAL', thrown instanceof Error ? thrown.message : String(thrown), {
          cause: thrown,
        });
  const { code, message, details, hint } = error;
  if (flags.json)
    process.stdout.write(json({ schema: SCHEMA, command, error: { code, message, details, hint } }));
  process.stderr.write(describe(error));
  if (thrown !== error && thrown instanceof Error) process.stderr.write(`${thrown.stack}\n`);
  switch (code) {
    case 'INVALID_ARGUMENT':
      return EXIT.usage;
    case 'NATIVE_UNAVAILABLE':
    case 'DEVICE_UNAVAILABLE':
      return EXIT.unavailable;
    default:
      return EXIT.failure;
  }
}

function json(value: object): string {
  return `${JSON.stringify(value, null, process.stdout.isTTY ? 2 : undefined)}\n`;
}
