// y = (y + std N) scale. An invocation makes one block of the generator: a pair of numbers with Philox, four with
// ChaCha20. Blocks count from p.block.
#params n y_at block key0 key1 key2 key3 key4 key5 key6 key7 step0 step1 tensor std scale
@group(0) @binding(0) var<storage, read_write> y: array<f32>;
#include pair
#include normal
#if GENERATOR=philox
#include philox
const pairs_each = 1u;
#else
const pairs_each = 4u;

fn rotate(x: vec4<u32>, by: u32) -> vec4<u32> { return (x << vec4(by)) | (x >> vec4(32u - by)); }

// The block of RFC 8439, 2.3, a row of its matrix in each vector; diagonals become columns by turning the rows.
fn chacha20(counter: u32) -> array<vec4<u32>, 4> {
  let a0 = vec4(0x61707865u, 0x3320646eu, 0x79622d32u, 0x6b206574u);
  let b0 = vec4(p.key0, p.key1, p.key2, p.key3);
  let c0 = vec4(p.key4, p.key5, p.key6, p.key7);
  let d0 = vec4(counter, p.tensor, p.step0, p.step1);
  var a = a0;
  var b = b0;
  var c = c0;
  var d = d0;
  for (var round = 0u; round < 20u; round++) {
    a += b;
    d = rotate(d ^ a, 16u);
    c += d;
    b = rotate(b ^ c, 12u);
    a += b;
    d = rotate(d ^ a, 8u);
    c += d;
    b = rotate(b ^ c, 7u);
    if ((round & 1u) == 0u) {
      b = b.yzwx;
      c = c.zwxy;
      d = d.wxyz;
    } else {
      b = b.wxyz;
      c = c.zwxy;
      d = d.yzwx;
    }
  }
  return array(a + a0, b + b0, c + c0, d + d0);
}
#end

fn put(i: u32, normal: f32) {
  if (i >= p.n) { return; }
  let sum = opaque(y[p.y_at + i] + times(bitcast<f32>(p.std), normal));
  y[p.y_at + i] = times(sum, bitcast<f32>(p.scale));
}

@compute @workgroup_size(256)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) t: u32,
) {
  let i = (group.x + group.y * groups.x) * 256u + t;
  if (2u * pairs_each * i >= p.n) { return; }
#if GENERATOR=philox
  let normals = normal_pair(philox4x32_10(vec4(p.block + i, p.tensor, p.step0, p.step1), vec2(p.key0, p.key1)));
  put(2u * i, normals.x);
  put(2u * i + 1u, normals.y);
#else
  var words = chacha20(p.block + i);
  for (var j = 0u; j < 4u; j++) {
    let normals = normal_pair(words[j]);
    put(8u * i + 2u * j, normals.x);
    put(8u * i + 2u * j + 1u, normals.y);
  }
#end
}
