/** Running other programs from the scripts. */

import { execFileSync, spawn } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
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

/** A binary of the workspace, as `npm run build` left it; the newest, where several target folders have one. */
export function cargoBinary(name: string): string {
  const metadata = execFileSync('cargo', ['metadata', '--format-version', '1', '--no-deps'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  const { target_directory: target } = JSON.parse(metadata) as { target_directory: string };
  const host = /^host: (.+)$/m.exec(execFileSync('rustc', ['-vV'], { encoding: 'utf8' }))?.[1] ?? '';
  const file = process.platform === 'win32' ? `${name}.exe` : name;
  const [found] = [join(target, host, 'release', file), join(target, 'release', file)]
    .filter((path) => existsSync(path))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs);
  if (found === undefined)
    throw new Error(`${file} is not built: run \`npm test\`, or \`npm run build\` once`);
  return found;
}
