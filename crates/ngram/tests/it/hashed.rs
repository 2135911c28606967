//! Importance weights against DSIR's reference package (`tests/data/dsir/make.py` made the figures).

use gristmill_ngram::hashed::{BucketCounts, Features, HashedSpec, ImportanceWeights};
use gristmill_ngram::normalize::Scratch;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    target: Vec<String>,
    raw: Vec<String>,
    ngrams: Vec<u64>,
    log_weights: Vec<f64>,
    log_ratio_norm: f64,
}

#[test]
fn equals_the_reference_package() {
    let fixture: Fixture = serde_json::from_str(include_str!("../data/dsir/expected.json")).unwrap();
    let features = Features::new(HashedSpec::reference()).unwrap();
    let mut scratch = Scratch::default();
    let mut count = |texts: &[String]| {
        let mut counts = BucketCounts::new(&features);
        for text in texts {
            counts.add(&features, text, &mut scratch).unwrap();
        }
        counts
    };
    let (target, raw) = (count(&fixture.target), count(&fixture.raw));
    let weights = ImportanceWeights::new(features, &target, &raw).unwrap();

    let norm = weights.log_ratios().iter().map(|x| x * x).sum::<f64>().sqrt();
    assert!((norm - fixture.log_ratio_norm).abs() < 1e-9 * norm, "{norm} {}", fixture.log_ratio_norm);
    for ((text, ngrams), expected) in fixture.raw.iter().zip(&fixture.ngrams).zip(&fixture.log_weights) {
        let got = weights.score(text, &mut scratch).unwrap();
        assert_eq!(got.ngrams, *ngrams, "{text}");
        assert!((got.sum - expected).abs() <= 1e-10 * expected.abs(), "{text}: {} {expected}", got.sum);
    }
}
