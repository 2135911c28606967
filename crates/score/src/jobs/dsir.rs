//! DSIR's weights from samples of target and pool, with the same account of themselves that models give.

use gristmill_core::{Code, Control, Counts, Error, Result};
use gristmill_ngram::adapt::discriminate;
use gristmill_ngram::hashed::{BucketCounts, Features, HashedSpec, ImportanceWeights};
use gristmill_ngram::normalize::Scratch;
use serde::{Deserialize, Serialize};

use super::sample::Drawn;
use super::summary::Fitted;
use crate::memory::HashedWeights;

/// Parts of the target that are held out in turn.
pub(crate) const FOLDS: usize = 5;
/// Where there are fewer documents than this, they are cut into sections of so many bytes.
const FEW: usize = 4 * FOLDS;
const SECTION: usize = 1200;
/// Target text of fewer words than this cannot be held out in part and still be learnt from.
pub(crate) const FEWEST_WORDS: u64 = 500;

/// The file of the weights: counts, which the weights follow from.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weights {
    features: HashedSpec,
    target: BucketCounts,
    raw: BucketCounts,
}

/// Reads the weights that [`learn`] made.
pub(crate) fn load(json: &[u8], path: &str) -> Result<HashedWeights> {
    let Weights { features, target, raw } = serde_json::from_slice(json)
        .map_err(|e| Error::new(Code::InvalidModel, format!("the weights are damaged: {e}")).at_path(path))?;
    Ok(HashedWeights(ImportanceWeights::new(Features::new(features)?, &target, &raw)?))
}

/// Counts both samples and measures how well the weights tell held-out target text from the pool.
pub(crate) fn learn(
    spec: HashedSpec,
    target: &[Drawn],
    pool: &[Drawn],
    control: &Control,
) -> Result<(Weights, Fitted)> {
    let features = Features::new(spec.clone())?;
    let mut scratch = Scratch::default();
    let sections = sections(target);
    let mut folds = vec![BucketCounts::new(&features); FOLDS];
    let mut words = 0;
    for (i, text) in sections.iter().enumerate() {
        words += folds[i % FOLDS].add(&features, text, &mut scratch)?;
    }
    if words < FEWEST_WORDS || sections.len() < FOLDS {
        return Err(too_small(words, target.len()));
    }
    let of_pool = Tallied::count(&features, pool.iter().map(|d| d.text.as_str()), control)?;
    if of_pool.counts.tokens == 0 {
        let message = "the pool has no document with text to learn from";
        return Err(Error::new(Code::EmptyInput, message).at_column("pool"));
    }
    let of_target = Tallied::count(&features, target.iter().map(|d| d.text.as_str()), control)?;

    // An even comparison: the pool's counts have seen both sides, the target's counts neither, and documents of
    // both are weighed by counts of equally many parts of the target.
    let mut both = of_pool.buckets.clone();
    both.merge(&of_target.buckets)?;
    let (mut target_scores, mut pool_scores) = (Vec::new(), Vec::new());
    for held_out in 0..FOLDS {
        let mut rest = BucketCounts::new(&features);
        for (_, fold) in folds.iter().enumerate().filter(|(i, _)| *i != held_out) {
            rest.merge(fold)?;
        }
        let weights = ImportanceWeights::new(features.clone(), &rest, &both)?;
        for text in sections.iter().skip(held_out).step_by(FOLDS) {
            target_scores.push(weights.score(text, &mut scratch)?.mean());
        }
        for drawn in pool.iter().skip(held_out).step_by(FOLDS) {
            control.check()?;
            pool_scores.push(weights.score(&drawn.text, &mut scratch)?.mean());
        }
    }
    let fitted = Fitted {
        order: spec.ngrams,
        weight: None,
        vocabulary: spec.buckets as u64,
        target: of_target.counts,
        pool: of_pool.counts,
        lookalikes: 0,
        discrimination: discriminate(&target_scores, &pool_scores),
        candidates: Vec::new(),
        self_trained: None,
    };
    Ok((Weights { features: spec, target: of_target.buckets, raw: of_pool.buckets }, fitted))
}

struct Tallied {
    buckets: BucketCounts,
    counts: Counts,
}

impl Tallied {
    fn count<'a>(
        features: &Features,
        texts: impl Iterator<Item = &'a str>,
        control: &Control,
    ) -> Result<Self> {
        let mut tallied = Self { buckets: BucketCounts::new(features), counts: Counts::default() };
        let mut scratch = Scratch::default();
        for text in texts {
            control.check()?;
            let words = tallied.buckets.add(features, text, &mut scratch)?;
            if words > 0 {
                tallied.counts += Counts::one(words, text.len() as u64);
            }
        }
        Ok(tallied)
    }
}

