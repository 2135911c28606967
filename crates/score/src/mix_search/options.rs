//! What a search is told.

use gristmill_core::{Error, Result};
use gristmill_data::OnError;
use gristmill_mix::{GbdtOptions, Regressor};
use serde::{Deserialize, Serialize};

use crate::jobs::{ByteSize, SourceOptions};

/// A sample of wanted text, and what it is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetOptions {
    /// Its name in the report and in `losses.csv`.
    pub name: String,
    /// Its documents.
    pub source: SourceOptions,
}

/// Runs that one already has: the same domains as the pool's, the same targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalRuns {
    /// A CSV file with a column per domain.
    pub mixtures: String,
    /// A CSV file with a column per target.
    pub losses: String,
}

/// Which function of the mixture the optimum is searched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PredictorChoice {
    /// For each target the one with the least error on runs that it did not see; the default.
    #[default]
    Auto,
    /// Linear in the weights.
    Linear,
    /// Linear in the weights and in their square roots.
    Concave,
    /// Boosted trees on the weights.
    Gbdt,
    /// Linear in the weights and in the experts' estimate.
    LinearExperts,
    /// Linear in the weights, their square roots and the experts' estimate.
    ConcaveExperts,
    /// Boosted trees on the weights and on the experts' estimate.
    GbdtExperts,
    /// The experts' estimate by itself.
    Experts,
}

/// Of the linear regressions: so that bootstrap samples of few runs can be fitted too.
const LITTLE: f64 = 1e-6;
/// Of the concave regressions: they have twice as many factors as there are domains.
const L2: f64 = 1e-4;

impl PredictorChoice {
    /// Those that a search compares.
    pub(crate) const ALL: [Self; 7] = [
        Self::Linear,
        Self::Concave,
        Self::Gbdt,
        Self::LinearExperts,
        Self::ConcaveExperts,
        Self::GbdtExperts,
        Self::Experts,
    ];

    /// The regression, and whether it takes the experts. For [`Auto`](Self::Auto) that of the trees.
    pub(crate) fn regressor(self) -> (Regressor, bool) {
        match self {
            Self::Linear => (Regressor::Linear { l2: LITTLE }, false),
            Self::LinearExperts => (Regressor::Linear { l2: LITTLE }, true),
            Self::Concave => (Regressor::Concave { l2: L2 }, false),
            Self::ConcaveExperts => (Regressor::Concave { l2: L2 }, true),
            Self::GbdtExperts => (Regressor::Gbdt(GbdtOptions::default()), true),
            Self::Experts => (Regressor::Experts, true),
            Self::Gbdt | Self::Auto => (Regressor::Gbdt(GbdtOptions::default()), false),
        }
    }
}

/// Search a mixture.
///
/// ```
/// use gristmill_score::mix_search::MixSearchOptions;
///
/// let text = r#"{"pool": "corpus/", "domain": "source", "output": "mix.json",
///                "targets": [{"name": "books", "source": "books.jsonl"}]}"#;
/// let options: MixSearchOptions = serde_json::from_str(text)?;
/// assert_eq!((options.runs, options.proxy.as_str(), options.epochs), (128, "ngram:3", 1.0));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MixSearchOptions {
    /// The documents to mix.
    pub pool: SourceOptions,
    /// The column that names the domain of a document; by file when not given (the first directory below what
    /// the files have in common, or the file's own name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Samples of what is wanted, each of at least two documents.
    pub targets: Vec<TargetOptions>,
    /// The report, a JSON file.
    pub output: String,
    /// The directory of the runs; the report's name with `.runs` instead of `.json` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<String>,
    /// Also draw the result, as an SVG file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plot: Option<String>,
    /// What is trained: `ngram:` and the order, 1 to 6.
    #[serde(default = "default_proxy")]
    pub proxy: String,
    /// How many mixtures are drawn and trained on; 0 with runs of one's own.
    #[serde(default = "default_runs")]
    pub runs: usize,
    /// Tokens of one run; a quarter of the pool when not given, at most two million.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// How often a document may be used in one run. This, the size of a domain and the tokens of a run limit what
    /// weight the domain can have.
    #[serde(default = "default_epochs")]
    pub epochs: f64,
    /// Runs with losses from elsewhere, to fit together with those made here. Losses must be of the same kind:
    /// nats per token of the same targets, or, without runs of one's own here, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalRuns>,
    /// Which function of the mixture the optimum is searched on.
    #[serde(default)]
    pub predictor: PredictorChoice,
    /// Bootstrap models per target; 16.
    #[serde(default = "default_bags")]
    pub bags: usize,
    /// Mixtures drawn in search of the optimum; 100,000.
    #[serde(default = "default_draws")]
    pub draws: usize,
    /// Fresh proxies per mixture in the check; 3.
    #[serde(default = "default_check_seeds")]
    pub check_seeds: usize,
    /// How text becomes tokens; `unicode-words/1` when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalizer: Option<String>,
    /// Text of each domain that is kept in memory at most, in bytes; 64 MB.
    #[serde(default = "default_domain_bytes")]
    pub domain_bytes: ByteSize,
    /// Start over instead of resuming.
    #[serde(default)]
    pub fresh: bool,
    /// Threads; all that the process may use when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// What to do with what cannot be read.
    #[serde(default)]
    pub on_error: OnError,
    /// Seed of all sampling.
    #[serde(default)]
    pub seed: u64,
}

