import { type Command, Option } from 'commander';

import { GristmillError } from '../errors.js';
import { calibrateNoise, PrivacyAccountant, type PrivacySpent } from '../privacy.js';
import { integer as grouped, table } from './format.js';
import { common, type CommonFlags, defined, integer, number } from './options.js';
import { execute } from './run.js';

interface Flags extends CommonFlags {
  sampleRate: number;
  steps: number;
  delta: number;
  noise?: number;
  epsilon?: number;
  method?: 'pld' | 'rdp';
}

interface Report {
  noiseMultiplier: number;
  sampleRate: number;
  steps: number;
  delta: number;
  /** By each method, the tightest bound first. */
  spent: PrivacySpent[];
}

export function addPrivacy(program: Command): void {
  const command = program
    .command('privacy')
    .description('what steps of DP-SGD cost in privacy, or the noise that a budget needs')
    .requiredOption(
      '--sample-rate <q>',
      'probability with which an example takes part in a step (Poisson)',
      number,
    )
    .requiredOption('--steps <n>', 'how many steps', integer(1))
    .requiredOption('--delta <x>', 'probability that the bound does not cover', number)
    .option('--noise <sigma>', 'noise multiplier: prints the epsilon of the steps', number)
    .option('--epsilon <x>', 'budget: prints the least noise multiplier that keeps it', number)
    .addOption(
      new Option(
        '--method <name>',
        'with --epsilon: accountant that holds the budget (default: pld)',
      ).choices(['pld', 'rdp']),
    );
  common(command).action((flags: Flags) =>
    execute('privacy', flags, () => Promise.resolve(report(flags)), print),
  );
}

/** The noise multiplier that was given, or the one that the budget needs. */
function noiseOf({ sampleRate, steps, delta, noise, epsilon, method }: Flags): number {
  if (epsilon !== undefined && noise === undefined) {
    return calibrateNoise({ epsilon, delta, sampleRate, steps, ...defined({ method }) });
  }
  if (epsilon !== undefined || noise === undefined) {
    throw new GristmillError('INVALID_ARGUMENT', 'give --noise for an epsilon, or --epsilon for a noise');
  }
  if (method !== undefined) {
    throw new GristmillError('INVALID_ARGUMENT', '--method goes with --epsilon: all are printed otherwise');
  }
  return noise;
}

function report(flags: Flags): Report {
  const { sampleRate, steps, delta } = flags;
  const noiseMultiplier = noiseOf(flags);
  const accountant = new PrivacyAccountant();
  accountant.record({ noiseMultiplier, sampleRate, steps });
  const spent = (['pld', 'rdp', 'gdp'] as const).map((m) => accountant.epsilon({ delta, method: m }));
  return { noiseMultiplier, sampleRate, steps, delta, spent };
}

/** Rounded up: a figure that is printed protects no less than the one that was computed. */
function up(value: number, digits: number): string {
  const nearest = value.toFixed(digits);
  return Number(nearest) >= value ? nearest : (Number(nearest) + 10 ** -digits).toFixed(digits);
}

function print({ noiseMultiplier, sampleRate, steps, delta, spent }: Report): string {
  const what = ({ guaranteed, order }: PrivacySpent): string => {
    if (!guaranteed) return 'no bound: under-estimates, for diagnostics only';
    return order === undefined ? 'upper bound' : `upper bound, at order ${order}`;
  };
  return (
    `Noise multiplier ${up(noiseMultiplier, 5)}; ${grouped(steps)} steps, each of which takes an example with ` +
    `probability ${sampleRate}\n\n` +
    table([
      ['method', 'epsilon', ''],
      ...spent.map((s) => [s.method, s.guaranteed ? up(s.epsilon, 4) : s.epsilon.toFixed(4), what(s)]),
    ]) +
    `\nAt a delta of ${delta}, against data sets that differ in one example that is added or removed\n`
  );
}
