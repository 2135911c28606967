/** The command line as a shell sees it: exit codes, streams, standard input, JSON, pipes, signals. */

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { manifest } from '../ts/native.js';
import { cli, documents, jsonl, main, put, scratch, smallPool } from './helpers.js';

function selectArgs(dir: string, out = 'out'): string[] {
  const { pool, target } = smallPool(dir);
  return ['select', '--pool', pool, '--target', target, '--budget', '60docs', '-o', join(dir, out)];
}

describe('commands', () => {
  test('select prints a summary for people on standard output', async () => {
    const dir = scratch();
    const { code, stdout, stderr } = await cli(selectArgs(dir));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('Kept 60 of 600 scored documents (10.0%)');
    expect(stdout).toMatch(/read +600 /);
    expect(stdout).toMatch(/AUC 0\.\d{4}/);
    expect(stdout).toMatch(/\nBest\n(.+\n){10}/);
    expect(stdout).toMatch(/\nWorst\n(.+\n){10}/);
  });

  test('fit, score and select as three steps', async () => {
    const dir = scratch();
    const { pool } = smallPool(dir);
    const model = join(dir, 'general.gml');
    const fitted = await cli(['fit', '--corpus', pool, '--order', '3', '-o', model]);
    expect(fitted).toMatchObject({ code: 0, stderr: '' });
    expect(fitted.stdout).toContain(`Wrote ${model}: order 3`);
    const scored = await cli([
      'score',
      '--pool',
      pool,
      '--model',
      `ngram:${model}`,
      '-o',
      join(dir, 'scores'),
    ]);
    expect(scored).toMatchObject({ code: 0, stderr: '' });
    expect(scored.stdout).toContain('Scored 600 documents by perplexity');
    const args = [
      'select',
      '--pool',
      pool,
      '--scores',
      join(dir, 'scores'),
      '--budget',
      '25docs',
      '-o',
      join(dir, 'out'),
    ];
    const selected = await cli(args);
    expect(selected).toMatchObject({ code: 0, stderr: '' });
    expect(selected.stdout).toContain('Kept 25 of 600');
  });

  test('doctor', async () => {
    const { code, stdout } = await cli(['doctor']);
    expect(code).toBe(0);
    expect(stdout).toContain(manifest.version);
    expect(stdout).toContain(process.version);
    expect(stdout).toContain('kenlm-trie');
  });

  test('doctor lists every backend, and what auto would open', async () => {
    const { code, stdout } = await cli(['doctor']);
    expect(code).toBe(0);
    for (const backend of ['cpu', 'wgpu', 'cuda']) {
      expect(stdout).toMatch(new RegExp(`device ${backend} +(${backend}(:0)?: .*driver|not available: .+)`));
    }
    const { auto } = JSON.parse((await cli(['doctor', '--json'])).stdout) as { auto: { selector: string } };
    expect(stdout).toContain(`opens ${auto.selector}`);
  });

  test('doctor --check prints the table of a device, and repeats it by its seed', async () => {
    const args = ['doctor', '--check', 'cpu', '--ops', 'topk,philox', '--seed', '18446744073709551615'];
    const { code, stdout, stderr } = await cli(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const rows = stdout.split('\n').filter((line) => line.endsWith(' ok'));
    expect(rows.length).toBeGreaterThan(10);
    expect(stdout).toMatch(/cpu: .*seed 18446744073709551615: \d+ passed, 0 failed, 0 skipped\n$/);
    const { check } = JSON.parse((await cli([...args, '--json'])).stdout) as { check: { rows: unknown[] } };
    expect(check.rows.length).toBe(rows.length);
    expect((await cli(args)).stdout).toBe(stdout);
  });

  test('bench prints rates beside the limits of the same run', async () => {
    const args = ['bench', '--device', 'cpu', '--ops', 'philox', '--rounds', '1', '--seconds', '0'];
    const { code, stdout } = await cli(args);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^philox\/.* GB\/s +\d+% of copy$/m);
    expect(stdout).toMatch(/limits: copy [\d.]+ GB\/s\n$/);
    const report = JSON.parse((await cli([...args, '--json'])).stdout) as { rows: { share: number }[] };
    expect(report.rows.length).toBe(3);
    expect(report.rows.every((row) => row.share > 0)).toBe(true);
  });

  test('help and version are successes on standard output', async () => {
    for (const args of [['--help'], ['select', '--help'], ['--version']]) {
      const { code, stdout, stderr } = await cli(args);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).not.toBe('');
    }
  });
});

