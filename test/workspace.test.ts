/** An import only ever points down: which crate may depend on which, and who may use what from outside. */

import { execFileSync } from 'node:child_process';

import { describe, expect, test } from 'vitest';

import { root } from './helpers.js';

interface Package {
  name: string;
  manifest_path: string;
  dependencies: { name: string; kind: string | null; path?: string }[];
}

const metadata = JSON.parse(
  execFileSync('cargo', ['metadata', '--format-version', '1', '--no-deps'], { cwd: root, encoding: 'utf8' }),
) as { packages: Package[] };

const METHODS = ['ngram', 'select', 'lm', 'mix', 'privacy', 'optim', 'comm'].map((n) => `gristmill-${n}`);
const BACKENDS = ['cpu', 'wgpu', 'cuda'].map((n) => `gristmill-${n}`);

/** The floors, from the ground up. A crate may use the floors below its own. */
const FLOORS = [
  ['gristmill-core'],
  BACKENDS,
  ['gristmill-conformance'],
  METHODS,
  ['gristmill-data'],
  ['gristmill-score', 'gristmill-train'],
  ['gristmill'],
  ['gristmill-node', 'gristmill-cluster'],
];

/** What a crate uses of the workspace, tests apart. */
function ours(crate: Package): string[] {
  return crate.dependencies.filter((d) => d.path !== undefined && d.kind !== 'dev').map((d) => d.name);
}

function floor(name: string): number {
  return FLOORS.findIndex((names) => names.includes(name));
}

describe.each(metadata.packages.map((p) => [p.name, p] as const))('%s', (name, crate) => {
  test('stands on a floor', () => {
    expect(floor(name)).toBeGreaterThanOrEqual(0);
  });

  test('depends only on the floors below', () => {
    expect(ours(crate).filter((dependency) => floor(dependency) >= floor(name))).toEqual([]);
  });

  test('a method or a backend depends on core alone', () => {
    const allowed = [...METHODS, ...BACKENDS, 'gristmill-data'].includes(name)
      ? ['gristmill-core']
      : ours(crate);
    expect(ours(crate).filter((dependency) => !allowed.includes(dependency))).toEqual([]);
  });

  test('napi is used in the binding only, DataFusion and Ballista in the cluster crate only', () => {
    const outside = crate.dependencies.map((d) => d.name);
    if (name !== 'gristmill-node') expect(outside.filter((d) => /^napi(-|$)/.test(d))).toEqual([]);
    if (name !== 'gristmill-cluster')
      expect(outside.filter((d) => /^(datafusion|ballista)/.test(d))).toEqual([]);
  });
});

test('only the facade and the binding may know an optional backend', () => {
  const users = metadata.packages.filter((p) =>
    ours(p).some((d) => ['gristmill-wgpu', 'gristmill-cuda'].includes(d)),
  );
  expect(users.map((p) => p.name).filter((name) => name !== 'gristmill')).toEqual([]);
});

test('the dependency tree compiles once: tests switch on no feature that the addon is built without', () => {
  // `npm run build` builds the whole workspace, so that the crates share one set of features; what only tests depend
  // on must not add to it, or everything above would compile again.
  const features = (edges: string): Set<string> => {
    const args = [
      'tree',
      '--workspace',
      '--locked',
      '--offline',
      '--edges',
      edges,
      '--prefix',
      'none',
      '--no-dedupe',
    ];
    const tree = execFileSync('cargo', [...args, '--format', '{p} | {f}'], {
      cwd: root,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
    return new Set(tree.split('\n').map((line) => line.replace(/ \(\*\)$/, '')));
  };
  const forTests = features('normal,build,dev');
  expect([...features('normal,build')].filter((crate) => !forTests.has(crate))).toEqual([]);
});
