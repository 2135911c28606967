//! Target against pool as a classifier: learnt from samples of both, with the account of itself that models give.

use gristmill_core::column::Shelf;
use gristmill_core::{Code, Control, Counts, Error, Result};
use gristmill_mix::{
    BagSpool, Counter, Linear, LogisticOptions, Rows, SelfTrainOptions, Spooled, TfIdf, self_train,
};
use gristmill_ngram::adapt::discriminate;
use gristmill_ngram::hashed::{Features, HashedSpec, Smoothing};
use gristmill_ngram::normalize::Scratch;

use super::dsir::{FEWEST_WORDS, FOLDS, sections, too_small};
use super::sample::Drawn;
use super::summary::{Fitted, SelfTrained};
use crate::Labels;
use crate::memory::HashedLinear;
use crate::methods::Method;

/// Bytes of features, counted and as rows, for a byte of text: about 3, with words and pairs of words.
const FEATURE_BYTES: u64 = 4;

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

/// The weight of each feature by in how many of the documents it is.
pub(crate) fn tf_idf(spec: &HashedSpec, frequencies: &[u32], documents: usize) -> TfIdf {
    let (Smoothing::Count(amount) | Smoothing::Probability(amount)) = spec.smoothing;
    TfIdf::new(frequencies, documents, amount, true)
}

/// What the classifier keeps of a document while it learns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    words: u64,
    bag: Spooled,
}

/// Learns from documents of which it keeps counted features: in memory, or in a temporary file where there are too many.
pub(crate) struct Learner {
    features: Features,
    recipe: Recipe,
    spool: BagSpool,
}

impl Learner {
    /// For so many bytes of text at most, with so many bytes of memory.
    pub(crate) fn new(spec: HashedSpec, recipe: Recipe, text: u64, memory: u64) -> Result<Self> {
        let features = Features::new(spec)?;
        let shelf = match text.saturating_mul(FEATURE_BYTES) <= memory {
            true => Shelf::Memory,
            false => Shelf::Disk(std::env::temp_dir().into()),
        };
        let spool = BagSpool::new(features.spec().buckets, &shelf);
        Ok(Self { features, recipe, spool })
    }

