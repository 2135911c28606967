import { type Command, InvalidArgumentError } from 'commander';

import { checkDevice, type CheckReport } from '../check.js';
import type { DeviceInfo, DeviceName } from '../device.js';
import { doctor, type Doctor, type DoctorBackend } from '../doctor.js';
import type { DeviceReason } from '../errors.js';
import { EXIT } from './exit.js';
import { bytes, table } from './format.js';
import { common, type CommonFlags, defined } from './options.js';
import { execute } from './run.js';

interface DoctorFlags extends CommonFlags {
  check?: DeviceName;
  ops?: string[];
  seed?: string;
}

/** A list with commas. */
export function list(text: string): string[] {
  const names = text.split(',').map((name) => name.trim());
  if (names.includes('')) throw new InvalidArgumentError('It must be names with commas in between.');
  return names;
}

export function addDoctor(program: Command): void {
  common(program.command('doctor'))
    .description(
      'print versions, processor, memory, devices and why others cannot be used, and what can be read',
    )
    .option(
      '--check <device>',
      'hold a device against the promises of every operation (auto, cpu, wgpu, cuda:0, …)',
    )
    .option('--ops <names>', 'with --check: only these operations, with commas in between', list)
    .option('--seed <seed>', 'with --check: the seed of an earlier run, to repeat it')
    .action((flags: DoctorFlags, command: Command) => {
      const { check: device, ops, seed } = flags;
      if (device === undefined) {
        if (ops ?? seed) command.error('error: --ops and --seed go with --check', { exitCode: EXIT.usage });
        return execute('doctor', flags, () => Promise.resolve(doctor()), print);
      }
      return execute(
        'doctor',
        flags,
        async ({ signal }) => {
          const onRow = flags.json ? undefined : (row: string): void => void process.stdout.write(`${row}\n`);
          const report = await checkDevice({ device, signal, ...defined({ ops, seed, onRow }) });
          if (report.rows.some((row) => row.outcome === 'failed')) process.exitCode = EXIT.failure;
          return { check: report };
        },
        ({ check }) => summary(check),
      );
    });
}

/** The line that sums a check up. */
function summary({ device, seed, rows }: CheckReport): string {
  const count = (outcome: string): number => rows.filter((row) => row.outcome === outcome).length;
  return (
    `${device.selector}: ${device.name} (${device.driver}), seed ${seed}: ` +
    `${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped\n`
  );
}

function print(report: Doctor): string {
  const { cpu, memory, reads } = report;
  const size = (n: number | undefined): string => (n === undefined ? 'unknown' : bytes(n));
  const rows: [string, string][] = [
    ['gristmill', `${report.version} (${report.platform})`],
    ['node', report.node],
    ['cpu', `${cpu.architecture}, ${cpu.threads} threads, ${cpu.vectors} kernels`],
    ['features', cpu.features.join(' ')],
    ['memory', `${size(memory.available)} available of ${size(memory.limit ?? memory.total)}`],
    ['temporary files', report.tempDir],
    ...report.backends.flatMap(backend),
    ['auto', `opens ${report.auto.selector}`],
    ...report.auto.passedOver.map((reason): [string, string] => ['', `not ${because(reason)}`]),
    ['formats', reads.formats.join(', ')],
    ['compressions', reads.compressions.join(', ')],
    ['stores', reads.stores.join(', ')],
    ['models', reads.models.join(', ')],
    ['normalizers', reads.normalizers.join(', ')],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return table(rows.map(([name, value]) => [`${name.padEnd(width)}  ${value}`]));
}

function because({ device, why, hint }: DeviceReason): string {
  return `${device}: ${why}${hint === undefined ? '' : ` (${hint})`}`;
}

/** The devices of a backend, or why it has none, over a few lines. */
function backend({ name, available, reason, devices }: DoctorBackend): [string, string][] {
  const lines = devices.flatMap((device) => {
    const { selector, name, kind, driver, unusable } = device;
    const head = `${selector}: ${name}, ${kind.replace('-', ' ')}, driver ${driver}`;
    const rest = unusable === undefined ? details(device) : `cannot be used: ${unusable}`;
    return rest === '' ? [head] : [head, `  ${rest}`];
  });
  if (!available && devices.length === 0)
    lines.push(`not available: ${reason ? because(reason) : 'unknown'}`);
  return lines.map((line, i) => [i === 0 ? `device ${name}` : '', line]);
}

/** Memory, limits and features of a device. */
function details({ memory, limits, features }: DeviceInfo): string {
  const quantity = (name: string, n: number): string => (/bytes$/i.test(name) ? bytes(n) : String(n));
  return [
    ...(memory === undefined ? [] : [`memory ${bytes(memory)}`]),
    ...limits.map(([name, n]) => `${name} ${quantity(name, n)}`),
    ...(features.length > 0 ? [features.join(' ')] : []),
  ].join(', ');
}