fn default_proxy() -> String {
    "ngram:3".into()
}
fn default_runs() -> usize {
    128
}
fn default_epochs() -> f64 {
    1.0
}
fn default_bags() -> usize {
    16
}
fn default_draws() -> usize {
    100_000
}
fn default_check_seeds() -> usize {
    3
}
fn default_domain_bytes() -> ByteSize {
    ByteSize(64_000_000)
}

impl MixSearchOptions {
    /// A search over `pool` into the report `output`, all else by default.
    pub fn new(pool: SourceOptions, targets: Vec<TargetOptions>, output: impl Into<String>) -> Self {
        Self {
            pool,
            domain: None,
            targets,
            output: output.into(),
            work: None,
            plot: None,
            proxy: default_proxy(),
            runs: default_runs(),
            tokens: None,
            epochs: default_epochs(),
            external: None,
            predictor: PredictorChoice::Auto,
            bags: default_bags(),
            draws: default_draws(),
            check_seeds: default_check_seeds(),
            normalizer: None,
            domain_bytes: default_domain_bytes(),
            fresh: false,
            threads: None,
            on_error: OnError::Fail,
            seed: 0,
        }
    }

    /// The order of the proxies.
    pub(crate) fn order(&self) -> Result<usize> {
        let bad = || {
            Error::invalid_argument("proxy", format!("{:?} is no proxy that trains here", self.proxy))
                .hint("ngram:3; runs of other trainers join by their mixtures and losses")
        };
        let order = self.proxy.strip_prefix("ngram:").ok_or_else(bad)?;
        order.parse().ok().filter(|n| (1..=6).contains(n)).ok_or_else(bad)
    }

    /// The directory of the runs.
    pub(crate) fn work(&self) -> String {
        let stem = self.output.strip_suffix(".json").unwrap_or(&self.output);
        self.work.clone().unwrap_or_else(|| format!("{stem}.runs"))
    }

    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |option: &str, why: String| Err(Error::invalid_argument(option, why));
        self.order()?;
        if self.targets.is_empty() {
            return refuse("target", "give a sample of what is wanted".into());
        }
        for (i, target) in self.targets.iter().enumerate() {
            let name = &target.name;
            if name.is_empty() || name == "index" || name == "run" || name.contains(['/', '\\', '\0']) {
                return refuse("target", format!("{name:?} cannot be the name of a target"));
            }
            if name == "mean" && self.targets.len() > 1 {
                return refuse("target", "the mean of all targets has this name".into());
            }
            if self.targets[..i].iter().any(|other| other.name == *name) {
                return refuse("target", format!("two targets are called {name:?}"));
            }
        }
        for (option, path) in [("output", &self.output), ("work", &self.work())] {
            if path.contains("://") {
                return refuse(option, "a search is written to local files".into());
            }
        }
        if self.runs == 0 && self.external.is_none() {
            return refuse(
                "runs",
                "there must be some, made here or given by their mixtures and losses".into(),
            );
        }
        if self.tokens == Some(0) {
            return refuse("tokens", "must be at least 1".into());
        }
        if !(self.epochs > 0.0 && self.epochs.is_finite()) {
            return refuse("epochs", "must be positive".into());
        }
        if self.check_seeds == 0 {
            return refuse("checkSeeds", "must be at least 1".into());
        }
        Ok(())
    }
}
