//! The specification of a score: everything that must be known to work it out again.
//!
//! No two systems mean the same by "the perplexity of a document". They differ in what stands before the
//! first token and whether it is scored, in whether the end is predicted, in how a long document is cut, in
//! what the sum is divided by, and in how text became tokens; each difference moves the number. So these are
//! fields, they are saved with every column of scores, and a definition never changes under its name and
//! version.

use gristmill_core::{Code, Error, Result};
use gristmill_ngram::hashed::{HashedSpec, Smoothing};
use gristmill_ngram::normalize::NormalizerSpec;
use serde::{Deserialize, Serialize};

use crate::methods::{Cutoffs, Method, Sums};

/// Which end of the scores is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The highest scores are kept.
    Highest,
    /// The lowest scores are kept.
    Lowest,
}

/// What stands before the first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bos {
    /// A begin marker, which is context and not predicted. The first token is scored.
    Context,
    /// Nothing, and the first token is scored all the same, by its probability without context.
    None,
    /// Nothing, and the first token is not scored: it is context of the second.
    SkipFirst,
}

/// What stands after the last token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Eos {
    /// An end marker, which is predicted and counts as a prediction.
    Scored,
    /// Nothing.
    None,
}

/// Which predictions are left out of the sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mask {
    /// None.
    #[default]
    None,
    /// Those whose input token is the end marker: the first token of a document that follows another one in
    /// the same row, and padding (MiniPLM).
    AfterEos,
}

/// What a model sees at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "kind", deny_unknown_fields)]
pub enum Windows {
    /// The document, from its beginning, with as much context as the model has.
    Document,
    /// The first tokens of the document; the rest is not scored.
    Truncated {
        /// How many.
        tokens: u32,
    },
    /// Windows over the document, each scoring what the one before did not reach.
    Sliding {
        /// Length of a window.
        tokens: u32,
        /// From one window to the next; the rest of a window is context.
        stride: u32,
    },
    /// Windows over the document, each of which predicts so many tokens that no other does, with one token of context
    /// for the first; the last reaches back as far as a window goes (lm-evaluation-harness).
    Rolling {
        /// How many.
        tokens: u32,
    },
    /// Rows of exactly so many tokens cut from the corpus as one stream, across documents: the score is that
    /// of a row.
    Packed {
        /// How many.
        tokens: u32,
    },
    /// Rows of at most so many tokens, filled with whole documents or parts of one.
    Filled {
        /// How many at most.
        tokens: u32,
    },
}

/// What the loss is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Average {
    /// The number of predictions, `n_scored`.
    Predictions,
    /// The number of bytes of text, `n_bytes`.
    Bytes,
    /// Nothing: long documents weigh more.
    Sum,
}

/// A named, versioned score, as it is saved with its column.
///
/// [`ScoreSpec::of`] gives each method as it is used with n-gram models over whole documents;
/// [`ScoreSpec::color_filter`], [`ScoreSpec::mini_plm`] and [`ScoreSpec::dsir_reference`] give the forms of
/// these papers. Every field
/// may be set otherwise, if that is what was done.
///
/// ```
/// use gristmill_score::{Method, ScoreSpec, Sums};
///
/// let spec = ScoreSpec::of(Method::LossReduction);
/// let sums = Sums { n_tokens: 9, n_scored: 10, n_bytes: 52, nll: [42.0, 40.0] };
/// assert_eq!(spec.score(&sums), 0.2);
/// let saved = spec.to_json();
/// assert_eq!(ScoreSpec::from_json(&saved)?, spec);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScoreSpec {
    /// The method.
    pub name: Method,
    /// The version of its definition.
    pub version: u32,
    /// The end that is kept.
    pub keep: Keep,
    /// Before the first token.
    pub bos: Bos,
    /// After the last token.
    pub eos: Eos,
    /// Predictions that are left out.
    pub mask: Mask,
    /// How documents are cut.
    pub windows: Windows,
    /// The denominator.
    pub average: Average,
    /// How text became tokens; absent where tokens or log-probabilities came from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalizer: Option<NormalizerSpec>,
    /// What a transformer computed in: `f32` or `bf16`; absent for other models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// The hashed n-grams of `dsir`, of `classifier`, and of `bradley-terry` where it rates text. For the last
    /// two, smoothing is that of the inverse document frequency, `ln((n + a) / (df + a)) + 1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<HashedSpec>,
    /// CCNet's cut-offs, which add a column `bucket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutoffs: Option<Cutoffs>,
    /// Probabilities of the classifier that are sure enough for a label, which adds a column `label`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// The column of the pool that is the score of `rating`, or the embedding that `bradley-terry` rates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The lowest and the highest rating that there is; another one is an error, not a score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// What `combined` adds up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<Part>>,
}

