//! What the jobs are told: plain structs whose JSON form is the options object of the TypeScript API.
//!
//! Every struct refuses unknown fields, so a misspelt option is an error and never a silent default.

use std::collections::BTreeMap;
use std::fmt;

use gristmill_core::{Code, Error, Result};
pub use gristmill_data::OnError;
use gristmill_mix::Direction;
pub use gristmill_select::Crossing;
use gristmill_select::Decimal;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::tokens::TokenCache;
use crate::Labels;
pub use crate::memory::NeuralOptions;
pub use crate::methods::{Cutoffs, Method};

/// Where documents come from: a path, directory, glob or URL, several of them, or a table that also says how
/// to read them.
///
/// ```
/// use gristmill_score::jobs::SourceOptions;
///
/// let short: SourceOptions = serde_json::from_str(r#""crawl/**/*.jsonl.gz""#)?;
/// let long: SourceOptions =
///     serde_json::from_str(r#"{"paths": ["a.parquet", "b/"], "text": "body", "where": "lang == \"en\""}"#)?;
/// assert_eq!(short.paths, ["crawl/**/*.jsonl.gz"]);
/// assert_eq!(long.text.as_deref(), Some("body"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceOptions {
    /// Paths, directories, globs and object-store URLs.
    pub paths: Vec<String>,
    /// `parquet`, `jsonl`, `arrow` or `text`; by the file name when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The column that holds the text; detected when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The column that holds the id; detected when not given, made from file and row when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A row filter in the Common Expression Language, such as `lang == "en" && score > 0.5`.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// For plain text: every line is a document, instead of every file.
    pub lines: bool,
}

impl SourceOptions {
    /// The documents of these paths, read with the defaults.
    pub fn paths<S: Into<String>>(paths: impl IntoIterator<Item = S>) -> Self {
        Self { paths: paths.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

impl From<&str> for SourceOptions {
    fn from(path: &str) -> Self {
        Self::paths([path])
    }
}

/// A string or a list of strings.
fn one_or_many<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    struct V;
    impl<'de> Visitor<'de> for V {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or an array of strings")
        }
        fn visit_str<E>(self, s: &str) -> Result<Self::Value, E> {
            Ok(vec![s.to_owned()])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Deserialize::deserialize(SeqAccessDeserializer::new(seq))
        }
    }
    d.deserialize_any(V)
}

impl<'de> Deserialize<'de> for SourceOptions {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Table {
            #[serde(deserialize_with = "one_or_many")]
            paths: Vec<String>,
            format: Option<String>,
            text: Option<String>,
            id: Option<String>,
            #[serde(rename = "where")]
            filter: Option<String>,
            #[serde(default)]
            lines: bool,
        }

        // By hand and not `#[serde(untagged)]`, which would hide the name of a misspelt field.
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = SourceOptions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, an array of paths or an object with \"paths\"")
            }
            fn visit_str<E>(self, s: &str) -> Result<Self::Value, E> {
                Ok(SourceOptions::from(s))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                let paths = Deserialize::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(SourceOptions { paths, ..SourceOptions::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let Table { paths, format, text, id, filter, lines } =
                    Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                Ok(SourceOptions { paths, format, text, id, filter, lines })
            }
        }
        d.deserialize_any(V)
    }
}

/// A number of bytes: a number, or text with a unit such as `2GB`, `512MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads `1500`, `64KB`, `1.5 GB`, `512MiB`, `2G`. `K`, `M`, `G`, `T` are powers of 1000, `Ki` … of 1024.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim().to_ascii_lowercase();
        let scale = match unit.strip_suffix('b').unwrap_or(&unit) {
            "" => 1u64,
            "k" => 1_000,
            "m" => 1_000_000,
            "g" => 1_000_000_000,
            "t" => 1_000_000_000_000,
            "ki" => 1 << 10,
            "mi" => 1 << 20,
            "gi" => 1 << 30,
            "ti" => 1 << 40,
            _ => 0,
        };
        let bytes = number.parse::<f64>().ok().filter(|_| scale > 0).map(|n| n * scale as f64);
        match bytes {
            Some(bytes) if (1.0..=(1u64 << 53) as f64).contains(&bytes) => Ok(Self(bytes as u64)),
            _ => Err(Error::new(Code::InvalidArgument, format!("{text:?} is not a number of bytes"))
                .hint("write for instance 512MB, 2GB or 1.5GiB")),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        ByteSize::parse(&number_or_text(d)?).map_err(serde::de::Error::custom)
    }
}

