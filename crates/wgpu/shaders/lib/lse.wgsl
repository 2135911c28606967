// Maximum and sum of exponentials, one pass (Milakov and Gimelshein 2018). A state is (maximum m, sum s of exp(z - m),
// the greatest magnitude bits of what is neither finite nor -inf, the logit of the target); needs `math`.

const no_state = vec4<u32>(0xff7fffffu, 0u, 0u, 0xffffffffu);

// Four of them side by side.
struct Lse4 { m: vec4<f32>, s: vec4<f32>, worst: vec4<u32> }
fn start_lse() -> Lse4 { return Lse4(vec4(lowest), vec4(0.0), vec4(0u)); }

// The finite number nearest to z, so that no difference of two is NaN.
fn clamped(z: vec4<f32>) -> vec4<f32> { return clamp(z, vec4(lowest), vec4(-lowest)); }

// Which logits count: -inf adds nothing to a sum.
fn counts(z: vec4<f32>, inside: vec4<bool>) -> vec4<bool> {
  return inside & (bitcast<vec4<u32>>(z) != vec4(0xff800000u));
}
fn worst_of(z: vec4<f32>, counted: vec4<bool>) -> vec4<u32> {
  return select(vec4(0u), bitcast<vec4<u32>>(z) & vec4(0x7fffffffu), counted);
}

fn take_lse(acc: ptr<function, Lse4>, z: vec4<f32>, inside: vec4<bool>) {
  let counted = counts(z, inside);
  (*acc).worst = max((*acc).worst, worst_of(z, counted));
  let m = (*acc).m;
  let x = select(vec4(lowest), clamped(z), counted);
  let e = exp_vec4(-abs(x - m));
  let one = select(vec4(0.0), vec4(1.0), counted);
  // Either the new one is scaled to the old maximum, or the sum to the new one.
  (*acc).s = select((*acc).s + e * one, (*acc).s * e + one, x > m);
  (*acc).m = max(m, x);
}

fn fold_lse(acc: Lse4, target_logit: u32) -> vec4<u32> {
  let m2 = max(acc.m.xy, acc.m.zw);
  let m = max(m2.x, m2.y);
  let s = acc.s * exp_vec4(acc.m - m);
  let w = max(acc.worst.xy, acc.worst.zw);
  return vec4(bitcast<u32>(m), bitcast<u32>((s.x + s.y) + (s.z + s.w)), max(w.x, w.y), target_logit);
}

fn merge(a: vec4<u32>, b: vec4<u32>) -> vec4<u32> {
  let ma = bitcast<f32>(a.x);
  let mb = bitcast<f32>(b.x);
  let m = max(ma, mb);
  let s = bitcast<f32>(a.y) * exp_f32(ma - m) + bitcast<f32>(b.y) * exp_f32(mb - m);
  return vec4(bitcast<u32>(m), bitcast<u32>(s), max(a.z, b.z), select(a.w, b.w, a.w == 0xffffffffu));
}

const infinite = 0x7f800000u;
