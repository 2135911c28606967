use gristmill_core::ops::RopeOptions;
use gristmill_core::{Device, Result, Tensor};

use crate::config::Rope;

/// Cosines and sines of the rotary angles, by position and pair: `[positions, dims / 2]`.
#[derive(Debug)]
pub(super) struct Rotary {
    cos: Tensor,
    sin: Tensor,
}

impl Rotary {
    /// Tables for the positions below `longest`. Angles are products in `f32`, as in the code that the models were
    /// trained with; at position 8,000 one in `f64` would differ in the fourth digit.
    pub(super) fn new(rope: &Rope, longest: usize, device: &Device) -> Result<Self> {
        let frequencies = rope.frequencies();
        let shape = [longest, frequencies.len()];
        let table = |f: fn(f32) -> f32| {
            let angles = (0..longest).flat_map(|p| frequencies.iter().map(move |w| p as f32 * w));
            device.tensor(angles.map(f).collect::<Vec<f32>>(), shape)
        };
        Ok(Self { cos: table(f32::cos)?, sin: table(f32::sin)? })
    }

    /// Turns the heads of queries or keys, in place.
    pub(super) fn turn(&self, x: &Tensor, positions: &Tensor, head_dim: usize) -> Result<()> {
        x.rope(&self.cos, &self.sin, positions, RopeOptions { head_dim, interleaved: false })
    }
}