/// A number or text, as text.
fn number_or_text<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    struct V;
    impl Visitor<'_> for V {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number, or a string with a number and a unit")
        }
        fn visit_str<E>(self, s: &str) -> Result<String, E> {
            Ok(s.to_owned())
        }
        fn visit_u64<E>(self, n: u64) -> Result<String, E> {
            Ok(n.to_string())
        }
        fn visit_i64<E>(self, n: i64) -> Result<String, E> {
            Ok(n.to_string())
        }
        fn visit_f64<E>(self, n: f64) -> Result<String, E> {
            Ok(n.to_string())
        }
    }
    d.deserialize_any(V)
}

fn optional_number_or_text<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    struct Text(#[serde(deserialize_with = "number_or_text")] String);
    Ok(Option::<Text>::deserialize(d)?.map(|t| t.0))
}

/// What becomes of documents that share one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplicateIds {
    /// The job stops with an error that names both places.
    Fail,
    /// All but the first are counted as dropped and left out.
    Drop,
    /// They are documents like all others.
    Keep,
}

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

/// Score every document of a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScoreOptions {
    /// The documents to score.
    pub pool: SourceOptions,
    /// The directory or URL for the score files.
    pub output: String,
    /// One model, for `perplexity`, `bits-per-byte` and `ccnet`: the path of an n-gram model, or of a transformer (a
    /// folder or a `.gguf` file); `ngram:` or `lm:` before the path says which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The general model of a method that compares two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<String>,
    /// The target's model of a method that compares two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditional: Option<String>,
    /// How transformers read and score.
    #[serde(default)]
    pub transformer: NeuralOptions,
    /// Where tokens of documents are kept for transformers, so that another model or run need not make them again; not
    /// at all when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_cache: Option<TokenCache>,
    /// A sample of the wanted text: both models are then fitted here, on it and on a sample of the pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<SourceOptions>,
    /// How to score; `perplexity` with one model, else `loss-reduction`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// With `ccnet`: where the head ends and the tail begins, which adds the column `bucket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutoffs: Option<Cutoffs>,
    /// Percentiles of the pool's scores to report, 0 to 100: what cut-offs and thresholds are made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub percentiles: Vec<u8>,
    /// With `target`: the order of the fitted models, instead of the one that discriminates best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<usize>,
    /// With `target`: the share of the target's own model in the conditional, instead of the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// With `target`: how text becomes tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalizer: Option<String>,
    /// With `target`: how much text of the pool to learn from; 32 MiB when not given. It is held in memory meanwhile,
    /// but for `classifier`, which keeps counted features, in a temporary file where they do not fit into `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_sample: Option<ByteSize>,
    /// Of `classifier`: the penalty, which is `1/C`; 1 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2: Option<f64>,
    /// Of `classifier`: rounds of self-training on the pool's sample; none when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<usize>,
    /// Of `classifier`: adds a column `label`, and says which probabilities self-training is sure of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// A column of numbers that the pool has already, which are then the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<String>,
    /// Of `rating`: the lowest and the highest value that there is, such as 1 and 5; another one stops the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating_range: Option<[f64; 2]>,
    /// `i/n`, i from 0 to n − 1: score only this share of the shards. The shares meet in `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Start over instead of resuming what is in `output`.
    #[serde(default)]
    pub fresh: bool,
    /// Threads; all that the process may use when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Memory for what is counted while models are fitted; 512 MB.
    #[serde(default = "default_fit_memory")]
    pub memory: ByteSize,
    /// What to do with what cannot be read.
    #[serde(default)]
    pub on_error: OnError,
    /// Seed of all sampling.
    #[serde(default)]
    pub seed: u64,
}

fn default_fit_memory() -> ByteSize {
    ByteSize(512_000_000)
}

