// A step of Adam. One dispatch does `all` of it where parameter and moments are f32; elsewhere there are three, in this
// order: the parameter from the moments before the step, then `m`, then `v`, each from itself and the gradient. Elements
// are numbered from the first of the dispatch, which is number p.first of the tensor.
#params n out_at first grad_at m_at v_at m_max_at v_max_at maps_at b1 c1 b2 c2 eps step keep scale seed_lo seed_hi stream_lo stream_hi
#include bits
#include adam
@group(0) @binding(0) var<storage, read_write> out: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> grad: array<u32>;
#include load name=grad dtype=${G}
#if TARGET=all
@group(0) @binding(2) var<storage, read_write> m: array<u32>;
@group(0) @binding(3) var<storage, read_write> v: array<u32>;
#end
#if TARGET=param
@group(0) @binding(2) var<storage, ${READ}> m: array<u32>;
@group(0) @binding(3) var<storage, ${READ}> v: array<u32>;
#end
#if TARGET=param STATE=int8
@group(0) @binding(4) var<storage, ${READ}> m_max: array<u32>;
@group(0) @binding(5) var<storage, ${READ}> v_max: array<u32>;
@group(0) @binding(6) var<storage, ${READ}> maps: array<u32>;
#end
#if TARGET=m|v STATE=int8
@group(0) @binding(2) var<storage, read_write> absmax: array<u32>;
@group(0) @binding(3) var<storage, ${READ}> maps: array<u32>;
#end

#if STATE=int8
// The number that a code stands for, of the map that begins at `map`, in a block with this greatest magnitude.
fn decode(word: u32, i: u32, map: u32, greatest: u32) -> f32 {
  let code = (word >> (8u * (i & 3u))) & 255u;
  return flush(bitcast<f32>(maps[map + code]) * flush(bitcast<f32>(greatest)));
}
#end

fn grad_of(i: u32) -> Gradient { return gradient(grad_load(p.grad_at + i)); }

#if TARGET=all|param
// The parameter after the step; what was in it, where the gradient does not count.
fn moved(param: f32, next_m: f32, next_v: f32, counts: bool) -> f32 {
  let keep = bitcast<f32>(p.keep);
  if (!counts && keep != 0.0) { return param; }
  var kept = 0.0;
  if (keep != 0.0) { kept = keep * param; }
  var direction = 0.0;
  if (counts) { direction = next_m / (sqrt(next_v) + bitcast<f32>(p.eps)); }
  return kept - bitcast<f32>(p.step) * direction;
}
#end

#if NOISE=1
#include adam_noise
#end

#if TARGET=all
@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (group.x + group.y * groups.x) * 256u + t;
  if (i >= p.n) { return; }
  let g = grad_of(i);
  let m_new = next_m(bitcast<f32>(m[p.m_at + i]), g);
  let v_new = next_v(bitcast<f32>(v[p.v_at + i]), g);
  out[p.out_at + i] = bitcast<u32>(moved(bitcast<f32>(out[p.out_at + i]), m_new, v_new, g.counts));
  m[p.m_at + i] = bitcast<u32>(m_new);
  v[p.v_at + i] = bitcast<u32>(v_new);
}
#end

#if TARGET=param STATE=f32|bf16
#include load name=m dtype=${STATE}
#include load name=v dtype=${STATE}
fn m_of(i: u32) -> f32 { return m_load(p.m_at + i); }
fn v_of(i: u32) -> f32 { return v_load(p.v_at + i); }
#end
#if TARGET=param STATE=int8
fn m_of(i: u32) -> f32 { return decode(m[p.m_at + (i >> 2u)], i, p.maps_at, m_max[p.m_max_at + (i >> 8u)]); }
fn v_of(i: u32) -> f32 { return decode(v[p.v_at + (i >> 2u)], i, p.maps_at + 256u, v_max[p.v_max_at + (i >> 8u)]); }
#end

#if TARGET=param
#include words
#include adam_stored
const half = 0u;
fn element(i: u32) -> u32 {
  let g = grad_of(i);
  let x = moved(out_load(p.out_at + i), next_m(m_of(i), g), next_v(v_of(i), g), g.counts);
  if (!g.counts && bitcast<f32>(p.keep) != 0.0) { return out_raw(p.out_at + i); }
  return stored(x, i);
}
#end

#if TARGET=m|v STATE=f32|bf16
#include words
#include adam_stored
fn element(i: u32) -> u32 { return stored(next_${TARGET}(out_load(p.out_at + i), grad_of(i)), i); }
#end
#if TARGET=m
const half = 1u;
#end
#if TARGET=v
const half = 2u;
#end

#if TARGET=m|v STATE=int8
// Blocks of 256 numbers, a workgroup for each.
var<workgroup> greatest: array<u32, 256>;
var<workgroup> codes: array<u32, 256>;

fn midpoint(map: u32, i: u32) -> f32 {
  return opaque(bitcast<f32>(maps[map + i]) + bitcast<f32>(maps[map + i + 1u])) * 0.5;
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let block = group.x + group.y * groups.x;
  if (block * 256u >= p.n) { return; }
  let i = block * 256u + t;
#if TARGET=m
  let map = p.maps_at;
#else
  let map = p.maps_at + 256u;
#end
  var x = 0.0;
  if (i < p.n) {
    x = next_${TARGET}(decode(out[p.out_at + (i >> 2u)], i, map, absmax[p.m_max_at + block]), grad_of(i));
  }
  greatest[t] = bitcast<u32>(x) & 0x7fffffffu;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (t < half) { greatest[t] = max(greatest[t], greatest[t + half]); }
    workgroupBarrier();
  }
  let top_bits = bitcast<u32>(flush(bitcast<f32>(greatest[0])));
  let inverse = bitcast<f32>((254u - clamp(top_bits >> 23u, 1u, 253u)) << 23u);
  let top = opaque(bitcast<f32>(top_bits) * inverse);
  let scaled = flush(x * inverse);
  var code = 0u;
  for (var bit = 128u; bit > 0u; bit >>= 1u) {
    if (scaled >= opaque(opaque(midpoint(map, code + bit - 1u)) * top)) { code += bit; }
  }
  codes[t] = code;
  workgroupBarrier();
  if (t < 64u) {
    let c = 4u * t;
    out[p.out_at + 64u * block + t] = codes[c] | (codes[c + 1u] << 8u) | (codes[c + 2u] << 16u) | (codes[c + 3u] << 24u);
  }
  if (t == 0u) { absmax[p.m_max_at + block] = top_bits; }
}
#end
