import type { Table } from 'apache-arrow';

import { arrow } from './arrow.js';
import { attempt } from './job.js';
import { native } from './native.js';

/** Some rows in Arrow form. */
export class Batch {
  /** An Arrow IPC stream with one record batch, complete by itself: what `tableFromIPC` of any Arrow library takes. */
  readonly ipc: Uint8Array;

  /** @internal */
  constructor(ipc: Uint8Array) {
    this.ipc = ipc;
  }

  /** The rows as a table of `apache-arrow`, which is an optional peer dependency: install it to call this. */
  async toTable(): Promise<Table> {
    const { tableFromIPC } = await arrow();
    return tableFromIPC(this.ipc);
  }
}

/**
 * The rows of any file or directory that a job wrote (or any other Parquet, JSONL or Arrow file), batch by batch. One
 * batch is in memory at a time.
 *
 * @example
 * ```ts
 * for await (const batch of readBatches('selected/')) {
 *   for (const row of await batch.toTable()) console.log(row.id, row.score);
 * }
 * ```
 */
export async function* readBatches(
  path: string,
  options: { signal?: AbortSignal } = {},
): AsyncGenerator<Batch, void, undefined> {
  const { signal } = options;
  signal?.throwIfAborted();
  const addon = native();
  const cancel = new addon.CancelHandle();
  const stop = (): void => cancel.cancel();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    const reader = new addon.BatchReader(path, cancel);
    for (;;) {
      const ipc = await attempt(signal, () => reader.next());
      if (ipc === null) return;
      yield new Batch(ipc);
    }
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}
