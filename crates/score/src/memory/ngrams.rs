//! N-gram models as the source of losses.

use std::f64::consts::LN_10;

use gristmill_core::{Code, Error, Result, ResultExt};
use gristmill_ngram::model::Model;
use gristmill_ngram::normalize::{Normalizer, NormalizerSpec};

use super::loss_model::{LossModel, Scratch, each};
use crate::methods::Sums;
use crate::spec::{Bos, Eos, Mask, ScoreSpec, Windows};

/// One n-gram model, or two that are compared.
pub struct Ngrams {
    models: Vec<Model>,
    /// Missing where neither files nor user say: then only token ids can be scored.
    normalizer: Option<Normalizer>,
}

impl Ngrams {
    /// These models, in the order of the method's roles. `normalizer` says how text becomes words where the
    /// models do not, and gives the tokenizer file where they name one.
    pub fn new(models: Vec<Model>, normalizer: Option<&str>) -> Result<Self> {
        if !(1..=2).contains(&models.len()) {
            let text = format!("{} models: there are methods for one and for two", models.len());
            return Err(Error::invalid_argument("model", text));
        }
        let recorded: Vec<_> = models.iter().filter_map(|m| m.meta().normalizer.as_ref()).collect();
        if let Some(pair) = recorded.windows(2).find(|pair| pair[0] != pair[1]) {
            let text = format!("the models were made with {} and {}", pair[0], pair[1]);
            return Err(Error::invalid_argument("prior", text)
                .hint("losses can be compared only over the same tokens: fit both with one normalizer"));
        }
        let normalizer = match (recorded.first(), normalizer) {
            (Some(spec), asked) if spec.sha256.is_some() => Some(Normalizer::of_spec(spec, asked)?),
            (Some(spec), None) => Some(Normalizer::of_spec(spec, None)?),
            (Some(spec), Some(asked)) => {
                let normalizer = Normalizer::resolve(asked)?;
                if normalizer.spec() != *spec {
                    let text = format!("the model was made with {spec}, not with {}", normalizer.spec());
                    return Err(Error::invalid_argument("normalizer", text));
                }
                Some(normalizer)
            }
            (None, asked) => asked.map(Normalizer::resolve).transpose()?,
        };
        Ok(Self { models, normalizer })
    }

    /// Summed loss of a document under one model, and the number of predictions in the sum.
    fn loss(&self, spec: &ScoreSpec, model: usize, ids: &[u32], log10: &mut Vec<f32>) -> (f64, u32) {
        let model = &self.models[model];
        let window = match spec.windows {
            Windows::Truncated { tokens } => ids.len().min(tokens as usize),
            _ => ids.len(),
        };
        // The end of a document that is cut is not seen, so it is not predicted.
        let eos = spec.eos == Eos::Scored && window == ids.len();
        model.score(&ids[..window], spec.bos == Bos::Context, eos, log10);
        sum(spec, ids, model.eos(), log10)
    }

    fn sums(&self, spec: &ScoreSpec, ids: [&[u32]; 2], log10: &mut Vec<f32>) -> Sums {
        let n_tokens = ids[0].len() as u32;
        if n_tokens == 0 {
            return Sums::default();
        }
        let (first, n_scored) = self.loss(spec, 0, ids[0], log10);
        let second = if self.models.len() > 1 { self.loss(spec, 1, ids[1], log10).0 } else { 0.0 };
        Sums { n_tokens, n_scored, n_bytes: 0, nll: [first, second] }
    }

    /// Appends the words of a text to the ids of each model.
    fn split(&self, text: &str, scratch: &mut Scratch) -> Result<()> {
        let Some(normalizer) = &self.normalizer else {
            return Err(Error::invalid_argument(
                "normalizer",
                "the model file does not say how text becomes words",
            )
            .hint(
                "name it: whitespace/1 for text that is split already, a tokenizer file for CCNet's models",
            ));
        };
        let Scratch { words, ids, second, .. } = scratch;
        let start = ids.len();
        match &self.models[..] {
            [a, b] => normalizer.for_each_token(text, words, |word| {
                ids.push(a.encode(word));
                second.push(b.encode(word));
            })?,
            models => normalizer.for_each_token(text, words, |word| ids.push(models[0].encode(word)))?,
        }
        let tokens = ids.len() - start;
        if u32::try_from(tokens).is_err() {
            return Err(Error::new(Code::InvalidValue, format!("{tokens} tokens in one document")));
        }
        Ok(())
    }

