//! The normal distribution, with relative accuracy in its tails.

use std::f64::consts::FRAC_1_SQRT_2;

/// `ln sqrt(2 pi)`.
pub(crate) const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_7;

/// The density.
pub(crate) fn density(z: f64) -> f64 {
    (-0.5 * z * z - LN_SQRT_2PI).exp()
}

/// The probability of more than `z`.
pub(crate) fn upper_tail(z: f64) -> f64 {
    0.5 * libm::erfc(z * FRAC_1_SQRT_2)
}

/// Mills' ratio `upper_tail(z) / density(z)` for `z >= 0`.
pub(crate) fn mills_ratio(z: f64) -> f64 {
    if z < 4.0 {
        return upper_tail(z) / density(z);
    }
    // Laplace's continued fraction 1 / (z + 1 / (z + 2 / (z + 3 / ...))), from its end.
    let depth = 160;
    let mut tail = z;
    for k in (1..=depth).rev() {
        tail = z + f64::from(k) / tail;
    }
    1.0 / tail
}

/// The least `z` (to a thousandth, rounded up) beyond which there is at most `mass`; `None` where no `f64` can say.
pub(crate) fn tail_quantile(mass: f64) -> Option<f64> {
    if mass.is_nan() || mass <= 1e-300 {
        return None;
    }
    let (mut low, mut high) = (0.0, 38.0);
    while high - low > 1e-3 {
        let middle = 0.5 * (low + high);
        if upper_tail(middle) <= mass { high = middle } else { low = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constant_is_that_of_the_density() {
        assert!((LN_SQRT_2PI - 0.5 * (2.0 * std::f64::consts::PI).ln()).abs() < 1e-15);
    }

    #[test]
    fn both_forms_of_mills_ratio_meet() {
        for z in [4.0, 4.5, 6.0, 10.0, 30.0] {
            let direct = upper_tail(z) / density(z);
            assert!((mills_ratio(z) / direct - 1.0).abs() < 1e-12, "{z}");
        }
    }

    #[test]
    fn a_quantile_leaves_no_more_than_it_says() {
        for mass in [0.3, 1e-5, 1e-20, 1e-200] {
            let z = tail_quantile(mass).unwrap();
            assert!(upper_tail(z) <= mass && upper_tail(z - 2e-3) > mass);
        }
        assert_eq!(tail_quantile(0.0), None);
    }
}
