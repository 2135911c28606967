//! A budget for each group.

use proptest::prelude::*;

use gristmill_select::{Budget, Criteria, Quotas, Reason, Selector, Verdict};

use crate::{Doc, kept, select};

fn quotas(budget: &str, shares: Option<&str>) -> Criteria {
    Criteria {
        budget: Some(Budget::parse(budget).unwrap()),
        quotas: Some(Quotas { shares: shares.map(|s| serde_json::from_str(s).unwrap()) }),
        ..Criteria::default()
    }
}

fn pool() -> Vec<Doc> {
    // 60 English documents that score high, 30 German ones that score low, 10 of unknown language.
    (0..100)
        .map(|i| {
            let (group, score) = match i % 10 {
                0..=5 => (Some("en"), 10.0),
                6..=8 => (Some("de"), 1.0),
                _ => (None, 5.0),
            };
            Doc { group: group.map(str::to_owned), ..Doc::new(i, score + f64::from(i) / 1000.0, 10) }
        })
        .collect()
}

fn by_group(docs: &[Doc], rows: &[usize]) -> [usize; 3] {
    [Some("en"), Some("de"), None].map(|g| rows.iter().filter(|&&r| docs[r].group.as_deref() == g).count())
}

#[test]
fn proportional_quotas_keep_the_mixture() {
    let docs = pool();
    assert_eq!(by_group(&docs, &select(&quotas("20%", None), &docs)), [12, 6, 2]);
    // Without quotas the English documents take it all.
    let c = Criteria { quotas: None, ..quotas("20%", None) };
    assert_eq!(by_group(&docs, &select(&c, &docs)), [20, 0, 0]);
    // Inside a group the best are kept.
    let rows = select(&quotas("20%", None), &docs);
    let german: Vec<_> = rows.iter().copied().filter(|&r| docs[r].group.as_deref() == Some("de")).collect();
    assert_eq!(german, [86, 87, 88, 96, 97, 98]);
}

#[test]
fn given_shares_are_relative_and_what_is_short_is_reported() {
    let docs = pool();
    for shares in [r#"{"en": 1, "de": 3}"#, r#"{"en": "0.25", "de": 0.75, "fr": 0}"#] {
        assert_eq!(by_group(&docs, &select(&quotas("20docs", Some(shares)), &docs)), [5, 15, 0], "{shares}");
    }
    let c = quotas("80docs", Some(r#"{"en": 0.5, "de": 0.5}"#));
    let cut = Selector::run(c, |pass| {
        docs.iter().enumerate().try_for_each(|(row, d)| pass.add(&d.item(0, row as u64)))
    })
    .unwrap();
    assert_eq!(by_group(&docs, &kept(&cut, &docs)), [40, 30, 0]);
    let short: Vec<_> = cut.groups().iter().map(|g| (g.group.clone(), g.budget, g.kept, g.short)).collect();
    assert_eq!(short, [(None, 0, 0, 0), (Some("de".into()), 40, 30, 10), (Some("en".into()), 40, 40, 0),]);
    assert_eq!(cut.verdict(&docs[9].item(0, 9)), Verdict::Dropped(Reason::NoShare));
}

#[test]
fn shares_that_make_no_sense_are_refused() {
    for shares in [r#"{}"#, r#"{"en": 0}"#, r#"{"en": 18446744073709551614, "de": "0.1"}"#] {
        assert!(Selector::new(quotas("10%", Some(shares))).is_err(), "{shares}");
    }
}

proptest! {
    /// With quotas each group is selected as if it were alone, with its part of the budget.
    #[test]
    fn each_group_is_a_selection_of_its_own(
        docs in prop::collection::vec((0usize..3, -5i32..5, 1u64..20), 1..120),
        budget in 1u64..500,
        weights in [1u64..5, 1u64..5, 1u64..5],
    ) {
        let names = ["a", "b", "c"];
        let docs: Vec<Doc> = docs.iter().enumerate()
            .map(|(i, &(g, s, t))| Doc { group: Some(names[g].into()), ..Doc::new(i, f64::from(s), t) })
            .collect();
        let shares = format!(r#"{{"a": {}, "b": {}, "c": {}}}"#, weights[0], weights[1], weights[2]);
        let together = select(&quotas(&format!("{budget}tokens"), Some(&shares)), &docs);
        let sum: u64 = weights.iter().sum();
        let mut apart = Vec::new();
        for (name, weight) in names.iter().zip(weights) {
            let rows: Vec<usize> = (0..docs.len()).filter(|&r| docs[r].group.as_deref() == Some(name)).collect();
            let group: Vec<Doc> = rows.iter().map(|&r| docs[r].clone()).collect();
            let part = (budget * weight).div_ceil(sum);
            let alone = Criteria {
                budget: Some(Budget::parse(&part.to_string()).unwrap()),
                ..Criteria::default()
            };
            apart.extend(select(&alone, &group).into_iter().map(|i| rows[i]));
        }
        apart.sort_unstable();
        prop_assert_eq!(together, apart);
    }
}
