// Activation functions; needs `math`. A NaN passes through, as a factor of the result.

// 1 / (1 + exp(-x)), from the exponential that does not overflow.
fn logistic(x: f32) -> f32 {
  let e = exp_f32(-abs(x));
  return select(1.0, e, x < 0.0) / (1.0 + e);
}

// Far below zero all of them are nothing, and a product with infinity would be more.
fn silu(argument: f32) -> f32 {
  let x = select(argument, -100.0, argument < -100.0);
  return x * logistic(x);
}

fn gelu_tanh(argument: f32) -> f32 {
  let x = select(argument, -14.0, argument < -14.0);
  return x * logistic(1.5957691216 * (x + 0.044715 * (x * x * x)));
}

// The distribution function of the standard normal, from -14 on: the tail of the normal distribution times exp(t^2 / 2), as a polynomial of 1 / (1 + 0.3 t); see exp.rs of the CPU.
fn normal_below(x: f32) -> f32 {
  let t = abs(x);
  let u = 1.0 / (1.0 + 0.3 * t);
  var q = 0.03603643;
  q = q * u - 0.15871406;
  q = q * u + 0.20896523;
  q = q * u - 0.05609638;
  q = q * u + 0.12984364;
  q = q * u + 0.09952302;
  q = q * u + 0.12081690;
  q = q * u + 0.11962517;
  let tail = exp_f32(-0.5 * (t * t)) * (q * u);
  return select(1.0 - tail, tail, x < 0.0);
}

fn gelu(argument: f32) -> f32 {
  let x = select(argument, -14.0, argument < -14.0);
  return x * normal_below(x);
}

// Beyond `far` derivatives are 0 and 1. NaN is neither less nor more.
fn within(argument: f32, far: f32) -> f32 {
  let x = select(argument, -far, argument < -far);
  return select(x, far, x > far);
}

fn silu_grad(argument: f32) -> f32 {
  let x = within(argument, 80.0);
  let s = logistic(x);
  return s + x * (s * logistic(-x));
}

fn gelu_grad(argument: f32) -> f32 {
  let x = within(argument, 12.0);
  return normal_below(x) + x * (0.3989422804 * exp_f32(-0.5 * (x * x)));
}

fn gelu_tanh_grad(argument: f32) -> f32 {
  let x = within(argument, 12.0);
  let z = 1.5957691216 * (x + 0.044715 * (x * x * x));
  let s = logistic(z);
  return s + x * (s * logistic(-z)) * (1.5957691216 * (1.0 + 0.134145 * (x * x)));
}
