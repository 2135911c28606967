import type { Command } from 'commander';

import { benchDevice, type BenchReport } from '../bench.js';
import type { DeviceName } from '../device.js';
import { list } from './doctor.js';
import { common, type CommonFlags, defined, integer, number } from './options.js';
import { execute } from './run.js';

interface BenchFlags extends CommonFlags {
  device: DeviceName;
  ops?: string[];
  rounds?: number;
  seconds?: number;
}

export function addBench(program: Command): void {
  common(program.command('bench'))
    .description('measure the operations of a device, beside what the device can do at all')
    .option('--device <device>', 'auto, cpu, wgpu, wgpu:0, cuda, cuda:0, …', 'auto')
    .option('--ops <names>', 'only these operations, with commas in between', list)
    .option('--rounds <n>', 'how often each case is timed; the fastest counts (default: 5)', integer(1, 1000))
    .option('--seconds <s>', 'seconds that a round takes at the least (default: 0.1)', number)
    .action((flags: BenchFlags) => {
      const { device, ops, rounds, seconds } = flags;
      const onRow = flags.json ? undefined : (row: string): void => void process.stdout.write(`${row}\n`);
      return execute(
        'bench',
        flags,
        ({ signal }) => benchDevice({ device, signal, ...defined({ ops, rounds, seconds, onRow }) }),
        limits,
      );
    });
}

/** What the shares are shares of. */
function limits({ device, limits }: BenchReport): string {
  const measured = limits.map(({ name, rate }) => `${name} ${rate.value.toFixed(1)} ${rate.unit}`);
  return `${device.selector}: ${device.name} (${device.driver}); limits: ${measured.join(', ')}\n`;
}
