//! Exactness against sorting, over awkward scores, weights and ties.

use std::cmp::Ordering;

use proptest::prelude::*;

use gristmill_select::{Amount, Budget, Criteria, Crossing, Measure};

use crate::{Doc, select, tie};

/// Sorts everything, then walks the prefix by the definition: no radix, no keys.
fn reference(criteria: &Criteria, docs: &[Doc]) -> Vec<usize> {
    let budget = criteria.budget.unwrap();
    let weight = |d: &Doc| match budget.measure {
        Measure::Tokens => d.tokens,
        Measure::Documents => 1,
        Measure::Bytes => d.bytes,
    };
    let mut order: Vec<usize> = (0..docs.len())
        .filter(|&i| {
            let d = &docs[i];
            let on_the_right_side =
                criteria.threshold.is_none_or(|t| if criteria.lowest { d.score <= t } else { d.score >= t });
            !d.score.is_nan() && (d.tokens, d.bytes) != (0, 0) && on_the_right_side
        })
        .collect();
    order.sort_by(|&a, &b| {
        let by_score = docs[b].score.partial_cmp(&docs[a].score).unwrap();
        let by_score = if criteria.lowest { by_score.reverse() } else { by_score };
        let tie = |i: usize| tie(criteria.seed, &docs[i].id);
        by_score.then_with(|| tie(b).cmp(&tie(a))).then(a.cmp(&b))
    });

    // The line as an exact fraction: numerator / denominator units.
    let pool: u128 = docs.iter().map(|d| u128::from(weight(d))).sum();
    let (numerator, denominator) = match budget.amount {
        Amount::Units(units) => (u128::from(units), 1),
        Amount::Percent(p) => (pool * u128::from(p.ratio().0), 100 * u128::from(p.ratio().1)),
    };
    let reaches = |sum: u128| match (sum * denominator).cmp(&numerator) {
        Ordering::Less => false,
        Ordering::Equal | Ordering::Greater => true,
    };
    let eligible: u128 = order.iter().map(|&i| u128::from(weight(&docs[i]))).sum();
    let line_up = numerator.div_ceil(denominator);
    let mut kept = Vec::new();
    let mut sum = 0u128;
    for &i in &order {
        let next = sum + u128::from(weight(&docs[i]));
        let stop = match criteria.crossing {
            // Everything, when everything fits; else the shortest prefix that reaches the line.
            Crossing::Include => eligible > line_up && reaches(sum),
            Crossing::Exclude => next * denominator > numerator,
        };
        if stop {
            break;
        }
        kept.push(i);
        sum = next;
    }
    kept.sort_unstable();
    kept
}

fn scores() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => prop::sample::select(vec![
            f64::NAN, -f64::NAN, 0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 5e-324, -5e-324,
            f64::MIN_POSITIVE, f64::MAX, f64::MIN, 1.0, 1.0 + f64::EPSILON, -1.0, 2.5,
        ]),
        2 => (-3i32..3).prop_map(f64::from),
        2 => -1.0..1.0f64,
        1 => any::<f64>(),
    ]
}

fn tokens() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0u64), 6 => 1u64..50, 1 => Just(1 << 50), 1 => (1u64 << 52)..(1 << 53)]
}

fn docs(n: usize) -> impl Strategy<Value = Vec<Doc>> {
    // Few ids, so that some documents share one; a null text has no bytes.
    let doc = (0u32..60, scores(), tokens(), any::<bool>()).prop_map(|(id, score, tokens, text)| Doc {
        bytes: if tokens == 0 && !text { 0 } else { 3 * tokens + u64::from(text) },
        ..Doc::new(id, score, tokens)
    });
    prop::collection::vec(doc, 0..n)
}

fn budgets() -> impl Strategy<Value = Budget> {
    let units = prop_oneof![
        (1u64..200).prop_map(Amount::Units),
        Just(Amount::Units(u64::MAX - 1)),
        (0u32..56).prop_map(|shift| Amount::Units(1 << shift)),
        (1u32..=10_000).prop_map(|p| Budget::parse(&format!("{}.{:02}%", p / 100, p % 100)).unwrap().amount),
    ];
    let measures = prop::sample::select(vec![Measure::Tokens, Measure::Documents, Measure::Bytes]);
    (units, measures).prop_map(|(amount, measure)| Budget { amount, measure })
}