impl ScoreOptions {
    /// Scores of `pool` in the directory `output`, all else by default.
    pub fn new(pool: SourceOptions, output: impl Into<String>) -> Self {
        Self {
            pool,
            output: output.into(),
            model: None,
            prior: None,
            conditional: None,
            transformer: NeuralOptions::default(),
            token_cache: None,
            target: None,
            method: None,
            cutoffs: None,
            percentiles: Vec::new(),
            order: None,
            weight: None,
            normalizer: None,
            pool_sample: None,
            l2: None,
            rounds: None,
            labels: None,
            rating: None,
            rating_range: None,
            worker: None,
            fresh: false,
            threads: None,
            memory: default_fit_memory(),
            on_error: OnError::Fail,
            seed: 0,
        }
    }
}

/// Budgets per value of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quotas {
    /// The column whose values are the groups, or several: then each combination of their values is one, as
    /// `web/science`.
    #[serde(deserialize_with = "one_or_many", serialize_with = "one_or_list")]
    pub column: Vec<String>,
    /// The share of the budget for each group, as positive weights; in proportion to the pool when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<BTreeMap<String, Decimal>>,
}

/// One name by itself, several as a list.
fn one_or_list<S: Serializer>(names: &[String], s: S) -> Result<S::Ok, S::Error> {
    match names {
        [one] => one.serialize(s),
        several => several.serialize(s),
    }
}

/// The order in which the selected documents are to be trained on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CurriculumOptions {
    /// Which end of the scores comes first; `ascending` when not given.
    #[serde(default)]
    pub direction: Direction,
    /// Draws the order at random, with odds of `exp(difference / temperature)` for which of two comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
}

/// Select a training set from a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelectOptions {
    /// The documents to select from.
    pub pool: SourceOptions,
    /// A sample of the wanted text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<SourceOptions>,
    /// The output of a finished score job, instead of `target`: nothing is scored again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<String>,
    /// A column of numbers that the pool has already, instead of `target`: these are the scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<String>,
    /// Of `rating`: the lowest and the highest value that there is, such as 1 and 5; another one stops the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating_range: Option<[f64; 2]>,
    /// One model instead of `target`, as a score job takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The general model of a method that compares two, instead of `target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior: Option<String>,
    /// The target's model of a method that compares two, instead of `target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditional: Option<String>,
    /// How transformers read and score.
    #[serde(default)]
    pub transformer: NeuralOptions,
    /// Where tokens of documents are kept for transformers, so that another model or run need not make them again; not
    /// at all when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_cache: Option<TokenCache>,
    /// The directory or URL for the selected shards.
    pub output: String,
    /// How much to keep: `10%`, `2500docs`, `1.5Btokens`, `200MB`; a bare number counts tokens.
    #[serde(default, deserialize_with = "optional_number_or_text", skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// How to score, with `target`; `loss-reduction` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The order of the fitted models, instead of the one that discriminates best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<usize>,
    /// The share of the target's own model in the conditional, instead of the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// How text becomes tokens; `unicode-words/1` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalizer: Option<String>,
    /// With `target`: how much text of the pool to learn from; 32 MiB when not given. It is held in memory meanwhile,
    /// but for `classifier`, which keeps counted features, in a temporary file where they do not fit into `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool_sample: Option<ByteSize>,
    /// Of `classifier`: the penalty, which is `1/C`; 1 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2: Option<f64>,
    /// Of `classifier`: rounds of self-training on the pool's sample; none when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<usize>,
    /// Of `classifier`: adds a column `label`, and says which probabilities self-training is sure of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Sample without replacement in proportion to `exp(score / temperature)` instead of taking the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The temperature counts standard deviations of the scores, as QuRating normalises them.
    #[serde(default)]
    pub standardize: bool,
    /// Sample every document with the same probability, whatever its score; the threshold stays a threshold.
    #[serde(default)]
    pub uniform: bool,
    /// Also write down in which order to train on what was selected, as `_curriculum.parquet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curriculum: Option<CurriculumOptions>,
    /// Seed of all sampling and of the order of ties.
    #[serde(default)]
    pub seed: u64,
    /// Keep only scores that are at least this good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Divide the budget over the values of a column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
    /// Whether the document that crosses the budget is kept.
    #[serde(default)]
    pub crossing: Crossing,
    /// Keep the lowest scores instead of the highest; by the method when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowest: Option<bool>,
    /// Also write the report to this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// The format of the selected shards; that of the input when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_format: Option<String>,
    /// Put before the names of the columns that are added, where the input has such names itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// `i/n`, i from 0 to n − 1: score only this share of the shards; whoever finds all scored selects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Start over instead of resuming what is in `output`.
    #[serde(default)]
    pub fresh: bool,
    /// Threads; all that the process may use when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Memory for what is counted while models are fitted; 512 MB.
    #[serde(default = "default_fit_memory")]
    pub memory: ByteSize,
    /// What to do with what cannot be read.
    #[serde(default)]
    pub on_error: OnError,
    /// What to do with documents that share an id; `drop` under `onError: "quarantine"`, else `fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_ids: Option<DuplicateIds>,
}

