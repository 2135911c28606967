//! Gumbel top-k.

use gristmill_select::{Budget, Criteria};

use crate::{Doc, select};

fn sample(docs: &[Doc], k: u32, temperature: f64, seed: u64) -> Vec<usize> {
    let criteria = Criteria {
        budget: Some(Budget::parse(&format!("{k}docs")).unwrap()),
        temperature: Some(temperature),
        seed,
        ..Criteria::default()
    };
    select(&criteria, docs)
}

/// The first draw is in proportion to exp(score / temperature), the second among the rest likewise.
#[test]
fn draws_without_replacement_in_proportion() {
    let scores = [0.0, 1.0, 2.0, 3.0];
    let temperature = 2.0;
    let weights = scores.map(|s: f64| (s / temperature).exp());
    let total: f64 = weights.iter().sum();
    // Inclusion in a sample of two: drawn first, or drawn second after another one.
    let expected: Vec<f64> = (0..4)
        .map(|i| {
            let second: f64 = (0..4)
                .filter(|&j| j != i)
                .map(|j| weights[j] / total * weights[i] / (total - weights[j]))
                .sum();
            weights[i] / total + second
        })
        .collect();
    let n = 20_000u32;
    let mut seen = [0u32; 4];
    for seed in 0..n {
        let docs: Vec<Doc> = scores.iter().enumerate().map(|(i, &s)| Doc::new(i, s, 1)).collect();
        let rows = sample(&docs, 2, temperature, u64::from(seed));
        assert_eq!(rows.len(), 2);
        rows.iter().for_each(|&r| seen[r] += 1);
    }
    for (seen, expected) in seen.iter().zip(expected) {
        let got = f64::from(*seen) / f64::from(n);
        // Four standard errors of a proportion at this n are below 0.0142.
        assert!((got - expected).abs() < 0.0142, "{got} for {expected}");
    }
}

#[test]
fn temperature_goes_from_the_best_to_anything() {
    let docs: Vec<Doc> = (0..1000).map(|i| Doc::new(i, f64::from(i), 1)).collect();
    let mean = |rows: &[usize]| rows.iter().sum::<usize>() / rows.len();
    assert_eq!(sample(&docs, 100, 1e-3, 1), (900..1000).collect::<Vec<_>>());
    assert!(mean(&sample(&docs, 100, 100.0, 1)) > 800);
    let uniform = mean(&sample(&docs, 100, 1e9, 1));
    assert!((400..600).contains(&uniform), "{uniform}");
}

#[test]
fn the_seed_decides_and_nothing_else() {
    let docs: Vec<Doc> = (0..500).map(|i| Doc::new(i, 0.0, 1)).collect();
    let rows = sample(&docs, 50, 1.0, 7);
    assert_eq!(rows, sample(&docs, 50, 1.0, 7));
    assert_ne!(rows, sample(&docs, 50, 1.0, 8));
    // The same documents backwards.
    let backwards: Vec<Doc> = docs.iter().rev().cloned().collect();
    let mut mirrored: Vec<usize> = sample(&backwards, 50, 1.0, 7).iter().map(|r| 499 - r).collect();
    mirrored.sort_unstable();
    assert_eq!(rows, mirrored);
}

#[test]
fn lowest_scores_are_the_likeliest_when_they_are_the_best() {
    let docs: Vec<Doc> = (0..1000).map(|i| Doc::new(i, f64::from(i), 1)).collect();
    let criteria = Criteria {
        budget: Some(Budget::parse("100docs").unwrap()),
        temperature: Some(1e-3),
        lowest: true,
        ..Criteria::default()
    };
    assert_eq!(select(&criteria, &docs), (0..100).collect::<Vec<_>>());
}

#[test]
fn infinite_scores_are_first_and_last_under_any_noise() {
    let mut docs: Vec<Doc> = (0..20).map(|i| Doc::new(i, 0.0, 1)).collect();
    docs[3].score = f64::INFINITY;
    docs[5].score = f64::NEG_INFINITY;
    for seed in 0..50 {
        assert!(sample(&docs, 1, 1.0, seed) == [3]);
        assert!(!sample(&docs, 19, 1.0, seed).contains(&5));
    }
}
