use gristmill_core::rng::SecureRng;
use gristmill_core::{Code, Error, Result};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How a [`PoissonSampler`] draws.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PoissonOptions {
    /// How many examples there are to draw from: 1 to 2^32.
    pub examples: u64,
    /// The probability with which each of them is in a batch, 0 to 1.
    pub sample_rate: f64,
    /// None draws a secret key from the operating system, which a claim of privacy needs: whoever can compute the batches
    /// knows who was in them, and sampling hides nobody. With a seed, batches are the same on every run.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Batches are padded to a multiple of this; default 1, which pads nothing.
    #[serde(default = "one")]
    pub multiple: u32,
}

fn one() -> u32 {
    1
}

/// The examples of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct PoissonBatch {
    /// Which step this is, from 0.
    pub step: u64,
    /// Ascending indices of examples, then as much padding (index 0) as it takes.
    pub indices: Vec<u32>,
    /// One for an example, zero for padding.
    pub weights: Vec<f32>,
    /// How many of the rows are examples. Private, as is everything that follows from it.
    pub private_size: usize,
}

/// Draws batches for DP-SGD: every example is in a batch with the sample rate as its probability, independently of all
/// others. This is what accounting with a sample rate assumes; shuffled batches of a fixed size are something else.
///
/// An example is drawn where 64 bits of ChaCha20, keyed for the run and numbered by step and example, are below
/// `floor(2^64 q)`: the probability is exact to `2^-64`, and rounded down. Batches depend on the key and the number of the
/// step alone, so that a sampler that is saved and restored goes on with the very next batch, and never with the last one
/// again. A batch may be empty; a step with it still adds noise and still counts.
///
/// The saved state holds the key: keep it as safe as the data.
///
/// ```
/// use gristmill_privacy::{PoissonOptions, PoissonSampler};
///
/// let options = PoissonOptions { examples: 50_000, sample_rate: 0.01, seed: Some(7), multiple: 64 };
/// let mut sampler = PoissonSampler::new(&options)?;
/// let batch = sampler.next_batch();
/// assert!(batch.indices.len() % 64 == 0 && (400..600).contains(&batch.private_size));
/// assert_eq!(batch.weights.iter().sum::<f32>(), batch.private_size as f32);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct PoissonSampler {
    options: PoissonOptions,
    key: [u8; 32],
    step: u64,
}

/// Examples that are decided together. Each takes one word of the stream, and a second one where the first is a tie.
const CHUNK: u64 = 1 << 16;

impl PoissonSampler {
    /// A sampler before its first batch.
    ///
    /// # Errors
    /// Options out of range; an operating system that gives no key.
    pub fn new(options: &PoissonOptions) -> Result<Self> {
        check(options)?;
        let mut key = [0; 32];
        match options.seed {
            Some(seed) => key[..8].copy_from_slice(&seed.to_le_bytes()),
            None => SecureRng::from_os()?.fill(&mut key),
        }
        Ok(Self { options: *options, key, step: 0 })
    }

    /// How it draws.
    pub fn options(&self) -> &PoissonOptions {
        &self.options
    }

    /// How many batches were drawn.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// The next batch.
    pub fn next_batch(&mut self) -> PoissonBatch {
        let step = self.step;
        self.step += 1;
        let chunks = self.options.examples.div_ceil(CHUNK);
        let drawn: Vec<Vec<u32>> = (0..chunks).into_par_iter().map(|chunk| self.draw(step, chunk)).collect();
        let mut indices = drawn.concat();
        let private_size = indices.len();
        let mut weights = vec![1.0; private_size];
        let multiple = self.options.multiple as usize;
        if multiple > 1 {
            // An empty batch has the shape of the least one.
            let padded = private_size.max(1).next_multiple_of(multiple);
            indices.resize(padded, 0);
            weights.resize(padded, 0.0);
        }
        PoissonBatch { step, indices, weights, private_size }
    }

    fn draw(&self, step: u64, chunk: u64) -> Vec<u32> {
        let range = chunk * CHUNK..self.options.examples.min((chunk + 1) * CHUNK);
        // A power of two moves no bits; casting rounds towards zero.
        let threshold = (self.options.sample_rate * 2f64.powi(64)) as u128;
        let (high, low) = ((threshold >> 32) as u64, threshold as u32);
        let mut rng = ChaCha20Rng::from_seed(self.key);
        rng.set_stream(step);
        rng.set_word_pos(u128::from(chunk * 2 * CHUNK));
        range
            .filter(|_| {
                let word = u64::from(rng.next_u32());
                word < high || (word == high && rng.next_u32() < low)
            })
            .map(|i| i as u32)
            .collect()
    }
}

impl std::fmt::Debug for PoissonSampler {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoissonSampler")
            .field("options", &self.options)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

fn check(options: &PoissonOptions) -> Result<()> {
    let PoissonOptions { examples, sample_rate, multiple, .. } = *options;
    if !(1..=1 << 32).contains(&examples) {
        let message = format!("{examples} examples are not 1 to 4,294,967,296");
        return Err(Error::invalid_argument("examples", message));
    }
    crate::mechanism::check_rate(sample_rate)?;
    if multiple == 0 {
        return Err(Error::invalid_argument("multiple", "a batch is no multiple of 0"));
    }
    Ok(())
}

const FORMAT: &str = "gristmill-poisson-sampler/1";

/// The form in files.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Saved {
    format: String,
    options: PoissonOptions,
    /// In hexadecimal.
    key: String,
    step: u64,
}

impl From<PoissonSampler> for Saved {
    fn from(sampler: PoissonSampler) -> Self {
        let key = sampler.key.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { format: FORMAT.into(), options: sampler.options, key, step: sampler.step }
    }
}

impl TryFrom<Saved> for PoissonSampler {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        if saved.format != FORMAT {
            let message = format!("{:?} is not the state of a Poisson sampler", saved.format);
            return Err(Error::new(Code::CorruptData, message).hint(format!("this reads {FORMAT}")));
        }
        check(&saved.options)?;
        let damaged = || Error::new(Code::CorruptData, "the key of the sampler is not 64 hexadecimal digits");
        if saved.key.len() != 64 || !saved.key.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(damaged());
        }
        let mut key = [0; 32];
        for (i, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&saved.key[2 * i..2 * i + 2], 16).map_err(|_| damaged())?;
        }
        Ok(Self { options: saved.options, key, step: saved.step })
    }
}
