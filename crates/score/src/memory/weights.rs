//! Weights of hashed n-grams as the source of scores.

use gristmill_core::{Code, Error, Result};
use gristmill_ngram::hashed::ImportanceWeights;
use gristmill_ngram::normalize::NormalizerSpec;

use super::{LossModel, Scratch};
use crate::methods::{Method, Sums};
use crate::spec::{ScoreSpec, Windows};

/// DSIR's importance weights: the loss of an n-gram is `-ln(p_target / p_raw)` of its bucket.
pub struct HashedWeights(pub ImportanceWeights);

impl LossModel for HashedWeights {
    fn models(&self) -> usize {
        1
    }

    fn normalizer(&self) -> Option<&NormalizerSpec> {
        Some(self.0.features().normalizer().spec())
    }

    fn supports(&self, spec: &ScoreSpec) -> Result<()> {
        let ours = self.0.features().spec();
        if spec.name != Method::Dsir || spec.windows != Windows::Document {
            return Err(Error::new(
                Code::Unsupported,
                "weights of hashed n-grams score whole documents by dsir",
            ));
        }
        if spec.features.as_ref() != Some(ours) {
            return Err(Error::invalid_argument("features", "the weights were made from other features"));
        }
        Ok(())
    }

    fn text(&self, _: &ScoreSpec, text: &str, scratch: &mut Scratch) -> Result<Sums> {
        let weight = self.0.score(text, &mut scratch.words)?;
        let count = |n: u64| {
            u32::try_from(n)
                .map_err(|_| Error::new(Code::InvalidValue, format!("{n} n-grams in one document")))
        };
        let (n_tokens, n_scored) = (count(weight.words)?, count(weight.ngrams)?);
        Ok(Sums { n_tokens, n_scored, n_bytes: 0, nll: [0.0 - weight.sum, 0.0] })
    }

    fn tokens(&self, _: &ScoreSpec, _: &[u32], _: &mut Scratch) -> Result<Sums> {
        Err(Error::new(Code::Unsupported, "hashed n-grams are made of words: score text"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Float64Type;
    use arrow_array::{ArrayRef, RecordBatch, StringArray};
    use gristmill_core::Control;
    use gristmill_ngram::hashed::{BucketCounts, Features, HashedSpec};

    use super::*;
    use crate::memory::{MemoryOptions, MemoryScorer};

    /// One-word documents: the target has `corn` and `mill` once, the pool `corn` once and `shares` three
    /// times. By hand, as DSIR smooths: ln(1/2 + 1e-8) - ln(1/4 + 1e-8) for `corn`, ln(1e-8) - ln(3/4 + 1e-8)
    /// for `shares`.
    #[test]
    fn weights_by_hand() {
        let spec = HashedSpec { ngrams: 1, ..HashedSpec::reference() };
        let features = Features::new(spec.clone()).unwrap();
        let mut scratch = Scratch::default();
        let mut count = |texts: &[&str]| {
            let mut counts = BucketCounts::new(&features);
            texts.iter().for_each(|t| _ = counts.add(&features, t, &mut scratch.words).unwrap());
            counts
        };
        let (target, raw) = (count(&["corn", "mill"]), count(&["corn", "shares", "shares", "shares"]));
        let weights = ImportanceWeights::new(features.clone(), &target, &raw).unwrap();
        let model: Arc<dyn LossModel> = Arc::new(HashedWeights(weights));
        let spec = ScoreSpec { features: Some(spec), ..ScoreSpec::dsir_reference() };
        let options = |spec| MemoryOptions { text: Some("t".into()), spec: Some(spec), ..Default::default() };
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["corn corn", "shares", ""]));
        let table = RecordBatch::try_from_iter([("t", texts)]).unwrap();
        let scorer = MemoryScorer::new(options(spec.clone()), Some(model.clone())).unwrap();
        let scored = scorer.score(&table, &Control::default()).unwrap();
        let score = scored.column_by_name("score").unwrap().as_primitive::<Float64Type>().values().to_vec();
        let corn = (0.5f64 + 1e-8).ln() - (0.25f64 + 1e-8).ln();
        let shares = 1e-8f64.ln() - (0.75f64 + 1e-8).ln();
        assert!((score[0] - 2.0 * corn).abs() < 1e-14, "{score:?}");
        assert!((score[1] - shares).abs() < 1e-13, "{score:?}");
        assert!(score[2].is_nan());

        let other = ScoreSpec { features: Some(HashedSpec::default()), ..spec };
        let refused = |spec| MemoryScorer::new(options(spec), Some(model.clone())).err().unwrap().code();
        assert_eq!(refused(other), Code::InvalidArgument);
        assert_eq!(refused(ScoreSpec::of(Method::Perplexity)), Code::Unsupported);
    }
}
