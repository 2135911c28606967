// out[i] = x[i], turned: pairs of components of every head by the angles of the row's position. The results go to
// memory of their own, since a pair lies in words that others read too.
#params n columns head_dim pairs positions x_at out_at cos_at sin_at positions_at first slot
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@group(0) @binding(2) var<storage, ${READ}> cosines: array<u32>;
@group(0) @binding(3) var<storage, ${READ}> sines: array<u32>;
@group(0) @binding(4) var<storage, ${READ}> places: array<u32>;
@group(0) @binding(5) var<storage, read_write> faults: array<atomic<u32>>;
#include load name=x dtype=${OUT}
#include words

fn element(i: u32) -> u32 {
  let row = i / p.columns;
  let component = (i % p.columns) % p.head_dim;
  let place = places[p.positions_at + row];
  if (place >= p.positions) {
    atomicMax(&faults[p.slot], ~(p.first + row));
    return x_raw(p.x_at + i);
  }
  if (component >= 2u * p.pairs) { return x_raw(p.x_at + i); }
#if ORDER=interleaved
  let pair = component / 2u;
  let second = component % 2u == 1u;
  let apart = 1u;
#else
  let second = component >= p.pairs;
  let pair = select(component, component - p.pairs, second);
  let apart = p.pairs;
#end
  let c = bitcast<f32>(cosines[p.cos_at + place * p.pairs + pair]);
  let s = bitcast<f32>(sines[p.sin_at + place * p.pairs + pair]);
  let own = x_load(p.x_at + i);
  let other = x_load(p.x_at + select(i + apart, i - apart, second));
  return out_narrow(own * c + select(-other, other, second) * s);
}
