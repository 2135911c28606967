import type { Command } from 'commander';

import { inspectPayloadFiles, type PayloadInspection } from '../payload.js';
import { EXIT } from './exit.js';
import { bytes, integer, table } from './format.js';
import { common, type CommonFlags } from './options.js';
import { execute } from './run.js';

export function addSync(program: Command): void {
  const sync = program
    .command('sync')
    .description('what the peers of a run on several machines tell each other');
  addInspect(sync);
}

function addInspect(sync: Command): void {
  const command = sync
    .command('inspect')
    .description('header, sizes, norms and checks of payloads; fails where one would be refused')
    .argument('<files...>', 'payloads, such as round/12/*.grist');
  common(command).action((files: string[], flags: CommonFlags) =>
    execute(
      'sync inspect',
      flags,
      async ({ signal }) => {
        const payloads = await inspectPayloadFiles(files, signal);
        if (!payloads.every((payload) => payload.ok)) process.exitCode = EXIT.failure;
        return { payloads };
      },
      ({ payloads }) => payloads.map(print).join('\n'),
    ),
  );
}

function print(payload: PayloadInspection & { path: string }): string {
  const { path, header, tensors, norm, density, ratio } = payload;
  const failed = payload.checks.find((check) => check.reason !== undefined);
  const verdict = failed ? `refused, ${failed.reason}: ${failed.detail}` : 'whole';
  let text = `${path}: ${verdict}\n`;
  if (header) {
    const { geometry } = header;
    const codec = geometry
      ? `${geometry.quantizer}, ${geometry.indices}, ${geometry.topK} of ${geometry.chunk}`
      : header.codec;
    text += table([
      ['run', header.run || '(open)'],
      ['round', String(header.round)],
      ['peer', header.peer || '(open)'],
      ['codec', codec],
      ['divided by', header.divideBy],
      ['base', header.base.slice(0, 16)],
      ['signed by', header.key?.slice(0, 16) ?? 'nobody'],
      ['values', integer(header.values)],
      ['bytes', bytes(payload.bytes)],
    ]);
  }
  if (norm === undefined) return text;
  const share = density === undefined ? '' : `, ${(100 * density).toFixed(2)}% of the values`;
  const factor = ratio === undefined ? '' : `, ${ratio.toFixed(1)} times smaller than whole`;
  text += `  norm ${norm.toPrecision(6)}${share}${factor}\n`;
  const rows = tensors.map((t) => [
    t.name,
    t.shape.join(' × '),
    integer(t.chunks),
    bytes(t.bytes),
    integer(t.nonzero),
    t.norm.toPrecision(5),
  ]);
  return text + table([['tensor', 'shape', 'chunks', 'bytes', 'not zero', 'norm'], ...rows]);
}
