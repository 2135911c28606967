use super::{Cost, Operation, Promise, check};
use crate::{DType, Device, Result, Tensor};

/// What a draw looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Draw {
    /// 32 random bits as `u32`.
    Bits,
    /// Uniform on (0, 1) as `f32`: `((bits >> 9) + 1/2) · 2^-23`, the same on every backend.
    Uniform,
    /// Standard normal as `f32`, by Box and Muller from the uniform numbers of two draws:
    /// `sqrt(−2 ln u0) · cos(2π u1)` and the same with `sin`.
    Normal,
}

/// Random numbers of the counter-based generator Philox4x32-10 (Salmon et al. 2011): element `i` depends on the seed,
/// the stream and `offset + i` alone, whatever the device and however the work is split.
///
/// Draw `g = offset + i` is word `g mod 4` of the block with counter `(g / 4, stream)` (each as two 32-bit words, low
/// first) under the key `seed` (likewise). The normal number `g` takes the uniforms of draws `g` and `g ^ 1`, with the
/// cosine for even `g`. This is for reproducible work; it is no generator for privacy.
#[derive(Debug, Clone)]
pub struct Philox {
    /// `u32` for bits, `f32` otherwise; any shape.
    pub out: Tensor,
    /// The key.
    pub seed: u64,
    /// Which of 2^64 independent sequences.
    pub stream: u64,
    /// Number of the first draw.
    pub offset: u64,
    /// What to draw.
    pub draw: Draw,
}

impl Operation for Philox {
    const NAME: &'static str = "philox";
    const PROMISE: Promise = Promise::Exact;

    fn inputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn promise(&self) -> Promise {
        // Logarithms and cosines differ in their last bits.
        if self.draw == Draw::Normal { Promise::Tolerance } else { Promise::Exact }
    }

    fn check(&self) -> Result<()> {
        let dtype = if self.draw == Draw::Bits { DType::U32 } else { DType::F32 };
        check::dtype("out", &self.out, &[dtype])?;
        if self.offset.checked_add(self.out.len() as u64).is_none() {
            return Err(crate::Error::invalid_argument("offset", "the sequence ends at 2^64 draws"));
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        Cost { flops: 20 * self.out.len() as u64, bytes: check::bytes(&[&self.out]) }
    }
}

impl Device {
    /// Random numbers; see [`Philox`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::InvalidArgument`], [`crate::Code::Disposed`].
    pub fn philox(
        &self,
        shape: impl Into<Box<[usize]>>,
        draw: Draw,
        seed: u64,
        stream: u64,
        offset: u64,
    ) -> Result<Tensor> {
        let out = self.empty(if draw == Draw::Bits { DType::U32 } else { DType::F32 }, shape)?;
        self.run(Philox { out: out.clone(), seed, stream, offset, draw })?;
        Ok(out)
    }
}
