//! Hashed n-gram features and the importance weights built on them (DSIR).
//!
//! A bag of n-grams is hashed into a fixed number of buckets. Two bags are counted, of the target sample and
//! of the pool ("raw"), and each document of the pool gets the log-likelihood ratio of its own bag under the
//! two: `Σ ln(p_target(b) / p_raw(b))` over its n-grams' buckets `b` (Xie, Santurkar, Ma and Liang, *Data
//! Selection for Language Models via Importance Resampling*, 2023). No model is fitted beyond the counts,
//! they are integers and add up, so shards, threads and machines can count apart, in any order.
//!
//! Two settings:
//!
//! - [`HashedSpec::reference`] is the package `data-selection`, figure by figure: `wordpunct/1`, unigrams and
//!   bigrams, SHA-256 modulo 10,000, and 1e-8 added to every bucket's probability.
//! - [`HashedSpec::default`] hashes with 64 bits of its own (seeded), into 2^16 buckets, and adds half a
//!   count to every bucket instead. An n-gram that the target sample happens not to hold then costs about
//!   what its pool frequency says, instead of nine nats. On seven kinds of text, with samples of 120
//!   documents, that takes mean precision from 0.71 (sum) and 0.81 (mean per n-gram) to 0.91 and 0.94.
//!
//! The sum grows with the length of a document, so long ones dominate both ends of a ranking:
//! [`Importance::mean`] compares documents of different lengths.
//!
//! ```
//! use gristmill_ngram::hashed::{BucketCounts, Features, HashedSpec, ImportanceWeights};
//! use gristmill_ngram::normalize::Scratch;
//!
//! let features = Features::new(HashedSpec::default())?;
//! let mut scratch = Scratch::default();
//! let (mut target, mut raw) = (BucketCounts::new(&features), BucketCounts::new(&features));
//! target.add(&features, "The mill grinds the corn.", &mut scratch)?;
//! for text in ["The miller carries corn to the mill.", "Shares fell again on Friday."] {
//!     raw.add(&features, text, &mut scratch)?;
//! }
//! let weights = ImportanceWeights::new(features, &target, &raw)?;
//! let near = weights.score("Corn for the mill.", &mut scratch)?;
//! let far = weights.score("Shares rose on Monday.", &mut scratch)?;
//! assert!(near.mean() > far.mean());
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod hash;

use gristmill_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use self::hash::{NgramHasher, sha256_mod};
use crate::normalize::{Normalizer, Scratch};

/// How n-grams become features and counts become probabilities. Saved with every score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HashedSpec {
    /// Name or file of the normaliser that gives the words.
    pub normalizer: String,
    /// Length of the longest n-grams; all lengths from 1 are counted.
    pub ngrams: usize,
    /// Number of buckets.
    pub buckets: usize,
    /// How an n-gram becomes a bucket.
    pub hash: HashKind,
    /// How counts become probabilities.
    pub smoothing: Smoothing,
}

/// How an n-gram becomes a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum HashKind {
    /// XXH3-64 of each word, chained over the words of an n-gram.
    Xxh3 {
        /// Seed of the word hashes.
        seed: u64,
    },
    /// SHA-256 of the words joined by spaces, as one big-endian number, modulo the buckets.
    Sha256,
}

/// How counts become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "amount")]
pub enum Smoothing {
    /// This much is added to every relative frequency, which then no longer add up to one.
    Probability(f64),
    /// This much is added to every count; one half is the Jeffreys prior.
    Count(f64),
}

impl Default for HashedSpec {
    fn default() -> Self {
        Self {
            normalizer: Normalizer::UNICODE_WORDS.to_owned(),
            ngrams: 2,
            buckets: 1 << 16,
            hash: HashKind::Xxh3 { seed: 0 },
            smoothing: Smoothing::Count(0.5),
        }
    }
}

impl HashedSpec {
    /// What `data-selection` does by default.
    pub fn reference() -> Self {
        Self {
            normalizer: Normalizer::WORDPUNCT.to_owned(),
            ngrams: 2,
            buckets: 10_000,
            hash: HashKind::Sha256,
            smoothing: Smoothing::Probability(1e-8),
        }
    }
}

/// Turns text into buckets. Cheap to clone, shared between threads.
#[derive(Debug, Clone)]
pub struct Features {
    spec: HashedSpec,
    normalizer: Normalizer,
}

/// Orders beyond this would be counted about once each.
const MAX_NGRAMS: usize = 8;
/// Two tables of this many numbers are what a machine surely has room for.
const MAX_BUCKETS: usize = 1 << 28;

