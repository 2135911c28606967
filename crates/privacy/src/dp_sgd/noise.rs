//! The noise of a run: which generator under which key, and where in its sequence a step is.

use gristmill_core::ops::{GaussianNoise, NoiseGenerator};
use gristmill_core::rng::SecureRng;
use gristmill_core::{DType, Device, Error, Result, Tensor};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

use super::options::{DpSgdOptions, NoiseSource};
use crate::discrete_gaussian::{WIDEST, discrete_gaussian};

/// The tensor of a step that is the noise of a count.
const COUNT: u32 = u32::MAX;

/// The source of noise. The key of one that protects somebody comes from the operating system and is in no file.
pub(super) struct Noise {
    generator: NoiseGenerator,
    key: [u8; 32],
    /// The next stream of discrete noise: each is used once.
    stream: u64,
}

/// Numbers that are drawn from one stream.
const CHUNK: usize = 1 << 12;

impl Noise {
    /// One with the key of the seed, or else with a fresh one.
    pub(super) fn new(options: &DpSgdOptions) -> Result<Self> {
        let mut key = [0; 32];
        let generator = match options.rng {
            NoiseSource::Reproducible => {
                key[..8].copy_from_slice(&options.seed.unwrap_or(0).to_le_bytes());
                NoiseGenerator::Philox
            }
            NoiseSource::Secure | NoiseSource::Discrete => {
                SecureRng::from_os()?.fill(&mut key);
                NoiseGenerator::ChaCha20
            }
        };
        Ok(Self { generator, key, stream: 0 })
    }

    /// `y ← (y + std · N) · scale` with the noise of a tensor of a step.
    pub(super) fn add(&self, y: &Tensor, step: u64, tensor: u32, std: f64, scale: f64) -> Result<()> {
        let (y, generator, key) = (y.clone(), self.generator, self.key);
        y.device().clone().run(GaussianNoise { y, generator, key, step, tensor, std, scale })
    }

    /// Independent numbers of the discrete Gaussian.
    pub(super) fn draw(&mut self, sigma: u64, out: &mut [i64]) -> Result<()> {
        if !(1..=WIDEST).contains(&sigma) {
            let message = format!("noise of {sigma} steps of the grid is not 1 to {WIDEST}");
            return Err(Error::invalid_argument("noiseMultiplier", message));
        }
        let (key, first) = (self.key, self.stream);
        self.stream += out.len().div_ceil(CHUNK) as u64;
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(i, chunk)| {
            let mut rng = ChaCha20Rng::from_seed(key);
            rng.set_stream(first + i as u64);
            chunk.iter_mut().for_each(|x| *x = discrete_gaussian(sigma, &mut rng));
        });
        Ok(())
    }

    /// The noise of the count of a step, as a tensor of one element.
    pub(super) fn of_count(&self, device: &Device, step: u64, std: f64) -> Result<Tensor> {
        let noise = device.zeros(DType::F32, [1])?;
        self.add(&noise, step, COUNT, std, 1.0)?;
        Ok(noise)
    }
}

impl std::fmt::Debug for Noise {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Noise").field("generator", &self.generator).finish_non_exhaustive()
    }
}