/// From which probability on a document is labelled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Labels {
    /// Scores of at least this are labelled `target`.
    #[serde(default = "Labels::default_above")]
    pub above: f64,
    /// Scores of at most this are labelled `other`.
    #[serde(default = "Labels::default_below")]
    pub below: f64,
}

impl Default for Labels {
    fn default() -> Self {
        Self { above: Self::default_above(), below: Self::default_below() }
    }
}

impl Labels {
    fn default_above() -> f64 {
        0.9
    }

    fn default_below() -> f64 {
        0.1
    }

    /// The label of a score: none where it is not sure enough, or NaN.
    pub fn label(&self, score: f64) -> Option<&'static str> {
        match score {
            s if s >= self.above => Some("target"),
            s if s <= self.below => Some("other"),
            _ => None,
        }
    }

    /// Refuses what are not two probabilities in order.
    pub fn validate(&self) -> Result<()> {
        if 0.0 <= self.below && self.below < self.above && self.above <= 1.0 {
            return Ok(());
        }
        let message =
            format!("below {} and above {} are not two probabilities in order", self.below, self.above);
        Err(Error::invalid_argument("labels", message))
    }
}

/// One of the scores that `combined` adds up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Part {
    /// What it is called in the table of runs.
    pub rater: String,
    /// Its weight.
    pub weight: f64,
    /// The end of it that is good.
    pub keep: Keep,
    /// Its mean over the pool.
    pub mean: f64,
    /// Its standard deviation over the pool.
    pub deviation: f64,
}

impl ScoreSpec {
    /// The version of every definition of this release.
    pub const VERSION: u32 = 1;

    /// A method as it is used with n-gram models: over the document as one sentence, with begin marker as
    /// context and the end marker predicted.
    ///
    /// Bits per byte leave the end marker out, which is no byte of the text. DSIR has no markers, and is the
    /// mean over n-grams here, so that documents of different lengths compare.
    pub fn of(method: Method) -> Self {
        let keep = match method {
            Method::Perplexity | Method::BitsPerByte | Method::MooreLewis | Method::Ccnet => Keep::Lowest,
            _ => Keep::Highest,
        };
        let spec = Self {
            name: method,
            version: Self::VERSION,
            keep,
            bos: Bos::Context,
            eos: Eos::Scored,
            mask: Mask::None,
            windows: Windows::Document,
            average: Average::Predictions,
            normalizer: None,
            dtype: None,
            features: None,
            cutoffs: None,
            labels: None,
            column: None,
            range: None,
            parts: None,
        };
        // Of methods that predict no token: no marker, and nothing to divide by.
        let plain = Self { bos: Bos::None, eos: Eos::None, average: Average::Sum, ..spec.clone() };
        match method {
            Method::BitsPerByte => Self { eos: Eos::None, average: Average::Bytes, ..spec },
            Method::Dsir => {
                Self { bos: Bos::None, eos: Eos::None, features: Some(HashedSpec::default()), ..spec }
            }
            Method::Classifier | Method::BradleyTerry => {
                Self { features: Some(Self::classifier_features()), ..plain }
            }
            Method::Rating => Self { column: Some("rating".into()), ..plain },
            Method::Combined => Self { parts: Some(Vec::new()), ..plain },
            _ => spec,
        }
    }

    /// The features of the classifier: word unigrams and bigrams in 2^20 buckets, and inverse document frequencies
    /// as scikit-learn smooths them.
    pub fn classifier_features() -> HashedSpec {
        HashedSpec { buckets: 1 << 20, smoothing: Smoothing::Count(1.0), ..HashedSpec::default() }
    }

    /// CoLoR-Filter as published: packed rows of 512 tokens with 511 predictions, no begin marker, document
    /// boundaries ignored.
    pub fn color_filter() -> Self {
        Self {
            bos: Bos::SkipFirst,
            eos: Eos::None,
            windows: Windows::Packed { tokens: 512 },
            ..Self::of(Method::LossReduction)
        }
    }

    /// MiniPLM's difference sampling as published: rows of at most 1,025 tokens, predictions from the end
    /// marker left out.
    pub fn mini_plm() -> Self {
        Self {
            bos: Bos::SkipFirst,
            eos: Eos::None,
            mask: Mask::AfterEos,
            windows: Windows::Filled { tokens: 1025 },
            ..Self::of(Method::Difference)
        }
    }

