// The end of nll and linear_nll: the loss of a row from its state, or a fault.
#include opaque

fn loss(row: u32, state: vec4<u32>, target_index: u32) -> u32 {
  if (target_index >= p.vocab) {
    atomicMax(&faults[p.slot], ~(p.row0 + row));
    return 0x7fc00000u;
  }
  let z = bitcast<f32>(state.w);
  // A NaN, an infinity, or nothing but negative infinities: the loss is no number. A target of probability 0 costs
  // infinity.
  if (state.z >= infinite || bitcast<f32>(state.y) == 0.0) { return 0x7fc00000u; }
  if (state.w == 0xff800000u) { return infinite; }
  return bitcast<u32>(ln_f32(bitcast<f32>(state.y)) + opaque(bitcast<f32>(state.x) - z));
}