describe('--json', () => {
  test('every command prints one object with its schema', async () => {
    const dir = scratch();
    const { pool } = smallPool(dir);
    const model = join(dir, 'm.gml');
    const commands = [
      ['doctor'],
      ['fit', '--corpus', pool, '--order', '2', '-o', model],
      ['score', '--pool', pool, '--model', model, '-o', join(dir, 'scores')],
      selectArgs(dir),
    ];
    for (const args of commands) {
      const { code, stdout, stderr } = await cli([...args, '--json']);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout.trimEnd()).not.toContain('\n');
      expect(JSON.parse(stdout)).toMatchObject({ schema: 1, command: args[0] });
    }
  });

  test('an error too, besides the text on standard error', async () => {
    const dir = scratch();
    const path = put(join(dir, 'bad.jsonl'), '{"text": "fine"}\nnot json\n');
    const { code, stdout, stderr } = await cli(['fit', '--corpus', path, '-o', join(dir, 'm.gml'), '--json']);
    expect(code).toBe(1);
    const { error } = JSON.parse(stdout) as {
      error: { code: string; details: { row: number; path: string } };
    };
    expect(error.code).toBe('CORRUPT_DATA');
    expect(error.details.row).toBe(1);
    expect(stderr).toContain('[CORRUPT_DATA]');
    expect(stderr).toMatch(/at: .*bad\.jsonl, row 1/);
  });
});

describe('exit codes', () => {
  test.each([
    ['an unknown command', ['selekt']],
    ['an unknown option', ['select', '--polo', 'x']],
    ['a missing option', ['select', '--pool', 'x']],
    ['a value out of its range', ['fit', '--corpus', 'x', '-o', 'y', '--order', '7']],
    ['a value outside the choices', ['score', '--pool', 'x', '-o', 'y', '--method', 'telepathy']],
    ['standard input twice', ['select', '--pool', '-', '--target', '-', '--budget', '1%', '-o', 'y']],
  ])('2 for %s', async (_, args) => {
    const { code, stdout, stderr } = await cli(args, { stdin: '{"text": "a"}\n' });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^error: /m);
  });

  test('2 for an option value that the engine refuses', async () => {
    const dir = scratch();
    const args = selectArgs(dir).map((arg) => (arg === '60docs' ? 'plenty' : arg));
    const { code, stderr } = await cli(args);
    expect(code).toBe(2);
    expect(stderr).toContain('plenty');
  });

  test('3 for a device that is not there', async () => {
    for (const args of [
      ['doctor', '--check', 'cuda:97'],
      ['bench', '--device', 'wgpu:97'],
    ]) {
      const { code, stdout, stderr } = await cli(args);
      expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
      expect(stderr).toContain('[DEVICE_UNAVAILABLE]');
    }
  });

  test('2 for operations and devices that do not exist', async () => {
    for (const args of [
      ['doctor', '--check', 'gpu'],
      ['doctor', '--check', 'cpu', '--ops', 'softmax'],
      ['doctor', '--check', 'cpu', '--ops', 'topk,'],
      ['doctor', '--ops', 'topk'],
      ['doctor', '--check', 'cpu', '--ops', 'topk', '--seed', '-1'],
    ]) {
      expect((await cli(args)).code, args.join(' ')).toBe(2);
    }
  });

  test('1 for input that is not there', async () => {
    const dir = scratch();
    const { code, stderr } = await cli(['fit', '--corpus', join(dir, '*.parquet'), '-o', join(dir, 'm.gml')]);
    expect(code).toBe(1);
    expect(stderr).toContain('[NOT_FOUND]');
    expect(stderr).toContain('*.parquet');
  });

  test('a near miss is suggested', async () => {
    expect((await cli(['selct'])).stderr).toContain('Did you mean select?');
  });
});

describe('standard input', () => {
  test('JSON Lines', async () => {
    const dir = scratch();
    const stdin = jsonl(documents('pool/part-0.jsonl.gz').slice(0, 100));
    const args = ['fit', '--corpus', '-', '--order', '2', '-o', join(dir, 'm.gml'), '--json'];
    const { code, stdout } = await cli(args, { stdin });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ read: { documents: 100 } });
  });

  test('gzip', async () => {
    const dir = scratch();
    const { gzipSync } = await import('node:zlib');
    const stdin = gzipSync(jsonl(documents('pool/part-0.jsonl.gz').slice(0, 100)));
    const args = ['fit', '--corpus', '-', '--order', '2', '-o', join(dir, 'm.gml'), '--json'];
    expect(JSON.parse((await cli(args, { stdin })).stdout)).toMatchObject({ read: { documents: 100 } });
  });

  test('plain text, a document a line', async () => {
    const dir = scratch();
    const stdin = documents('pool/part-0.jsonl.gz')
      .slice(0, 50)
      .map((doc) => `${doc.text.replace(/\s+/g, ' ')}\n`)
      .join('');
    const args = ['fit', '--corpus', '-', '--lines', '--order', '2', '-o', join(dir, 'm.gml'), '--json'];
    expect(JSON.parse((await cli(args, { stdin })).stdout)).toMatchObject({ read: { documents: 50 } });
  });

  test('a target', async () => {
    const dir = scratch();
    const { pool } = smallPool(dir);
    const stdin = jsonl(documents('target/mail.jsonl.gz'));
    const args = [
      'select',
      '--pool',
      pool,
      '--target',
      '-',
      '--budget',
      '5%',
      '-o',
      join(dir, 'out'),
      '--json',
    ];
    const { code, stdout } = await cli(args, { stdin });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ kept: { documents: 30 } });
  });

  test('nothing at all is an error', async () => {
    const dir = scratch();
    const { code, stderr } = await cli(['fit', '--corpus', '-', '-o', join(dir, 'm.gml')]);
    expect(code).toBe(1);
    expect(stderr).toContain('[EMPTY_INPUT]');
  });
});

