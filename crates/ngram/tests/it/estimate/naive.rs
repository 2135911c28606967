//! The definitions once more, with maps and without a thought for speed.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_core::Control;
use gristmill_ngram::estimate::{Estimate, Estimator, FALLBACK_DISCOUNTS, Options};
use gristmill_ngram::model::{Model, ModelMeta};
use gristmill_ngram::tables::Tables;
use gristmill_ngram::vocab::{BOS, EOS, UNK, Vocab, WordId};
use proptest::prelude::*;

type Gram = Vec<WordId>;

/// Probabilities and backoffs of every n-gram that pruning leaves, with the fallback discounts throughout.
struct Naive {
    prob: BTreeMap<Gram, f64>,
    backoff: BTreeMap<Gram, f64>,
}

fn naive(sentences: &[Gram], order: usize, prune: &[u64], words: &[WordId], discounts: &[[f64; 3]]) -> Naive {
    let mut raw = BTreeMap::<Gram, u64>::new();
    for sentence in sentences {
        let text: Gram = [&[BOS], &sentence[..], &[EOS]].concat();
        for start in 0..text.len() {
            for end in start + 1..=text.len().min(start + order) {
                *raw.entry(text[start..end].to_vec()).or_default() += 1;
            }
        }
    }
    for word in words {
        raw.entry(vec![*word]).or_default();
    }
    let mut before = BTreeMap::<Gram, BTreeSet<WordId>>::new();
    for gram in raw.keys().filter(|gram| gram.len() > 1) {
        before.entry(gram[1..].to_vec()).or_default().insert(gram[0]);
    }
    let adjusted = |gram: &Gram| match gram.as_slice() {
        [BOS] => 0,
        _ if gram.len() == order || gram[0] == BOS => raw[gram],
        _ => before.get(gram).map_or(0, |words| words.len() as u64),
    };
    let pruned = |gram: &Gram| {
        let threshold = prune.get(gram.len() - 1).or(prune.last()).copied().unwrap_or(0);
        threshold > 0 && raw[gram] <= threshold && !matches!(gram.as_slice(), [UNK | BOS | EOS])
    };
    let discount = |n: usize, count: u64| match count {
        0 => 0.0,
        count => discounts[n - 1][(count as usize).min(3) - 1],
    };

    let mut contexts = BTreeMap::<Gram, Vec<Gram>>::new();
    for gram in raw.keys() {
        contexts.entry(gram[..gram.len() - 1].to_vec()).or_default().push(gram.clone());
    }
    let mut backoff = BTreeMap::new();
    let mut prob = BTreeMap::new();
    let mut by_length: Vec<_> = contexts.iter().collect();
    by_length.sort_by_key(|(context, _)| context.len());
    for (context, grams) in by_length {
        let total: u64 = grams.iter().map(adjusted).sum();
        let left: f64 = grams
            .iter()
            .map(|g| if pruned(g) { adjusted(g) as f64 } else { discount(g.len(), adjusted(g)) })
            .sum();
        backoff.insert(context.clone(), left / total as f64);
        for gram in grams.iter().filter(|gram| !pruned(gram)) {
            let lower = match gram.len() {
                1 => 1.0 / (words.len() - 1) as f64,
                _ => prob[&gram[1..]],
            };
            let own = (adjusted(gram) as f64 - discount(gram.len(), adjusted(gram))) / total as f64;
            prob.insert(gram.clone(), own + backoff[context] * lower);
        }
    }
    prob.insert(vec![BOS], 1.0);
    Naive { prob, backoff }
}

fn assert_agrees(estimate: &Estimate, naive: &Naive) {
    let mut seen = 0;
    for (n, table) in (1..).zip(&estimate.trie.to_tables().orders) {
        assert!(table.words.chunks(n).is_sorted_by(|a, b| a < b), "rows of order {n} ascend");
        for (i, gram) in table.words.chunks(n).enumerate() {
            let expected = naive.prob.get(gram).unwrap_or_else(|| panic!("{gram:?} should not be there"));
            let got = f64::from(table.prob[i]);
            assert!((got - expected.log10().max(-99.0)).abs() < 1e-5, "p{gram:?} {got} {}", expected.log10());
            if let Some(backoff) = table.backoff.get(i) {
                // Discounts of zero leave nothing over, which ARPA files write as -99.
                let expected = naive.backoff.get(gram).copied().unwrap_or(1.0).log10().max(-99.0);
                assert!(
                    (f64::from(*backoff) - expected).abs() < 1e-5,
                    "backoff{gram:?} {backoff} {expected}"
                );
            }
            seen += 1;
        }
    }
    assert_eq!(seen, naive.prob.len());
}