    /// DSIR as published and as its package does it: 10,000 buckets, 1e-8 added to their probabilities, and
    /// the sum over n-grams, in which long documents weigh more.
    pub fn dsir_reference() -> Self {
        Self { features: Some(HashedSpec::reference()), average: Average::Sum, ..Self::of(Method::Dsir) }
    }

    /// The score of one document from its sums, in `f64`. NaN where nothing was scored.
    #[inline]
    pub fn score(&self, sums: &Sums) -> f64 {
        self.name.score(self.average, sums)
    }

    /// The parts that models play, in the order of the sums.
    pub fn models(&self) -> &'static [&'static str] {
        self.name.roles()
    }

    /// Columns of the sums: none without a model, `nll_sum` for one, `nll_sum_<role>` for two.
    pub fn nll_columns(&self) -> Vec<String> {
        match self.models() {
            [_] => vec!["nll_sum".to_owned()],
            roles => roles.iter().map(|role| format!("nll_sum_{role}")).collect(),
        }
    }

    /// The JSON form that is saved, with fields in the order of declaration.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a specification is plain data")
    }

    /// Reads a saved specification; [`Code::Unsupported`] for a version that this release does not know.
    pub fn from_json(json: &str) -> Result<Self> {
        let spec: Self = serde_json::from_str(json).map_err(|e| {
            Error::new(Code::InvalidArgument, format!("this is no score specification: {e}")).with_source(e)
        })?;
        spec.validate()?;
        Ok(spec)
    }

    /// Refuses specifications that contradict themselves.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, why: String| Err(Error::invalid_argument(field, why));
        if self.version != Self::VERSION {
            let text = format!("{} is known in version {}, not {}", self.name, Self::VERSION, self.version);
            return Err(Error::new(Code::Unsupported, text).at_column("version"));
        }
        match self.windows {
            Windows::Truncated { tokens } | Windows::Packed { tokens } | Windows::Filled { tokens }
                if tokens < 2 =>
            {
                return refuse("windows", format!("a window of {tokens} tokens has nothing to predict"));
            }
            Windows::Rolling { tokens: 0 } => {
                return refuse("windows", "a window of 0 tokens has nothing to predict".into());
            }
            Windows::Sliding { tokens, stride } if stride == 0 || stride > tokens => {
                return refuse(
                    "windows",
                    format!("a stride of {stride} does not fit windows of {tokens} tokens"),
                );
            }
            _ => {}
        }
        let by_text = match self.name {
            Method::BradleyTerry => self.column.is_none(),
            name => matches!(name, Method::Dsir | Method::Classifier),
        };
        if self.features.is_some() != by_text {
            return refuse(
                "features",
                format!("{}: methods of hashed n-grams have features, and must say which", self.name),
            );
        }
        if self.column.is_some() && !matches!(self.name, Method::Rating | Method::BradleyTerry)
            || self.column.is_none() && self.name == Method::Rating
        {
            return refuse("column", format!("{}: a rating is a column, and nothing else is", self.name));
        }
        if let Some([least, most]) = self.range {
            if self.name != Method::Rating {
                return refuse("ratingRange", format!("is of a rating, and {} is none", self.name));
            }
            if !(least.is_finite() && most.is_finite() && least < most) {
                return refuse("ratingRange", format!("{least} and {most} are not two numbers in order"));
            }
        }
        if self.parts.is_some() != (self.name == Method::Combined) {
            return refuse("parts", format!("{}: combined has parts, and nothing else has", self.name));
        }
        if let Some(labels) = self.labels {
            labels.validate()?;
            if self.name != Method::Classifier {
                return refuse("labels", format!("{} gives no probability, only classifier does", self.name));
            }
        }
        if let Some(Cutoffs { head, tail }) = self.cutoffs {
            Cutoffs::new(head, tail)?;
            if self.name != Method::Ccnet {
                return refuse("cutoffs", format!("{} has no buckets, only ccnet does", self.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written today must read the same for ever.
    #[test]
    fn saved_form_is_stable() {
        let json = ScoreSpec::color_filter().to_json();
        assert_eq!(
            json,
            r#"{"name":"loss-reduction","version":1,"keep":"highest","bos":"skip-first","eos":"none","mask":"none","windows":{"kind":"packed","tokens":512},"average":"predictions"}"#
        );
        let spec = ScoreSpec {
            normalizer: Some(NormalizerSpec { name: "ccnet/1".into(), sha256: None }),
            cutoffs: Some(Cutoffs::CCNET_ENGLISH),
            windows: Windows::Sliding { tokens: 1024, stride: 512 },
            ..ScoreSpec::of(Method::Ccnet)
        };
        assert_eq!(
            spec.to_json(),
            r#"{"name":"ccnet","version":1,"keep":"lowest","bos":"context","eos":"scored","mask":"none","windows":{"kind":"sliding","tokens":1024,"stride":512},"average":"predictions","normalizer":{"name":"ccnet/1"},"cutoffs":{"head":340.0,"tail":520.0}}"#
        );
        assert_eq!(ScoreSpec::from_json(&spec.to_json()).unwrap(), spec);
        let dsir = ScoreSpec::dsir_reference().to_json();
        let features = r#""average":"sum","features":{"normalizer":"wordpunct/1","ngrams":2,"buckets":10000,"hash":{"kind":"sha256"},"smoothing":{"kind":"probability","amount":1e-8}}}"#;
        assert!(dsir.ends_with(features), "{dsir}");
        let classifier = ScoreSpec { labels: Some(Labels::default()), ..ScoreSpec::of(Method::Classifier) };
        assert_eq!(
            classifier.to_json(),
            r#"{"name":"classifier","version":1,"keep":"highest","bos":"none","eos":"none","mask":"none","windows":{"kind":"document"},"average":"sum","features":{"normalizer":"unicode-words/1","ngrams":2,"buckets":1048576,"hash":{"kind":"xxh3","seed":0},"smoothing":{"kind":"count","amount":1.0}},"labels":{"above":0.9,"below":0.1}}"#
        );
    }

    #[test]
    fn every_preset_is_valid_and_reads_back() {
        let presets = Method::ALL.map(ScoreSpec::of);
        for spec in presets.into_iter().chain([
            ScoreSpec::color_filter(),
            ScoreSpec::mini_plm(),
            ScoreSpec::dsir_reference(),
        ]) {
            assert_eq!(ScoreSpec::from_json(&spec.to_json()).unwrap(), spec);
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let good = ScoreSpec::of(Method::Perplexity);
        let bad = |spec: ScoreSpec| ScoreSpec::from_json(&spec.to_json()).unwrap_err().code();
        assert_eq!(bad(ScoreSpec { version: 2, ..good.clone() }), Code::Unsupported);
        for spec in [
            ScoreSpec { windows: Windows::Packed { tokens: 1 }, ..good.clone() },
            ScoreSpec { windows: Windows::Sliding { tokens: 4, stride: 5 }, ..good.clone() },
            ScoreSpec { windows: Windows::Sliding { tokens: 4, stride: 0 }, ..good.clone() },
            ScoreSpec { windows: Windows::Rolling { tokens: 0 }, ..good.clone() },
            ScoreSpec { features: Some(HashedSpec::default()), ..good.clone() },
            ScoreSpec { features: None, ..ScoreSpec::of(Method::Dsir) },
            ScoreSpec { cutoffs: Some(Cutoffs::CCNET_ENGLISH), ..good.clone() },
            ScoreSpec { labels: Some(Labels::default()), ..good.clone() },
            ScoreSpec { column: Some("x".into()), ..good.clone() },
            ScoreSpec { column: None, ..ScoreSpec::of(Method::Rating) },
            ScoreSpec { range: Some([5.0, 1.0]), ..ScoreSpec::of(Method::Rating) },
            ScoreSpec { range: Some([1.0, f64::NAN]), ..ScoreSpec::of(Method::Rating) },
            ScoreSpec { range: Some([1.0, 5.0]), ..good.clone() },
            ScoreSpec { column: Some("x".into()), ..ScoreSpec::of(Method::BradleyTerry) },
            ScoreSpec { parts: Some(Vec::new()), ..good.clone() },
            ScoreSpec { features: None, ..ScoreSpec::of(Method::Classifier) },
            ScoreSpec {
                labels: Some(Labels { above: 0.1, below: 0.9 }),
                ..ScoreSpec::of(Method::Classifier)
            },
        ] {
            assert_eq!(bad(spec), Code::InvalidArgument);
        }
        for json in ["", "{}", "[1]", r#"{"name":"perplexity","version":1,"keep":"lowest","extra":1}"#] {
            assert_eq!(ScoreSpec::from_json(json).unwrap_err().code(), Code::InvalidArgument, "{json}");
        }
    }
}
