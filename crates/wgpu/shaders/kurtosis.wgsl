// out[r] = mean of fourth powers over squared variance, less 3; a workgroup a row. Numbers are brought to a magnitude below
// 2 by a power of two, and told from the first of the row, so that neither powers nor a mean far from zero cost digits;
// opaquely, for (u - origin) - mean is not (u - mean) - origin.
#params columns rows x_at out_at
#include bits
@group(0) @binding(0) var<storage, ${READ}> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
#include load name=x dtype=${X}
#include total
#include opaque

var<workgroup> greatest: array<u32, 256>;

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let row = group.x + group.y * groups.x;
  // The last workgroups may be beyond; reads stay inside of the binding, and nothing is written.
  let begin = p.x_at + row * p.columns;
  let first = bitcast<u32>(x_load(begin));
  // The greatest magnitude, as bits, where that of NaN is above all others; and in the lowest bit of a second word, whether
  // numbers differ, but for the sign of zeros.
  var own = 0u;
  var differs = 0u;
  for (var j = t; j < p.columns; j += 256u) {
    let bits = bitcast<u32>(x_load(begin + j));
    own = max(own, bits & 0x7fffffffu);
    if (bits != first && ((bits | first) & 0x7fffffffu) != 0u) { differs = 1u; }
  }
  greatest[t] = own;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (t < half) { greatest[t] = max(greatest[t], greatest[t + half]); }
    workgroupBarrier();
  }
  let top = greatest[0];
  let spread = total(t, f32(differs)) > 0.0;
  // 2^-e for a magnitude from 2^e on; of the greatest numbers a little more, of subnormal ones as if they were normal.
  let scale = bitcast<f32>((254u - clamp(top >> 23u, 1u, 253u)) << 23u);
  let origin = bitcast<f32>(first) * scale;
  let n = f32(p.columns);
  var sum = 0.0;
  for (var j = t; j < p.columns; j += 256u) { sum += opaque(x_load(begin + j) * scale - origin); }
  let mean = total(t, sum) / n;
  var rest = 0.0;
  var squares = 0.0;
  var fourths = 0.0;
  for (var j = t; j < p.columns; j += 256u) {
    let u = x_load(begin + j) * scale;
    let z = opaque(u - origin) - mean;
    rest += z;
    squares += z * z;
#if CENTERED=1
    fourths += (z * z) * (z * z);
#else
    fourths += (u * u) * (u * u);
#end
  }
  // What rounding took from the mean.
  let shift = total(t, rest) / n;
  let variance = total(t, squares) / n - shift * shift;
  let fourth = total(t, fourths) / n;
  if (t == 0u && row < p.rows) {
    var kurtosis = 0x7fc00000u;
    if (spread && top < 0x7f800000u) { kurtosis = bitcast<u32>(fourth / (variance * variance) - 3.0); }
    out[p.out_at + row] = kurtosis;
  }
}