fn criteria() -> impl Strategy<Value = Criteria> {
    let threshold = prop::option::weighted(0.2, prop::sample::select(vec![-1.0, -0.0, 0.0, 0.5, 2.0]));
    (budgets(), threshold, any::<bool>(), any::<bool>(), 0u64..3).prop_map(
        |(budget, threshold, lowest, exclude, seed)| Criteria {
            budget: Some(budget),
            threshold,
            lowest,
            seed,
            crossing: if exclude { Crossing::Exclude } else { Crossing::Include },
            ..Criteria::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn equals_sorting(criteria in criteria(), docs in docs(80)) {
        prop_assert_eq!(select(&criteria, &docs), reference(&criteria, &docs));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    /// Enough documents that several of them share a bucket in the later digits.
    #[test]
    fn equals_sorting_at_size(criteria in criteria(), seed in any::<u64>()) {
        let docs: Vec<Doc> = (0..20_000u64)
            .map(|i| {
                let h = gristmill_core::hash::hash64(seed, &i.to_le_bytes());
                // Scores close together, a tenth of them equal.
                let score = if h.is_multiple_of(10) { 0.5 } else { 0.5 + (h >> 20) as f64 * 1e-19 };
                Doc::new(i, score, h % 7)
            })
            .collect();
        prop_assert_eq!(select(&criteria, &docs), reference(&criteria, &docs));
    }
}

fn budget(text: &str) -> Criteria {
    Criteria { budget: Some(Budget::parse(text).unwrap()), ..Criteria::default() }
}

#[test]
fn the_document_that_crosses_the_line_is_the_last_one_kept() {
    let docs: Vec<Doc> = (0..5).map(|i| Doc::new(i, -f64::from(i), 10)).collect();
    for (text, include, exclude) in
        [("20", 2, 2), ("21", 3, 2), ("1", 1, 0), ("50", 5, 5), ("99", 5, 5), ("50%docs", 3, 2)]
    {
        let c = budget(text);
        assert_eq!(select(&c, &docs).len(), include, "{text}");
        let c = Criteria { crossing: Crossing::Exclude, ..c };
        assert_eq!(select(&c, &docs).len(), exclude, "{text}");
    }
}

#[test]
fn percent_counts_what_cannot_be_selected() {
    // Half of the pool has no score: half of the pool is then everything that has one.
    let docs: Vec<Doc> = (0..10).map(|i| Doc::new(i, if i % 2 == 0 { f64::NAN } else { 1.0 }, 10)).collect();
    assert_eq!(select(&budget("50%"), &docs), [1, 3, 5, 7, 9]);
    assert_eq!(select(&budget("100%"), &docs).len(), 5);
}

#[test]
fn a_threshold_alone_needs_no_pass() {
    let docs: Vec<Doc> = [0.5, f64::NAN, 0.4999, 0.5001, f64::INFINITY]
        .iter()
        .enumerate()
        .map(|(i, &s)| Doc::new(i, s, 1))
        .collect();
    let c = Criteria { threshold: Some(0.5), ..Criteria::default() };
    assert!(gristmill_select::Selector::new(c.clone()).unwrap().next_pass().is_none());
    assert_eq!(select(&c, &docs), [0, 3, 4]);
    assert_eq!(select(&Criteria { lowest: true, ..c }, &docs), [0, 2]);
}

#[test]
fn an_empty_pool_selects_nothing() {
    assert!(select(&budget("10%"), &[]).is_empty());
    assert!(select(&budget("5docs"), &[]).is_empty());
}

#[test]
fn contradicting_criteria_are_refused() {
    let with_budget = budget("10%");
    for criteria in [
        Criteria::default(),
        Criteria { threshold: Some(f64::NAN), ..with_budget.clone() },
        Criteria { temperature: Some(0.0), ..with_budget.clone() },
        Criteria { temperature: Some(f64::INFINITY), ..with_budget.clone() },
        Criteria { threshold: Some(1.0), temperature: Some(1.0), ..Criteria::default() },
        Criteria { threshold: Some(1.0), quotas: Some(Default::default()), ..Criteria::default() },
    ] {
        assert!(gristmill_select::Selector::new(criteria.clone()).is_err(), "{criteria:?}");
    }
}

#[test]
fn weights_beyond_64_bits_are_an_error() {
    let docs = [Doc { bytes: u64::MAX, ..Doc::new(0, 1.0, 1) }, Doc { bytes: 1, ..Doc::new(1, 1.0, 1) }];
    let result = gristmill_select::Selector::run(budget("1"), |pass| {
        docs.iter().enumerate().try_for_each(|(row, d)| pass.add(&d.item(0, row as u64)))
    });
    assert_eq!(result.unwrap_err().code(), gristmill_core::Code::InvalidValue);
}
