// The same number, opaquely: a compiler cannot simplify through it, nor move or fuse what is on its two sides.
fn opaque(x: f32) -> f32 { return bitcast<f32>(bitcast<u32>(x) ^ p.zero); }
