/** The README is run: its shell commands with the built command line, its TypeScript with the built package. */

import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { ERROR_CODES, select } from '../ts/index.js';
import { cli, corpora, documents, jsonl, main, program, put, root, scratch, tinyModel } from './helpers.js';

const readme = readFileSync(join(root, 'README.md'), 'utf8');

const COMMANDS = [
  'select',
  'score',
  'fit',
  'perplexity',
  'rate',
  'combine',
  'memory',
  'doctor',
  'bench',
  'subset',
  'privacy',
  'sync inspect',
  ...['search', 'sample', 'fit', 'optimize'].map((c) => `mix ${c}`),
  ...['fit', 'ratio', 'critical'].map((c) => `law ${c}`),
];

/** The fenced blocks of a language. */
function blocks(language: string): string[] {
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(
    ([, code]) => code ?? '',
  );
}

/** A directory with the files that the README's examples name. */
async function workplace(): Promise<string> {
  const dir = scratch();
  const docs = documents('pool/part-0.jsonl.gz');
  for (const i of [0, 1]) {
    mkdirSync(join(dir, `crawl/2026-${i}`), { recursive: true });
    copyFileSync(join(corpora, `pool/part-${i}.jsonl.gz`), join(dir, `crawl/2026-${i}/part.jsonl.gz`));
  }
  put(join(dir, 'wiki/a.jsonl'), jsonl(docs.slice(0, 300)));
  const target = put(join(dir, 'books.jsonl'), jsonl(withEmbeddings(documents('target/moby-dick.jsonl.gz'))));
  const whole = { budget: '100%', output: join(dir, 'books'), outputFormat: 'parquet' } as const;
  await select({ ...whole, pool: target, target, threshold: -1e9 });
  copyFileSync(join(dir, 'books/books.parquet'), join(dir, 'e.parquet'));
  decisions(dir);
  const pairs = docs.slice(0, 400).flatMap((a, i) => {
    const b = docs[i + 400];
    return b && a.label !== b.label ? [{ a: a.id, b: b.id, p: a.label < b.label ? 0.9 : 0.1 }] : [];
  });
  put(join(dir, 'pairs.jsonl'), jsonl(pairs));
  // The package under its own name, as an application sees it.
  mkdirSync(join(dir, 'node_modules'));
  symlinkSync(root, join(dir, 'node_modules/gristmill'), 'junction');
  tinyModel(join(dir, 'tiny-base'), 'llama');
  tinyModel(join(dir, 'tiny-books'), 'qwen3');
  symlinkSync(join(root, 'node_modules/apache-arrow'), join(dir, 'node_modules/apache-arrow'), 'junction');
  return dir;
}

/** Documents with embeddings beside them. */
function withEmbeddings(docs: readonly object[]): object[] {
  return docs.map((doc, i) => ({ ...doc, embedding: [Math.sin(i), Math.cos(i * i), Math.sin(3 * i)] }));
}

/** Runs and points such as other people's tools leave. */
function decisions(dir: string): void {
  put(join(dir, 'prior.json'), '{"code": 0.2, "forum": 0.1, "web": 0.7}');
  const mixtures = Array.from({ length: 60 }, (_, i) => {
    const [code, forum] = [((i * 7) % 60) / 100, ((i * 11) % 40) / 100];
    return [code, forum, 1 - code - forum];
  });
  const csv = (header: string, rows: number[][]): string =>
    `${header}\n${rows.map((row) => row.join(',')).join('\n')}\n`;
  put(join(dir, 'm.csv'), csv('code,forum,web', mixtures));
  put(
    join(dir, 'l.csv'),
    csv(
      'val/code',
      mixtures.map(([code = 0]) => [3 - Math.sqrt(code)]),
    ),
  );
  const points = [0.5, 1.8, 4].flatMap((N) =>
    [0, 0.2, 0.5, 0.8, 1].flatMap((r) =>
      [1, 2, 4, 8, 16].map((D) => [
        N,
        D,
        r,
        2 + 0.6 / N ** 0.6 + (0.9 * r ** 0.6) / D ** 0.5 + 0.03 / (r + 0.1),
      ]),
    ),
  );
  put(join(dir, 'runs.csv'), csv('N,D,r,loss', points));
}

