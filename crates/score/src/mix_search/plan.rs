//! What is trained: the budget, the limits of every domain, and the mixtures.

use gristmill_core::{Error, Result};
use gristmill_mix::{Matrix, SampleOptions, sample_mixtures};

use super::options::MixSearchOptions;
use super::text::Text;

/// What part of the pool a run takes when nothing is asked for: then no domain can have more than this many times
/// its natural share. With small runs the answer is often one domain alone; here it must be filled up from others,
/// as a real budget must.
const PART: f64 = 4.0;
/// Tokens of a run at most, when nothing is asked for.
const MOST_TOKENS: f64 = 2e6;
/// Tokens of a run at least, when nothing is asked for and the pool has as many.
const FEWEST_TOKENS: f64 = 5e4;

/// The plan of a search.
pub(super) struct Plan {
    /// Tokens of one run.
    pub(super) budget: u64,
    /// The share of each domain in the pool.
    pub(super) natural: Vec<f64>,
    /// The largest weight that each domain may have.
    pub(super) most: Vec<f64>,
    /// The mixtures to train on.
    pub(super) mixtures: Matrix,
}

impl Plan {
    pub(super) fn of(text: &Text, options: &MixSearchOptions) -> Result<Self> {
        let tokens: Vec<f64> = text.domains.iter().map(|d| d.tokens).collect();
        let total: f64 = tokens.iter().sum();
        let drawn: Vec<f64> = text.domains.iter().map(|d| d.drawn.tokens() as f64).collect();
        let default = || (total / PART).min(MOST_TOKENS).max(FEWEST_TOKENS.min(total / 2.0)).max(1.0);
        let budget = options.tokens.map_or_else(default, |t| t as f64).round();
        let natural: Vec<f64> = tokens.iter().map(|t| t / total).collect();
        let most: Vec<f64> = drawn.iter().map(|d| (d * options.epochs / budget).min(1.0)).collect();
        let reachable: f64 = most.iter().sum();
        if reachable < 1.0 {
            let message = format!(
                "infeasible: a run of {budget} tokens, with no document used more than {} times, takes more than the \
                 {} tokens that there are",
                options.epochs,
                drawn.iter().sum::<f64>()
            );
            return Err(Error::invalid_argument("tokens", message).hint("lower tokens, or allow more epochs"));
        }
        let mixtures = match options.runs {
            0 => Matrix::zeros(0, natural.len()),
            // One domain leaves one mixture, which says nothing.
            _ if natural.len() == 1 => {
                return Err(Error::invalid_argument(
                    "domain",
                    "the pool has one domain only: nothing to mix",
                )
                .hint("name the column that holds the domain"));
            }
            n => {
                let max_usage = total * options.epochs / budget;
                draw(
                    &natural,
                    SampleOptions { n, max_usage, seed: options.seed, ..SampleOptions::default() },
                )?
            }
        };
        Ok(Self { budget: budget as u64, natural, most, mixtures })
    }
}

/// Mixtures that sum to one exactly. With many small domains few draws leave none over-used, so that more are made
/// before giving up.
fn draw(natural: &[f64], options: SampleOptions) -> Result<Matrix> {
    let mut drawn = sample_mixtures(natural, &options);
    for oversample in [1_000, 10_000] {
        if drawn.is_ok() {
            break;
        }
        drawn = sample_mixtures(natural, &SampleOptions { oversample, ..options.clone() });
    }
    let mut mixtures = drawn?.weights;
    for i in 0..mixtures.rows() {
        let sum: f64 = mixtures.row(i).iter().sum();
        mixtures.row_mut(i).iter_mut().for_each(|w| *w /= sum);
    }
    Ok(mixtures)
}