impl SelectOptions {
    /// A selection from `pool` into the directory `output`, all else by default.
    pub fn new(pool: SourceOptions, output: impl Into<String>) -> Self {
        Self {
            pool,
            target: None,
            scores: None,
            rating: None,
            rating_range: None,
            model: None,
            prior: None,
            conditional: None,
            transformer: NeuralOptions::default(),
            token_cache: None,
            output: output.into(),
            budget: None,
            method: None,
            order: None,
            weight: None,
            normalizer: None,
            pool_sample: None,
            l2: None,
            rounds: None,
            labels: None,
            temperature: None,
            standardize: false,
            uniform: false,
            curriculum: None,
            seed: 0,
            threshold: None,
            quotas: None,
            crossing: Crossing::Include,
            lowest: None,
            report: None,
            output_format: None,
            prefix: String::new(),
            worker: None,
            fresh: false,
            threads: None,
            memory: default_fit_memory(),
            on_error: OnError::Fail,
            duplicate_ids: None,
        }
    }

    /// The rule for documents that share an id.
    pub fn duplicates(&self) -> DuplicateIds {
        self.duplicate_ids.unwrap_or(match self.on_error {
            OnError::Fail => DuplicateIds::Fail,
            OnError::Quarantine => DuplicateIds::Drop,
        })
    }
}

/// What becomes of judgements that contradict each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnContradiction {
    /// Both are learnt from, which pulls towards a tie, and they are reported.
    #[default]
    Keep,
    /// Neither is learnt from, and they are reported.
    Drop,
    /// The job stops with an error that names both places.
    Fail,
}

/// Rate every document of a pool by what judgements of pairs teach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateOptions {
    /// A file of JSON lines: `a` and `b` are ids of the pool, and `p` is how probable it is that `a` is the better
    /// one (or `better` is `"a"`, `"b"` or `"tie"`).
    pub pairs: String,
    /// The documents to rate, those of the pairs among them.
    pub pool: SourceOptions,
    /// The directory or URL for the score files.
    pub output: String,
    /// A column of embeddings to learn from, lists of numbers, instead of the words of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<String>,
    /// How text becomes tokens; `unicode-words/1` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalizer: Option<String>,
    /// Length of the longest n-grams; 2 when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<usize>,
    /// The penalty; that with the lowest loss on pairs held out when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l2: Option<f64>,
    /// Judgements with a probability closer to one half than this are left out; 0 when not given.
    #[serde(default)]
    pub min_confidence: f64,
    /// What becomes of judgements that contradict each other.
    #[serde(default)]
    pub contradictions: OnContradiction,
    /// `i/n`, i from 0 to n − 1: rate only this share of the shards. The shares meet in `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Start over instead of resuming what is in `output`.
    #[serde(default)]
    pub fresh: bool,
    /// Threads; all that the process may use when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// What to do with what cannot be read.
    #[serde(default)]
    pub on_error: OnError,
    /// Seed of hashes, folds and order.
    #[serde(default)]
    pub seed: u64,
}

impl RateOptions {
    /// Ratings of `pool` in the directory `output`, all else by default.
    pub fn new(pairs: impl Into<String>, pool: SourceOptions, output: impl Into<String>) -> Self {
        Self {
            pairs: pairs.into(),
            pool,
            output: output.into(),
            embedding: None,
            normalizer: None,
            order: None,
            l2: None,
            min_confidence: 0.0,
            contradictions: OnContradiction::Keep,
            worker: None,
            fresh: false,
            threads: None,
            on_error: OnError::Fail,
            seed: 0,
        }
    }
}

