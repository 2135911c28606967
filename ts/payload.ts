import { json } from './args.js';
import { call } from './job.js';

/** A tensor of a {@link PayloadFormat}. */
export interface PayloadParam {
  name: string;
  shape: readonly number[];
  /**
   * Rows and columns of a block of it, seen as rows by its last dimension. Left out: square blocks of `chunk` elements
   * for matrices that are no smaller, runs of `chunk` elements for everything else.
   */
  block?: readonly [rows: number, columns: number];
}

/** What all peers of a run agree on: how values are written, and the tensors with their chunks. */
export interface PayloadFormat {
  /** @defaultValue 'sparse' */
  codec?: 'sparse' | 'dense';
  /** Elements of a chunk at the most. @defaultValue 4096 */
  chunk?: number;
  /** Entries of a chunk that are sent, at the most. @defaultValue 64 */
  topK?: number;
  /** What is kept of a value. @defaultValue 'signMagnitude' */
  quantizer?: 'signMagnitude' | 'reference' | 'int8' | 'none';
  /** How positions are written. @defaultValue 'eliasFano' */
  indices?: 'eliasFano' | 'packed12';
  /** What the sum of peers is divided by. @defaultValue 'contributors' */
  divideBy?: 'contributors' | 'peers';
  params: readonly PayloadParam[];
}

/** What can be known of a payload without its run and without the parameters. */
export interface PayloadInspection {
  /** Bytes of the file. */
  bytes: number;
  /** The BLAKE3 hash of the file, which objects are named after. */
  hash: string;
  /** Whether it would be taken by a run that it is meant for. */
  ok: boolean;
  /** What was checked, up to the first that failed: that one has the reason for which it would be refused. */
  checks: {
    name: 'header' | 'table' | 'integrity' | 'signature' | 'body';
    reason?: string;
    detail?: string;
  }[];
  /** The header, where it could be read. */
  header?: PayloadHeader;
  /** The tensors, where all checks passed; `norm` is of what is sent. */
  tensors: { name: string; shape: number[]; chunks: number; bytes: number; nonzero: number; norm: number }[];
  /** The Euclidean norm of all that is sent. */
  norm?: number;
  /** The share of values that are sent. */
  density?: number;
  /** How many times smaller than all values as 32-bit floats. */
  ratio?: number;
}

/** The header of a payload. */
export interface PayloadHeader {
  run: string;
  round: number;
  peer: string;
  /** The hash of the parameters that the round began with. */
  base: string;
  /** The hash of the table of tensors. */
  table: string;
  codec: 'sparse' | 'dense';
  geometry?: { chunk: number; topK: number; quantizer: string; indices: string; chunkBytes: number };
  divideBy: 'contributors' | 'peers';
  tensors: number;
  values: number;
  chunks: number;
  bodyBytes: number;
  /** The public key of the signature. */
  key?: string;
}

/** A payload that was opened: every bit of it is checked. */
export interface OpenedPayload {
  report: PayloadInspection;
  /** The bytes of each tensor, in order. */
  tensors: Uint8Array[];
}

/**
 * The hash of parameters, which every payload and every round carries: replicas that agree on it hold the same bits.
 * One array of values per tensor of the format.
 */
export function hashParams(format: PayloadFormat, tensors: readonly Float32Array[]): Promise<string> {
  return call(undefined, (addon) => addon.hashParams(json('hashParams', format), [...tensors]));
}

/**
 * Makes a payload of the bytes of each tensor: 32-bit floats for `dense`, packed chunks for `sparse`. Who sends it in
 * which round is written in by {@link RoundSync.publish}.
 *
 * @example
 * ```ts
 * const payload = await sealPayload({ format, base: await hashParams(format, [params]), tensors: [bytes] });
 * ```
 */
export function sealPayload(options: {
  format: PayloadFormat;
  /** The hash of the parameters that the round began with. */
  base: string;
  tensors: readonly Uint8Array[];
}): Promise<Uint8Array> {
  const { format, base, tensors } = options;
  return call(undefined, (addon) => addon.sealPayload(json('sealPayload', format), base, [...tensors]));
}

/** Opens a payload by what it says of itself; rejects with the reason where a bit of it is wrong. */
export async function openPayload(payload: Uint8Array): Promise<OpenedPayload> {
  const { report, tensors } = await call(undefined, (addon) => addon.openPayload(payload));
  return { report: JSON.parse(report) as PayloadInspection, tensors };
}

/** Looks at a payload, whatever it is; what is wrong with it is in the report. */
export async function inspectPayload(payload: Uint8Array): Promise<PayloadInspection> {
  return JSON.parse(await call(undefined, (addon) => addon.inspectPayload(payload))) as PayloadInspection;
}

/**
 * The same of files.
 *
 * @internal
 */
export async function inspectPayloadFiles(
  paths: readonly string[],
  signal?: AbortSignal,
): Promise<(PayloadInspection & { path: string })[]> {
  const text = await call(signal, (addon, cancel) => addon.inspectPayloadFiles([...paths], cancel));
  return JSON.parse(text) as (PayloadInspection & { path: string })[];
}
