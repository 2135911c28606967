//! How well predictions agree with what was measured.

/// Ranks from 1, ties sharing their mean rank (as `scipy.stats.rankdata`).
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut out = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let mut end = start + 1;
        while end < order.len() && values[order[end]] == values[order[start]] {
            end += 1;
        }
        let rank = (start + end + 1) as f64 / 2.0;
        order[start..end].iter().for_each(|&i| out[i] = rank);
        start = end;
    }
    out
}

/// The correlation of Pearson; NaN when one side is constant or shorter than two.
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    ab / (aa * bb).sqrt()
}

/// The rank correlation of Spearman, ties at their mean rank; NaN when one side is constant.
///
/// ```
/// let rho = gristmill_mix::stats::spearman(&[1.0, 2.0, 3.0, 4.0], &[10.0, 20.0, 40.0, 30.0]);
/// assert!((rho - 0.8).abs() < 1e-12);
/// ```
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    pearson(&ranks(a), &ranks(b))
}

/// How predictions compare with measurements, all in the unit of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agreement {
    /// Rank correlation, -1 to 1.
    pub spearman: f64,
    /// Linear correlation, -1 to 1.
    pub pearson: f64,
    /// Root mean squared error.
    pub rmse: f64,
    /// Mean of predicted minus measured.
    pub bias: f64,
    /// Share of the variance of the measurements that the predictions explain; 1 is perfect, 0 is no better
    /// than the mean of these measurements, and below 0 worse than it.
    pub r2: f64,
}

impl Agreement {
    /// Compares `predicted` with `measured`, two slices of one length.
    pub fn of(predicted: &[f64], measured: &[f64]) -> Self {
        let n = measured.len() as f64;
        let mean = measured.iter().sum::<f64>() / n;
        let (mut error, mut square, mut total) = (0.0, 0.0, 0.0);
        for (p, m) in predicted.iter().zip(measured) {
            error += p - m;
            square += (p - m) * (p - m);
            total += (m - mean) * (m - mean);
        }
        Self {
            spearman: spearman(predicted, measured),
            pearson: pearson(predicted, measured),
            rmse: (square / n).sqrt(),
            bias: error / n,
            r2: 1.0 - square / total,
        }
    }
}

/// The `q`-quantile of sorted values by linear interpolation (numpy's default); `sorted` is not empty.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let low = at.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

/// Mean and sample standard deviation; the deviation of fewer than two values is 0.
pub(crate) fn mean_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let square: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, (square / (n - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), [4.0, 1.0, 4.0, 2.0, 4.0]);
    }

    #[test]
    fn agreement_of_a_shifted_line() {
        let measured = [1.0, 2.0, 3.0, 4.0];
        let a = Agreement::of(&[1.5, 2.5, 3.5, 4.5], &measured);
        assert!((a.pearson - 1.0).abs() < 1e-12 && (a.spearman - 1.0).abs() < 1e-12);
        assert_eq!((a.rmse, a.bias, a.r2), (0.5, 0.5, 0.8));
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert_eq!(quantile(&[5.0], 0.9), 5.0);
    }
}
