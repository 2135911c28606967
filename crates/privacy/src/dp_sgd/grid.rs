//! The hardened sums: clipped gradients of samples on a grid of integers, added up exactly, and noise on the same grid.
//!
//! Floating-point numbers tell more than their values: which of them can come out of an addition depends on what was added
//! (Mironov 2012, "On significance of the least significant bits for differential privacy"). On a grid of `2^30` steps to the
//! sensitivity, sums are exact whatever their order, noise is an integer too, and nothing is left to be told.

use gristmill_core::{DType, Device, Error, Result, Tensor};

use super::layer::{Gradient, LayerShape, Record};

/// A grid for sums of this sensitivity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    exponent: i32,
}

impl Grid {
    pub(super) fn of(sensitivity: f64) -> Self {
        // At least 2^30 steps to the sensitivity, and less than 2^31, which is what fits.
        Self { exponent: sensitivity.log2().floor() as i32 - 30 }
    }

    /// What lies between two of its points.
    pub(super) fn step(self) -> f64 {
        f64::from(self.exponent).exp2()
    }

    /// By how much rounding may lengthen the gradient of so many parameters.
    pub(super) fn lengthens(self, parameters: usize) -> f64 {
        0.5 * (parameters as f64).sqrt() * self.step()
    }
}

/// The sums of a layer, as pairs of words.
#[derive(Debug)]
pub(super) struct GridSums {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
}

impl GridSums {
    pub(super) fn zeros(device: &Device, shape: &LayerShape) -> Result<Self> {
        let zeros = |n: usize| device.zeros(DType::U32, [n, 2]);
        Ok(Self { weight: zeros(shape.weight.iter().product())?, bias: shape.bias.map(zeros).transpose()? })
    }

    /// Adds the gradients of the samples, each times its factor and rounded. Gradients are made one after the other: as many as
    /// one of them takes is all the memory that it takes.
    pub(super) fn add(&self, record: &Record, factors: &Tensor, grid: Grid) -> Result<()> {
        let (device, samples) = (factors.device(), factors.len());
        let ones: Vec<f32> =
            (0..samples * samples).map(|i| f32::from(u8::from(i % (samples + 1) == 0))).collect();
        let ones = device.tensor(ones, [samples, samples])?;
        for b in 0..samples {
            let one = Gradient::zeros(device, &record.shape)?;
            record.add_clipped(&ones.narrow(b, 1)?.reshape([samples])?, &one)?;
            let factor = factors.narrow(b, 1)?;
            let add = |gradient: &Tensor, sums: &Tensor| {
                gradient.reshape([1, gradient.len()])?.grid_sum(&factor, sums, grid.exponent)
            };
            add(&one.weight, &self.weight)?;
            if let (Some(gradient), Some(sums)) = (&one.bias, &self.bias) {
                add(gradient, sums)?;
            }
        }
        Ok(())
    }

    /// The sums with noise, brought back to numbers: reads them, and gives tensors in the shape of the layer.
    pub(super) fn released(
        &self,
        shape: &LayerShape,
        grid: Grid,
        scale: f64,
        noise: &mut dyn FnMut(&mut [i64]) -> Result<()>,
    ) -> Result<Gradient> {
        let mut one = |sums: &Tensor, shape: &[usize]| {
            let words = sums.to_vec::<u32>()?;
            let whole = |pair: &[u32]| (u64::from(pair[1]) << 32 | u64::from(pair[0])) as i64;
            let mut drawn = vec![0; words.len() / 2];
            noise(&mut drawn)?;
            let value = |(pair, noise): (&[u32], &i64)| {
                // Both are far from the ends of 64 bits.
                (whole(pair).saturating_add(*noise) as f64 * grid.step() * scale) as f32
            };
            let values: Vec<f32> = words.chunks_exact(2).zip(&drawn).map(value).collect();
            sums.device().tensor(values, shape.to_vec())
        };
        let weight = one(&self.weight, &shape.weight)?;
        let bias = self.bias.as_ref().map(|sums| one(sums, &[sums.len() / 2])).transpose()?;
        Ok::<_, Error>(Gradient { weight, bias })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_2_to_the_30_steps_and_fits_into_31_bits() {
        for bound in [1e-12, 0.3, 1.0, 1.999_999, 2.0, 7.5, 1e12] {
            let steps = bound / Grid::of(bound).step();
            assert!((2f64.powi(30)..2f64.powi(31)).contains(&steps), "{bound}: {steps}");
        }
        assert_eq!(Grid::of(1.0).lengthens(4), 2f64.powi(-30));
    }
}
