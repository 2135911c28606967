// out[r, j] = x[r, index[j]], for whole rows. All of it is on integers, so that nothing depends on the device.
#params n k columns x_at out_at index_at slot
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;
@group(0) @binding(3) var<storage, read_write> faults: array<atomic<u32>>;
#include load name=x dtype=${OUT}
#include words
#include column_index

fn element(i: u32) -> u32 {
  let r = i / p.k;
  let j = i - r * p.k;
  if (out_of_order(j)) {
    atomicMax(&faults[p.slot], ~j);
    return out_raw(p.out_at + i);
  }
  return x_raw(p.x_at + r * p.columns + index[p.index_at + j]);
}
