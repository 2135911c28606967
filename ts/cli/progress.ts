import type * as Native from '../../bindings/node/index.js';
import { native } from '../native.js';
import type { Progress } from '../options.js';

/** Where a command shows how far it is. */
export interface Reporter {
  onProgress?: (progress: Progress) => void;
  /** Prints a line on standard error without tearing the bar. */
  say: (line: string) => void;
  /** Takes the bar away. */
  clear: () => void;
}

/** A bar when standard error is a terminal; nothing but lines when it is not, or when it should be quiet. */
export function reporter(quiet: boolean): Reporter {
  const print = (line: string): boolean => process.stderr.write(`${line}\n`);
  if (quiet) return { say: () => undefined, clear: () => undefined };
  if (!process.stderr.isTTY) return { say: print, clear: () => undefined };
  let bar: Native.TerminalBar | undefined;
  return {
    onProgress(progress) {
      bar ??= new (native().TerminalBar)(colors(process.stderr));
      bar.update(progress);
    },
    say(line) {
      if (bar) bar.println(line);
      else print(line);
    },
    clear: () => bar?.clear(),
  };
}

/** Whether to write colours to a stream: on a terminal, unless `NO_COLOR` is set to anything. */
export function colors(stream: NodeJS.WriteStream): boolean {
  return stream.isTTY && (process.env['NO_COLOR'] ?? '') === '' && process.env['TERM'] !== 'dumb';
}
