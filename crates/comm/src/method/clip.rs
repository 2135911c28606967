/// The lower of the middle two, or the middle one; `None` of nothing, or of what has a NaN.
pub fn lower_median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    if values.iter().any(|x| x.is_nan()) {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    sorted.get(values.len().checked_sub(1)? / 2).copied()
}

/// The weight of each peer for a tensor, from the squares of norms: those above the lower median are scaled down to it.
/// Each step is rounded as IEEE 754 says, so that every replica has the same weights.
pub(super) fn weights(squares: &[f32]) -> Vec<f32> {
    let norms: Vec<f64> = squares.iter().map(|&s| f64::from(s).sqrt()).collect();
    let Some(median) = lower_median(&norms) else { return vec![1.0; squares.len()] };
    norms.iter().map(|&norm| if norm > median { (median / norm) as f32 } else { 1.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_lower_one() {
        assert_eq!(lower_median(&[]), None);
        assert_eq!(lower_median(&[3.0]), Some(3.0));
        assert_eq!(lower_median(&[4.0, 1.0, 3.0, 2.0]), Some(2.0));
        assert_eq!(lower_median(&[5.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(lower_median(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn who_shouts_is_turned_down_to_the_median() {
        assert_eq!(weights(&[1.0, 4.0, 9.0, 10_000.0]), [1.0, 1.0, 2.0 / 3.0, 0.02]);
        assert_eq!(weights(&[0.0, 0.0, 1.0]), [1.0, 1.0, 0.0]);
        assert_eq!(weights(&[7.0]), [1.0]);
    }
}
