#!/usr/bin/env node
/** The command line: `gristmill select | score | fit | perplexity | rate | combine | mix | law | subset | privacy | sync | memory | doctor | bench`. */

import { tmpdir } from 'node:os';

import { Command, CommanderError } from 'commander';

import { manifest } from '../native.js';
import { addBench } from './bench.js';
import { addCombine } from './combine.js';
import { addDoctor } from './doctor.js';
import { EXIT, succeedOnBrokenPipe } from './exit.js';
import { addFit } from './fit.js';
import { addLaw } from './law.js';
import { addMemory } from './memory.js';
import { addMix } from './mix.js';
import { addPerplexity } from './perplexity.js';
import { addPrivacy } from './privacy.js';
import { addRate } from './rate.js';
import { addScore } from './score.js';
import { addSelect } from './select.js';
import { addSubset } from './subset.js';
import { addSync } from './sync.js';

// Without one, a layer of Mesa's Vulkan drivers complains on standard error when it looks for a display.
process.env['XDG_RUNTIME_DIR'] ??= tmpdir();

succeedOnBrokenPipe(process.stdout);
succeedOnBrokenPipe(process.stderr);

const program = new Command('gristmill')
  .description('Select language-model training data from a raw corpus.')
  .version(manifest.version)
  .configureHelp({ sortOptions: false })
  .showHelpAfterError('(run with --help for the options)')
  .showSuggestionAfterError()
  .exitOverride()
  .addHelpText(
    'after',
    `
Examples:
  gristmill select --target books/*.parquet --pool "crawl/**/*.jsonl.gz" --budget 10% -o selected/
  gristmill fit --corpus wiki/ --order 5 -o general.gml
  gristmill score --pool crawl/ --model ngram:general.gml -o scores/
  gristmill perplexity --model ./SmolLM2-135M --text book.txt

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage,
3 no such device or no compiled addon here, 130 interrupted (what was done stays: the same command continues).
`,
  );

addSelect(program);
addScore(program);
addFit(program);
addPerplexity(program);
addMix(program);
addLaw(program);
addSubset(program);
addRate(program);
addCombine(program);
addPrivacy(program);
addSync(program);
addMemory(program);
addDoctor(program);
addBench(program);

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
}
