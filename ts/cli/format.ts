/** Numbers and tables for people. */

import type { GristmillError } from '../errors.js';
import type { Counts, Example, Phase, Tally } from '../summaries.js';

const REASONS: Record<string, string> = {
  filtered: 'the row filter said no',
  quarantined: 'unreadable, in quarantine',
  nullText: 'null text',
  emptyText: 'no token in the text',
  notANumber: 'score is not a number',
  duplicateId: 'duplicate id',
  belowThreshold: 'below the threshold',
  noShare: 'group without a share',
  overBudget: 'over the budget',
};

/** `1234567` as `1,234,567`. */
export function integer(n: number): string {
  return n.toLocaleString('en-US', { maximumFractionDigits: 0 });
}

/** `1234567` as `1.2 MB`. */
export function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  for (; n >= 1000 && unit < units.length - 1; unit++) n /= 1000;
  return `${unit === 0 ? n : n.toFixed(1)} ${units[unit]}`;
}

/** Seconds as `0.84 s` or `3 min 20 s`. */
export function seconds(s: number): string {
  if (s < 60) return `${s.toFixed(s < 10 ? 2 : 1)} s`;
  return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
}

/** Lines with their columns aligned: the first to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `  ${line}\n`)
    .join('');
}

/** What was read and what became of it. */
export function tally(counts: Tally & { kept?: Counts }): string {
  const row = (name: string, c: Counts): string[] => [
    name,
    integer(c.documents),
    integer(c.tokens),
    bytes(c.bytes),
  ];
  return table([
    ['', 'documents', 'tokens', 'text'],
    row('read', counts.read),
    row('scored', counts.scored),
    ...(counts.kept ? [row('kept', counts.kept)] : []),
    ...Object.entries(counts.dropped).map(([reason, c]) => row(`dropped: ${REASONS[reason] ?? reason}`, c)),
  ]);
}

/** Examples, one a line, as wide as the terminal (or `width`). */
export function examples(
  list: readonly Example[],
  width = process.stdout.isTTY ? process.stdout.columns : 110,
): string {
  return list
    .map(({ score, id, text }) => `${score.toFixed(4).padStart(12)}  ${id}  ${text.replace(/\s+/g, ' ')}`)
    .map((line) => `${line.length > width ? `${line.slice(0, width - 1)}…` : line}\n`)
    .join('');
}

/** How long each phase took, on one line. */
export function timings(phases: readonly Phase[]): string {
  const total = phases.reduce((sum, { seconds }) => sum + seconds, 0);
  const parts = phases.map((p) => `${p.phase} ${seconds(p.seconds)}`);
  return `${seconds(total)} (${parts.join(', ')})`;
}

/** An error with where it happened and what to do, over a few lines. */
export function describe({ code, message, details, hint }: GristmillError): string {
  const { path, rowGroup, row, column, offset } = details;
  const place = [
    path,
    rowGroup !== undefined && `row group ${rowGroup}`,
    row !== undefined && `row ${row}`,
    column !== undefined && `column ${column}`,
    offset !== undefined && `byte ${offset}`,
  ].filter((part) => typeof part === 'string');
  return (
    `error: ${message} [${code}]\n` +
    (place.length > 0 ? `   at: ${place.join(', ')}\n` : '') +
    (hint === undefined ? '' : ` hint: ${hint}\n`)
  );
}
