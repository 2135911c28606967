// The moments of Adam, as the core's `AdamwRule` defines them: every product and sum is rounded by itself, and what is
// below the normal numbers is 0.

#include opaque

fn flush(x: f32) -> f32 {
  let bits = bitcast<u32>(x) ^ p.zero;
  return bitcast<f32>(select(bits, 0u, (bits & 0x7f800000u) == 0u));
}

struct Gradient { g: f32, counts: bool }

// 2^60 at the most.
fn usable(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) <= 0x5d800000u; }

fn gradient(raw: f32) -> Gradient {
  let g = flush(flush(raw) * bitcast<f32>(p.scale));
  return Gradient(g, usable(raw) && usable(g));
}

fn next_m(old: f32, grad: Gradient) -> f32 {
  let kept = flush(old);
  if (!grad.counts) { return kept; }
  return flush(flush(bitcast<f32>(p.b1) * kept) + flush(bitcast<f32>(p.c1) * grad.g));
}

fn next_v(old: f32, grad: Gradient) -> f32 {
  let kept = flush(old);
  if (!grad.counts) { return kept; }
  return flush(flush(bitcast<f32>(p.b2) * kept) + flush(bitcast<f32>(p.c2) * flush(grad.g * grad.g)));
}
