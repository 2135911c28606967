//! Target against pool as a classifier: learnt from samples of both, with the account of itself that models give.

use gristmill_core::{Code, Control, Counts, Error, Result};
use gristmill_mix::{Bags, Linear, LogisticOptions, Rows, SelfTrainOptions, TfIdf, self_train};
use gristmill_ngram::adapt::discriminate;
use gristmill_ngram::hashed::{Features, HashedSpec, Smoothing};
use gristmill_ngram::normalize::Scratch;

use super::dsir::{FEWEST_WORDS, FOLDS, sections, too_small};
use super::sample::Drawn;
use super::summary::{Fitted, SelfTrained};
use crate::Labels;
use crate::memory::HashedLinear;
use crate::methods::Method;

/// How the classifier is fitted; a part of the job's identity.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Recipe {
    /// The penalty, which is `1/C`.
    pub(crate) l2: f64,
    /// Rounds of self-training.
    pub(crate) rounds: usize,
    /// Which probabilities are sure enough to learn from.
    pub(crate) labels: Labels,
}

impl Recipe {
    /// scikit-learn's `C = 1`, and pool documents count as what is not wanted.
    pub(crate) fn new(l2: Option<f64>, rounds: Option<usize>, labels: Option<Labels>) -> Result<Self> {
        let recipe =
            Self { l2: l2.unwrap_or(1.0), rounds: rounds.unwrap_or(0), labels: labels.unwrap_or_default() };
        if !(recipe.l2.is_finite() && recipe.l2 > 0.0) {
            return Err(Error::invalid_argument("l2", format!("{} is not a positive number", recipe.l2)));
        }
        if recipe.rounds > 100 {
            return Err(Error::invalid_argument("rounds", "more than 100 rounds of self-training"));
        }
        recipe.labels.validate()?;
        Ok(recipe)
    }
}

/// Counts the features of texts, one bag a text, and how much text there was.
pub(crate) fn bags<'a>(
    features: &Features,
    texts: impl Iterator<Item = &'a str>,
    control: &Control,
) -> Result<(Bags, Counts)> {
    let mut bags = Bags::new(features.spec().buckets);
    let mut counts = Counts::default();
    let (mut scratch, mut buckets) = (Scratch::default(), Vec::new());
    for text in texts {
        control.check()?;
        buckets.clear();
        let words = features.for_each_bucket(text, &mut scratch, |bucket| buckets.push(bucket as u32))?;
        if words > 0 {
            bags.push(&buckets)?;
            counts += Counts::one(words, text.len() as u64);
        }
    }
    Ok((bags, counts))
}

/// The weight of each feature by its document frequency in `bags`.
pub(crate) fn tf_idf(spec: &HashedSpec, bags: &Bags) -> TfIdf {
    let (Smoothing::Count(amount) | Smoothing::Probability(amount)) = spec.smoothing;
    TfIdf::new(bags.document_frequencies(), bags.len(), amount, true)
}

/// Learns from both samples, and says how well held-out documents of the two are told apart.
pub(crate) fn learn(
    spec: HashedSpec,
    recipe: Recipe,
    target: &[Drawn],
    pool: &[Drawn],
    seed: u64,
    control: &Control,
) -> Result<(HashedLinear, Fitted)> {
    let features = Features::new(spec.clone())?;
    let sections = sections(target);
    let (mut all, of_target) = bags(&features, sections.iter().copied(), control)?;
    let positives = all.len();
    if of_target.tokens < FEWEST_WORDS || positives < FOLDS {
        return Err(too_small(of_target.tokens, target.len()));
    }
    let (of_pool_bags, of_pool) = bags(&features, pool.iter().map(|d| d.text.as_str()), control)?;
    if of_pool.tokens == 0 {
        let message = "the pool has no document with text to learn from";
        return Err(Error::new(Code::EmptyInput, message).at_column("pool"));
    }
    all.append(&of_pool_bags);
    drop(of_pool_bags);
    let tfidf = tf_idf(&spec, &all);
    let rows = tfidf.rows(all);
    let known: Vec<Option<bool>> = (0..rows.len()).map(|i| (i < positives).then_some(true)).collect();
    let options = SelfTrainOptions {
        rounds: recipe.rounds,
        above: recipe.labels.above,
        below: recipe.labels.below,
        folds: FOLDS,
        logistic: LogisticOptions { l2: recipe.l2, seed, ..Default::default() },
    };
    let learnt = self_train(&rows, &known, &options, control).map_err(|e| match e.code() {
        Code::EmptyInput => {
            e.hint("no document of the pool is sure enough: move the thresholds, or do without rounds")
        }
        _ => e,
    })?;
    let by_feature = Linear { weights: rows.by_feature(&learnt.model.weights), ..learnt.model };
    drop(rows);
    let count = |label| learnt.labels[positives..].iter().filter(|l| **l == label).count() as u64;
    let self_trained = (recipe.rounds > 0).then(|| SelfTrained {
        rounds: learnt.rounds as u64,
        target: count(Some(true)),
        other: count(Some(false)),
        unsure: count(None),
    });
    let fitted = Fitted {
        order: spec.ngrams,
        weight: None,
        vocabulary: spec.buckets as u64,
        target: Counts { documents: target.len() as u64, ..of_target },
        pool: of_pool,
        lookalikes: 0,
        discrimination: discriminate(&learnt.held_out[..positives], &learnt.held_out[positives..]),
        candidates: Vec::new(),
        self_trained,
    };
    let model = HashedLinear::new(Method::Classifier, features, &tfidf, &by_feature, learnt.calibration)?;
    Ok((model, fitted))
}

