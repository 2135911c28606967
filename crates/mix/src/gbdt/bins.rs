use crate::Matrix;

/// Where each feature is cut into bins: bin `b` holds the values `x` with `edge[b - 1] < x <= edge[b]`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Bins {
    pub(crate) edges: Vec<Vec<f64>>,
}

impl Bins {
    /// Cuts every column of `x` halfway between neighbouring distinct values, so that a bin has at least
    /// `min_rows` rows and a column at most `max_bins` bins.
    pub(crate) fn of(x: &Matrix, max_bins: usize, min_rows: usize) -> Self {
        let edges = (0..x.columns()).map(|j| {
            let mut values = x.column(j);
            values.sort_by(f64::total_cmp);
            cut(&values, max_bins, min_rows)
        });
        Self { edges: edges.collect() }
    }

    /// The bin of each number, row by row as in `x`.
    pub(crate) fn apply(&self, x: &Matrix) -> Vec<u8> {
        let mut out = Vec::with_capacity(x.as_slice().len());
        for row in x.iter_rows() {
            out.extend(row.iter().zip(&self.edges).map(|(&v, edges)| bin(edges, v)));
        }
        out
    }
}

/// The bin of `value`: how many edges lie below it.
#[inline]
pub(crate) fn bin(edges: &[f64], value: f64) -> u8 {
    // Branchless: the comparison becomes an addition, so that neighbouring look-ups overlap.
    let mut low = 0;
    let mut len = edges.len();
    while len > 1 {
        let half = len / 2;
        low += if edges[low + half - 1] < value { half } else { 0 };
        len -= half;
    }
    (low + usize::from(len == 1 && edges[low] < value)) as u8
}

fn cut(sorted: &[f64], max_bins: usize, min_rows: usize) -> Vec<f64> {
    let distinct = 1 + sorted.windows(2).filter(|w| w[0] < w[1]).count();
    let mut edges = Vec::new();
    let mut start = 0;
    for i in 1..sorted.len() {
        if sorted[i - 1] == sorted[i] {
            continue;
        }
        // When there are more values than bins, the rows that are left are shared out among the bins that are.
        let target = match distinct <= max_bins {
            true => min_rows,
            false => min_rows.max((sorted.len() - start).div_ceil(max_bins - edges.len())),
        };
        if i - start >= target && sorted.len() - i >= min_rows && edges.len() + 1 < max_bins {
            edges.push(midpoint(sorted[i - 1], sorted[i]));
            start = i;
        }
    }
    edges
}

/// A number `m` with `low <= m < high`, halfway if there is one.
fn midpoint(low: f64, high: f64) -> f64 {
    let middle = low + (high - low) / 2.0;
    if middle < high { middle } else { low }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_values_get_a_bin_each() {
        assert_eq!(cut(&[0.0, 0.0, 1.0, 1.0, 3.0, 3.0], 255, 2), [0.5, 2.0]);
        assert_eq!(cut(&[0.0, 0.0, 1.0, 3.0, 3.0], 255, 2), [0.5], "the last bin keeps its rows");
        assert!(cut(&[4.0; 9], 255, 1).is_empty());
        assert_eq!(midpoint(1.0, 1.0f64.next_up()), 1.0);
    }

    proptest! {
        #[test]
        fn bins_are_ordered_and_full(mut v in proptest::collection::vec(-50i32..50, 1..400), max in 2usize..40, min in 1usize..5) {
            v.sort();
            let sorted: Vec<f64> = v.iter().map(|&x| f64::from(x) / 4.0).collect();
            let edges = cut(&sorted, max, min);
            prop_assert!(edges.len() < max);
            prop_assert!(edges.windows(2).all(|w| w[0] < w[1]));
            let mut counts = vec![0; edges.len() + 1];
            for &x in &sorted {
                let b = usize::from(bin(&edges, x));
                prop_assert_eq!(b, edges.partition_point(|&e| e < x));
                counts[b] += 1;
            }
            prop_assert!(edges.is_empty() || counts.iter().all(|&c| c >= min));
        }
    }
}
