//! What each score means: from summed losses and counts to one number.
//!
//! Every method is a function of sums that are kept beside the score, so a score can be worked out again,
//! under this method or another one, without asking a model a second time. Losses are negative
//! log-likelihoods in nats.
//!
//! | Method | Score | Better | Models, in order |
//! |---|---|---|---|
//! | [`Perplexity`](Method::Perplexity) | `exp(L / n)` | low | the model |
//! | [`BitsPerByte`](Method::BitsPerByte) | `L / (bytes · ln 2)` | low | the model |
//! | [`LossReduction`](Method::LossReduction) | `(L_prior − L_conditional) / n` | high | prior, conditional |
//! | [`MooreLewis`](Method::MooreLewis) | `(L_target − L_prior) / n` | low | target, prior |
//! | [`Difference`](Method::Difference) | `(L_reference − L_large) / n` | high | reference, large |
//! | [`Ccnet`](Method::Ccnet) | `10^(L / (n · ln 10))`, to one decimal | low | the model |
//! | [`Dsir`](Method::Dsir) | `−L / n`, or `−L` as published | high | the weights |
//! | [`Classifier`](Method::Classifier) | `exp(−L)`, a probability | high | the classifier |
//! | [`BradleyTerry`](Method::BradleyTerry) | a rating; differences are log-odds | high | none |
//! | [`Rating`](Method::Rating) | a column of the pool | high | none |
//! | [`Combined`](Method::Combined) | `Σ_i w_i (s_i − mean_i) / sd_i` of other scores | high | none |
//!
//! `L` is a summed loss and `n` the number of predictions in it (or what [`Average`] says instead). Which
//! predictions these are, is the matter of the rest of the [`ScoreSpec`](crate::ScoreSpec). DSIR has no model
//! but weights of hashed n-grams, `ln(p_target / p_raw)`: its `L` is the negative sum of these, and its `n` the
//! number of n-grams. The classifier's `L` is `−ln` of the probability that a document is of the target and not
//! of the pool, at even odds. Methods without a model have no loss: what is kept of a document is its score.

use std::f64::consts::{LN_2, LN_10};
use std::fmt;

use gristmill_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::Average;

/// How a document gets its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// `exp` of the mean negative log-likelihood under one model.
    Perplexity,
    /// Negative log-likelihood in bits over bytes of text, under one model.
    BitsPerByte,
    /// Mean loss under the prior minus mean loss under the conditional model (CoLoR-Filter).
    LossReduction,
    /// Cross-entropy under the target model minus that under the general model (Moore and Lewis).
    MooreLewis,
    /// Mean loss under a small reference model minus that under a large teacher (MiniPLM).
    Difference,
    /// CCNet's perplexity: base 10, over tokens plus one, rounded to a tenth.
    Ccnet,
    /// Hashed n-gram importance weights (DSIR).
    Dsir,
    /// The probability of being of the target and not of the pool: logistic regression on hashed n-grams.
    Classifier,
    /// A rating learnt from judgements of pairs (Bradley and Terry).
    BradleyTerry,
    /// A number that the pool has already.
    Rating,
    /// A weighted sum of other scores (Meta-rater).
    Combined,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 11] = [
        Self::Perplexity,
        Self::BitsPerByte,
        Self::LossReduction,
        Self::MooreLewis,
        Self::Difference,
        Self::Ccnet,
        Self::Dsir,
        Self::Classifier,
        Self::BradleyTerry,
        Self::Rating,
        Self::Combined,
    ];

    /// The name, as in options and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Perplexity => "perplexity",
            Self::BitsPerByte => "bits-per-byte",
            Self::LossReduction => "loss-reduction",
            Self::MooreLewis => "moore-lewis",
            Self::Difference => "difference",
            Self::Ccnet => "ccnet",
            Self::Dsir => "dsir",
            Self::Classifier => "classifier",
            Self::BradleyTerry => "bradley-terry",
            Self::Rating => "rating",
            Self::Combined => "combined",
        }
    }

    /// The parts that models play, in the order of their sums. One or two, or none for a method whose sum is
    /// its score.
    pub fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Perplexity | Self::BitsPerByte | Self::Ccnet => &["model"],
            Self::Dsir => &["weights"],
            Self::Classifier => &["classifier"],
            Self::BradleyTerry | Self::Rating | Self::Combined => &[],
            Self::LossReduction => &["prior", "conditional"],
            Self::MooreLewis => &["target", "prior"],
            Self::Difference => &["reference", "large"],
        }
    }

    /// The score of one document. NaN where there is nothing to divide by.
    pub(crate) fn score(self, average: Average, sums: &Sums) -> f64 {
        let [first, second] = sums.nll;
        let loss = match self {
            Self::Perplexity | Self::BitsPerByte | Self::Ccnet => first,
            Self::LossReduction | Self::MooreLewis | Self::Difference => first - second,
            Self::Dsir => 0.0 - first,
            Self::Classifier | Self::BradleyTerry | Self::Rating | Self::Combined => first,
        };
        let mean = match average {
            Average::Sum if sums.n_scored == 0 => f64::NAN,
            Average::Sum => loss,
            // Nothing over nothing is NaN, but a loss over nothing would be infinite.
            Average::Predictions if sums.n_scored == 0 => f64::NAN,
            Average::Predictions => loss / f64::from(sums.n_scored),
            Average::Bytes if sums.n_bytes == 0 || sums.n_scored == 0 => f64::NAN,
            Average::Bytes => loss / f64::from(sums.n_bytes),
        };
        let score = match self {
            Self::Perplexity => libm::exp(mean),
            Self::BitsPerByte => mean / LN_2,
            Self::Ccnet => tenths(libm::exp10(mean / LN_10)),
            Self::Classifier => libm::exp(-mean),
            _ => mean,
        };
        // One bit pattern for NaN, so that equal files are equal bytes on every machine.
        if score.is_nan() { f64::NAN } else { score }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is kept of a document: enough for every mean, perplexity and difference.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Tokens of the text, those that are not scored included, without markers.
    pub n_tokens: u32,
    /// Predictions in the sums: less than tokens where the first has no context, one more where the end of
    /// the document is predicted, too.
    pub n_scored: u32,
    /// Bytes of the text in UTF-8; 0 where only tokens are known.
    pub n_bytes: u32,
    /// Summed negative log-likelihood in nats under each model, in the order of [`Method::roles`]; the
    /// second is 0 where there is one model. For a method without models the first is the score itself.
    pub nll: [f64; 2],
}

