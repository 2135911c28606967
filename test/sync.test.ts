/** Rounds over a directory, from TypeScript and from the command line. */

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import {
  type AcceptedRound,
  GristmillError,
  hashParams,
  inspectPayload,
  JobMismatchError,
  openPayload,
  type PayloadFormat,
  RoundSync,
  sealPayload,
} from '../ts/index.js';
import { cli, put, scratch } from './helpers.js';

const format: PayloadFormat = { codec: 'dense', divideBy: 'peers', params: [{ name: 'w', shape: [2, 3] }] };

const bytesOf = (values: readonly number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const floats = (bytes: Uint8Array): number[] => [...new Float32Array(bytes.slice().buffer)];

/** A replica: its parameters, and what it does with a round. */
class Replica {
  params = new Float32Array(6);
  readonly sync: RoundSync;

  constructor(url: string, peer: string, peers = 3) {
    this.sync = new RoundSync(url, { peer, peers, pollMs: 10, timeoutMs: 20_000 });
  }

  base(): Promise<string> {
    return hashParams(format, [this.params]);
  }

  async send(round: number, value: number): Promise<void> {
    const delta = [...this.params].map((x, i) => x - value - i);
    const payload = await sealPayload({ format, base: await this.base(), tensors: [bytesOf(delta)] });
    expect(await this.sync.publish(round, payload)).toMatchObject({ fresh: true, late: false });
  }

  async apply(round: AcceptedRound): Promise<string> {
    for (const { bytes } of round.payloads) {
      const { tensors } = await openPayload(bytes);
      floats(tensors[0] ?? new Uint8Array()).forEach(
        (d, i) => (this.params[i] = (this.params[i] ?? 0) - d / round.payloads.length),
      );
    }
    return this.base();
  }
}

describe('RoundSync', () => {
  test('every peer applies the same payloads in the same order, and a joiner catches up', async () => {
    const url = join(scratch(), 'run-7');
    const peers = ['c', 'a', 'b'].map((peer) => new Replica(url, peer));
    for (let round = 0; round < 3; round++) {
      const rounds = await Promise.all(
        peers.map(async (peer, i) => {
          await peer.send(round, i + round);
          const accepted = await peer.sync.gather(round);
          await peer.apply(accepted);
          return accepted;
        }),
      );
      for (const accepted of rounds) {
        expect(accepted.payloads.map((p) => p.peer)).toEqual(['a', 'b', 'c']);
        expect(accepted).toEqual(rounds[0]);
        expect(accepted).toMatchObject({ round, own: 'taken', refused: [] });
      }
    }
    const hashes = new Set(await Promise.all(peers.map((peer) => peer.base())));
    expect(hashes.size).toBe(1);

    const joiner = new Replica(url, 'd');
    expect(joiner.sync.run).toBe('run-7');
    expect(await joiner.sync.nextRound()).toBe(3);
    const base = await joiner.base();
    expect(await joiner.sync.catchUp(0, (round) => joiner.apply(round), { base })).toBe(3);
    expect(joiner.params).toEqual(peers[0]?.params);
    expect(await joiner.sync.replay(3)).toBeNull();
    const meter = joiner.sync.meter();
    expect(meter.rounds).toBe(3);
    expect(meter.bytesDown).toBeGreaterThan(9 * 300);
    expect(meter.bytesUp).toBe(0);
  });

  test('what was published is found again, and a replica astray is told so', async () => {
    const url = join(scratch(), 'run');
    const a = new Replica(url, 'a', 1);
    await a.send(0, 1);
    const again = new Replica(url, 'a', 1);
    const mine = await again.sync.published(0);
    expect((await inspectPayload(mine ?? new Uint8Array())).header).toMatchObject({ peer: 'a', round: 0 });
    const other = await sealPayload({ format, base: await a.base(), tensors: [bytesOf([9, 9, 9, 9, 9, 9])] });
    await expect(again.sync.publish(0, other)).rejects.toBeInstanceOf(JobMismatchError);
    await a.sync.gather(0);
    const astray = again.sync.gather(0, { base: '0'.repeat(64) });
    await expect(astray).rejects.toMatchObject({ code: 'JOB_MISMATCH' });
  });

  test('a wait ends by its signal, by its timeout, and by an error of the listener', async () => {
    const url = join(scratch(), 'run');
    const sync = new RoundSync(url, { peer: 'a', peers: 2, timeoutMs: 300, pollMs: 20 });
    const base = await hashParams(format, [new Float32Array(6)]);
    await sync.publish(0, await sealPayload({ format, base, tensors: [bytesOf([1, 2, 3, 4, 5, 6])] }));
    await expect(sync.gather(0)).rejects.toMatchObject({ code: 'TIMED_OUT' });
    const reason = new Error('enough');
    const signal = AbortSignal.any([AbortSignal.timeout(60_000), AbortSignal.abort(reason)]);
    await expect(sync.gather(0, { signal })).rejects.toBe(reason);
    const stop = new AbortController();
    setTimeout(() => stop.abort(reason), 50);
    await expect(sync.gather(0, { signal: stop.signal })).rejects.toBe(reason);
    const onProgress = (): void => {
      throw reason;
    };
    await expect(sync.gather(0, { onProgress })).rejects.toBe(reason);
  });

  test('options that cannot be are refused with their name', () => {
    const wrong = (options: object, column: string): void => {
      const make = (): RoundSync => new RoundSync(scratch(), { peer: 'a', peers: 2, ...options });
      try {
        make();
      } catch (error) {
        expect(error).toBeInstanceOf(GristmillError);
        expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', details: { column } });
        return;
      }
      expect.unreachable(column);
    };
    wrong({ peer: 'a/b' }, 'peer');
    wrong({ peers: 0 }, 'peers');
    wrong({ quorum: 1 }, 'quorum');
    wrong({ maxPeers: 1 }, 'maxPeers');
    wrong({ format: { ...format, codec: 'zip' } }, 'codec');
  });
});

describe('gristmill sync inspect', () => {
  test('says what is in a payload, and why one would be refused', async () => {
    const dir = scratch();
    const a = new Replica(join(dir, 'run'), 'a', 1);
    await a.send(0, 1);
    const name = readdirSync(join(dir, 'run/round/0'))[0] ?? '';
    const file = join(dir, 'run/round/0', name);
    const whole = await cli(['sync', 'inspect', '--json', file]);
    const { schema, command, payloads } = JSON.parse(whole.stdout) as {
      schema: number;
      command: string;
      payloads: Awaited<ReturnType<typeof inspectPayload>>[];
    };
    expect({ code: whole.code, schema, command }).toEqual({ code: 0, schema: 1, command: 'sync inspect' });
    expect(payloads).toMatchObject([
      { path: file, ok: true, header: { run: 'run', round: 0, peer: 'a' }, density: 1 },
    ]);
    expect(name).toBe(`a-${payloads[0]?.hash}.grist`);
    // -1 - i in six places.
    expect(payloads[0]?.norm).toBeCloseTo(Math.sqrt(1 + 4 + 9 + 16 + 25 + 36), 6);

    const damaged = readFileSync(file);
    damaged.writeUInt8(damaged.readUInt8(damaged.length - 40) ^ 1, damaged.length - 40);
    const bad = put(join(dir, 'bad.grist'), damaged);
    const both = await cli(['sync', 'inspect', file, bad]);
    expect(both.code).toBe(1);
    expect(both.stdout).toContain(`${file}: whole\n`);
    expect(both.stdout).toContain(`${bad}: refused, BLOCK_CHECKSUM: MiB 0 of the body is damaged\n`);
    expect((await cli(['sync', 'inspect', join(dir, 'none')])).code).toBe(1);
  });
});
