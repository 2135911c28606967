/** The packed tarballs, installed as a user installs them. */

import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect, test } from 'vitest';

import { manifest, platform } from '../ts/native.js';
import { program, root, scratch } from './helpers.js';

interface Manifest {
  name: string;
  version: string;
  dependencies: Record<string, string>;
  scripts: Record<string, string>;
  bin: Record<string, string>;
}

const ours = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;

/** Packs a directory and returns the tarball. */
async function pack(from: string, to: string): Promise<{ path: string; files: string[] }> {
  const { code, stdout, stderr } = await program('npm', ['pack', '--json', '--pack-destination', to], {
    cwd: from,
  });
  expect(code, stderr).toBe(0);
  const listed: unknown = JSON.parse(stdout);
  const [entry] = (Array.isArray(listed) ? listed : Object.values(listed as object)) as {
    filename: string;
    files: { path: string }[];
  }[];
  if (!entry) throw new Error('npm packed nothing');
  return { path: join(to, entry.filename), files: entry.files.map((f) => f.path) };
}

test('nothing runs at installation', () => {
  expect(Object.keys(ours.scripts)).not.toEqual(
    expect.arrayContaining([expect.stringMatching(/install|prepare|prepublish/)]),
  );
});

test('the lock file names no registry', () => {
  expect(readFileSync(join(root, 'package-lock.json'), 'utf8')).not.toContain('"resolved"');
});

test('the packed tarball installs, imports and runs', async () => {
  const dir = scratch();
  const target = platform();
  const main = await pack(root, dir);
  expect(main.files).toEqual(
    expect.arrayContaining(['dist/index.js', 'dist/index.d.ts', 'dist/cli/main.js', 'LICENSE-MIT', 'NOTICE']),
  );
  // Neither sources, nor scripts, nor tests, nor the addon, which is a package of its own.
  expect(main.files.filter((f) => /^(ts|test|crates|benches)\/|scripts|\.node$/.test(f))).toEqual([]);

  // The platform package as the release makes it.
  const name = `${manifest.name}-${target}`;
  const file = `gristmill.${target}.node`;
  const native = join(dir, 'native');
  mkdirSync(native);
  writeFileSync(
    join(native, 'package.json'),
    JSON.stringify({ name, version: manifest.version, main: file, files: [file] }),
  );
  copyFileSync(join(root, 'bindings/node', file), join(native, file));
  const addon = await pack(native, dir);

  const app = join(dir, 'app');
  mkdirSync(app);
  writeFileSync(join(app, 'package.json'), '{"name": "app", "private": true, "type": "module"}');
  const install = ['install', '--no-audit', '--no-fund', '--prefer-offline', main.path, addon.path];
  const installed = await program('npm', install, { cwd: app });
  expect(installed.code, installed.stderr).toBe(0);

  const script = `
    import { doctor, ERROR_CODES } from 'gristmill';
    const { doctor: again } = await import('node:module').then(({ createRequire }) => createRequire(import.meta.url)('gristmill'));
    console.log(doctor().version === again().version && ERROR_CODES.length > 10 ? doctor().version : 'wrong');
  `;
  writeFileSync(join(app, 'app.js'), script);
  const imported = await program(process.execPath, ['app.js'], { cwd: app });
  expect(imported.stdout.trim(), imported.stderr).toBe(manifest.version);

  const bin = join(app, 'node_modules/gristmill', ours.bin['gristmill'] ?? '');
  expect(existsSync(bin)).toBe(true);
  const ran = await program(process.execPath, [bin, 'doctor', '--json'], { cwd: app });
  expect(JSON.parse(ran.stdout)).toMatchObject({ command: 'doctor', version: manifest.version });
});
