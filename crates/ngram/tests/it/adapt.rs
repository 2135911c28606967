//! Adaptation on text that a generator makes: what it promises and what it refuses.

use gristmill_core::hash::hash64;
use gristmill_core::{CancelToken, Code, Control};
use gristmill_ngram::adapt::{Adapted, Adapter, Fit, Options, PairScratch};
use gristmill_ngram::model::Model;
use gristmill_ngram::normalize::Normalizer;

/// A document of words drawn from a topic: word `n` of a topic is about as frequent as `1 / n`.
fn document(topic: &str, number: u64) -> String {
    let word = |i: u64| {
        let random = hash64(number, format!("{topic}{i}").as_bytes());
        let common = random.is_multiple_of(3);
        let rank = 400u64.pow(2) / (1 + (random >> 8) % 400u64.pow(2)).isqrt().pow(2).max(400);
        format!("{}{rank}", if common { "the" } else { topic })
    };
    (0..80).map(word).collect::<Vec<_>>().join(" ")
}

fn fit(target: &str, pool: &[&str], options: Options) -> Fit {
    let mut adapter = Adapter::new(Normalizer::default(), options).unwrap();
    (0..60).for_each(|n| adapter.add_target(&document(target, 10_000 + n)).unwrap());
    for topic in pool {
        (0..200).for_each(|n| adapter.add_pool(&document(topic, n)).unwrap());
    }
    adapter.finish(&Control::default()).unwrap()
}

#[test]
fn keeps_lookalikes_out_of_the_prior_and_ranks_them_first() {
    let fit = fit("mill", &["mill", "ship", "rain", "coin"], Options::default());
    assert!(fit.choice.discrimination.auc > 0.8, "{:?}", fit.choice);
    assert!((190..=210).contains(&fit.lookalikes), "{}", fit.lookalikes);
    let adapted = fit.into_adapted(Default::default()).unwrap();
    let lowest = |topic| {
        let score = |n| adapted.score_text(&document(topic, n)).unwrap().loss_reduction();
        (0..50).map(score).fold((f64::MAX, f64::MIN), |(low, high), s| (low.min(s), high.max(s)))
    };
    let (mill, ship) = (lowest("mill"), lowest("ship"));
    assert!(mill.0 > ship.1, "{mill:?} {ship:?}");
}

#[test]
fn leaves_the_prior_alone_where_nothing_can_be_told_apart() {
    let fit = fit("mill", &["mill"], Options::default());
    assert!((fit.choice.discrimination.auc - 0.5).abs() < 0.2, "{:?}", fit.choice);
    assert_eq!(fit.lookalikes, 0);
    assert_eq!(fit.prior.sentences, 200);
}

#[test]
fn is_the_same_with_any_number_of_threads() {
    let with = |threads| fit("mill", &["mill", "ship", "rain"], Options { threads, ..Options::default() });
    let (one, four) = (with(1), with(4));
    assert_eq!(one.choice, four.choice);
    assert_eq!(one.lookalikes, four.lookalikes);
    assert!(one.prior.trie.to_tables().orders == four.prior.trie.to_tables().orders);
    assert!(one.target.trie.to_tables().orders == four.target.trie.to_tables().orders);
}

#[test]
fn the_conditional_is_the_interpolation_of_two_models() {
    let fit = fit("mill", &["ship"], Options { order: Some(3), weight: Some(0.3), ..Options::default() });
    assert_eq!((fit.choice.order, fit.choice.weight, fit.choice.candidates.len()), (3, 0.3, 1));
    let adapted = fit.into_adapted(Default::default()).unwrap();
    assert_eq!((adapted.prior().order(), adapted.target().order()), (3, 3));
    let text = format!("{} nowhere {}", document("mill", 1), document("ship", 2));
    let ids: Vec<_> = text.split(' ').map(|w| adapted.prior().encode(w)).collect();

    let (mut prior_state, mut target_state) = (adapted.prior().begin_state(), adapted.target().begin_state());
    let (mut prior_loss, mut loss) = (0.0, 0.0);
    for id in ids.iter().copied().chain([adapted.prior().eos()]) {
        let (p, next) = adapted.prior().full_score(&prior_state, id);
        prior_state = next;
        let (t, next) = adapted.target().full_score(&target_state, id);
        target_state = next;
        let (p, t) = (10f64.powf(f64::from(p.log10)), 10f64.powf(f64::from(t.log10)));
        prior_loss -= p.ln();
        loss -= (0.3 * t + 0.7 * p).ln();
    }
    let score = adapted.score(&ids, &mut PairScratch::default());
    assert_eq!(score.n_scored, ids.len() as u64 + 1);
    assert!((score.nll_prior - prior_loss).abs() < 1e-9 * prior_loss, "{} {prior_loss}", score.nll_prior);
    assert!((score.nll_conditional - loss).abs() < 1e-9 * loss, "{} {loss}", score.nll_conditional);
    assert_eq!(adapted.score_text(&text).unwrap(), score);
    assert!(adapted.score_text(" \n").unwrap().loss_reduction().is_nan());
}

