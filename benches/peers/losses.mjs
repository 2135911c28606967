/**
 * Losses of documents for lm_bf16.py: `losses.mjs TEXTS MODEL DTYPE [MODEL DTYPE]...`
 *
 * TEXTS is JSON lines with a `text`. Prints one line of JSON: for each model the losses of each document's tokens from
 * the second on, each from all before it.
 */
import { readFileSync } from 'node:fs';

import { loadModel, openDevice } from '../../dist/index.js';

const [texts, ...models] = process.argv.slice(2);
const documents = readFileSync(texts, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line).text);
const device = await openDevice({ device: 'cpu' });
const all = [];
for (let at = 0; at < models.length; at += 2) {
  const model = await loadModel(models[at], { device, dtype: models[at + 1] });
  const ids = await Promise.all(documents.map((text) => model.encode(text)));
  const losses = await model.losses(ids);
  all.push(losses.map((some) => [...some]));
  await model.dispose();
}
process.stdout.write(`${JSON.stringify(all)}\n`);