test.skipIf(process.platform === 'win32')('a reader that goes away is a success', async () => {
  const code = await new Promise<number | null>((resolve, reject) => {
    const child = spawn(process.execPath, [main, 'select', '--help'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    // Closed before the command has written anything, as by `| true`.
    child.stdout.destroy();
    child.on('error', reject);
    child.on('close', resolve);
  });
  expect(code).toBe(0);
});

describe.skipIf(process.platform === 'win32')('signals', () => {
  /** Runs a selection in the background and interrupts it at a moment between start and end. */
  async function interrupt(args: string[], after: number, signal: NodeJS.Signals): Promise<number | null> {
    const { code } = await cli(args, {
      onStart: (child) => setTimeout(() => child.kill(signal), after),
    });
    return code;
  }

  test('the first Ctrl-C stops with 130 and leaves what the same command continues', async () => {
    const dir = scratch();
    const args = [...selectArgs(dir, 'whole'), '--threads', '1'];
    const whole = await cli([...args, '--json']);
    const resumed = args.map((arg) => (arg === join(dir, 'whole') ? join(dir, 'stopped') : arg));
    // Later and later, until it is done before the signal comes; in growing steps, for machines of any speed.
    const codes: (number | null)[] = [];
    for (let after = 80; codes.length < 60; after *= 1.12) {
      const code = await interrupt(resumed, after, 'SIGINT');
      codes.push(code);
      if (code === 0) break;
    }
    expect(codes.at(-1)).toBe(0);
    expect(codes.slice(0, -1).every((code) => code === 130 || code === null)).toBe(true);
    expect(codes).toContain(130);
    const again = await cli([...resumed, '--json']);
    expect(again.code).toBe(0);
    const pick = (text: string): unknown => {
      const { kept, scored, cut } = JSON.parse(text) as Record<string, unknown>;
      return { kept, scored, cut };
    };
    expect(pick(again.stdout)).toEqual(pick(whole.stdout));
    const file = (out: string): Buffer => readFileSync(join(dir, out, '0.jsonl'));
    if (existsSync(join(dir, 'whole', '0.jsonl'))) expect(file('stopped')).toEqual(file('whole'));
  });
});

describe('progress', () => {
  test('nothing on standard error when it is not a terminal, nor with --quiet', async () => {
    const dir = scratch();
    expect((await cli(selectArgs(dir, 'a'))).stderr).toBe('');
    expect((await cli([...selectArgs(dir, 'b'), '--quiet'])).stderr).toBe('');
  });

  /** Runs the command line on a terminal, with `script` of util-linux, and returns all that it drew. */
  function onTerminal(args: string[], env: NodeJS.ProcessEnv): Promise<string> {
    return new Promise((resolve, reject) => {
      const line = [process.execPath, main, ...args].map((arg) => `'${arg}'`).join(' ');
      const child = spawn('script', ['-qec', `${line} >/dev/null`, '/dev/null'], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, TERM: 'xterm-256color', ...env },
      });
      let drawn = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => (drawn += text));
      child.on('error', reject);
      child.on('close', () => resolve(drawn));
    });
  }

  test.skipIf(!existsSync('/usr/bin/script'))(
    'a bar on a terminal, without colours under NO_COLOR',
    async () => {
      const dir = scratch();
      const drawn = await onTerminal(selectArgs(dir), { NO_COLOR: undefined });
      expect(drawn).toMatch(/docs/);
      expect(drawn).toContain('━');
      // eslint-disable-next-line no-control-regex
      const colour = /\u001b\[[0-9;]*m/;
      expect(drawn).toMatch(colour);
      expect(await onTerminal(selectArgs(dir, 'plain'), { NO_COLOR: '1' })).not.toMatch(colour);
    },
  );
});