/// p(word | context) by the rules of backing off.
fn query(tables: &Tables, context: &[WordId], word: WordId) -> f64 {
    let find = |gram: &[WordId]| {
        let table = tables.orders.get(gram.len() - 1)?;
        let rows: Vec<_> = table.words.chunks(gram.len()).collect();
        rows.binary_search(&gram).ok().map(|row| (table.prob[row], table.backoff.get(row).copied()))
    };
    let gram = [context, &[word]].concat();
    match find(&gram) {
        Some((prob, _)) => 10f64.powf(f64::from(prob)),
        None => {
            let backoff = find(context).and_then(|(_, backoff)| backoff).unwrap_or(0.0);
            10f64.powf(f64::from(backoff)) * query(tables, &context[1..], word)
        }
    }
}

/// Sentences over the words 3 to 9 and `<unk>`, small ids most often.
fn sentences() -> impl Strategy<Value = Vec<Gram>> {
    let word = (0u32..8, 0u32..8).prop_map(|(a, b)| match a.min(b) {
        7 => UNK,
        rank => rank + 3,
    });
    proptest::collection::vec(proptest::collection::vec(word, 0..12), 1..60)
}

fn vocab() -> Vocab {
    let mut vocab = Vocab::new();
    // One word more than any sentence has.
    for i in 3..=10 {
        vocab.intern(&format!("w{i}"));
    }
    vocab
}

fn fit(sentences: &[Gram], options: Options) -> Estimate {
    let mut estimator = Estimator::with_vocab(options, vocab()).unwrap();
    for sentence in sentences {
        estimator.add_sentence(sentence).unwrap();
    }
    estimator.finish(&Control::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn follows_the_definitions(sentences in sentences(), order in 1usize..=6, threads in 1usize..=3) {
        let options = Options { order, threads, discount_fallback: Some(FALLBACK_DISCOUNTS), ..Options::default() };
        let estimate = fit(&sentences, options);
        let discounts: Vec<_> = estimate.orders.iter().map(|o| o.discounts).collect();
        let words: Vec<_> = (0..vocab().len() as WordId).collect();
        assert_agrees(&estimate, &naive(&sentences, order, &[], &words, &discounts));
    }

    #[test]
    fn prunes_by_raw_counts(sentences in sentences(), order in 2usize..=5, first in 0u64..3, more in 0u64..3) {
        // The vocabulary is closed, so unigrams are never pruned out of it; thresholds begin at order 2.
        let prune = [0, first, first + more];
        let prune = prune[..order.min(3)].to_vec();
        let options = Options {
            order, prune: prune.clone(), discount_fallback: Some(FALLBACK_DISCOUNTS), ..Options::default()
        };
        let estimate = fit(&sentences, options);
        let discounts: Vec<_> = estimate.orders.iter().map(|o| o.discounts).collect();
        let words: Vec<_> = (0..vocab().len() as WordId).collect();
        assert_agrees(&estimate, &naive(&sentences, order, &prune, &words, &discounts));
    }

    #[test]
    fn every_context_sums_to_one(sentences in sentences(), order in 1usize..=4, threshold in 0u64..3) {
        let options = Options {
            order,
            // Unigrams too: in a closed vocabulary they keep their uniform share.
            prune: vec![threshold],
            discount_fallback: Some(FALLBACK_DISCOUNTS),
            ..Options::default()
        };
        let estimate = fit(&sentences, options);
        let tables = estimate.trie.to_tables();
        let mut contexts = vec![Vec::new()];
        for n in 1..order {
            contexts.extend(tables.orders[n - 1].words.chunks(n).map(<[WordId]>::to_vec));
        }
        for context in contexts {
            let words = (0..tables.vocab.len() as WordId).filter(|word| *word != BOS);
            let sum: f64 = words.map(|word| query(&tables, &context, word)).sum();
            prop_assert!((sum - 1.0).abs() < 1e-5, "after {context:?}: {sum}");
        }
    }

    #[test]
    fn a_model_made_of_it_scores_as_backing_off_says(sentences in sentences(), order in 1usize..=5) {
        let options = Options { order, discount_fallback: Some(FALLBACK_DISCOUNTS), ..Options::default() };
        let estimate = fit(&sentences, options);
        let tables = estimate.trie.to_tables();
        let model = Model::from_trie(&estimate.trie, ModelMeta::default()).unwrap();
        let mut scores = Vec::new();
        for sentence in &sentences {
            model.score(sentence, true, true, &mut scores);
            let text = [&[BOS], &sentence[..], &[EOS]].concat();
            prop_assert_eq!(scores.len(), text.len() - 1);
            for (end, score) in (1..).zip(&scores) {
                let context = &text[(end + 1usize).saturating_sub(order)..end];
                let expected = query(&tables, context, text[end]).log10();
                prop_assert!((f64::from(*score) - expected).abs() < 1e-4, "{:?} {} {}", &text[..=end], score, expected);
            }
        }
    }
}
