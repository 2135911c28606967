/**
 * `gristmill select` over a gigabyte of JSON Lines, as a user runs it: throughput per core beside the speed of reading
 * alone, and the most memory that it took; once by loss reduction and once by a classifier that learns from all of it.
 *
 *     npx tsx benches/end-to-end.ts [--gigabytes 1] [--threads N] [--reader PATH]        (after npm run build)
 *
 * The text is the labelled pool of the tests, shuffled by sentences into new documents until there is enough of it, so
 * that words keep their frequencies while hardly a document occurs twice. Peak memory is that of the whole process,
 * Node.js included. PATH is a built example `read` of the data crate, which is built otherwise. Prints one JSON object;
 * `npm run bench` writes it to benches/results.
 */

import { spawnSync } from 'node:child_process';
import { createWriteStream, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { gunzipSync } from 'node:zlib';

import { corpora, prepare } from '../ts/scripts/corpora.js';
import { root } from '../ts/scripts/run.js';

const { values } = parseArgs({
  options: { gigabytes: { type: 'string', default: '1' }, threads: { type: 'string' }, reader: { type: 'string' } },
});
const bytes = Number(values.gigabytes) * 1e9;
const threads = Number(values.threads ?? availableParallelism());
const SHARDS = 16;

const work = join(root, 'target/bench/end-to-end');
const pool = join(work, 'pool');

/** A small generator (mulberry32): the same text on every machine. */
function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Writes the pool, unless it is there in this size. */
async function makePool(): Promise<number> {
  const size = (): number =>
    readdirSync(pool).reduce((sum, name) => sum + statSync(join(pool, name)).size, 0);
  mkdirSync(pool, { recursive: true });
  if (size() >= bytes) return size();
  const kinds = new Map<string, string[]>();
  for (const name of readdirSync(join(corpora, 'pool'))) {
    for (const line of gunzipSync(readFileSync(join(corpora, 'pool', name))).toString().trimEnd().split('\n')) {
      const { text, label } = JSON.parse(line) as { text: string; label: string };
      kinds.set(label, [...(kinds.get(label) ?? []), ...text.split(/(?<=[.!?])\s+/)]);
    }
  }
  const labels = [...kinds.keys()].sort();
  for (let shard = 0; shard < SHARDS; shard++) {
    const next = random(shard + 1);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
    const out = createWriteStream(join(pool, `part-${String(shard).padStart(2, '0')}.jsonl`));
    for (let written = 0, n = 0; written < bytes / SHARDS; n++) {
      const label = pick(labels);
      const sentences = kinds.get(label) ?? [];
      const text = Array.from({ length: 4 + Math.floor(next() * 40) }, () => pick(sentences)).join(' ');
      const line = `${JSON.stringify({ id: `${shard}-${n}`, text, label })}\n`;
      written += Buffer.byteLength(line);
      if (!out.write(line)) await once(out, 'drain');
    }
    out.end();
    await once(out, 'finish');
  }
  return size();
}

interface Run {
  seconds: number;
  /** CPU seconds, of user and system. */
  cpu: number;
  peakBytes: number;
}

/** Runs the command line in a process of its own and asks that process what it took. */
function measure(args: string[]): Run & { stdout: string } {
  const cli = join(root, 'dist/cli/main.js');
  const report = `
    process.on('exit', () => {
      const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
      process.stderr.write(JSON.stringify([(userCPUTime + systemCPUTime) / 1e6, maxRSS * 1024]));
    });
  `;
  const start = performance.now();
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', `data:text/javascript,${encodeURIComponent(report)}`, cli, ...args],
    { encoding: 'utf8', maxBuffer: 1 << 26 },
  );
  const seconds = (performance.now() - start) / 1000;
  if (status !== 0) throw new Error(stderr);
  const [cpu = 0, peakBytes = 0] = JSON.parse(stderr.slice(stderr.lastIndexOf('['))) as number[];
  return { seconds, cpu, peakBytes, stdout };
}

await prepare();
const size = await makePool();
const output = join(work, 'selected');

/** Builds the example that only reads, as the addon was built, so that both are the same code; its path. */
function buildReader(): string {
  const args = ['build', '--release', '--workspace', '--example', 'read', '--message-format', 'json'];
  const { status, stdout } = spawnSync('cargo', args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 28,
  });
  const line = stdout.split('\n').findLast((text) => text.includes('"executable":"'));
  if (status !== 0 || line === undefined) throw new Error('the example `read` does not build');
  return (JSON.parse(line) as { executable: string }).executable;
}

// Reading alone: the figures of the example's table for every file.
const reader = values.reader ?? buildReader();
const files = readdirSync(pool).map((name) => join(pool, name));
const read = spawnSync(reader, files, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
if (read.status !== 0) throw new Error('the example `read` failed');
const lines = read.stdout.trimEnd().split('\n').slice(1).map((line) => line.trim().split(/\s+/).map(Number));
const readSpeed = lines.reduce((sum, line) => sum + (line.at(-1) ?? 0), 0) / lines.length;
/** Selects a tenth of the pool by likeness to the mails. */
function select(...options: string[]) {
  rmSync(output, { recursive: true, force: true });
  const { stdout, ...run } = measure([
    'select',
    ...['--pool', pool, '--target', join(corpora, 'target/mail.jsonl.gz')],
    ...['--budget', '10%', '-o', output, '--quiet', '--json', '--threads', String(threads), ...options],
  ]);
  const { timings, fitted, read, kept } = JSON.parse(stdout) as Record<string, { pool: unknown }>;
  return {
    seconds: run.seconds,
    cpuSeconds: run.cpu,
    megabytesPerSecondPerCore: size / 1e6 / run.cpu,
    peakMegabytes: run.peakBytes / 1e6,
    timings,
    learntFrom: fitted?.pool,
    read,
    kept,
  };
}

console.log(
  JSON.stringify(
    {
      machine: `${cpus()[0]?.model ?? 'unknown'}, ${threads} threads`,
      date: new Date().toISOString().slice(0, 10),
      inputMegabytes: Math.round(size / 1e6),
      select: select(),
      // From all of the pool, whose features are a file: the sample is larger than the pool.
      selectByClassifier: select('--method', 'classifier', '--pool-sample', '1TB', '--memory', '128MB'),
      reading: { megabytesPerSecondPerCore: readSpeed },
    },
    null,
    2,
  ),
);
