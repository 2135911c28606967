use gristmill_core::Result;
use gristmill_core::ops::{GaussianNoise, NoiseGenerator};

use super::strided;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &GaussianNoise, cx: &mut Context<'_>) -> Result<()> {
    let n = op.y.len();
    if n == 0 {
        return Ok(());
    }
    let [std, scale] = op.factors();
    let args = Args::new().u64(cx.at(&op.y)?).size(n);
    let args = op.key_words().into_iter().chain(op.step_words()).fold(args, Args::u32);
    let args = args.u32(op.tensor).f32(std).f32(scale).finish();
    // Elements of a thread.
    let (kernel, each) = match op.generator {
        NoiseGenerator::Philox => ("gaussian_noise_philox", 2),
        NoiseGenerator::ChaCha20 => ("gaussian_noise_chacha20", 8),
    };
    cx.launch("gaussian_noise", kernel, strided(n.div_ceil(each)), 0, &args)
}
