/**
 * All tests: builds the addon and the command line, runs the Rust tests (in release, the only profile) and vitest, and
 * ends with one line of totals over both.
 */

import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { prepare } from './corpora.js';
import { Failed, npm, root, run } from './run.js';

interface Totals {
  passed: number;
  failed: number;
}

/** Runs `suite`; if the program fails without a failed test, that counts as one. */
async function counted(suite: () => Promise<Totals>, onFailure: () => Totals): Promise<Totals> {
  try {
    return await suite();
  } catch (error) {
    if (!(error instanceof Failed)) throw error;
    console.error(error.message);
    const totals = onFailure();
    return { ...totals, failed: Math.max(totals.failed, 1) };
  }
}

async function rust(): Promise<Totals> {
  let output = '';
  const totals = (): Totals => {
    const sum: Totals = { passed: 0, failed: 0 };
    for (const [, passed, failed] of output.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed/gm)) {
      sum.passed += Number(passed);
      sum.failed += Number(failed);
    }
    return sum;
  };
  return counted(async () => {
    await run('cargo', ['test', '--release', '--workspace', '--no-fail-fast'], (text) => (output += text));
    return totals();
  }, totals);
}

async function vitest(): Promise<Totals> {
  const report = join(root, 'target/vitest.json');
  rmSync(report, { force: true });
  const totals = (): Totals => {
    const result = JSON.parse(readFileSync(report, 'utf8')) as Record<string, number>;
    return {
      passed: result['numPassedTests'] ?? 0,
      failed: (result['numFailedTests'] ?? 0) + (result['numRuntimeErrorTestSuites'] ?? 0),
    };
  };
  const bin = join(root, 'node_modules/vitest/vitest.mjs');
  return counted(async () => {
    await run(process.execPath, [
      bin,
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile=${report}`,
    ]);
    return totals();
  }, totals);
}

await npm('build');
await prepare();
const parts = [await rust(), await vitest()];
const passed = parts.reduce((sum, part) => sum + part.passed, 0);
const failed = parts.reduce((sum, part) => sum + part.failed, 0);
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
