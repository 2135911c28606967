/**
 * Arrow as other people hold it.
 *
 * Two copies of `apache-arrow` in one process do not mix: the IPC writer of one fails on the tables of the other. So
 * nothing here asks for a class: what looks like a table is rebuilt, sharing its buffers, with the classes of the copy
 * that we load, and written with that.
 */

import type { Data, DataType, Field, Int32, Precision, Type } from 'apache-arrow';

import { GristmillError } from './errors.js';

type Arrow = typeof import('apache-arrow');

/** What can be scored in memory: Arrow IPC bytes, or a table or record batch of any copy of `apache-arrow`. */
export type ArrowInput =
  Uint8Array | ArrayBuffer | { readonly ipc: Uint8Array } | TableLike | RecordBatchLike;

/** What a table of any version of `apache-arrow` has. */
export interface TableLike {
  readonly schema: { readonly fields: readonly unknown[] };
  readonly batches: readonly unknown[];
}

/** What a record batch of any version of `apache-arrow` has. */
export interface RecordBatchLike {
  readonly schema: { readonly fields: readonly unknown[] };
  readonly data: unknown;
}

/**
 * `apache-arrow`, loaded when it is first needed.
 *
 * @internal
 */
export async function arrow(): Promise<Arrow> {
  try {
    return await import('apache-arrow');
  } catch (cause) {
    throw new GristmillError('UNSUPPORTED', 'apache-arrow is not installed', {
      hint: 'run `npm install apache-arrow`, or work with IPC bytes',
      cause,
    });
  }
}

/**
 * The IPC stream of whatever Arrow data `input` is.
 *
 * @internal
 */
export async function toIpc(input: ArrowInput): Promise<Uint8Array> {
  if (input instanceof Uint8Array) return input;
  if (input instanceof ArrayBuffer) return new Uint8Array(input);
  if (isObject(input) && 'ipc' in input && input.ipc instanceof Uint8Array) return input.ipc;
  if (isObject(input) && 'schema' in input && isObject(input.schema) && Array.isArray(input.schema.fields)) {
    const batches = 'batches' in input ? input.batches : [input];
    return write(await arrow(), input.schema.fields as TheirField[], batches as { data: TheirData }[]);
  }
  throw new GristmillError('INVALID_ARGUMENT', 'this is no Arrow data', {
    hint: 'give IPC bytes, or a table or record batch of apache-arrow',
  });
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** What all copies have in common: the names of properties, and numbers that the format itself fixes. */
interface TheirType {
  readonly typeId: Type;
  readonly children?: readonly TheirField[] | null;
  readonly isSigned?: boolean;
  readonly bitWidth?: 8 | 16 | 32 | 64;
  readonly precision?: Precision;
  readonly listSize?: number;
  readonly id?: number;
  readonly isOrdered?: boolean;
  readonly indices?: TheirType;
  readonly dictionary?: TheirType;
}

interface TheirField {
  readonly name: string;
  readonly type: TheirType;
  readonly nullable: boolean;
}

interface TheirData {
  readonly type: TheirType;
  readonly offset: number;
  readonly length: number;
  readonly nullCount: number;
  readonly buffers: Data['buffers'];
  readonly children: readonly TheirData[];
  readonly dictionary?: { readonly data: readonly TheirData[] };
}

function write(
  lib: Arrow,
  theirs: readonly TheirField[],
  batches: readonly { data: TheirData }[],
): Uint8Array {
  const fields = theirs.map((f) => field(lib, f));
  const schema = new lib.Schema(fields);
  const struct = new lib.Struct(fields);
  const ours = batches.map(({ data }) => {
    const children = data.children.map((child) => rebuild(lib, child));
    return new lib.RecordBatch(schema, new lib.Data(struct, 0, data.length, 0, {}, children));
  });
  return lib.tableToIPC(new lib.Table(schema, ours), 'stream');
}

function field(lib: Arrow, { name, type, nullable }: TheirField): Field {
  return new lib.Field(name, dataType(lib, type, name), nullable);
}

function rebuild(lib: Arrow, data: TheirData): Data {
  const { type, offset, length, nullCount, buffers, children, dictionary } = data;
  return new lib.Data(
    dataType(lib, type),
    offset,
    length,
    nullCount,
    { ...buffers },
    children.map((child) => rebuild(lib, child)),
    dictionary && new lib.Vector(dictionary.data.map((chunk) => rebuild(lib, chunk))),
  );
}

/** The same type in our copy. */
function dataType(lib: Arrow, type: TheirType, column?: string): DataType {
  const {
    isSigned = true,
    bitWidth = 32,
    precision = lib.Precision.SINGLE,
    listSize,
    id,
    isOrdered,
    indices,
    dictionary,
  } = type;
  const item = type.children?.[0];
  switch (type.typeId) {
    case lib.Type.Null:
      return new lib.Null();
    case lib.Type.Bool:
      return new lib.Bool();
    case lib.Type.Int:
      return new lib.Int(isSigned, bitWidth);
    case lib.Type.Float:
      return new lib.Float(precision);
    case lib.Type.Utf8:
      return new lib.Utf8();
    case lib.Type.LargeUtf8:
      return new lib.LargeUtf8();
    case lib.Type.Binary:
      return new lib.Binary();
    case lib.Type.LargeBinary:
      return new lib.LargeBinary();
    case lib.Type.List:
      if (item) return new lib.List(field(lib, item));
      break;
    case lib.Type.FixedSizeList:
      if (item && listSize !== undefined) return new lib.FixedSizeList(listSize, field(lib, item));
      break;
    case lib.Type.Dictionary:
      if (dictionary && indices) {
        // An index may be of any width; the type parameter of the class wants one.
        const keys = new lib.Int(indices.isSigned ?? true, indices.bitWidth ?? 32) as unknown as Int32;
        return new lib.Dictionary(dataType(lib, dictionary, column), keys, id, isOrdered);
      }
      break;
    default:
  }
  throw new GristmillError(
    'WRONG_TYPE',
    `a column of Arrow type ${type.typeId} cannot be passed as a table`,
    {
      details: column === undefined ? {} : { column },
      hint: 'leave the column out, or pass the IPC bytes: tableToIPC(table)',
    },
  );
}
