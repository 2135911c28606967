/** What a user sees who has no compiled addon. */

import { expect, test } from 'vitest';

import { NativeUnavailableError } from '../ts/errors.js';
import { load, manifest, native, platform } from '../ts/native.js';

function loading(target: string): NativeUnavailableError {
  try {
    load(target);
  } catch (error) {
    if (error instanceof NativeUnavailableError) return error;
    throw error;
  }
  throw new Error(`${target} loaded`);
}

const elsewhere = platform() === 'darwin-x64' ? 'linux-x64-gnu' : 'darwin-x64';

test('a missing platform package is named with its version, the npm version and the fix', () => {
  process.env['npm_config_user_agent'] = 'npm/11.0.1 node/v20.19.0 linux x64';
  const error = loading(elsewhere);
  expect(error.code).toBe('NATIVE_UNAVAILABLE');
  expect(error.message).toContain(`gristmill-${elsewhere}@${manifest.version}`);
  expect(error.message).toContain('npm 11.0.1');
  expect(error.hint).toContain(`npm install gristmill-${elsewhere}@${manifest.version}`);
  expect(error.hint).toContain('11.3');
  expect(error.details.path).toBe(`gristmill-${elsewhere}`);
});

test('a platform without a build says which have one', () => {
  const error = loading('sunos-x64');
  expect(error.message).toContain('sunos-x64');
  expect(error.hint).toContain('linux-x64-gnu');
});

test('the addon is loaded once', () => {
  expect(native()).toBe(native());
});

test('the addon has the version of the package', () => {
  expect((JSON.parse(native().doctor()) as { version: string }).version).toBe(manifest.version);
});
