//! The search for a mixture: domain-labelled text and samples of what is wanted, to how much of each domain.
//!
//! RegMix answers the question with hundreds of small transformers. On text alone the same plan works with
//! proxies that train in a second, n-gram models: they know nothing of reasoning, but they do know which words
//! and phrases of one domain another is made of, which is most of what a data mixture decides about a loss.
//!
//! 1. **Text.** One pass draws, per domain, the documents with the lowest hashes, up to a limit of bytes.
//!    Documents that equal one of a target are left out. Every target is cut in two halves by hash: the search
//!    sees the one, the check the other. Words are split and numbered once, and all proxies share the vocabulary
//!    (words of at least two documents of the pool; all others are one unknown word), so that their losses can be
//!    compared.
//! 2. **Runs.** Mixtures are drawn as RegMix draws them, with no domain used up more often than allowed. Each is
//!    one run: so many tokens of whole documents, the last one of a domain cut, a modified Kneser-Ney model of
//!    them, and its loss on every target. Each run is committed by itself; a search that is killed goes on with
//!    the next one. Runs of one's own, with losses from any trainer, join through CSV files.
//! 3. **Experts.** One model per domain. The loss of any mixture is estimated from their per-token probabilities
//!    without training, as a predictor by itself and as a feature of the regressions.
//! 4. **Regression.** Linear and boosted trees, each with and without the experts. The one with the least error on
//!    runs that it did not see is taken, and fitted again to bootstrap samples for intervals.
//! 5. **Optimum.** The mean of the best of many Dirichlet draws, under the same limits.
//! 6. **Check.** Fresh proxies, on documents drawn anew, at the optimum, at uniform, at the natural mixture and
//!    at the best mixture that was sampled, with the same three seeds each; losses on the half of the target that
//!    the search has not seen.
//!
//! Beside the report lies a directory with the runs as `mixtures.csv` and `losses.csv` and the fitted models as
//! `models/*.json`. It is what makes the search resumable, and what `mix fit` and `mix optimize` read.
//!
//! What an n-gram proxy prefers need not be what a large model learns most from: the check says whether the
//! optimum holds for fresh proxies, not more. Where runs of a real trainer exist, give those.

mod check;
mod external;
mod options;
mod plan;
mod proxy;
mod report;
mod run;
mod text;

pub use options::{ExternalRuns, MixSearchOptions, PredictorChoice, TargetOptions};
pub use report::{
    Checked, CheckedMixture, DomainSummary, ExternalSummary, MixSearchSummary, ObjectiveReport,
    PredictorReport, SampledBest, TargetSummary,
};
pub use run::run;
