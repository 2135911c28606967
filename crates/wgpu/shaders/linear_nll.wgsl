// States of nll for tiles of logits that never reach memory: a workgroup makes ${SPAN} tiles of 64 columns for its 128
// rows, one after the other, keeps maxima and sums of exponentials in registers, and leaves one state for each row.
// The last stage of nll.wgsl merges them.
#params rows columns column0 d hidden_at head_at bias_at targets_at cap parts part0
#include bits
#include math
#include lse
@group(0) @binding(0) var<storage, ${READ}> hidden: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> head: array<u32>;
@group(0) @binding(2) var<storage, ${READ}> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> states: array<vec4<u32>>;
#if BIAS=1
@group(0) @binding(4) var<storage, ${READ}> bias: array<u32>;
#end
#include load name=hidden dtype=${X}
#include load name=head dtype=${X}

fn a_at(row: u32, k: u32) -> f32 {
  if (row >= p.rows || k >= p.d) { return 0.0; }
  return hidden_load(p.hidden_at + row * p.d + k);
}
fn b_at(k: u32, column: u32) -> f32 {
  if (k >= p.d || column >= p.columns) { return 0.0; }
  return head_load(p.head_at + column * p.d + k);
}
#include tile

fn logit(x: f32, column: u32) -> f32 {
  var z = x;
#if BIAS=1
  if (column < p.columns) { z += bitcast<f32>(bias[p.bias_at + column]); }
#end
#if CAP=1
  z = bitcast<f32>(p.cap) * tanh_f32(z / bitcast<f32>(p.cap)) + select(0.0, z, (bitcast<u32>(z) & 0x7fffffffu) > infinite);
#end
  return z;
}

// The state of a row after four more of its logits.
fn advance(state: vec4<u32>, row: u32, column: u32, x: vec4<f32>) -> vec4<u32> {
  let at = vec4(column) + vec4(0u, 1u, 2u, 3u);
  let z = vec4(logit(x.x, at.x), logit(x.y, at.y), logit(x.z, at.z), logit(x.w, at.w));
  let counted = counts(z, at < vec4(p.columns));
  let worst = worst_of(z, counted);
  let c = select(vec4(lowest), clamped(z), counted);
  let before = bitcast<f32>(state.x);
  let m = max(before, max(max(c.x, c.y), max(c.z, c.w)));
  let e = select(vec4(0.0), exp_vec4(c - m), counted);
  let s = bitcast<f32>(state.y) * exp_f32(before - m) + ((e.x + e.y) + (e.z + e.w));
  var target_logit = state.w;
  if (row < p.rows) {
    let place = targets[p.targets_at + row] - p.column0 - column;
    if (place < 4u && column + place < p.columns) { target_logit = bitcast<u32>(z[place]); }
  }
  let w = max(max(worst.x, worst.y), max(worst.z, worst.w));
  return vec4(bitcast<u32>(m), bitcast<u32>(s), max(state.z, w), target_logit);
}

// Merges the states that 16 invocations have of a row, and writes the one; they meet where the products have been.
fn leave(t: u32, row: u32, part: u32, state: vec4<u32>) {
  workgroupBarrier();
  shared_a[t] = state;
  workgroupBarrier();
  if ((t & 15u) == 0u && row < p.rows) {
    var s = state;
    for (var i = 1u; i < 16u; i++) { s = merge(s, shared_a[t + i]); }
    states[row * p.parts + p.part0 + part] = s;
  }
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let row0 = group.y * tile_rows;
  let row = row0 + 8u * (t >> 4u);
  var s0 = no_state; var s1 = no_state; var s2 = no_state; var s3 = no_state;
  var s4 = no_state; var s5 = no_state; var s6 = no_state; var s7 = no_state;
  for (var i = 0u; i < ${SPAN}u; i++) {
    let column0 = (group.x * ${SPAN}u + i) * tile_columns;
    let column = column0 + 4u * (t & 15u);
    let r = multiply(t, row0, column0, p.d);
    s0 = advance(s0, row, column, r.r0);
    s1 = advance(s1, row + 1u, column, r.r1);
    s2 = advance(s2, row + 2u, column, r.r2);
    s3 = advance(s3, row + 3u, column, r.r3);
    s4 = advance(s4, row + 4u, column, r.r4);
    s5 = advance(s5, row + 5u, column, r.r5);
    s6 = advance(s6, row + 6u, column, r.r6);
    s7 = advance(s7, row + 7u, column, r.r7);
  }
  leave(t, row, group.x, s0);
  leave(t, row + 1u, group.x, s1);
  leave(t, row + 2u, group.x, s2);
  leave(t, row + 3u, group.x, s3);
  leave(t, row + 4u, group.x, s4);
  leave(t, row + 5u, group.x, s5);
  leave(t, row + 6u, group.x, s6);
  leave(t, row + 7u, group.x, s7);
}
