//! Options of `fit`.

use gristmill_data::OnError;
use serde::{Deserialize, Serialize};

use super::size::ByteSize;
use super::source::SourceOptions;

/// The constants of absolute discounting when the counts allow no estimate: `true` for those of the paper
/// (0.5, 1, 1.5) or the three of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DiscountFallback {
    /// Whether to fall back to 0.5, 1 and 1.5.
    Published(bool),
    /// The discounts of n-grams seen once, twice, and more often.
    Given([f64; 3]),
}

impl DiscountFallback {
    /// The three discounts, if a fall-back is wanted.
    pub fn discounts(self) -> Option<[f64; 3]> {
        match self {
            Self::Published(true) => Some([0.5, 1.0, 1.5]),
            Self::Published(false) => None,
            Self::Given(d) => Some(d),
        }
    }
}

/// Estimate a language model from a corpus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FitOptions {
    /// The text to learn from.
    pub corpus: SourceOptions,
    /// The model file: Gristmill's own form, or ARPA when the name ends in `.arpa` or `.arpa.gz`.
    pub output: String,
    /// Length of the longest n-gram, 1 to 6.
    #[serde(default = "default_order")]
    pub order: usize,
    /// How text becomes tokens: a named normaliser or a tokenizer file.
    #[serde(default = "default_normalizer")]
    pub normalizer: String,
    /// Memory for the estimation; what outgrows it goes to disk; 2 GB.
    #[serde(default = "default_memory")]
    pub memory: ByteSize,
    /// Drop n-grams of order k that were seen at most `prune[k - 1]` times.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prune: Vec<u64>,
    /// Discounts for counts that allow no estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discount_fallback: Option<DiscountFallback>,
    /// Words in fewer documents than this become the unknown word, which is then trained like any other.
    #[serde(default = "default_min_documents")]
    pub min_documents: u32,
    /// Threads; all that the process may use when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Where goes what outgrows the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temp_dir: Option<String>,
    /// What to do with what cannot be read.
    #[serde(default)]
    pub on_error: OnError,
}

fn default_order() -> usize {
    5
}
fn default_normalizer() -> String {
    "unicode-words/1".into()
}
fn default_memory() -> ByteSize {
    ByteSize(2_000_000_000)
}
fn default_min_documents() -> u32 {
    1
}

impl FitOptions {
    /// A model of `corpus` in the file `output`, all else by default.
    pub fn new(corpus: SourceOptions, output: impl Into<String>) -> Self {
        Self {
            corpus,
            output: output.into(),
            order: default_order(),
            normalizer: default_normalizer(),
            memory: default_memory(),
            prune: Vec::new(),
            discount_fallback: None,
            min_documents: default_min_documents(),
            threads: None,
            temp_dir: None,
            on_error: OnError::Fail,
        }
    }
}
