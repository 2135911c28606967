//! Order, sharding, workers that meet in saved states, and pools that change under the search.

use proptest::prelude::*;

use gristmill_core::Code;
use gristmill_select::{Budget, Criteria, Cut, PassState, Quotas, Selector};

use crate::{Doc, kept, select};

fn docs(n: u32) -> Vec<Doc> {
    (0..n)
        .map(|i| {
            let h = gristmill_core::hash::hash64(5, &i.to_le_bytes());
            let group = ["x", "y", "z"][(h % 3) as usize];
            Doc { group: Some(group.into()), ..Doc::new(i, (h >> 50) as f64, h >> 32 & 63) }
        })
        .collect()
}

fn criteria(quotas: bool) -> Criteria {
    Criteria {
        budget: Some(Budget::parse("7.5%").unwrap()),
        temperature: Some(300.0),
        quotas: quotas.then(Quotas::default),
        ..Criteria::default()
    }
}

/// Runs with one accumulator a shard, merged in the order given, each through its saved JSON.
fn run_sharded(criteria: &Criteria, docs: &[Doc], shard_of: &[usize], order: &[usize]) -> Cut {
    let mut selector = Selector::new(criteria.clone()).unwrap();
    while selector.next_pass().is_some() {
        let states: Vec<String> = order
            .iter()
            .map(|&shard| {
                let mut pass = selector.next_pass().unwrap();
                for (row, d) in docs.iter().enumerate().filter(|(row, _)| shard_of[*row] == shard) {
                    // Shard and row are where the document lies; they matter only among equal ids.
                    pass.add(&d.item(0, row as u64)).unwrap();
                }
                serde_json::to_string(&pass.to_state()).unwrap()
            })
            .collect();
        let mut whole = selector.next_pass().unwrap();
        for state in states {
            let state: PassState = serde_json::from_str(&state).unwrap();
            whole.merge(&selector.restore(&state).unwrap()).unwrap();
        }
        selector.advance(whole).unwrap();
    }
    selector.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn order_and_sharding_change_nothing(
        shard_of in prop::collection::vec(0usize..5, 400),
        order in Just(vec![0usize, 1, 2, 3, 4]).prop_shuffle(),
        quotas in any::<bool>(),
    ) {
        let docs = docs(400);
        let criteria = criteria(quotas);
        let cut = run_sharded(&criteria, &docs, &shard_of, &order);
        prop_assert_eq!(kept(&cut, &docs), select(&criteria, &docs));
    }
}

#[test]
fn saved_states_are_the_same_bytes_in_any_order() {
    let docs = docs(300);
    let selector = Selector::new(criteria(true)).unwrap();
    let state = |rows: &mut dyn Iterator<Item = usize>| {
        let mut pass = selector.next_pass().unwrap();
        rows.for_each(|row| pass.add(&docs[row].item(0, row as u64)).unwrap());
        serde_json::to_string(&pass.to_state()).unwrap()
    };
    assert_eq!(state(&mut (0..300)), state(&mut (0..300).rev()));
}

#[test]
fn states_of_another_selection_or_pass_are_refused() {
    let docs = docs(300);
    let feed = |selector: &Selector| {
        let mut pass = selector.next_pass().unwrap();
        docs.iter().enumerate().for_each(|(row, d)| pass.add(&d.item(0, row as u64)).unwrap());
        pass
    };
    let mut one = Selector::new(criteria(false)).unwrap();
    let other = Selector::new(Criteria { seed: 1, ..criteria(false) }).unwrap();
    let first = feed(&one);
    let refused = |r: gristmill_core::Result<()>| assert_eq!(r.unwrap_err().code(), Code::JobMismatch);
    refused(one.next_pass().unwrap().merge(&feed(&other)));
    refused(other.restore(&first.to_state()).map(drop));
    refused(one.advance(feed(&other)));
    one.advance(first.clone()).unwrap();
    refused(one.restore(&first.to_state()).map(drop));
    refused(one.advance(first));
    assert_eq!(one.finish().unwrap_err().code(), Code::Internal);
}

/// Alters a document of a later pass, or leaves it out.
type Change<'a> = &'a dyn Fn(usize, &mut Doc) -> bool;

#[test]
fn a_pool_that_changes_between_passes_is_noticed() {
    let docs = docs(300);
    let run = |change: Change<'_>| {
        let mut passes = 0;
        Selector::run(criteria(true), |pass| {
            passes += 1;
            for (row, doc) in docs.iter().enumerate() {
                let mut doc = doc.clone();
                if passes == 1 || change(row, &mut doc) {
                    pass.add(&doc.item(0, row as u64))?;
                }
            }
            Ok(())
        })
    };
    run(&|_, _| true).unwrap();
    let changes: [Change<'_>; 4] = [
        &|row, _| row != 17,
        &|_, doc| {
            doc.tokens += 1;
            true
        },
        &|_, doc| {
            doc.score += 1e6;
            true
        },
        &|row, doc| {
            if row == 0 {
                doc.group = Some("new".into());
            }
            true
        },
    ];
    for (i, change) in changes.iter().enumerate() {
        assert_eq!(run(change).expect_err(&format!("change {i}")).code(), Code::JobMismatch);
    }
}

#[test]
fn a_row_that_comes_twice_is_an_error_when_it_matters() {
    let doc = Doc::new("a", 1.0, 1);
    let criteria = Criteria { budget: Some(Budget::parse("1doc").unwrap()), ..Criteria::default() };
    let twice = Selector::run(criteria, |pass| {
        pass.add(&doc.item(2, 9))?;
        pass.add(&doc.item(2, 9))
    });
    let e = twice.unwrap_err();
    assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(9)));
}

#[test]
fn passes_are_few() {
    let many: Vec<Doc> = (0..50_000u32)
        .map(|i| {
            let h = gristmill_core::hash::hash64(9, &i.to_le_bytes());
            Doc::new(i, gristmill_core::hash::unit_open(h).ln(), 100)
        })
        .collect();
    let passes = |docs: &[Doc], criteria: Criteria| {
        let mut n = 0;
        Selector::run(criteria, |pass| {
            n += 1;
            docs.iter().enumerate().try_for_each(|(row, d)| pass.add(&d.item(0, row as u64)))
        })
        .unwrap();
        n
    };
    let half = Criteria { budget: Some(Budget::parse("50%").unwrap()), ..Criteria::default() };
    assert!(passes(&many, half.clone()) <= 3);
    let equal: Vec<Doc> = many.iter().map(|d| Doc { score: 2.0, ..d.clone() }).collect();
    // One to see that the scores are all equal, two for the tie hash.
    assert!(passes(&equal, half) <= 3);
    let all = Criteria { budget: Some(Budget::parse("100%").unwrap()), ..Criteria::default() };
    assert_eq!(passes(&many, all), 1);
}
