//! A training step of one linear layer, private or not, for `benches/peers/torch_dp.py`.
//!
//! ```text
//! clip_bench HOW INPUTS OUTPUTS SAMPLES LENGTH ROUNDS
//! ```
//!
//! HOW is `plain` (the gradient of the weight over all rows), `flat` (norms, then the sum with factors) or `fused` (clipping
//! by itself). Prints, as JSON, the seconds of that alone and of the whole step with it (output, gradient of the input),
//! each the fastest of some rounds; the path that was taken; and the most memory that the process ever had.

use std::time::Instant;

use gristmill_core::ops::{
    ClipLinearOptions, ClipRule, Draw, Fill, LinearSizes, Matmul, NormsMethod, NormsOptions,
};
use gristmill_core::{DType, Device, Error, Result, Tensor};

/// What a step works on.
struct Layer {
    device: Device,
    x: Tensor,
    dy: Tensor,
    weight: Tensor,
    offsets: Tensor,
    factors: Tensor,
    /// Output, gradient of the input, gradient of the weight.
    y: Tensor,
    dx: Tensor,
    grad: Tensor,
    method: NormsMethod,
}

impl Layer {
    fn new(device: Device, [d, p, samples, length]: [usize; 4]) -> Result<Self> {
        let rows = samples * length;
        let normal = |shape: &[usize], stream| device.philox(shape, Draw::Normal, 1, stream, 0);
        let offsets = (0..=samples).map(|sample| (sample * length) as u32).collect();
        Ok(Self {
            x: normal(&[rows, d], 1)?,
            dy: normal(&[rows, p], 2)?,
            weight: normal(&[p, d], 3)?,
            offsets: device.tensor(offsets, [samples + 1])?,
            factors: device.tensor(vec![0.5f32; samples], [samples])?,
            y: device.empty(DType::F32, [rows, p])?,
            dx: device.empty(DType::F32, [rows, d])?,
            grad: device.zeros(DType::F32, [p, d])?,
            method: NormsMethod::fewest_operations(LinearSizes { rows, d, p, samples }),
            device,
        })
    }

    fn product(&self, a: &Tensor, b: &Tensor, out: &Tensor, [trans_a, trans_b]: [bool; 2]) -> Result<()> {
        let (a, b, out) = (a.clone(), b.clone(), out.clone());
        self.device.run(Matmul { a, b, out, trans_a, trans_b, alpha: 1.0, beta: 0.0 })
    }

    /// The gradient of the weight; how it was made.
    fn gradient(&self, how: &str) -> Result<&'static str> {
        if how == "plain" {
            return self.product(&self.dy, &self.x, &self.grad, [true, false]).map(|()| "product");
        }
        self.device.run(Fill { out: self.grad.clone(), value: 0.0 })?;
        if how == "flat" {
            // Factors come of the norms of all layers, so here they are some.
            self.x.per_sample_norms(&self.dy, &self.offsets, NormsOptions::default())?;
            self.x.clipped_grad(&self.dy, &self.offsets, &self.factors, &self.grad, None)?;
            return Ok(self.method.name());
        }
        let options =
            ClipLinearOptions { bias: None, weights: None, max_norm: 1.0, rule: ClipRule::Flat, path: None };
        Ok(self.x.clip_linear_fused(&self.dy, &self.offsets, &self.grad, options)?.path.name())
    }

    fn step(&self, how: &str) -> Result<&'static str> {
        self.product(&self.x, &self.weight, &self.y, [false, true])?;
        self.product(&self.dy, &self.weight, &self.dx, [false, false])?;
        self.gradient(how)
    }

    /// The fastest of some rounds, after one that does not count.
    fn seconds(&self, rounds: usize, work: impl Fn() -> Result<&'static str>) -> Result<f64> {
        let mut fastest = f64::INFINITY;
        for round in 0..=rounds {
            let start = Instant::now();
            work()?;
            self.device.synchronize()?;
            if round > 0 {
                fastest = fastest.min(start.elapsed().as_secs_f64());
            }
        }
        Ok(fastest)
    }
}

/// The most memory that the process ever had, where the system tells.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

fn main() -> Result<()> {
    let wrong = || Error::invalid_argument("arguments", "HOW INPUTS OUTPUTS SAMPLES LENGTH ROUNDS");
    let mut arguments = std::env::args().skip(1);
    let how =
        arguments.next().filter(|how| ["plain", "flat", "fused"].contains(&&**how)).ok_or_else(wrong)?;
    let numbers: Vec<usize> = arguments.map_while(|word| word.parse().ok()).collect();
    let [d, p, samples, length, rounds] = numbers[..] else { return Err(wrong()) };
    let layer = Layer::new(gristmill_cpu::open()?, [d, p, samples, length])?;
    let path = layer.step(&how)?;
    let gradient = layer.seconds(rounds, || layer.gradient(&how))?;
    let step = layer.seconds(rounds, || layer.step(&how))?;
    let peak = peak_bytes().map_or("null".into(), |bytes| bytes.to_string());
    println!(r#"{{"gradient":{gradient:e},"step":{step:e},"path":"{path}","peakBytes":{peak}}}"#);
    Ok(())
}
