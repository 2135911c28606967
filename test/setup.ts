/** Before all tests: what they run must be built, and the real text prepared. */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { platform } from '../ts/native.js';
import { prepare } from '../ts/scripts/corpora.js';

export default async function setup(): Promise<void> {
  for (const file of [`bindings/node/gristmill.${platform()}.node`, 'dist/cli/main.js']) {
    if (!existsSync(fileURLToPath(new URL(`../${file}`, import.meta.url)))) {
      throw new Error(`${file} is not built: run \`npm test\`, or \`npm run build\` once`);
    }
  }
  await prepare();
}
