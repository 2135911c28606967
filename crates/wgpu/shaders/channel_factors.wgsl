// Factors of channels, and the size that the limiter remembers: one workgroup, which goes over the channels three times.
// Norms are the greatest magnitude times the root of a sum of squares of at most 1 each, so that none overflows or
// vanishes.
#params channels direction_at projected_at gradient_at factors_at previous_at scale grad_scale
@group(0) @binding(0) var<storage, ${READ}> direction: array<u32>;
@group(0) @binding(1) var<storage, ${READ}> projected: array<u32>;
@group(0) @binding(2) var<storage, ${READ}> gradient: array<u32>;
@group(0) @binding(3) var<storage, read_write> factors: array<u32>;
#if LIMIT=1
@group(0) @binding(4) var<storage, read_write> previous: array<u32>;
#end

const eps = 1e-8f;
const growth = 1.01f;
var<workgroup> parts: array<f32, 256>;

fn is_finite(bits: u32) -> bool { return (bits & 0x7f800000u) != 0x7f800000u; }

fn root(bits: u32) -> f32 { return sqrt(max(bitcast<f32>(bits), 0.0)); }

fn counts(j: u32) -> bool {
  return is_finite(direction[p.direction_at + j]) && is_finite(projected[p.projected_at + j])
    && is_finite(gradient[p.gradient_at + j]);
}

fn ratio(n: f32, r: f32) -> f32 { return bitcast<f32>(p.scale) * n / (bitcast<f32>(p.grad_scale) * r + eps); }

// The factor of a channel before the limiter, without that of the gradient.
fn own(j: u32, of_all: f32) -> f32 {
#if WHOLE=1
  return of_all;
#else
  return ratio(root(direction[p.direction_at + j]), root(projected[p.projected_at + j]));
#end
}

// What a channel contributes to a norm: of the direction, of the projection, or of the scaled gradient.
fn part(which: u32, j: u32, of_all: f32) -> f32 {
  if (!counts(j)) { return 0.0; }
  if (which == 0u) { return root(direction[p.direction_at + j]); }
  if (which == 1u) { return root(projected[p.projected_at + j]); }
  let size = root(gradient[p.gradient_at + j]);
  if (size == 0.0) { return 0.0; }
  return abs(own(j, of_all)) * size;
}

fn norm(which: u32, t: u32, of_all: f32) -> f32 {
  var greatest = 0.0;
  for (var j = t; j < p.channels; j += 256u) { greatest = max(greatest, part(which, j, of_all)); }
  parts[t] = greatest;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (t < half) { parts[t] = max(parts[t], parts[t + half]); }
    workgroupBarrier();
  }
  let unit = parts[0];
  workgroupBarrier();
  var sum = 0.0;
  if (unit > 0.0 && is_finite(bitcast<u32>(unit))) {
    for (var j = t; j < p.channels; j += 256u) {
      let share = part(which, j, of_all) / unit;
      sum += share * share;
    }
  }
  parts[t] = sum;
  workgroupBarrier();
  for (var half = 128u; half > 0u; half >>= 1u) {
    if (t < half) { parts[t] += parts[t + half]; }
    workgroupBarrier();
  }
  let total = parts[0];
  workgroupBarrier();
  // A sum of nothing is that of an infinite unit, or of 0.
  return unit * select(1.0, sqrt(total), total > 0.0);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) t: u32) {
#if LIMIT=1
  let before = previous[p.previous_at];
#end
  var of_all = 0.0;
#if WHOLE=1
  of_all = ratio(norm(0u, t, 0.0), norm(1u, t, 0.0));
#end
  let grad_scale = bitcast<f32>(p.grad_scale);
  let size = abs(grad_scale) * norm(2u, t, of_all);
  let measured = is_finite(bitcast<u32>(size) ^ p.zero);
  var limit = 1.0;
#if LIMIT=1
  // Of the normal numbers alone.
  if (is_finite(before) && (before & 0x7f800000u) != 0u) {
    let grown = size / (bitcast<f32>(before) + eps);
    if (grown > growth) { limit = grown / growth; }
  }
  if (t == 0u && measured) { previous[p.previous_at] = bitcast<u32>(size / limit); }
#end
  for (var j = t; j < p.channels; j += 256u) {
    var factor = 0.0;
    if (measured && counts(j)) { factor = grad_scale * own(j, of_all) / limit; }
    factors[p.factors_at + j] = bitcast<u32>(factor);
  }
}
