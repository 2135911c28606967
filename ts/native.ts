import { createRequire } from 'node:module';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import type * as Native from '../bindings/node/index.js';
import { NativeUnavailableError } from './errors.js';

const require = createRequire(import.meta.url);

interface Manifest {
  name: string;
  version: string;
}

/**
 * The manifest of this package.
 *
 * @internal
 */
export const manifest = require('../package.json') as Manifest;

/** Platforms for which a package with the compiled addon is published. */
const PUBLISHED = [
  'linux-x64-gnu',
  'linux-arm64-gnu',
  'linux-x64-musl',
  'linux-arm64-musl',
  'darwin-x64',
  'darwin-arm64',
  'win32-x64-msvc',
];

/**
 * The platform of this process as the platform packages name it, such as `linux-x64-gnu`.
 *
 * @internal
 */
export function platform(): string {
  const { platform, arch } = process;
  const abi = platform === 'linux' ? (isMusl() ? '-musl' : '-gnu') : platform === 'win32' ? '-msvc' : '';
  return `${platform}-${arch}${abi}`;
}

function isMusl(): boolean {
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  return report.header?.glibcVersionRuntime === undefined;
}

/**
 * Loads the addon: the one that was built in this checkout if there is one, else that of the platform package.
 *
 * @internal
 */
export function load(target = platform()): typeof Native {
  const file = `gristmill.${target}.node`;
  const local = fileURLToPath(new URL(`../bindings/node/${file}`, import.meta.url));
  const name = `${manifest.name}-${target}`;
  try {
    return require(existsSync(local) ? local : name) as typeof Native;
  } catch (cause) {
    throw unavailable(target, name, cause);
  }
}

function unavailable(target: string, name: string, cause: unknown): NativeUnavailableError {
  const missing = (cause as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND';
  const npm = /npm\/(\S+)/.exec(process.env['npm_config_user_agent'] ?? '')?.[1];
  if (!PUBLISHED.includes(target)) {
    return new NativeUnavailableError('NATIVE_UNAVAILABLE', `there is no build of Gristmill for ${target}`, {
      hint: `built are ${PUBLISHED.join(', ')}; elsewhere run \`npm run build\` in a clone, with a Rust toolchain`,
      cause,
    });
  }
  if (!missing) {
    return new NativeUnavailableError('NATIVE_UNAVAILABLE', `${name} is there and does not load`, {
      details: { path: name },
      hint: `it says: ${(cause as Error).message.split('\n', 1).join()}`,
      cause,
    });
  }
  return new NativeUnavailableError(
    'NATIVE_UNAVAILABLE',
    `the platform package ${name}@${manifest.version} is not installed (Node ${process.version}` +
      `${npm === undefined ? '' : `, npm ${npm}`})`,
    {
      details: { path: name },
      hint:
        `run \`npm install ${name}@${manifest.version}\`; npm before 11.3 leaves it out of a package-lock.json that ` +
        'was written on another platform: there, remove node_modules and package-lock.json and install again; and do ' +
        'not install with --omit=optional',
      cause,
    },
  );
}

let loaded: typeof Native | undefined;

/**
 * The addon, loaded at first use so that an import of this package never fails.
 *
 * @internal
 */
export function native(): typeof Native {
  return (loaded ??= load());
}