#[test]
fn moore_and_lewis_is_weight_one() {
    let fit = fit("mill", &["ship"], Options { order: Some(2), weight: Some(1.0), ..Options::default() });
    let adapted = fit.into_adapted(Default::default()).unwrap();
    let text = document("mill", 3);
    let ids: Vec<_> = text.split(' ').map(|w| adapted.target().encode(w)).collect();
    let mut log10 = Vec::new();
    adapted.target().score(&ids, true, true, &mut log10);
    let loss: f64 = log10.iter().map(|p| f64::from(*p) * -std::f64::consts::LN_10).sum();
    let score = adapted.score_text(&text).unwrap();
    assert!((score.nll_conditional - loss).abs() < 1e-9 * loss);
}

#[test]
fn words_of_one_document_are_one_unknown_word() {
    let mut adapter = Adapter::new(Normalizer::default(), Options::default()).unwrap();
    (0..40).for_each(|n| adapter.add_target(&format!("{} alone{n}", document("mill", n))).unwrap());
    (0..40).for_each(|n| adapter.add_pool(&format!("{} single{n}", document("ship", n))).unwrap());
    adapter.add_target("pair").unwrap();
    adapter.add_pool("pair").unwrap();
    let fit = adapter.finish(&Control::default()).unwrap();
    let vocab = fit.prior.trie.vocab();
    assert!(vocab.iter().eq(fit.target.trie.vocab().iter()));
    assert!(vocab.get("pair").is_some() && vocab.get("alone7").is_none() && vocab.get("single7").is_none());
    // Trained as a word: as frequent as 40 occurrences make it.
    let unknown = 10f32.powf(fit.prior.trie.to_tables().orders[0].prob[0]);
    assert!(unknown > 0.005, "{unknown}");
}

#[test]
fn refuses_what_cannot_work() {
    let new = |options| Adapter::new(Normalizer::default(), options).err().map(|e| e.code());
    for options in [
        Options { order: Some(0), ..Options::default() },
        Options { weight: Some(0.0), ..Options::default() },
        Options { weight: Some(f64::NAN), ..Options::default() },
        Options { folds: 1, ..Options::default() },
        Options { lookalikes: Some(1.5), ..Options::default() },
    ] {
        assert_eq!(new(options), Some(Code::InvalidArgument));
    }

    let mut adapter = Adapter::new(Normalizer::default(), Options::default()).unwrap();
    adapter.add_target(&document("mill", 1)).unwrap();
    adapter.add_pool(&document("ship", 1)).unwrap();
    assert_eq!(adapter.finish(&Control::default()).err().unwrap().code(), Code::TargetTooSmall);

    let mut adapter = Adapter::new(Normalizer::default(), Options::default()).unwrap();
    (0..60).for_each(|n| adapter.add_target(&document("mill", n)).unwrap());
    adapter.add_pool(" ").unwrap();
    assert_eq!(adapter.finish(&Control::default()).err().unwrap().code(), Code::EmptyInput);

    let mut adapter = Adapter::new(Normalizer::default(), Options::default()).unwrap();
    (0..60).for_each(|n| adapter.add_target(&document("mill", n)).unwrap());
    adapter.add_pool(&document("ship", 1)).unwrap();
    let cancel = CancelToken::default();
    cancel.cancel();
    assert_eq!(adapter.finish(&Control::with_cancel(cancel)).err().unwrap().code(), Code::Aborted);
}

#[test]
fn refuses_models_that_do_not_share_their_words() {
    let model = |fit: Fit| Model::from_trie(&fit.prior.trie, Default::default()).unwrap();
    let options = Options { order: Some(1), ..Options::default() };
    let (a, b) = (model(fit("mill", &["ship"], options.clone())), model(fit("mill", &["rain"], options)));
    assert_eq!(Adapted::new(a, b, 0.5).err().unwrap().code(), Code::InvalidArgument);
}
