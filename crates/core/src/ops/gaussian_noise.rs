use super::{Cost, Operation, Promise, check};
use crate::rng::{chacha20_block, key_words, normal_pair, philox4x32_10};
use crate::{DType, Error, Result, Tensor};

/// Where the bits of noise come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoiseGenerator {
    /// Philox4x32-10 (Salmon et al. 2011): reproducible, and no protection, since its outputs give its key away.
    Philox,
    /// ChaCha20 (RFC 8439), under a key that nobody else knows.
    ChaCha20,
}

impl NoiseGenerator {
    /// Both of them.
    pub const ALL: [NoiseGenerator; 2] = [NoiseGenerator::Philox, NoiseGenerator::ChaCha20];

    /// The name in options.
    pub const fn name(self) -> &'static str {
        match self {
            NoiseGenerator::Philox => "philox",
            NoiseGenerator::ChaCha20 => "chacha20",
        }
    }
}

/// Adds Gaussian noise: `y[i] = (y[i] + std · N(i)) · scale`, where `N(i)` is standard normal and depends on the
/// generator, the key, the step, the number of the tensor and `i` alone, whatever the device and however the work is
/// split: the same bits everywhere.
///
/// Numbers `2 p` and `2 p + 1` are [`crate::rng::normal_pair`] of 128 bits: of Philox the block with the counter
/// `(p, tensor, step)` (the step as two words, low first) under the first 8 bytes of the key, whose others must be 0; of
/// ChaCha20 words `4 (p mod 4)` and on of the block with the counter `p / 4` and the nonce `(tensor, step)`. A key, a step
/// and a tensor must never come together twice.
///
/// `y` is `f32`, of at most 2^33 elements. `std` is rounded up and `scale` to the nearest `f32`; then there are two
/// products and an addition, each rounded to the nearest. What is below the normal numbers of `f32` may count as 0.
///
/// A 64-bit uniform behind each radius lets the noise reach 9.4. The numbers are still those of `f32`: an attacker who sees
/// them exactly learns something from their last bits (Mironov 2012), which [`super::GridSum`] is there to prevent.
#[derive(Clone)]
pub struct GaussianNoise {
    /// What is added to, of any shape.
    pub y: Tensor,
    /// Where the bits come from.
    pub generator: NoiseGenerator,
    /// The key.
    pub key: [u8; 32],
    /// Number of the step.
    pub step: u64,
    /// Number of the tensor within the step.
    pub tensor: u32,
    /// Standard deviation of the noise.
    pub std: f64,
    /// What the sum is multiplied by.
    pub scale: f64,
}

// Without the key, which must not end up in a log.
impl std::fmt::Debug for GaussianNoise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { y, generator, step, tensor, std, scale, .. } = self;
        let mut text = f.debug_struct("GaussianNoise");
        text.field("y", y).field("generator", generator).field("step", step).field("tensor", tensor);
        text.field("std", std).field("scale", scale).finish_non_exhaustive()
    }
}

impl GaussianNoise {
    /// Elements of a tensor at most.
    pub const MOST: u64 = 1 << 33;

    /// `std` and `scale` in `f32`.
    pub fn factors(&self) -> [f32; 2] {
        let near = self.std as f32;
        [if f64::from(near) < self.std { near.next_up() } else { near }, self.scale as f32]
    }

    /// The words of the key.
    pub fn key_words(&self) -> [u32; 8] {
        key_words(&self.key)
    }

    /// The step in words, low first.
    pub fn step_words(&self) -> [u32; 2] {
        [self.step as u32, (self.step >> 32) as u32]
    }

    /// Standard normal numbers `2 p` and `2 p + 1`: the definition.
    pub fn pair(&self, p: u32) -> [f32; 2] {
        let ([s0, s1], key) = (self.step_words(), self.key_words());
        normal_pair(match self.generator {
            NoiseGenerator::Philox => philox4x32_10([p, self.tensor, s0, s1], [key[0], key[1]]),
            NoiseGenerator::ChaCha20 => {
                let block = chacha20_block(&key, p / 4, [self.tensor, s0, s1]);
                let at = 4 * (p % 4) as usize;
                [block[at], block[at + 1], block[at + 2], block[at + 3]]
            }
        })
    }
}

impl Operation for GaussianNoise {
    const NAME: &'static str = "gaussian_noise";
    const PROMISE: Promise = Promise::Exact;

    fn inputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn updates(&self) -> Vec<&Tensor> {
        vec![&self.y]
    }

    fn check(&self) -> Result<()> {
        check::dtype("y", &self.y, &[DType::F32])?;
        if self.y.len() as u64 > Self::MOST {
            return Err(Error::invalid_argument(
                "y",
                format!("at most 2^33 elements, given {}", self.y.len()),
            ));
        }
        let [std, scale] = self.factors();
        if !(std == 0.0 || std.is_normal() && std > 0.0) {
            let why = format!("expected 0 or a positive number that f32 has, given {}", self.std);
            return Err(Error::invalid_argument("std", why));
        }
        if !scale.is_normal() {
            let why = format!("expected a number other than 0 that f32 has, given {}", self.scale);
            return Err(Error::invalid_argument("scale", why));
        }
        if self.generator == NoiseGenerator::Philox && self.key[8..].iter().any(|&b| b != 0) {
            return Err(Error::invalid_argument("key", "a key of Philox has 8 bytes; the others must be 0"));
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        // About what a pair of numbers takes of integer and of floating-point operations.
        Cost { flops: 60 * self.y.len() as u64, bytes: 2 * self.y.bytes() as u64 }
    }
}

/// The noise of [`Tensor::add_gaussian_noise`].
#[derive(Clone, Copy)]
pub struct NoiseOptions {
    /// Where the bits come from.
    pub generator: NoiseGenerator,
    /// The key.
    pub key: [u8; 32],
    /// Number of the step.
    pub step: u64,
    /// Number of the tensor within the step.
    pub tensor: u32,
    /// Standard deviation of the noise.
    pub std: f64,
    /// What the sum is multiplied by.
    pub scale: f64,
}

impl Tensor {
    /// Adds Gaussian noise to this tensor, and scales it; see [`GaussianNoise`].
    ///
    /// # Errors
    /// [`crate::Code::DtypeMismatch`], [`crate::Code::InvalidArgument`], [`crate::Code::Disposed`].
    pub fn add_gaussian_noise(&self, options: NoiseOptions) -> Result<()> {
        let NoiseOptions { generator, key, step, tensor, std, scale } = options;
        self.device().run(GaussianNoise { y: self.clone(), generator, key, step, tensor, std, scale })
    }
}