    /// What takes documents, in any order; each thread has its own.
    pub(crate) fn taker(&self) -> impl FnMut(&str) -> Result<Taken> + '_ {
        let (mut scratch, mut counter, mut buckets) = (Scratch::default(), Counter::default(), Vec::new());
        move |text| {
            buckets.clear();
            let push = |bucket| buckets.push(bucket as u32);
            let words = self.features.for_each_bucket(text, &mut scratch, push)?;
            Ok(Taken { words, bag: self.spool.push(counter.count(&buckets))? })
        }
    }

    /// Learns from both samples, and says how well held-out documents of the two are told apart.
    pub(crate) fn learn(
        self,
        target: &[Drawn],
        pool: &[Drawn<Taken>],
        seed: u64,
        control: &Control,
    ) -> Result<(HashedLinear, Fitted)> {
        let mut documents = Vec::new();
        let mut of_target = Counts::default();
        let mut take = self.taker();
        for section in sections(target) {
            control.check()?;
            count(&take(section)?, section.len() as u64, &mut of_target, &mut documents);
        }
        drop(take);
        let positives = documents.len();
        if of_target.tokens < FEWEST_WORDS || positives < FOLDS {
            return Err(too_small(of_target.tokens, target.len()));
        }
        let mut of_pool = Counts::default();
        pool.iter().for_each(|drawn| count(&drawn.text, drawn.bytes, &mut of_pool, &mut documents));
        if of_pool.tokens == 0 {
            let message = "the pool has no document with text to learn from";
            return Err(Error::new(Code::EmptyInput, message).at_column("pool"));
        }
        let Self { features, recipe, spool } = self;
        let bags = spool.finish()?;
        let tfidf = tf_idf(features.spec(), &bags.document_frequencies(&documents), documents.len());
        let rows = bags.rows(&documents, &tfidf, control)?;
        drop(bags);
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
        let labelled = |label| learnt.labels[positives..].iter().filter(|l| **l == label).count() as u64;
        let self_trained = (recipe.rounds > 0).then(|| SelfTrained {
            rounds: learnt.rounds as u64,
            target: labelled(Some(true)),
            other: labelled(Some(false)),
            unsure: labelled(None),
        });
        let fitted = Fitted {
            order: features.spec().ngrams,
            weight: None,
            vocabulary: features.spec().buckets as u64,
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
}

/// Counts a document that has words, and learns from it.
fn count(taken: &Taken, bytes: u64, counts: &mut Counts, documents: &mut Vec<Spooled>) {
    if taken.words > 0 {
        *counts += Counts::one(taken.words, bytes);
        documents.push(taken.bag);
    }
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
        texts.into_iter().enumerate().for_each(|(row, text)| sample.offer_text(0, row as u64, &text));
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

    /// Learns with so much memory.
    fn learn_within(
        memory: u64,
        recipe: Recipe,
        target: &[Drawn],
        pool: &[Drawn],
    ) -> Result<(HashedLinear, Fitted)> {
        let learner = Learner::new(spec(), recipe, 1 << 20, memory)?;
        let mut taken = Sample::new(0, u64::MAX);
        let mut take = learner.taker();
        pool.iter().try_for_each(|d| taken.offer(d.shard, d.row, &d.text, &mut take))?;
        drop(take);
        learner.learn(target, &taken.into_documents(), 0, &Control::default())
    }

    fn learn(recipe: Recipe, target: &[Drawn], pool: &[Drawn]) -> Result<(HashedLinear, Fitted)> {
        learn_within(1 << 30, recipe, target, pool)
    }

    #[test]
    fn a_file_in_the_place_of_memory_changes_nothing() {
        let wanted = drawn((0..40).map(|n| text("wanted", n)));
        let other = drawn((0..400).map(|n| text(if n % 9 == 0 { "wanted" } else { "other" }, 7000 + n)));
        let of = |memory| {
            let (model, fitted) = learn_within(memory, recipe(2), &wanted, &other).unwrap();
            let mut bytes = Vec::new();
            model.write(&mut bytes).unwrap();
            (bytes, fitted)
        };
        assert!(of(0) == of(1 << 30));
    }

    #[test]
    fn different_kinds_are_told_apart_and_equal_ones_are_not() {
        let wanted = drawn((0..40).map(|n| text("wanted", n)));
        let other = drawn((0..200).map(|n| text("other", n)));
        let same = drawn((100..300).map(|n| text("wanted", n)));
        let (model, fitted) = learn(recipe(0), &wanted, &other).unwrap();
        assert!(fitted.discrimination.auc > 0.99, "{:?}", fitted.discrimination);
        assert_eq!((fitted.discrimination.target_documents, fitted.discrimination.pool_documents), (40, 200));
        let by = ScoreSpec { features: Some(spec()), ..ScoreSpec::of(Method::Classifier) };
        let mut scratch = crate::memory::Scratch::default();
        let mut score = |text: &str| by.score(&model.text(&by, text, &mut scratch).unwrap());
        let (near, far) = (score(&text("wanted", 1000)), score(&text("other", 1000)));
        assert!(near > 0.9 && far < 0.1, "calibrated at even odds: {near} {far}");
        let (_, fitted) = learn(recipe(0), &wanted, &same).unwrap();
        assert!((fitted.discrimination.auc - 0.5).abs() < 0.15, "{:?}", fitted.discrimination);
    }

    #[test]
    fn self_training_finds_what_is_hidden_in_the_pool() {
        let wanted = drawn((0..40).map(|n| text("wanted", n)));
        let mixed = drawn((0..200).map(|n| text(if n % 4 == 0 { "wanted" } else { "other" }, 5000 + n)));
        let (_, fitted) = learn(recipe(3), &wanted, &mixed).unwrap();
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
            let e = learn(recipe(0), &drawn(texts), &pool).err().unwrap();
            assert_eq!(e.code(), Code::TargetTooSmall);
        }
        let wanted = drawn((0..40).map(|n| text("wanted", n)));
        let e = learn(recipe(0), &wanted, &drawn([" ".into()])).err().unwrap();
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
