// out[r, j] = table[ids[r], j], for the rows of the table that the dispatch shows: p.rows from p.row0 on. What belongs
// to others stays as it is. All of it is on integers, so that nothing depends on the device.
#params n d out_at ids_at table_at row0 rows vocab first slot
#include bits
@group(0) @binding(0) var<storage, ${READ}> table: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(3) var<storage, read_write> faults: array<atomic<u32>>;
#include load name=table dtype=${X}
#include words

fn element(i: u32) -> u32 {
  let r = i / p.d;
  let id = ids[p.ids_at + r];
  if (id >= p.vocab) {
    atomicMax(&faults[p.slot], ~(p.first + r));
    return out_raw(p.out_at + i);
  }
  let row = id - p.row0;
  if (row >= p.rows) { return out_raw(p.out_at + i); }
  let raw = table_raw(p.table_at + row * p.d + (i - r * p.d));
#if X=bf16 OUT=f32
  return raw << 16u;
#end
#if X=f16 OUT=f32
  return widen_f16(raw);
#end
#if X=f32 OUT=f32
  return raw;
#end
#if OUT=bf16|f16
  return raw;
#end
}
