//! A prior adapted to a target sample as the source of losses.

use gristmill_core::{Code, Error, Result, ResultExt};
use gristmill_ngram::adapt::{Adapted, PairScore};
use gristmill_ngram::normalize::NormalizerSpec;

use super::loss_model::{LossModel, Scratch, each};
use crate::methods::{Method, Sums};
use crate::spec::{Bos, Eos, Mask, ScoreSpec, Windows};

/// Loss reduction, whose second model is the interpolated one, or Moore–Lewis, which compares the same two
/// the other way round and is the classic one at a weight of 1.
impl LossModel for Adapted {
    fn models(&self) -> usize {
        2
    }

    fn normalizer(&self) -> Option<&NormalizerSpec> {
        Some(Self::normalizer(self).spec())
    }

    fn supports(&self, spec: &ScoreSpec) -> Result<()> {
        let whole = spec.windows == Windows::Document && spec.mask == Mask::None;
        if !(whole && spec.bos == Bos::Context && spec.eos == Eos::Scored) {
            let text = "an adapted model scores whole documents between their markers";
            return Err(Error::new(Code::Unsupported, text));
        }
        if !matches!(spec.name, Method::LossReduction | Method::MooreLewis) {
            let text = format!("an adapted model has a prior and a target; {} compares others", spec.name);
            return Err(Error::new(Code::Unsupported, text));
        }
        Ok(())
    }

    fn text(&self, spec: &ScoreSpec, text: &str, scratch: &mut Scratch) -> Result<Sums> {
        sums(spec, self.score_text_with(text, &mut scratch.pair)?)
    }

    fn texts(&self, spec: &ScoreSpec, texts: &[&str], scratch: &mut Scratch) -> Result<Vec<Sums>> {
        let mut found = Vec::with_capacity(texts.len());
        let done = self.score_texts(texts, &mut scratch.pair, |pair| found.push(sums(spec, pair)));
        // Those before the one that failed were scored, and may have failed later.
        let found = each(&found, Clone::clone)?;
        done.at_row(found.len() as u64)?;
        Ok(found)
    }

    fn tokens(&self, spec: &ScoreSpec, ids: &[u32], scratch: &mut Scratch) -> Result<Sums> {
        let words = self.prior().words();
        if let Some(id) = ids.iter().find(|&&id| id as usize >= words) {
            return Err(Error::new(Code::InvalidValue, format!("the model has no token {id}")));
        }
        let nothing = PairScore::default();
        sums(spec, if ids.is_empty() { nothing } else { self.score(ids, &mut scratch.pair) })
    }
}

fn sums(spec: &ScoreSpec, pair: PairScore) -> Result<Sums> {
    let n_scored = u32::try_from(pair.n_scored).map_err(|_| {
        Error::new(Code::InvalidValue, format!("{} predictions in one document", pair.n_scored))
    })?;
    let nll = match spec.name {
        Method::MooreLewis => [pair.nll_conditional, pair.nll_prior],
        _ => [pair.nll_prior, pair.nll_conditional],
    };
    // All tokens are predicted, and the end.
    Ok(Sums { n_tokens: n_scored.saturating_sub(1), n_scored, n_bytes: 0, nll })
}

#[cfg(test)]
mod tests {
    use std::f64::consts::LN_10;

    use gristmill_ngram::model::Model;
    use gristmill_ngram::normalize::Normalizer;

    use super::*;

    /// Unigrams with these log10 probabilities of `a`, `b` and `</s>`.
    fn model([a, b, end]: [&str; 3]) -> Model {
        let arpa = format!(
            "\\data\\\nngram 1=5\n\n\\1-grams:\n-2\t<unk>\n-99\t<s>\n{end}\t</s>\n{a}\ta\n{b}\tb\n\n\\end\\\n"
        );
        Model::from_bytes(arpa.as_bytes()).unwrap()
    }

    /// Many texts in one call give what each gives alone, to the last bit.
    #[test]
    fn texts_together_score_as_one_by_one() {
        let adapted = Adapted::new(model(["-2", "-1", "-1"]), model(["-1", "-2", "-1"]), 0.3)
            .unwrap()
            .with_normalizer(Normalizer::named("whitespace/1").unwrap());
        let long = "a b b a c ".repeat(2000);
        let mut texts = vec!["", "a", "a b", " ", "b c", long.as_str()];
        texts.extend((0..300).map(|i| &long[..i % 40]));
        let scratch = &mut Scratch::default();
        for method in [Method::LossReduction, Method::MooreLewis] {
            let spec = ScoreSpec::of(method);
            let together = adapted.texts(&spec, &texts, scratch).unwrap();
            let alone: Vec<_> =
                texts.iter().map(|text| adapted.text(&spec, text, scratch).unwrap()).collect();
            assert_eq!(together, alone);
            assert_eq!((together[0], together[3]), (Sums::default(), Sums::default()));
        }
    }

    /// By hand: under the prior `a` has 0.01 and `b` and `</s>` 0.1, under the target all three 0.1 or, for
    /// `b`, 0.01. Half and half, `a` has (0.01 + 0.1) / 2, `b` the same, and `</s>` 0.1.
    #[test]
    fn both_methods_by_hand() {
        let adapted = Adapted::new(model(["-2", "-1", "-1"]), model(["-1", "-2", "-1"]), 0.5)
            .unwrap()
            .with_normalizer(Normalizer::named("whitespace/1").unwrap());
        let close = |got: [f64; 2], want: [f64; 2]| {
            assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6), "{got:?} {want:?}");
        };
        let half = -0.055f64.ln();
        let scratch = &mut Scratch::default();
        let spec = ScoreSpec::of(Method::LossReduction);
        adapted.supports(&spec).unwrap();
        let sums = adapted.text(&spec, "a b a", scratch).unwrap();
        assert_eq!((sums.n_tokens, sums.n_scored), (3, 4));
        close(sums.nll, [6.0 * LN_10, 3.0 * half + LN_10]);
        let spec = ScoreSpec::of(Method::MooreLewis);
        let ids = ["a", "a"].map(|w| adapted.prior().encode(w));
        let sums = adapted.tokens(&spec, &ids, scratch).unwrap();
        close(sums.nll, [2.0 * half + LN_10, 5.0 * LN_10]);
        // Text of the target: low is good, and it is below zero.
        assert!(spec.score(&sums) < 0.0);
        for nothing in [adapted.text(&spec, " ", scratch), adapted.tokens(&spec, &[], scratch)] {
            assert_eq!(nothing.unwrap(), Sums::default());
        }
        assert_eq!(adapted.tokens(&spec, &[99], scratch).unwrap_err().code(), Code::InvalidValue);
        for other in [ScoreSpec::color_filter(), ScoreSpec::of(Method::Difference)] {
            assert_eq!(adapted.supports(&other).unwrap_err().code(), Code::Unsupported);
        }
    }
}
