import { readFileSync } from 'node:fs';

import { type Command, Option } from 'commander';

import { GristmillError } from '../errors.js';
import {
  optimizerMemory,
  type OptimizerMemory,
  type OptimizerMemoryOptions,
  type StateType,
} from '../optim.js';
import { bytes, table } from './format.js';
import { common, type CommonFlags, defined, integer, number } from './options.js';
import { execute } from './run.js';

interface MemoryFlags extends CommonFlags {
  config: string;
  optimizer: NonNullable<OptimizerMemoryOptions['optimizer']>;
  rank?: number;
  projType?: NonNullable<OptimizerMemoryOptions['projType']>;
  weights: 'f32' | 'bf16';
  projector?: NonNullable<OptimizerMemoryOptions['projector']>;
  sparsity?: number;
}

const STATES: readonly StateType[] = ['f32', 'bf16', 'int8'];

/** Bytes for each type of state that the optimizer has. */
interface Report {
  optimizer: string;
  states: (OptimizerMemory & { state: StateType })[];
}

export function addMemory(program: Command): void {
  common(program.command('memory'))
    .description('the memory of weights, states and projectors of an optimizer, before anything is allocated')
    .requiredOption(
      '--config <model>',
      'llama-60m, llama-130m, llama-350m, llama-1b, llama-7b, or the config.json of a model of that family',
    )
    .addOption(
      new Option('--optimizer <name>', 'what the matrices of attention and MLPs are updated by')
        .choices(['adamw', 'galore', 'conda', 'muon', 'apollo', 'apollo-mini', 'fira', 'lost'])
        .default('adamw'),
    )
    .option(
      '--rank <n>',
      'dimensions of the subspace of galore, fira and apollo, or of layers of lost (default: 128)',
      integer(1),
    )
    .addOption(
      new Option('--proj-type <side>', 'which side galore and fira project (default: std)').choices([
        'std',
        'reverse_std',
        'left',
        'right',
        'full',
      ]),
    )
    .option(
      '--sparsity <share>',
      'share of the columns that stay whole in layers of lost (default: 0.05)',
      number,
    )
    .addOption(new Option('--weights <type>', 'type of the weights').choices(['f32', 'bf16']).default('bf16'))
    .addOption(
      new Option('--projector <type>', 'how bases are kept (default: bf16; of apollo seeded)').choices([
        'f32',
        'bf16',
        'int4',
        'seeded',
      ]),
    )
    .action((flags: MemoryFlags) => execute('memory', flags, () => Promise.resolve(report(flags)), print));
}

function report({ config, optimizer, rank, projType, weights, projector, sparsity }: MemoryFlags): Report {
  const sizes = config.endsWith('.json') ? read(config) : config;
  const kept = {
    adamw: {},
    conda: {},
    muon: {},
    galore: { projector: projector ?? 'bf16', ...defined({ rank, projType }) },
    fira: { projector: projector ?? 'bf16', ...defined({ rank, projType }) },
    apollo: defined({ rank, projector }),
    'apollo-mini': defined({ rank, projector }),
    lost: defined({ rank, sparsity }),
  } as const;
  // Conda has no state of 8 bits.
  const states = STATES.filter((state) => optimizer !== 'conda' || state !== 'int8');
  return {
    optimizer,
    states: states.map((state) => ({
      state,
      ...optimizerMemory({ config: sizes, optimizer, weights, state, ...kept[optimizer] }),
    })),
  };
}

function read(path: string): Record<string, unknown> {
  try {
    const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    return config;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new GristmillError('IO', `cannot read the sizes: ${why}`, { details: { path }, cause });
  }
}

function print({ optimizer, states }: Report): string {
  const rows = states.map(({ state, weights, moments, scales, projectors }) => {
    const kept = moments + scales + projectors;
    return [
      `${optimizer}, ${state}`,
      ...[weights, moments, scales, projectors, kept, weights + kept].map(gigabytes),
    ];
  });
  const head = ['', 'weights', 'moments', 'scales', 'projectors', 'state', 'in all'];
  return table([head, ...rows]);
}

/** With two digits behind the point where there are gigabytes. */
function gigabytes(n: number): string {
  return n >= 1e9 ? `${(n / 1e9).toFixed(2)} GB` : bytes(n);
}