impl Features {
    /// Checks a spec and resolves its normaliser.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for sizes out of range and smoothing that is not positive; those of
    /// [`Normalizer::resolve`].
    pub fn new(spec: HashedSpec) -> Result<Self> {
        if !(1..=MAX_NGRAMS).contains(&spec.ngrams) {
            return Err(Error::invalid_argument(
                "ngrams",
                format!("must be 1 to {MAX_NGRAMS}, not {}", spec.ngrams),
            ));
        }
        if !(1..=MAX_BUCKETS).contains(&spec.buckets) {
            let message = format!("must be 1 to {MAX_BUCKETS}, not {}", spec.buckets);
            return Err(Error::invalid_argument("buckets", message));
        }
        let (Smoothing::Probability(amount) | Smoothing::Count(amount)) = spec.smoothing;
        if !(amount > 0.0 && amount.is_finite()) {
            let message =
                format!("must be positive, not {amount}: an unseen n-gram would weigh infinitely much");
            return Err(Error::invalid_argument("smoothing", message));
        }
        let normalizer = Normalizer::resolve(&spec.normalizer)?;
        Ok(Self { spec, normalizer })
    }

    /// What these features are.
    pub fn spec(&self) -> &HashedSpec {
        &self.spec
    }

    /// The normaliser that the words come from.
    pub fn normalizer(&self) -> &Normalizer {
        &self.normalizer
    }

    /// Calls `f` with the bucket of every n-gram of `text`; returns the number of words.
    ///
    /// # Errors
    /// Those of [`Normalizer::for_each_token`].
    #[inline]
    pub fn for_each_bucket(
        &self,
        text: &str,
        scratch: &mut Scratch,
        mut f: impl FnMut(usize),
    ) -> Result<u64> {
        let mut words = 0;
        match self.spec.hash {
            HashKind::Xxh3 { seed } => {
                let mut hasher = NgramHasher::new(seed, self.spec.ngrams, self.spec.buckets);
                self.normalizer.for_each_token(text, scratch, |word| {
                    words += 1;
                    hasher.push(word, &mut f);
                })?;
            }
            HashKind::Sha256 => {
                // The words of the current n-gram, joined by spaces, and where each begins.
                let mut joined = String::new();
                let mut starts = std::collections::VecDeque::with_capacity(self.spec.ngrams);
                self.normalizer.for_each_token(text, scratch, |word| {
                    words += 1;
                    if starts.len() == self.spec.ngrams {
                        starts.pop_front();
                        let cut = starts.front().copied().unwrap_or(joined.len());
                        joined.drain(..cut);
                        starts.iter_mut().for_each(|s| *s -= cut);
                    }
                    if !joined.is_empty() {
                        joined.push(' ');
                    }
                    starts.push_back(joined.len());
                    joined.push_str(word);
                    starts.iter().for_each(|s| f(sha256_mod(&joined.as_bytes()[*s..], self.spec.buckets)));
                })?;
            }
        }
        Ok(words)
    }
}

/// How many n-grams fell into each bucket. Counts of parts of a corpus add up to those of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketCounts {
    counts: Vec<u64>,
    total: u64,
}

impl BucketCounts {
    /// No n-grams yet.
    pub fn new(features: &Features) -> Self {
        Self { counts: vec![0; features.spec.buckets], total: 0 }
    }

    /// Counts the n-grams of a document; returns its number of words.
    ///
    /// # Errors
    /// Those of [`Features::for_each_bucket`].
    pub fn add(&mut self, features: &Features, text: &str, scratch: &mut Scratch) -> Result<u64> {
        let Self { counts, total } = self;
        features.for_each_bucket(text, scratch, |bucket| {
            counts[bucket] += 1;
            *total += 1;
        })
    }

    /// Adds the counts of another part.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when the other has another number of buckets.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.counts.len() != other.counts.len() {
            let message = format!("cannot add {} buckets to {}", other.counts.len(), self.counts.len());
            return Err(Error::invalid_argument("buckets", message));
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
        self.total += other.total;
        Ok(())
    }

    /// N-grams of each bucket.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// N-grams in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    fn ln_probability(&self, bucket: usize, smoothing: Smoothing) -> f64 {
        let (count, total) = (self.counts[bucket] as f64, self.total as f64);
        match smoothing {
            Smoothing::Probability(amount) => (count / total + amount).ln(),
            Smoothing::Count(amount) => ((count + amount) / (total + amount * self.counts.len() as f64)).ln(),
        }
    }
}

/// A document's importance weight, as sums from which every average follows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Importance {
    /// Log of the importance weight: the sum over all n-grams, in nats.
    pub sum: f64,
    /// Number of n-grams.
    pub ngrams: u64,
    /// Number of words.
    pub words: u64,
}

impl Importance {
    /// The mean over n-grams; NaN for a document without any.
    pub fn mean(&self) -> f64 {
        self.sum / self.ngrams as f64
    }
}

/// Log-ratios of bucket probabilities, ready to weigh documents. Shared between threads.
#[derive(Debug, Clone)]
pub struct ImportanceWeights {
    features: Features,
    log_ratio: Vec<f64>,
}

