/**
 * llama.cpp's side of lm_llama.py, by node-llama-cpp: `llama.mjs FOLDER MODEL TOKENS DOCUMENTS TEXT...`
 *
 * FOLDER is where node-llama-cpp is installed. Prints one line of JSON: tokens per second of documents of so many tokens,
 * without logits, and the summed loss of the first TOKENS tokens of each text, each from all before it.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, modelPath, tokens, documents, ...texts] = process.argv.slice(2);
const require = createRequire(join(folder, 'package.json'));
const { getLlama } = await import(pathToFileURL(require.resolve('node-llama-cpp')).href);
const llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, logLevel: 'error' });
const model = await llama.loadModel({ modelPath });
const length = Number(tokens);
const threads = llama.cpuMathCores;
const context = await model.createContext({ contextSize: length, batchSize: length, threads });
const sequence = context.getSequence();

// Ids without a pattern, as on the other side.
const ids = (document) =>
  Array.from({ length }, (_, i) => (Math.imul(document * 7919 + i, 2654435761) >>> 7) % 49152);
await sequence.evaluateWithoutGeneratingNewTokens(ids(documents));
const start = performance.now();
for (let document = 0; document < Number(documents); document += 1) {
  await sequence.clearHistory();
  await sequence.evaluateWithoutGeneratingNewTokens(ids(document));
}
const seconds = (performance.now() - start) / 1000;

let nllSum = 0;
let nScored = 0;
for (const text of texts) {
  await sequence.clearHistory();
  const all = model.tokenize(readFileSync(text, 'utf8'), false).slice(0, length);
  // The whole distribution, as the model gives it.
  const options = { temperature: 1, topK: 0, topP: 1, minP: 0 };
  const asked = all.slice(0, -1).map((id, i) => {
    const logits = { filter: { tokens: [all[i + 1]], includeTop: 1 } };
    return [id, { generateNext: { logits, totalLogitWeight: true, options } }];
  });
  const answers = await sequence.controlledEvaluate(asked);
  for (const [i, answer] of answers.entries()) {
    const { logits, totalLogitWeight } = answer.next;
    nllSum += Math.max(...logits.values()) + Math.log(totalLogitWeight) - logits.get(all[i + 1]);
    nScored += 1;
  }
}
const { release } = llama.llamaCppRelease;
const tokensPerSecond = (Number(documents) * length) / seconds;
process.stdout.write(`${JSON.stringify({ release, threads, tokensPerSecond, nllSum, nScored })}\n`);
process.exit(0);