    /// Scores the documents between `ends`, all together, and forgets them.
    fn score_collected(&self, spec: &ScoreSpec, scratch: &mut Scratch, sums: &mut Vec<Sums>) {
        let Scratch { ids, second, ends, log10, .. } = scratch;
        let first_new = sums.len();
        let (bos, eos) = (spec.bos == Bos::Context, spec.eos == Eos::Scored);
        for (at, model) in self.models.iter().enumerate() {
            let ids = if at == 0 { &*ids } else { &*second };
            let documents = || {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                starts.zip(ends.iter()).map(|(start, end)| &ids[start..*end])
            };
            model.score_many(documents().filter(|ids| !ids.is_empty()), bos, eos, log10);
            let mut rest = &log10[..];
            for (document, ids) in documents().enumerate() {
                let predictions = if ids.is_empty() { 0 } else { ids.len() + usize::from(eos) };
                let (own, after) = rest.split_at(predictions);
                rest = after;
                let (loss, n_scored) = sum(spec, ids, model.eos(), own);
                if at == 0 {
                    let n_tokens = ids.len() as u32;
                    sums.push(Sums { n_tokens, n_scored, n_bytes: 0, nll: [loss, 0.0] });
                } else {
                    sums[first_new + document].nll[1] = loss;
                }
            }
        }
        ids.clear();
        second.clear();
        ends.clear();
    }
}

/// Words that are looked up together at least, before the next texts are split.
const TOGETHER: usize = 4096;

/// The loss in the log10 probabilities of a document's predictions, and how many of them count.
fn sum(spec: &ScoreSpec, ids: &[u32], eos: u32, log10: &[f32]) -> (f64, u32) {
    let masked = |i: usize| match spec.mask {
        Mask::None => false,
        Mask::AfterEos => i > 0 && ids[i - 1] == eos,
    };
    let first = usize::from(spec.bos == Bos::SkipFirst);
    let scored = (first..log10.len()).filter(|&i| !masked(i));
    let (sum, n) = scored.fold((0.0, 0), |(sum, n), i| (sum + f64::from(log10[i]), n + 1));
    // Zero minus, so that nothing is 0 and not -0.
    (0.0 - sum * LN_10, n)
}

impl LossModel for Ngrams {
    fn models(&self) -> usize {
        self.models.len()
    }

    fn normalizer(&self) -> Option<&NormalizerSpec> {
        self.normalizer.as_ref().map(Normalizer::spec)
    }

    fn supports(&self, spec: &ScoreSpec) -> Result<()> {
        let refuse = |what: &str| Err(Error::new(Code::Unsupported, what));
        if spec.features.is_some() || spec.models().is_empty() {
            return refuse("language models give losses, and this score is not made from any");
        }
        if matches!(spec.windows, Windows::Sliding { .. } | Windows::Rolling { .. }) {
            return refuse(
                "windows over a document change nothing for an n-gram model: score whole documents",
            );
        }
        Ok(())
    }

    fn text(&self, spec: &ScoreSpec, text: &str, scratch: &mut Scratch) -> Result<Sums> {
        scratch.ids.clear();
        scratch.second.clear();
        self.split(text, scratch)?;
        let Scratch { ids, second, log10, .. } = scratch;
        Ok(self.sums(spec, [ids, second], log10))
    }