/// The error for a target sample that cannot be held out in part and still be learnt from.
pub(crate) fn too_small(words: u64, documents: usize) -> Error {
    let message = format!(
        "the target sample has {words} words in {documents} documents; it takes at least {FEWEST_WORDS} words, and \
         {FOLDS} documents or as many sections of {SECTION} bytes"
    );
    Error::new(Code::TargetTooSmall, message)
        .at_column("target")
        .hint("a hundred documents make a good sample")
}

/// What to hold out by: documents, or sections of them where there are few.
pub(crate) fn sections(target: &[Drawn]) -> Vec<&str> {
    let texts = target.iter().map(|d| d.text.as_str());
    if target.len() >= FEW { texts.collect() } else { texts.flat_map(cut).collect() }
}

/// Cuts at white space, into pieces of about [`SECTION`] bytes.
fn cut(mut text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    while text.len() > SECTION {
        let space = text.char_indices().find(|(at, c)| *at >= SECTION && c.is_whitespace());
        let Some((at, _)) = space else { break };
        let (piece, rest) = text.split_at(at);
        pieces.push(piece);
        text = rest;
    }
    pieces.push(text);
    pieces.retain(|piece| !piece.trim().is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use gristmill_core::hash::hash64;

    use super::*;
    use crate::jobs::sample::Sample;

    fn drawn(texts: impl IntoIterator<Item = String>) -> Vec<Drawn> {
        let mut sample = Sample::new(0, u64::MAX);
        texts.into_iter().enumerate().for_each(|(row, text)| sample.offer_text(0, row as u64, &text));
        sample.into_documents()
    }

    #[test]
    fn different_kinds_are_told_apart_and_equal_ones_are_not() {
        let text = |kind: &str, seed: u64| -> String {
            let word = |i: u64| match hash64(seed, &i.to_le_bytes()) % 160 {
                own @ 0..80 => format!("{kind}{own} "),
                common => format!("common{common} "),
            };
            (0..120).map(word).collect()
        };
        let wanted = drawn((0..40).map(|n| text("wanted", n)));
        let other = drawn((0..200).map(|n| text("other", n)));
        let same = drawn((100..300).map(|n| text("wanted", n)));
        let control = Control::default();
        let (weights, fitted) = learn(HashedSpec::default(), &wanted, &other, &control).unwrap();
        assert!(fitted.discrimination.auc > 0.99, "{:?}", fitted.discrimination);
        assert_eq!((fitted.discrimination.target_documents, fitted.discrimination.pool_documents), (40, 200));
        assert_eq!(fitted.target.tokens, 40 * 120);
        let (_, fitted) = learn(HashedSpec::default(), &wanted, &same, &control).unwrap();
        assert!((fitted.discrimination.auc - 0.5).abs() < 0.15, "{:?}", fitted.discrimination);

        let read = load(&serde_json::to_vec(&weights).unwrap(), "w").unwrap();
        let score = |text: &str| read.0.score(text, &mut Scratch::default()).unwrap().mean();
        assert!(score(&text("wanted", 1000)) > 0.0 && score(&text("other", 1000)) < 0.0);
    }

    #[test]
    fn one_long_document_is_held_out_in_sections() {
        let long: String = (0..2000).map(|i| format!("word{} ", i % 97)).collect();
        let (target, pool) = (drawn([long]), drawn((0..9).map(|n| format!("some other text {n}"))));
        let (_, fitted) = learn(HashedSpec::default(), &target, &pool, &Control::default()).unwrap();
        assert!(fitted.discrimination.target_documents >= 10);
        assert_eq!(fitted.target.documents, 1);
        let whole: String = cut(&target[0].text).concat();
        assert!(target[0].text.starts_with(&whole));
    }

    #[test]
    fn too_little_target_text_is_refused_with_numbers() {
        let pool = drawn(["some text of the pool".into()]);
        for texts in [vec![], vec!["a few words only".to_owned()], vec!["word ".repeat(499); 1]] {
            let e = learn(HashedSpec::default(), &drawn(texts), &pool, &Control::default()).err().unwrap();
            assert_eq!(e.code(), Code::TargetTooSmall);
            assert!(e.message().contains("500 words"), "{e}");
        }
    }

    #[test]
    fn damaged_weights_are_an_invalid_model() {
        let e = load(b"{\"features\":", "w.json").err().unwrap();
        assert_eq!((e.code(), e.location().path.as_deref()), (Code::InvalidModel, Some("w.json")));
    }
}
