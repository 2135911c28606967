//! Proxies: a mixture and a budget to a model, and a model to losses.

use gristmill_core::hash::hash64;
use gristmill_core::{Control, Result};
use gristmill_mix::Matrix;
use gristmill_ngram::estimate::{Estimator, FALLBACK_DISCOUNTS, Options};
use gristmill_ngram::model::{Model, ModelMeta};
use serde::{Deserialize, Serialize};

use super::text::{Docs, Text};

/// Bytes that counting one proxy may take before it spills.
const MEMORY: usize = 1 << 30;

/// What came out of one run. The form of its commit record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Outcome {
    /// The mixture that was asked for.
    pub(super) weights: Vec<f64>,
    /// Tokens of each domain that were trained on.
    pub(super) tokens: Vec<u64>,
    /// Target by target, the loss on the half for the search and on that for the check: nats per token, the end
    /// of a document being one.
    pub(super) losses: Vec<[f64; 2]>,
}

/// How proxies are trained.
pub(super) struct Trainer<'a> {
    pub(super) text: &'a Text,
    pub(super) order: usize,
    /// Tokens of one run.
    pub(super) budget: u64,
    pub(super) control: &'a Control,
}

impl Trainer<'_> {
    /// Trains on a mixture and measures it on all targets.
    pub(super) fn run(&self, weights: &[f64], seed: u64) -> Result<Outcome> {
        let sum: f64 = weights.iter().sum();
        let tokens: Vec<u64> =
            weights.iter().map(|w| (w / sum * self.budget as f64).round() as u64).collect();
        let model = self.train(&tokens, seed)?;
        let loss = |docs: &Docs| -> f64 { mean_loss(&model, docs) };
        let losses = self.text.targets.iter().map(|t| [loss(&t.search), loss(&t.held_out)]).collect();
        Ok(Outcome { weights: weights.to_vec(), tokens, losses })
    }

    /// The expert of one domain: all of it, at most the budget of a run.
    pub(super) fn expert(&self, domain: usize, seed: u64) -> Result<Model> {
        let mut tokens = vec![0; self.text.domains.len()];
        tokens[domain] = self.budget.min(self.text.domains[domain].drawn.tokens() as u64);
        self.train(&tokens, seed)
    }

    /// A model of so many tokens of each domain: whole documents in an order of their own for every seed, the last
    /// one cut; from the beginning again when a domain is used up.
    fn train(&self, tokens: &[u64], seed: u64) -> Result<Model> {
        self.control.check()?;
        let options = Options {
            order: self.order,
            memory_limit: MEMORY,
            threads: 1,
            // A run of few documents, or of one domain twice, allows no estimate of its own.
            discount_fallback: Some(FALLBACK_DISCOUNTS),
            ..Options::default()
        };
        let mut estimator = Estimator::with_vocab(options, self.text.vocab.clone())?;
        for (i, (domain, wanted)) in self.text.domains.iter().zip(tokens).enumerate() {
            let docs = &domain.drawn;
            let order = shuffled(docs.len(), hash64(seed, &(i as u64).to_le_bytes()));
            let mut left = *wanted as usize;
            for &at in order.iter().cycle() {
                if left == 0 {
                    break;
                }
                let words = docs.get(at as usize);
                let words = &words[..words.len().min(left)];
                estimator.add_sentence(words)?;
                left -= words.len();
            }
        }
        let estimate = estimator.finish(&Control::with_cancel(self.control.cancel_token().clone()))?;
        Model::from_trie(&estimate.trie, ModelMeta::default())
    }
}

/// `0..n` in an order that depends on the seed alone.
fn shuffled(n: usize, seed: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.sort_by_cached_key(|&i| (hash64(seed, &i.to_le_bytes()), i));
    order
}

/// Nats per token, ends of documents included.
fn mean_loss(model: &Model, docs: &Docs) -> f64 {
    let log10 = scores(model, docs);
    -log10.iter().map(|&x| f64::from(x)).sum::<f64>() * std::f64::consts::LN_10 / log10.len() as f64
}

fn scores(model: &Model, docs: &Docs) -> Vec<f32> {
    let mut log10 = Vec::new();
    model.score_many(docs.iter(), true, true, &mut log10);
    log10
}

/// The natural log-probabilities that experts give to some tokens of a target, one column per expert.
pub(super) fn log_probs(experts: &[Model], docs: &Docs, rows: &[usize]) -> Matrix {
    let mut table = Matrix::zeros(rows.len(), experts.len());
    for (j, model) in experts.iter().enumerate() {
        let all = scores(model, docs);
        for (i, &row) in rows.iter().enumerate() {
            // Rounding may leave a certain token a hair above one.
            table.row_mut(i)[j] = (f64::from(all[row]) * std::f64::consts::LN_10).min(0.0);
        }
    }
    table
}