#[cfg(test)]
mod tests {
    use gristmill_core::hash::hash64;

    use super::*;
    use crate::ScoreSpec;
    use crate::jobs::sample::Sample;
    use crate::memory::LossModel;

    fn drawn(texts: impl IntoIterator<Item = String>) -> Vec<Drawn> {
        let mut sample = Sample::new(0, u64::MAX);
        texts.into_iter().enumerate().for_each(|(row, text)| sample.offer(0, row as u64, &text));
        sample.into_documents()
    }

    fn text(kind: &str, seed: u64) -> String {
        let word = |i: u64| match hash64(seed, &i.to_le_bytes()) % 160 {
            own @ 0..80 => format!("{kind}{own} "),
            common => format!("common{common} "),
        };
        (0..120).map(word).collect()
    }

    fn recipe(rounds: usize) -> Recipe {
        Recipe::new(None, Some(rounds), Some(Labels { above: 0.8, below: 0.2 })).unwrap()
    }

    fn spec() -> HashedSpec {
        ScoreSpec::classifier_features()
    }

    #[test]
    fn different_kinds_are_told_apart_and_equal_ones_are_not() {
        let control = Control::default();
        let wanted = drawn((0..40).map(|n| text("wanted", n)));
        let other = drawn((0..200).map(|n| text("other", n)));
        let same = drawn((100..300).map(|n| text("wanted", n)));
        let (model, fitted) = learn(spec(), recipe(0), &wanted, &other, 0, &control).unwrap();
        assert!(fitted.discrimination.auc > 0.99, "{:?}", fitted.discrimination);
        assert_eq!((fitted.discrimination.target_documents, fitted.discrimination.pool_documents), (40, 200));
        let by = ScoreSpec { features: Some(spec()), ..ScoreSpec::of(Method::Classifier) };
        let mut scratch = crate::memory::Scratch::default();
        let mut score = |text: &str| by.score(&model.text(&by, text, &mut scratch).unwrap());
        let (near, far) = (score(&text("wanted", 1000)), score(&text("other", 1000)));
        assert!(near > 0.9 && far < 0.1, "calibrated at even odds: {near} {far}");
        let (_, fitted) = learn(spec(), recipe(0), &wanted, &same, 0, &control).unwrap();
        assert!((fitted.discrimination.auc - 0.5).abs() < 0.15, "{:?}", fitted.discrimination);
    }

    #[test]
    fn self_training_finds_what_is_hidden_in_the_pool() {
        let wanted = drawn((0..40).map(|n| text("wanted", n)));
        let mixed = drawn((0..200).map(|n| text(if n % 4 == 0 { "wanted" } else { "other" }, 5000 + n)));
        let (_, fitted) = learn(spec(), recipe(3), &wanted, &mixed, 0, &Control::default()).unwrap();
        let found = fitted.self_trained.unwrap();
        assert!(
            found.rounds >= 1 && found.target >= 45 && found.target <= 50 && found.other >= 140,
            "{found:?}"
        );
    }

    #[test]
    fn too_little_target_text_and_an_empty_pool_are_refused() {
        let pool = drawn(["some text of the pool".into()]);
        for texts in [vec![], vec!["a few words only".to_owned()], vec!["word ".repeat(499); 1]] {
            let e = learn(spec(), recipe(0), &drawn(texts), &pool, 0, &Control::default()).err().unwrap();
            assert_eq!(e.code(), Code::TargetTooSmall);
        }
        let wanted = drawn((0..40).map(|n| text("wanted", n)));
        let e =
            learn(spec(), recipe(0), &wanted, &drawn([" ".into()]), 0, &Control::default()).err().unwrap();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::EmptyInput, Some("pool")));
    }

    #[test]
    fn recipes_are_checked() {
        let column = |e: Error| e.location().column.clone().unwrap();
        assert_eq!(column(Recipe::new(Some(0.0), None, None).unwrap_err()), "l2");
        assert_eq!(column(Recipe::new(None, Some(101), None).unwrap_err()), "rounds");
        let labels = Some(Labels { above: 0.4, below: 0.5 });
        assert_eq!(column(Recipe::new(None, None, labels).unwrap_err()), "labels");
    }
}
