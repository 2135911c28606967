// A run of elements of `x`, an array<vec4<u32>> of type ${dtype}, read 16 bytes at a time wherever it begins. Elements
// come in fours: `take(&acc, z, at, inside)` gets four numbers, their places in the run, and which of them belong to
// it. The including file has `Acc`, `start_acc()` and `fold(acc) -> vec4<u32>`, the state of what was taken.
#include element name=x dtype=${dtype}

#if dtype=f32
fn x_quad(words: vec4<u32>, lane: u32) -> vec4<f32> { return bitcast<vec4<f32>>(words); }
#end
#if dtype=bf16
fn x_quad(words: vec4<u32>, lane: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(select(words & vec4(0xffff0000u), words << vec4(16u), lane == 0u));
}
#end
#if dtype=f16
fn x_quad(words: vec4<u32>, lane: u32) -> vec4<f32> {
  let halves = (words >> vec4(16u * lane)) & vec4(0xffffu);
  let magnitude = halves & vec4(0x7fffu);
  let small = bitcast<vec4<u32>>(vec4<f32>(magnitude) * 5.9604644775390625e-8);
  var bits = (magnitude << vec4(13u)) + select(vec4(0x38000000u), vec4(0x70000000u), magnitude >= vec4(0x7c00u));
  bits = select(bits, small, magnitude < vec4(0x400u));
  return bitcast<vec4<f32>>(bits | ((halves & vec4(0x8000u)) << vec4(16u)));
}
#end

// What invocation t of ${THREADS} takes of the elements from begin to end.
fn stream(begin: u32, end: u32, t: u32) -> vec4<u32> {
  var acc = start_acc();
  if (begin < end) {
    let last = (end - 1u) >> (x_shift + 2u);
    for (var q = (begin >> (x_shift + 2u)) + t; q <= last; q += ${THREADS}u) {
      let words = x[q];
      for (var lane = 0u; lane < x_per; lane++) {
        // What lies before the run wraps around to large numbers.
        let at = ((vec4(4u * q) + vec4(0u, 1u, 2u, 3u)) << vec4(x_shift)) + vec4(lane - begin);
        take(&acc, x_quad(words, lane), at, at < vec4(end - begin));
      }
    }
  }
  return fold(acc);
}