/// Rounds to one decimal as Python's `round(x, 1)` does: by the exact decimal value, ties to even.
fn tenths(x: f64) -> f64 {
    // Beyond 2^52 a double has no tenths; formatting the largest ones would be slow.
    if x.abs() < 4.5e15 { format!("{x:.1}").parse().unwrap_or(x) } else { x }
}

/// CCNet's three parts of a language, by perplexity under the model of Wikipedia.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bucket {
    /// The most like Wikipedia.
    Head,
    /// In between.
    Middle,
    /// The least.
    Tail,
}

impl Bucket {
    /// `head`, `middle` or `tail`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Middle => "middle",
            Self::Tail => "tail",
        }
    }
}

/// Where CCNet's head ends and its tail begins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cutoffs {
    /// Perplexities below this are head.
    pub head: f64,
    /// Perplexities from this on are tail.
    pub tail: f64,
}

impl Cutoffs {
    /// CCNet's published cut-offs for English, the 30th and 60th percentile rounded to tens. They belong to
    /// CCNet's own English model and normaliser, and say nothing about perplexities under another one.
    pub const CCNET_ENGLISH: Self = Self { head: 340.0, tail: 520.0 };

    /// Cut-offs in order, or an error.
    pub fn new(head: f64, tail: f64) -> Result<Self> {
        // Not `head > tail`: that would let NaN pass.
        if head.is_finite() && tail.is_finite() && head <= tail {
            return Ok(Self { head, tail });
        }
        Err(Error::invalid_argument(
            "cutoffs",
            format!("head {head} and tail {tail} are not two numbers in order"),
        ))
    }

    /// Cut-offs at percentiles of these perplexities: the smallest values with at least `head` and `tail`
    /// percent of all values at or below them (nearest rank). NaN does not count. Orders the slice.
    pub fn percentiles(perplexities: &mut [f64], head: u8, tail: u8) -> Result<Self> {
        if !(head <= tail && tail <= 100) {
            return Err(Error::invalid_argument(
                "percentiles",
                format!("{head} and {tail} are not two percentages in order"),
            ));
        }
        // The numbers come first in the total order, whatever the sign of the NaNs was.
        perplexities.sort_unstable_by(|a, b| a.is_nan().cmp(&b.is_nan()).then(a.total_cmp(b)));
        let numbers = perplexities.partition_point(|p| !p.is_nan());
        if numbers == 0 {
            return Err(Error::new(gristmill_core::Code::EmptyInput, "no perplexity to take percentiles of"));
        }
        let rank = |percent: u8| (numbers * usize::from(percent)).div_ceil(100).max(1) - 1;
        Self::new(perplexities[rank(head)], perplexities[rank(tail)])
    }

