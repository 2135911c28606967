//! How well scores tell two sets of documents apart.

use serde::{Deserialize, Serialize};

/// The probability that a document of the target scores above one of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Discrimination {
    /// Area under the ROC curve: 0.5 is chance, 1 is perfect. A tie counts half.
    pub auc: f64,
    /// Standard error of `auc` (Hanley and McNeil, 1982).
    pub standard_error: f64,
    /// Documents of the target that were compared.
    pub target_documents: u64,
    /// Documents of the pool that they were compared with.
    pub pool_documents: u64,
}

/// Compares scores of target documents with scores of pool documents. NaN is left out.
pub fn discriminate(target: &[f64], pool: &[f64]) -> Discrimination {
    let mut all: Vec<(f64, bool)> =
        target.iter().map(|s| (*s, true)).chain(pool.iter().map(|s| (*s, false))).collect();
    all.retain(|(score, _)| !score.is_nan());
    all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let positives = all.iter().filter(|(_, is_target)| *is_target).count();
    let (n, m) = (positives as f64, (all.len() - positives) as f64);
    // Twice the pairs that the target wins, so that ties stay whole numbers.
    let (mut wins, mut below) = (0u128, 0u128);
    for tied in all.chunk_by(|a, b| a.0 == b.0) {
        let targets = tied.iter().filter(|(_, is_target)| *is_target).count() as u128;
        let others = tied.len() as u128 - targets;
        wins += targets * (2 * below + others);
        below += others;
    }
    let auc = if n * m > 0.0 { wins as f64 / (2.0 * n * m) } else { f64::NAN };
    let (q1, q2) = (auc / (2.0 - auc), 2.0 * auc * auc / (1.0 + auc));
    let variance =
        (auc * (1.0 - auc) + (n - 1.0) * (q1 - auc * auc) + (m - 1.0) * (q2 - auc * auc)) / (n * m);
    Discrimination {
        auc,
        standard_error: variance.max(0.0).sqrt(),
        target_documents: positives as u64,
        pool_documents: (all.len() - positives) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_definition_by_pairs() {
        let target = [0.3, 0.5, 0.5, 0.9, f64::NAN];
        let pool = [0.1, 0.5, 0.2, 0.95, 0.3, -1.0];
        let mut wins = 0.0;
        for t in &target[..4] {
            for p in &pool {
                wins += if t > p {
                    1.0
                } else if t == p {
                    0.5
                } else {
                    0.0
                };
            }
        }
        let d = discriminate(&target, &pool);
        assert!((d.auc - wins / 24.0).abs() < 1e-15, "{}", d.auc);
        assert_eq!((d.target_documents, d.pool_documents), (4, 6));
    }

    #[test]
    fn the_ends_of_the_scale() {
        let perfect = discriminate(&[2.0, 3.0], &[0.0, 1.0]);
        assert_eq!((perfect.auc, perfect.standard_error), (1.0, 0.0));
        assert_eq!(discriminate(&[1.0; 5], &[1.0; 7]).auc, 0.5);
        assert!(discriminate(&[], &[1.0]).auc.is_nan());
    }

    /// Hanley and McNeil's own example: A = 0.893 with 51 abnormal and 58 normal cases gives 0.032.
    #[test]
    fn standard_error_is_the_published_formula() {
        // Scores with an area of exactly 0.893 * 51 * 58 / (51 * 58), up to one pair.
        let wins = (0.893f64 * 51.0 * 58.0).round() as usize;
        let pool: Vec<f64> = (0..58).map(|i| f64::from(i) + 0.5).collect();
        let target: Vec<f64> = (0..51).map(|i| ((wins / 51) + usize::from(i < wins % 51)) as f64).collect();
        let d = discriminate(&target, &pool);
        assert!((d.auc - 0.893).abs() < 1e-3 && (d.standard_error - 0.032).abs() < 1e-3, "{d:?}");
    }
}
