// A block of Philox4x32-10, as the core's `rng` module defines it.

// The two halves of a product, low first; WGSL has no 64-bit product.
fn product(a: u32, b: u32) -> vec2<u32> {
  let low = (a & 0xffffu) * (b & 0xffffu);
  let cross = (a >> 16u) * (b & 0xffffu);
  let other = (a & 0xffffu) * (b >> 16u);
  let middle = (low >> 16u) + (cross & 0xffffu) + (other & 0xffffu);
  let high = (a >> 16u) * (b >> 16u) + (cross >> 16u) + (other >> 16u) + (middle >> 16u);
  return vec2(a * b, high);
}

fn philox4x32_10(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
  var c = counter;
  var key = seed;
  for (var round = 0u; round < 10u; round++) {
    let a = product(0xD2511F53u, c.x);
    let b = product(0xCD9E8D57u, c.z);
    c = vec4(b.y ^ c.y ^ key.x, b.x, a.y ^ c.w ^ key.y, a.x);
    key += vec2(0x9E3779B9u, 0xBB67AE85u);
  }
  return c;
}
