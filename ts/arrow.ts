/**
 * Arrow as other people hold it.
 *
 * Two copies of `apache-arrow` in one process do not know each other's classes, and its IPC writer asks `instanceof`.
 * So nothing here does: what looks like a table is rebuilt, sharing its buffers, with the classes of the copy that we
 * load, and written with that.
 */

import type { Data, DataType, Field, RecordBatch, Vector } from 'apache-arrow';

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
    return write(await arrow(), input.schema.fields as Field[], batches as RecordBatch[]);
  }
  throw new GristmillError('INVALID_ARGUMENT', 'this is no Arrow data', {
    hint: 'give IPC bytes, or a table or record batch of apache-arrow',
  });
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function write(lib: Arrow, theirs: readonly Field[], batches: readonly RecordBatch[]): Uint8Array {
  const fields = theirs.map((f) => field(lib, f));
  const schema = new lib.Schema(fields);
  const struct = new lib.Struct(fields);
  const ours = batches.map(({ data }) => {
    const children = data.children.map((child) => rebuild(lib, child));
    return new lib.RecordBatch(schema, new lib.Data(struct, 0, data.length, 0, {}, children));
  });
  return lib.tableToIPC(new lib.Table(schema, ours), 'stream');
}

function field(lib: Arrow, { name, type, nullable }: Field): Field {
  return new lib.Field(name, dataType(lib, type, name), nullable);
}

function rebuild(lib: Arrow, data: Data): Data {
  const dictionary = data.dictionary as Vector | undefined;
  return new lib.Data(
    dataType(lib, data.type),
    data.offset,
    data.length,
    data.nullCount,
    { ...data.buffers },
    data.children.map((child) => rebuild(lib, child)),
    dictionary && new lib.Vector(dictionary.data.map((chunk) => rebuild(lib, chunk))),
  );
}

/** The same type in our copy. Type ids are part of the format, so they are the same in all copies. */
function dataType(lib: Arrow, type: DataType, column?: string): DataType {
  const { Type } = lib;
  const t = type as DataType & {
    isSigned: boolean;
    bitWidth: 8 | 16 | 32 | 64;
    precision: number;
    listSize: number;
    id: number;
    isOrdered: boolean;
    indices: DataType;
    dictionary: DataType;
  };
  const [child] = (type.children ?? []) as Field[];
  switch (type.typeId as number) {
    case Type.Null:
      return new lib.Null();
    case Type.Bool:
      return new lib.Bool();
    case Type.Int:
      return new lib.Int(t.isSigned, t.bitWidth);
    case Type.Float:
      return new lib.Float(t.precision);
    case Type.Utf8:
      return new lib.Utf8();
    case Type.LargeUtf8:
      return new lib.LargeUtf8();
    case Type.Binary:
      return new lib.Binary();
    case Type.LargeBinary:
      return new lib.LargeBinary();
    case Type.List:
      if (child) return new lib.List(field(lib, child));
      break;
    case Type.FixedSizeList:
      if (child) return new lib.FixedSizeList(t.listSize, field(lib, child));
      break;
    case Type.Dictionary:
      return new lib.Dictionary(
        dataType(lib, t.dictionary, column),
        dataType(lib, t.indices, column) as never,
        t.id,
        t.isOrdered,
      );
    default:
  }
  throw new GristmillError('WRONG_TYPE', `a column of type ${String(type)} cannot be passed as a table`, {
    details: column === undefined ? {} : { column },
    hint: 'leave the column out, or pass the IPC bytes: tableToIPC(table)',
  });
}