describe('README', () => {
  test('its shell commands run, one after the other', async () => {
    const dir = await workplace();
    // The shell expands the globs, as it does for the reader.
    put(join(dir, 'bin/gristmill'), `#!/bin/sh\nexec '${process.execPath}' '${main}' "$@"\n`);
    const { chmodSync } = await import('node:fs');
    chmodSync(join(dir, 'bin/gristmill'), 0o755);
    const scripts = blocks('sh').filter((block) => block.includes('gristmill'));
    expect(scripts.length).toBeGreaterThan(0);
    for (const script of scripts) {
      const env = { PATH: `${join(dir, 'bin')}:${process.env['PATH']}`, BASH_ENV: '' };
      const { code, stderr } = await program('bash', ['--norc', '--noprofile', '-euc', script], {
        cwd: dir,
        env,
      });
      expect({ script, code, stderr }).toMatchObject({ code: 0, stderr: '' });
    }
  });

  test('its TypeScript compiles and runs', async () => {
    const dir = await workplace();
    writeFileSync(join(dir, 'package.json'), '{"type": "module"}');
    const snippets = blocks('ts');
    expect(snippets.length).toBeGreaterThan(2);
    for (const [i, code] of snippets.entries()) {
      const file = put(join(dir, `snippet-${i}.ts`), code);
      const options = [
        '--noEmit',
        '--strict',
        '--target',
        'es2023',
        '--module',
        'nodenext',
        '--skipLibCheck',
      ];
      const tsc = join(root, 'node_modules/typescript/bin/tsc');
      const types = ['--typeRoots', join(root, 'node_modules/@types'), '--types', 'node', '--ignoreConfig'];
      const checked = await program(process.execPath, [tsc, ...options, ...types, file], { cwd: dir });
      expect({ code, said: checked.stdout }).toEqual({ code, said: '' });
      const tsx = join(root, 'node_modules/tsx/dist/cli.mjs');
      const ran = await program(process.execPath, [tsx, file], { cwd: dir });
      expect({ code, exit: ran.code, stderr: ran.stderr }).toEqual({ code, exit: 0, stderr: '' });
    }
  });

  test('its options are those of the commands', async () => {
    const flags = new Set([...readme.matchAll(/`?(--[a-z][a-z-]+)/g)].map(([, flag]) => flag ?? ''));
    const help = (await Promise.all(COMMANDS.map((c) => cli([...c.split(' '), '--help'])))).map(
      (r) => r.stdout,
    );
    const known = new Set(
      help.flatMap((text) => [...text.matchAll(/(--[a-z][a-z-]+)/g)].map(([, flag]) => flag ?? '')),
    );
    expect([...flags].filter((flag) => !known.has(flag) && flag !== '--all')).toEqual([]);
  });

  test('its error codes exist', () => {
    const codes = [...readme.matchAll(/`([A-Z]+(?:_[A-Z0-9]+)+)`/g)].map(([, code]) => code);
    const environment = ['NO_COLOR', 'GRISTMILL_LOG', 'GRISTMILL_REQUIRE', 'CARGO_TARGET_DIR'];
    expect(codes.filter((code) => ![...ERROR_CODES, ...environment].includes(code as never))).toEqual([]);
  });

  test('the output of the demo that it shows is what the demo gives', async () => {
    const said = /Of the ([\d,]+) selected documents ([\d,]+) are ([\w-]+): ([\d.]+)%/.exec(readme);
    expect(said).not.toBeNull();
    const [, kept = '', right = '', kind = ''] = said ?? [];
    const budget = `${kept.replaceAll(',', '')}docs`;
    const target = join(corpora, `target/${kind}.jsonl.gz`);
    const job = select({ target, pool: join(corpora, 'pool'), budget, output: join(scratch(), 'out') });
    let found = 0;
    for await (const batch of job) {
      for (const label of (await batch.toTable()).getChild('label') ?? []) if (label === kind) found += 1;
    }
    expect(String(found)).toBe(right.replaceAll(',', ''));
    const auc = (await job).fitted?.discrimination.auc.toFixed(4);
    expect(readme).toContain(`AUC ${auc}`);
  });
});
