/** Running other programs from the scripts. */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** The root of the checkout. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Raised when a program ends with anything but success. */
export class Failed extends Error {}

/**
 * Runs a program in the root of the checkout with its output passed on; `onOutput` also sees what it writes to standard
 * output. Rejects with {@link Failed} unless it succeeds.
 */
export function run(
  program: string,
  args: readonly string[],
  onOutput?: (text: string) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: root,
      stdio: ['ignore', onOutput ? 'pipe' : 'inherit', 'inherit'],
      shell: process.platform === 'win32',
    });
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      process.stdout.write(text);
      onOutput?.(text);
    });
    child.on('error', (cause) => {
      const hint = program === 'cargo' ? ': install a Rust toolchain (https://rustup.rs)' : '';
      reject(new Failed(`cannot run ${program}${hint}`, { cause }));
    });
    child.on('close', (code, signal) => {
      if (code === 0) resolve();
      else reject(new Failed(`${program} ${args.join(' ')} ended with ${signal ?? `exit code ${code}`}`));
    });
  });
}

/** Runs a script of package.json. */
export function npm(script: string): Promise<void> {
  return run('npm', ['run', '--silent', script]);
}
