//! Queries against the definition of a backoff model, written as in a textbook.

use std::collections::HashMap;

use gristmill_ngram::model::{Model, ModelMeta, State};
use gristmill_ngram::tables::Tables;
use gristmill_ngram::vocab::{BOS, EOS, UNK, WordId};
use proptest::prelude::*;

use super::{random_ids, random_tables};

struct Reference {
    order: usize,
    words: usize,
    ngrams: HashMap<Vec<WordId>, (f64, f64)>,
}

impl Reference {
    fn of(tables: &Tables) -> Self {
        let mut ngrams = HashMap::new();
        for (i, rows) in tables.orders.iter().enumerate() {
            for (row, words) in rows.words.chunks_exact(i + 1).enumerate() {
                let backoff = rows.backoff.get(row).copied().unwrap_or(0.0);
                ngrams.insert(words.to_vec(), (f64::from(rows.prob[row]), f64::from(backoff)));
            }
        }
        ngrams.entry(vec![UNK]).or_insert((-100.0, 0.0));
        Self { order: tables.orders.len(), words: tables.vocab.len(), ngrams }
    }

    /// p(w | h) = p(h w) when the n-gram is there, else backoff(h) p(w | h without its oldest word).
    fn log10(&self, ngram: &[WordId]) -> f64 {
        match self.ngrams.get(ngram) {
            Some((prob, _)) => *prob,
            None => {
                let backoff = self.ngrams.get(&ngram[..ngram.len() - 1]).map_or(0.0, |(_, b)| *b);
                backoff + self.log10(&ngram[1..])
            }
        }
    }

    fn score(&self, ids: &[WordId], bos: bool, eos: bool) -> Vec<f64> {
        let known = |id: &WordId| if (*id as usize) < self.words { *id } else { UNK };
        let mut text = if bos { vec![BOS] } else { Vec::new() };
        text.extend(ids.iter().map(known));
        text.extend(eos.then_some(EOS));
        (usize::from(bos)..text.len())
            .map(|i| self.log10(&text[(i + 1).saturating_sub(self.order)..=i]))
            .collect()
    }
}

/// Scores of the stateful query.
fn statewise(model: &Model, ids: &[WordId], bos: bool, eos: bool) -> Vec<f32> {
    let mut state = if bos { model.begin_state() } else { State::default() };
    let all = ids.iter().copied().chain(eos.then_some(model.eos()));
    all.map(|id| {
        let (score, next) = model.full_score(&state, id);
        state = next;
        score.log10
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn agrees_with_the_textbook(
        seed: u64, order in 1..=6usize, words in 1..5usize, length in 0..40usize, bos: bool, eos: bool,
    ) {
        let tables = random_tables(seed, order, words);
        let reference = Reference::of(&tables);
        let model = Model::from_tables(tables, ModelMeta::default()).unwrap();
        let ids = random_ids(seed ^ 1, length, words);
        let mut scores = Vec::new();
        model.score(&ids, bos, eos, &mut scores);
        let expected = reference.score(&ids, bos, eos);
        prop_assert_eq!(scores.len(), expected.len());
        for (i, (got, want)) in scores.iter().zip(&expected).enumerate() {
            prop_assert!((f64::from(*got) - want).abs() < 1e-4, "position {i}: {got}, expected {want}");
        }
    }

    #[test]
    fn many_at_once_equals_one_by_one(
        seed: u64, order in 1..=6usize, words in 1..6usize, length in 0..600usize, bos: bool, eos: bool,
    ) {
        let model = Model::from_tables(random_tables(seed, order, words), ModelMeta::default()).unwrap();
        let ids = random_ids(seed ^ 2, length, words);
        let mut scores = vec![1.0; 3];
        model.score(&ids, bos, eos, &mut scores);
        let expected = statewise(&model, &ids, bos, eos);
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&scores), bits(&expected));
    }

    #[test]
    fn texts_scored_together_do_not_touch(
        seed: u64, order in 1..=6usize, words in 1..6usize, bos: bool, eos: bool,
        lengths in proptest::collection::vec(prop_oneof![0..4usize, 0..40usize, 100..300usize], 0..30),
    ) {
        let model = Model::from_tables(random_tables(seed, order, words), ModelMeta::default()).unwrap();
        let texts: Vec<_> = lengths.iter().map(|n| random_ids(seed ^ *n as u64, *n, words)).collect();
        let mut scores = vec![1.0; 3];
        model.score_many(texts.iter().map(Vec::as_slice), bos, eos, &mut scores);
        let expected: Vec<_> = texts.iter().flat_map(|ids| statewise(&model, ids, bos, eos)).collect();
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&scores), bits(&expected));
    }

    /// What a state leaves out must not matter.
    #[test]
    fn equal_states_have_equal_futures(seed: u64, order in 2..=5usize, words in 1..4usize) {
        let model = Model::from_tables(random_tables(seed, order, words), ModelMeta::default()).unwrap();
        let after = |ids: &[WordId]| {
            ids.iter().fold(model.begin_state(), |state, id| model.full_score(&state, *id).1)
        };
        let texts: Vec<_> = (0..12).map(|i| random_ids(seed ^ i, 5, words)).collect();
        for (a, b) in texts.iter().zip(texts.iter().skip(1)) {
            let (a, b) = (after(a), after(b));
            if a == b {
                for id in 0..words as WordId + 3 {
                    prop_assert_eq!(model.full_score(&a, id).0, model.full_score(&b, id).0);
                }
            }
        }
    }
}

/// By hand: a bigram model of two words.
#[test]
fn a_model_small_enough_to_check_by_hand() {
    let arpa = b"\\data\\\nngram 1=5\nngram 2=3\n\n\\1-grams:\n-1.5\t<unk>\n-99\t<s>\t-0.3\n-0.8\t</s>\n\
        -0.5\ta\t-0.2\n-0.6\tb\t-0.1\n\n\\2-grams:\n-0.15\t<s> a\n-0.25\ta b\n-0.35\tb </s>\n\n\\end\\\n";
    let model = Model::from_bytes(arpa).unwrap();
    let ids: Vec<_> = ["a", "b", "a", "mill", "b"].iter().map(|w| model.encode(w)).collect();
    let mut scores = Vec::new();
    model.score(&ids, true, true, &mut scores);
    let expected = [-0.15, -0.25, -0.1 - 0.5, -0.2 - 1.5, -0.6, -0.35f32];
    assert_eq!(scores.len(), expected.len());
    for (got, want) in scores.iter().zip(expected) {
        assert!((got - want).abs() < 1e-6, "{got} {want}");
    }
    let (score, state) = model.full_score(&model.begin_state(), ids[0]);
    assert_eq!((score.ngram_length, state.words()), (2, &[ids[0]][..]));
    // "mill" is unknown and the context of nothing, so nothing of it stays.
    let (score, state) = model.full_score(&state, ids[3]);
    assert_eq!((score.ngram_length, state.words()), (1, &[][..]));
}
