use gristmill_core::Result;
use gristmill_core::ops::{GaussianNoise, NoiseGenerator};

use super::Run;
use crate::window::{Window, pieces};

const KEY: [&str; 8] = ["key0", "key1", "key2", "key3", "key4", "key5", "key6", "key7"];

pub(super) fn run(run: &mut Run, op: &GaussianNoise) -> Result<()> {
    let ([std, scale], [step0, step1]) = (op.factors(), op.step_words());
    // Elements of a block of the generator.
    let (generator, each) = match op.generator {
        NoiseGenerator::Philox => ("philox", 2),
        NoiseGenerator::ChaCha20 => ("chacha20", 8),
    };
    for (first, len) in pieces(op.y.len(), run.ctx.window_len(4) / each * each) {
        let y = Window::of(&op.y, run.buffers, first, len)?;
        let kernel = run.ctx.kernel("gaussian_noise").def("GENERATOR", generator).write(&y);
        let words = KEY.into_iter().zip(op.key_words());
        words
            .fold(kernel, |kernel, (name, word)| kernel.param(name, word))
            .count("n", len)
            .param("y_at", y.at)
            .count("block", first / each)
            .param("step0", step0)
            .param("step1", step1)
            .param("tensor", op.tensor)
            .number("std", std)
            .number("scale", scale)
            .run(run.ctx, len.div_ceil(256 * each), 8 * len as u64)?;
    }
    Ok(())
}