    /// The part that a perplexity falls into; none for NaN.
    pub fn bucket(&self, perplexity: f64) -> Option<Bucket> {
        if perplexity < self.head {
            Some(Bucket::Head)
        } else if perplexity < self.tail {
            Some(Bucket::Middle)
        } else if perplexity >= self.tail {
            Some(Bucket::Tail)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ScoreSpec;

    fn sums(nll: [f64; 2]) -> Sums {
        Sums { n_tokens: 12, n_scored: 13, n_bytes: 61, nll }
    }

    fn score(method: Method, nll: [f64; 2]) -> f64 {
        ScoreSpec::of(method).score(&sums(nll))
    }

    /// Golden values from Python 3 with the formula of each line; 13 predictions, 61 bytes, losses 70.25
    /// and 64.5 nats.
    #[test]
    fn golden_scores() {
        let close = |got: f64, want: f64| assert!((got - want).abs() <= want.abs() * 1e-14, "{got} {want}");
        let nll = [70.25, 64.5];
        // math.exp(70.25 / 13)
        close(score(Method::Perplexity, nll), 222.259_619_066_390_63);
        // 70.25 / (61 * math.log(2))
        close(score(Method::BitsPerByte, nll), 1.661_464_370_859_831);
        // (70.25 - 64.5) / 13
        close(score(Method::LossReduction, nll), 0.442_307_692_307_692_3);
        close(score(Method::MooreLewis, nll), 0.442_307_692_307_692_3);
        close(score(Method::Difference, nll), 0.442_307_692_307_692_3);
        // round(10.0 ** (70.25 / math.log(10) / 13), 1), as cc_net/perplexity.py does
        assert_eq!(score(Method::Ccnet, nll), 222.3);
        // sum(count * (log p_target - log p_raw)), of which the negative is kept
        assert_eq!(ScoreSpec::dsir_reference().score(&sums([5.75, 0.0])), -5.75);
        // and over n-grams: -5.75 / 13
        close(score(Method::Dsir, [5.75, 0.0]), -0.442_307_692_307_692_3);
        // math.exp(-0.25), and what is no loss stays what it is
        close(score(Method::Classifier, [0.25, 0.0]), 0.778_800_783_071_404_9);
        assert_eq!(score(Method::Rating, [-3.5, 0.0]), -3.5);
    }

    /// The signs: text that the second model likes better than the first.
    #[test]
    fn the_better_end_is_the_better_text() {
        for method in Method::ALL.into_iter().filter(|m| m.roles().len() == 2) {
            let spec = ScoreSpec::of(method);
            // Losses of a document of the wanted kind, and of any other one.
            let (wanted, other) = match spec.models() {
                ["prior", "conditional"] | ["reference", "large"] => ([50.0, 40.0], [50.0, 55.0]),
                ["target", "prior"] => ([40.0, 50.0], [55.0, 50.0]),
                roles => panic!("{roles:?}"),
            };
            let better = |a: f64, b: f64| if spec.keep == crate::Keep::Highest { a > b } else { a < b };
            assert!(better(spec.score(&sums(wanted)), spec.score(&sums(other))), "{method}");
        }
    }

    #[test]
    fn nothing_scored_is_nan() {
        for method in Method::ALL {
            let spec = ScoreSpec::of(method);
            for nll in [[0.0, 0.0], [1.0, 0.5]] {
                let none = Sums { n_scored: 0, nll, ..sums(nll) };
                assert_eq!(spec.score(&none).to_bits(), f64::NAN.to_bits(), "{method}");
            }
            assert!(spec.score(&sums([f64::NAN, 1.0])).is_nan());
        }
        let no_text = Sums { n_bytes: 0, ..sums([1.0, 0.0]) };
        assert!(ScoreSpec::of(Method::BitsPerByte).score(&no_text).is_nan());
        // A token that one model thinks impossible decides; one that both do says nothing.
        assert_eq!(score(Method::LossReduction, [f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(score(Method::LossReduction, [f64::INFINITY, f64::INFINITY]).is_nan());
    }

    #[test]
    fn rounding_is_that_of_python() {
        // round(x, 1) of Python 3.
        for (x, want) in [(0.25, 0.2), (0.35, 0.3), (340.05, 340.1), (1e300, 1e300), (2.5, 2.5), (0.05, 0.1)]
        {
            assert_eq!(tenths(x), want, "{x}");
        }
        assert_eq!(tenths(f64::INFINITY), f64::INFINITY);
    }

    #[test]
    fn buckets_begin_at_their_cutoffs() {
        let c = Cutoffs::CCNET_ENGLISH;
        let names = [339.9, 340.0, 519.9, 520.0, f64::INFINITY].map(|p| c.bucket(p).unwrap().as_str());
        assert_eq!(names, ["head", "middle", "middle", "tail", "tail"]);
        assert_eq!(c.bucket(f64::NAN), None);
        assert!(Cutoffs::new(2.0, 1.0).is_err() && Cutoffs::new(f64::NAN, 1.0).is_err());
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut p: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        p.extend([f64::NAN, -f64::NAN]);
        assert_eq!(Cutoffs::percentiles(&mut p, 30, 60).unwrap(), Cutoffs { head: 3.0, tail: 6.0 });
        assert_eq!(Cutoffs::percentiles(&mut p, 0, 100).unwrap(), Cutoffs { head: 1.0, tail: 10.0 });
        assert_eq!(Cutoffs::percentiles(&mut p, 31, 61).unwrap(), Cutoffs { head: 4.0, tail: 7.0 });
        assert!(Cutoffs::percentiles(&mut [f64::NAN], 30, 60).is_err());
        assert!(
            Cutoffs::percentiles(&mut p, 60, 30).is_err() && Cutoffs::percentiles(&mut p, 30, 101).is_err()
        );
    }

    #[test]
    fn names_are_those_of_the_options() {
        for method in Method::ALL {
            assert_eq!(serde_json::to_value(method).unwrap(), method.as_str());
        }
    }
}