    fn texts(&self, spec: &ScoreSpec, texts: &[&str], scratch: &mut Scratch) -> Result<Vec<Sums>> {
        if spec.windows != Windows::Document {
            return each(texts, |text| self.text(spec, text, scratch));
        }
        let mut sums = Vec::with_capacity(texts.len());
        scratch.ids.clear();
        scratch.second.clear();
        scratch.ends.clear();
        for (index, text) in texts.iter().enumerate() {
            self.split(text, scratch).at_row(index as u64)?;
            scratch.ends.push(scratch.ids.len());
            if scratch.ids.len() >= TOGETHER {
                self.score_collected(spec, scratch, &mut sums);
            }
        }
        self.score_collected(spec, scratch, &mut sums);
        Ok(sums)
    }

    fn tokens(&self, spec: &ScoreSpec, ids: &[u32], scratch: &mut Scratch) -> Result<Sums> {
        if let Some(id) = self.models.iter().find_map(|m| ids.iter().find(|&&id| id as usize >= m.words())) {
            return Err(Error::new(Code::InvalidValue, format!("the model has no token {id}"))
                .hint("token ids are the model's own numbers of its words"));
        }
        Ok(self.sums(spec, [ids, ids], &mut scratch.log10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::Method;

    /// A bigram model of two words.
    const ARPA: &str = "\\data\\\nngram 1=5\nngram 2=3\n\n\\1-grams:\n-1.5\t<unk>\n-99\t<s>\t-0.25\n-0.75\t</s>\n\
        -0.5\ta\t-0.125\n-1\tb\t-0.5\n\n\\2-grams:\n-0.25\t<s> a\n-0.375\ta b\n-0.0625\tb </s>\n\n\\end\\\n";
    /// Another one, of unigrams.
    const FLAT: &str =
        "\\data\\\nngram 1=5\n\n\\1-grams:\n-2\t<unk>\n-99\t<s>\n-1\t</s>\n-1\ta\n-1\tb\n\n\\end\\\n";

    fn model(arpa: &str) -> Model {
        Model::from_bytes(arpa.as_bytes()).unwrap()
    }

    fn one() -> Ngrams {
        Ngrams::new(vec![model(ARPA)], Some("whitespace/1")).unwrap()
    }

    /// The sum as the file has its numbers, without the rounding of the change of base and back.
    fn in_log10(nll: f64) -> f64 {
        (nll / LN_10 * 1e12).round() / 1e12
    }

    fn text(spec: &ScoreSpec, text: &str) -> (u32, u32, f64) {
        let sums = one().text(spec, text, &mut Scratch::default()).unwrap();
        (sums.n_tokens, sums.n_scored, in_log10(sums.nll[0]))
    }

    /// By hand, from the numbers in the file (log10, negated): `a` after `<s>` 0.25, `b` after `a` 0.375,
    /// `</s>` after `b` 0.0625; `a` alone 0.5; `a` after `b` 0.5 + 0.5 by backoff; `</s>` after `a`
    /// 0.125 + 0.75; an unknown word after `a` 0.125 + 1.5, and `</s>` after it 0.75.
    #[test]
    fn markers_and_windows_by_hand() {
        let spec = ScoreSpec::of(Method::Perplexity);
        assert_eq!(text(&spec, "a b"), (2, 3, 0.25 + 0.375 + 0.0625));
        assert_eq!(text(&spec, "a c"), (2, 3, 0.25 + 1.625 + 0.75));
        assert_eq!(text(&ScoreSpec { eos: Eos::None, ..spec.clone() }, "a b"), (2, 2, 0.625));
        assert_eq!(text(&ScoreSpec { bos: Bos::None, ..spec.clone() }, "a b"), (2, 3, 0.5 + 0.375 + 0.0625));
        assert_eq!(text(&ScoreSpec { bos: Bos::SkipFirst, ..spec.clone() }, "a b"), (2, 2, 0.4375));
        // The end of a document that is cut is not predicted.
        let truncated = |tokens| ScoreSpec { windows: Windows::Truncated { tokens }, ..spec.clone() };
        assert_eq!(text(&truncated(2), "a b a"), (3, 2, 0.625));
        assert_eq!(text(&truncated(3), "a b a"), (3, 4, 0.25 + 0.375 + 1.0 + 0.875));
        assert_eq!(text(&truncated(9), "a b"), (2, 3, 0.6875));
        // No token: nothing is scored, not even the end.
        for nothing in ["", "  \n "] {
            assert_eq!(text(&spec, nothing), (0, 0, 0.0));
        }
    }

    #[test]
    fn predictions_from_the_end_marker_are_masked() {
        let ngrams = one();
        let m = &ngrams.models[0];
        let (a, b, eos) = (m.encode("a"), m.encode("b"), m.eos());
        let ids = [a, b, eos, a, b];
        let spec =
            ScoreSpec { name: Method::Perplexity, windows: Windows::Document, ..ScoreSpec::mini_plm() };
        let masked = ngrams.tokens(&spec, &ids, &mut Scratch::default()).unwrap();
        // b, </s>, and b again; the first token has no context, the second a follows the marker.
        assert_eq!((masked.n_tokens, masked.n_scored), (5, 3));
        assert_eq!(in_log10(masked.nll[0]), 0.375 + 0.0625 + 0.375);
        let all =
            ngrams.tokens(&ScoreSpec { mask: Mask::None, ..spec }, &ids, &mut Scratch::default()).unwrap();
        assert_eq!((all.n_scored, in_log10(all.nll[0])), (4, 0.375 + 0.0625 + 0.375 + 0.5));
    }

    /// Many texts in one call give what each gives alone, to the last bit, and fail at the same one.
    #[test]
    fn texts_together_score_as_one_by_one() {
        let pair = Ngrams::new(vec![model(FLAT), model(ARPA)], Some("whitespace/1")).unwrap();
        let long = "a b b a c ".repeat(TOGETHER / 4);
        let mut texts = vec!["", "a", "a b", " ", "b </s> a c", long.as_str()];
        texts.extend((0..300).map(|i| &long[..i % 40]));
        let documents = ScoreSpec::of(Method::LossReduction);
        let masked = ScoreSpec { mask: Mask::AfterEos, ..documents.clone() };
        let skipped = ScoreSpec { bos: Bos::SkipFirst, eos: Eos::None, ..documents.clone() };
        let truncated = ScoreSpec { windows: Windows::Truncated { tokens: 3 }, ..documents.clone() };
        let scratch = &mut Scratch::default();
        for spec in [documents, masked, skipped, truncated] {
            let together = pair.texts(&spec, &texts, scratch).unwrap();
            let alone: Vec<_> = texts.iter().map(|text| pair.text(&spec, text, scratch).unwrap()).collect();
            assert_eq!(together, alone, "{spec:?}");
        }
    }

    #[test]
    fn two_models_are_compared_over_the_same_words() {
        let pair = Ngrams::new(vec![model(FLAT), model(ARPA)], Some("whitespace/1")).unwrap();
        let spec = ScoreSpec::of(Method::LossReduction);
        let sums = pair.text(&spec, "a b", &mut Scratch::default()).unwrap();
        assert_eq!(sums.nll.map(in_log10), [3.0, 0.6875]);
        let by_hand = (3.0 - 0.6875) * LN_10 / 3.0;
        assert!((spec.score(&sums) - by_hand).abs() < 1e-15);
    }

    #[test]
    fn unknown_ids_and_missing_normalisers_are_typed_errors() {
        let ngrams = Ngrams::new(vec![model(ARPA)], None).unwrap();
        let spec = ScoreSpec::of(Method::Perplexity);
        let e = ngrams.tokens(&spec, &[0, 5], &mut Scratch::default()).unwrap_err();
        assert_eq!(e.code(), Code::InvalidValue);
        let e = ngrams.text(&spec, "a", &mut Scratch::default()).unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some("normalizer")));
        assert!(ngrams.supports(&ScoreSpec::of(Method::Dsir)).is_err());
        assert!(Ngrams::new(vec![], None).is_err());
        assert!(Ngrams::new(vec![model(ARPA)], Some("no-such/1")).is_err());
    }
}
