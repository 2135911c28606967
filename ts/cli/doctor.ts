import type { Command } from 'commander';

import { doctor, type Doctor } from '../doctor.js';
import { bytes, table } from './format.js';
import { common, type CommonFlags } from './options.js';
import { execute } from './run.js';

export function addDoctor(program: Command): void {
  common(program.command('doctor'))
    .description('print versions, CPU features, threads, memory, and what can be read')
    .action((flags: CommonFlags) => execute('doctor', flags, () => Promise.resolve(doctor()), print));
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
    ['backends', report.backends.map((b) => `${b.name}${b.available ? '' : ' (not available)'}`).join(', ')],
    ['formats', reads.formats.join(', ')],
    ['compressions', reads.compressions.join(', ')],
    ['stores', reads.stores.join(', ')],
    ['models', reads.models.join(', ')],
    ['normalizers', reads.normalizers.join(', ')],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return table(rows.map(([name, value]) => [`${name.padEnd(width)}  ${value}`]));
}