/// The scores to combine: a directory whose subdirectories are outputs of score jobs, named after the raters, or
/// the output of each rater.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Raters {
    /// The directory of all.
    Directory(String),
    /// One output for each rater.
    Each(BTreeMap<String, String>),
}

/// Combine several scores of one pool into one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CombineOptions {
    /// The scores.
    pub scores: Raters,
    /// A CSV file of training runs: a column for the weight of each rater, and columns of losses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<String>,
    /// The loss to lower, by its column or a part of the name that is its own; not needed where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<String>,
    /// The weights, instead of runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<BTreeMap<String, f64>>,
    /// Only draw so many random weights to make runs with, and write them to `output` as CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<usize>,
    /// The directory or URL for the score files; with `sample`, the CSV file.
    pub output: String,
    /// Start over instead of resuming what is in `output`.
    #[serde(default)]
    pub fresh: bool,
    /// Threads; all that the process may use when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Seed of all draws.
    #[serde(default)]
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("1500", 1500),
            ("64KB", 64_000),
            ("1.5 GB", 1_500_000_000),
            ("2G", 2_000_000_000),
            ("512MiB", 512 << 20),
        ] {
            assert_eq!(ByteSize::parse(text).unwrap().0, bytes, "{text}");
        }
        for text in ["", "GB", "-1", "1.2.3", "2 bananas", "0", "1e300TB", "nan"] {
            assert_eq!(ByteSize::parse(text).unwrap_err().code(), Code::InvalidArgument, "{text}");
        }
        assert_eq!(serde_json::from_str::<ByteSize>("4096").unwrap().0, 4096);
        assert!(serde_json::from_str::<ByteSize>("-1").is_err());
    }

    #[test]
    fn a_source_is_a_path_or_paths_or_a_table() {
        let parse = |json: &str| serde_json::from_str::<SourceOptions>(json);
        assert_eq!(parse(r#"["a", "b"]"#).unwrap().paths, ["a", "b"]);
        let table = parse(r#"{"paths": "a", "where": "x > 1", "lines": true}"#).unwrap();
        assert_eq!((table.filter.as_deref(), table.lines), (Some("x > 1"), true));
        assert_eq!(parse(&serde_json::to_string(&table).unwrap()).unwrap(), table);
        let error = parse(r#"{"paths": "a", "txet": "body"}"#).unwrap_err().to_string();
        assert!(error.contains("txet"), "{error}");
        assert!(parse("3").unwrap_err().to_string().contains("a path, an array of paths"));
    }

    #[test]
    fn options_have_defaults_and_refuse_what_they_do_not_know() {
        let fit: FitOptions = serde_json::from_str(r#"{"corpus": "wiki/", "output": "m.gml"}"#).unwrap();
        assert_eq!(fit, FitOptions::new("wiki/".into(), "m.gml"));
        let score: ScoreOptions = serde_json::from_str(r#"{"pool": "p/", "output": "s/"}"#).unwrap();
        assert_eq!(score, ScoreOptions::new("p/".into(), "s/"));
        let select: SelectOptions =
            serde_json::from_str(r#"{"pool": "p/", "output": "o/", "budget": 1000, "target": ["t"]}"#)
                .unwrap();
        assert_eq!(select.budget.as_deref(), Some("1000"));
        assert_eq!(select.duplicates(), DuplicateIds::Fail);
        let wrong = r#"{"pool": "p/", "output": "o/", "budegt": 1}"#;
        assert!(serde_json::from_str::<SelectOptions>(wrong).unwrap_err().to_string().contains("budegt"));
        let quarantine = r#"{"pool": "p/", "output": "o/", "onError": "quarantine"}"#;
        assert_eq!(
            serde_json::from_str::<SelectOptions>(quarantine).unwrap().duplicates(),
            DuplicateIds::Drop
        );
    }

    #[test]
    fn a_fall_back_is_a_flag_or_three_numbers() {
        let parse = |json: &str| serde_json::from_str::<DiscountFallback>(json).unwrap().discounts();
        assert_eq!(parse("true"), Some([0.5, 1.0, 1.5]));
        assert_eq!(parse("false"), None);
        assert_eq!(parse("[0.1, 0.2, 0.3]"), Some([0.1, 0.2, 0.3]));
    }
}
