// Gradients of a linear layer by sample. STAGE says what a dispatch does:
//   check   offsets that do not ascend or lead beyond the rows, and weights that are neither 0 nor 1, are faults;
//   weight  out (+)= sum over some samples of factor dY'X, a tile of 128 outputs and 64 inputs for each workgroup, with
//           sums of a sample that are scaled at its end;
//   bias    out (+)= sum over some samples of factor times the sum of the rows of dY.
// x and dY show p.rows rows from p.row0 on; what else a sample has is added by other dispatches. A sample of factor 0
// adds nothing, whatever its rows are. p.fresh is 1 where nothing was there, and 2 where what was there does not matter, and
// stays if all factors are 0.
#if STAGE=check
#params samples offsets_at rows weights_at slot
@group(0) @binding(0) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(1) var<storage, read_write> faults: array<atomic<u32>>;
#include offsets
#if WEIGHTS=1
@group(0) @binding(2) var<storage, ${READ}> weights: array<u32>;
#end

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let sample = (group.x + group.y * groups.x) * 256u + t;
  if (sample >= p.samples) { return; }
  check_segment(sample, sample);
#if WEIGHTS=1
  let weight = weights[p.weights_at + sample];
  // 0 of either sign, or 1.
  if ((weight & 0x7fffffffu) != 0u && weight != 0x3f800000u) { atomicMax(&faults[p.slot], ~(p.samples + sample)); }
#end
}
#else
#params sample0 samples offsets_at factors_at row0 rows d outputs output0 shown x_at dy_at out_at fresh
#include bits
#if STAGE=weight
@group(0) @binding(0) var<storage, ${READ}> dy: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
@group(0) @binding(3) var<storage, ${READ}> x: array<u32>;
#if FACTORS=1
@group(0) @binding(4) var<storage, ${READ}> factors: array<f32>;
#end
#include load name=x dtype=${X}
#else
@group(0) @binding(0) var<storage, ${READ}> dy: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> offsets: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
#if FACTORS=1
@group(0) @binding(3) var<storage, ${READ}> factors: array<f32>;
#end
#end
#include load name=dy dtype=${X}

// Whether a sample had another factor than 0.
var<private> taken: bool;

// The rows of a sample that are shown: the first, and how many; and its factor. No rows if that is 0.
fn shown_rows(sample: u32) -> vec3<u32> {
  let begin = max(offsets[p.offsets_at + sample], p.row0);
  let end = min(offsets[p.offsets_at + sample + 1u], p.row0 + p.rows);
#if FACTORS=1
  let factor = bitcast<u32>(factors[p.factors_at + sample]);
#else
  let factor = 0x3f800000u;
#end
  let none = begin >= end || (factor & 0x7fffffffu) == 0u;
  return select(vec3(begin - p.row0, end - begin, factor), vec3(0u, 0u, factor), none);
}
#end

#if STAGE=weight
var<private> first: u32;
var<private> count: u32;
fn a_at(output: u32, k: u32) -> f32 {
  if (output >= p.shown || k >= count) { return 0.0; }
  return dy_load(p.dy_at + (first + k) * p.outputs + p.output0 + output);
}
fn b_at(k: u32, input: u32) -> f32 {
  if (k >= count || input >= p.d) { return 0.0; }
  return x_load(p.x_at + (first + k) * p.d + input);
}
#include tile

var<workgroup> of_sample: vec3<u32>;

fn store(output: u32, input: u32, sums: vec4<f32>) {
  if (output >= p.shown) { return; }
  let base = p.out_at + output * p.d + input;
  for (var c = 0u; c < 4u; c++) {
    if (input + c < p.d) {
      var value = sums[c];
      if (p.fresh == 0u) { value += out[base + c]; }
      out[base + c] = value;
    }
  }
}
#include tile_store

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) t: u32) {
  let tile_output = group.y * tile_rows;
  let tile_input = group.x * tile_columns;
  var total = Acc8(
    vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0),
  );
  for (var s = 0u; s < p.samples; s++) {
    if (t == 0u) { of_sample = shown_rows(p.sample0 + s); }
    let mine = workgroupUniformLoad(&of_sample);
    taken = taken || (mine.z & 0x7fffffffu) != 0u;
    if (mine.y > 0u) {
      first = mine.x;
      count = mine.y;
      let r = multiply(t, tile_output, tile_input, mine.y);
      let factor = bitcast<f32>(mine.z);
      total.r0 += factor * r.r0; total.r1 += factor * r.r1;
      total.r2 += factor * r.r2; total.r3 += factor * r.r3;
      total.r4 += factor * r.r4; total.r5 += factor * r.r5;
      total.r6 += factor * r.r6; total.r7 += factor * r.r7;
    }
  }
  if (p.fresh != 1u && !taken) { return; }
  store_tile(t, tile_output, tile_input, total);
}
#end

#if STAGE=bias
@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let output = (group.x + group.y * groups.x) * 256u + t;
  if (output >= p.outputs) { return; }
  var total = 0.0;
  for (var s = 0u; s < p.samples; s++) {
    let mine = shown_rows(p.sample0 + s);
    taken = taken || (mine.z & 0x7fffffffu) != 0u;
    // In four parts: shorter sums lose less to rounding.
    var parts = vec4(0.0);
    for (var k = 0u; k < mine.y; k += 4u) {
      for (var i = 0u; i < 4u; i++) {
        if (k + i < mine.y) { parts[i] += dy_load(p.dy_at + (mine.x + k + i) * p.outputs + output); }
      }
    }
    if (mine.y > 0u) { total += bitcast<f32>(mine.z) * ((parts.x + parts.y) + (parts.z + parts.w)); }
  }
  if (p.fresh != 1u && !taken) { return; }
  if (p.fresh == 0u) { total += out[p.out_at + output]; }
  out[p.out_at + output] = total;
}
#end