impl ImportanceWeights {
    /// From the counts of the target sample and of the pool.
    ///
    /// # Errors
    /// [`Code::EmptyInput`] when either has no n-gram; [`Code::InvalidArgument`] when a number of buckets is
    /// not that of `features`.
    pub fn new(features: Features, target: &BucketCounts, raw: &BucketCounts) -> Result<Self> {
        let buckets = features.spec.buckets;
        for (counts, what) in [(target, "target"), (raw, "pool")] {
            if counts.counts.len() != buckets {
                let message = format!("the {what} has {} buckets, not {buckets}", counts.counts.len());
                return Err(Error::invalid_argument("buckets", message));
            }
            if counts.total == 0 {
                return Err(Error::new(
                    Code::EmptyInput,
                    format!("the {what} has no words to learn weights from"),
                ));
            }
        }
        let smoothing = features.spec.smoothing;
        let ratio = |b| target.ln_probability(b, smoothing) - raw.ln_probability(b, smoothing);
        Ok(Self { log_ratio: (0..buckets).map(ratio).collect(), features })
    }

    /// The features that are weighed.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Log-ratio of each bucket, in nats.
    pub fn log_ratios(&self) -> &[f64] {
        &self.log_ratio
    }

    /// The importance weight of a document.
    ///
    /// # Errors
    /// Those of [`Features::for_each_bucket`].
    pub fn score(&self, text: &str, scratch: &mut Scratch) -> Result<Importance> {
        let mut out = Importance::default();
        out.words = self.features.for_each_bucket(text, scratch, |bucket| {
            out.sum += self.log_ratio[bucket];
            out.ngrams += 1;
        })?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(features: &Features, texts: &[&str]) -> BucketCounts {
        let mut counts = BucketCounts::new(features);
        for text in texts {
            counts.add(features, text, &mut Scratch::default()).unwrap();
        }
        counts
    }

    #[test]
    fn counts_every_ngram_once_and_parts_add_up() {
        let features = Features::new(HashedSpec { ngrams: 3, ..HashedSpec::default() }).unwrap();
        let whole = counts(&features, &["a b c d", "", "e", "f g"]);
        assert_eq!(whole.total(), (4 + 3 + 2) + 1 + (2 + 1));
        assert_eq!(whole.counts().iter().sum::<u64>(), whole.total());
        let mut parts = counts(&features, &["f g", "e"]);
        parts.merge(&counts(&features, &["a b c d"])).unwrap();
        assert_eq!(parts, whole);
    }

    #[test]
    fn an_ngram_has_one_bucket_wherever_it_stands() {
        for spec in [HashedSpec::default(), HashedSpec::reference()] {
            let features = Features::new(HashedSpec { ngrams: 3, ..spec }).unwrap();
            let buckets = |text| {
                let mut out = Vec::new();
                features.for_each_bucket(text, &mut Scratch::default(), |b| out.push(b)).unwrap();
                out.sort_unstable();
                out
            };
            // Shared: x, y, z, "x y", "y z", "x y z".
            let (left, right) = (buckets("a b x y z"), buckets("x y z c"));
            let shared = left.iter().filter(|b| right.contains(b)).count();
            assert_eq!(shared, 6, "{:?}", features.spec().hash);
            assert_ne!(buckets("x y"), buckets("y x"));
        }
    }

    #[test]
    fn the_seed_moves_buckets() {
        let features = |seed| {
            Features::new(HashedSpec { hash: HashKind::Xxh3 { seed }, ..HashedSpec::default() }).unwrap()
        };
        let text = ["one two three"];
        assert_eq!(counts(&features(1), &text), counts(&features(1), &text));
        assert_ne!(counts(&features(1), &text), counts(&features(2), &text));
    }

    #[test]
    fn refuses_what_cannot_work() {
        let code = |spec| Features::new(spec).unwrap_err().code();
        assert_eq!(code(HashedSpec { ngrams: 0, ..HashedSpec::default() }), Code::InvalidArgument);
        assert_eq!(code(HashedSpec { buckets: 0, ..HashedSpec::default() }), Code::InvalidArgument);
        assert_eq!(
            code(HashedSpec { smoothing: Smoothing::Count(0.0), ..HashedSpec::default() }),
            Code::InvalidArgument
        );
        let features = Features::new(HashedSpec::default()).unwrap();
        let (some, none) = (counts(&features, &["a"]), counts(&features, &[" "]));
        assert_eq!(
            ImportanceWeights::new(features.clone(), &none, &some).unwrap_err().code(),
            Code::EmptyInput
        );
        let other = Features::new(HashedSpec { buckets: 7, ..HashedSpec::default() }).unwrap();
        assert_eq!(ImportanceWeights::new(other, &some, &some).unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn an_empty_document_has_no_mean() {
        let features = Features::new(HashedSpec::default()).unwrap();
        let some = counts(&features, &["a b"]);
        let weights = ImportanceWeights::new(features, &some, &some).unwrap();
        let score = weights.score("", &mut Scratch::default()).unwrap();
        assert_eq!((score.sum, score.ngrams), (0.0, 0));
        assert!(score.mean().is_nan());
        // Target and pool alike: every ratio is 0.
        assert_eq!(weights.score("b a", &mut Scratch::default()).unwrap().sum, 0.0);
    }

    #[test]
    fn a_spec_survives_json() {
        for spec in [HashedSpec::default(), HashedSpec::reference()] {
            let json = serde_json::to_string(&spec).unwrap();
            assert_eq!(serde_json::from_str::<HashedSpec>(&json).unwrap(), spec, "{json}");
        }
    }
}
