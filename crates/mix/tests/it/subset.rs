//! Greedy selection against apricot on the digits of scikit-learn (`fixtures/apricot/make.py`).

use gristmill_core::Control;
use gristmill_mix::{
    Concave, FacilityLocation, FeatureBased, GraphCut, Kernel, Matrix, Optimizer, Points, Similarity,
    SimilarityOptions, SubmodularFunction, maximize,
};

const D: usize = 64;

fn digits() -> Vec<f32> {
    let letters = include_str!("../fixtures/apricot/digits.txt").chars().filter(|c| !c.is_whitespace());
    letters.map(|c| c.to_digit(17).unwrap() as f32).collect()
}

fn similarity(kernel: Kernel) -> Similarity {
    let data = digits();
    let options = SimilarityOptions { kernel, ..Default::default() };
    Similarity::of(Points::new(&data, D).unwrap(), &options, &Control::default()).unwrap()
}

/// The ranking is apricot's, and so are the gains to single precision.
fn check(method: &str, metric: &str, f: &mut dyn SubmodularFunction) {
    let golden: serde_json::Value =
        serde_json::from_str(include_str!("../fixtures/apricot/golden.json")).unwrap();
    let golden = &golden[method][metric];
    let ranking: Vec<usize> = serde_json::from_value(golden["ranking"].clone()).unwrap();
    let gains: Vec<f64> = serde_json::from_value(golden["gains"].clone()).unwrap();
    assert_eq!(ranking.len(), 100);
    let chosen = maximize(f, 100, Optimizer::Lazy, 0, &Control::default()).unwrap();
    assert_eq!(chosen.indices, ranking, "{method} {metric}");
    for (gain, golden) in chosen.gains.iter().zip(gains) {
        assert!((gain - golden).abs() <= 2e-5 * golden.abs(), "{method} {metric}: {gain} {golden}");
    }
}

#[test]
fn facility_location_is_apricots() {
    for (metric, kernel) in [
        ("corr", Kernel::SquaredCorrelation),
        ("euclidean", Kernel::Euclidean),
        ("cosine", Kernel::SquaredCosine),
    ] {
        check("facility-location", metric, &mut FacilityLocation::new(&similarity(kernel)));
    }
}

#[test]
fn graph_cut_is_apricots() {
    for (metric, kernel) in [("corr", Kernel::SquaredCorrelation), ("cosine", Kernel::SquaredCosine)] {
        check("graph-cut", metric, &mut GraphCut::new(&similarity(kernel), 1.0).unwrap());
    }
}

#[test]
fn feature_based_is_apricots() {
    let data = digits().into_iter().map(f64::from).collect::<Vec<_>>();
    let features = Matrix::new(data.len() / D, D, data).unwrap();
    for (metric, concave) in [("sqrt", Concave::Sqrt), ("log", Concave::Log), ("sigmoid", Concave::Sigmoid)] {
        check("feature-based", metric, &mut FeatureBased::new(&features, concave).unwrap());
    }
}
