// What `norm` and its gradient have in common: needs `x` loaded, `total`, and `p.columns` and `p.eps`.
// Mean and scale of the row that begins here; the mean is 0 for KIND=rms.
fn moments(t: u32, begin: u32) -> vec2<f32> {
  let n = f32(p.columns);
  var mean = 0.0;
#if KIND=layer
  var sum = 0.0;
  for (var j = t; j < p.columns; j += 256u) { sum += x_load(begin + j); }
  mean = total(t, sum) / n;
#end
  var squares = 0.0;
  var rest = 0.0;
  for (var j = t; j < p.columns; j += 256u) {
    let z = x_load(begin + j) - mean;
    squares += z * z;
    rest += z;
  }
  var variance = total(t, squares) / n;
#if KIND=layer
  // What rounding took from the mean of a row far from zero.
  let left = total(t, rest) / n;
  variance = max(variance - left * left, 0.0);
  mean += left;
#end
  return vec2(mean, 1.0 / sqrt(variance + bitcast<f32>(p.eps)));
}
