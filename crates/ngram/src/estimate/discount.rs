//! The discounts of modified Kneser-Ney.

use gristmill_core::{Code, Error, Result};

/// The discounts that `lmplz --discount_fallback` uses where counts of counts allow none.
pub const FALLBACK_DISCOUNTS: [f64; 3] = [0.5, 1.0, 1.5];

/// Discounts of adjusted counts 1, 2 and 3 or more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Discounts(pub(super) [f64; 3]);

impl Discounts {
    /// Chen and Goodman's closed form: with `Y = n1 / (n1 + 2 n2)`, `Dk = k - (k + 1) Y n(k+1) / nk`.
    pub(super) fn from_counts_of_counts(order: usize, n: &[u64; 4]) -> Result<Self> {
        let y = n[0] as f64 / (n[0] as f64 + 2.0 * n[1] as f64);
        let mut discounts = [0.0; 3];
        for (i, discount) in discounts.iter_mut().enumerate() {
            let k = (i + 1) as f64;
            if n[i] == 0 {
                return Err(failed(order, n, format!("no {order}-gram has adjusted count {}", i + 1)));
            }
            *discount = k - (k + 1.0) * y * n[i + 1] as f64 / n[i] as f64;
            if !(0.0..=k).contains(discount) {
                let why = format!("the discount of adjusted count {} would be {discount:.4}", i + 1);
                return Err(failed(order, n, why));
            }
        }
        Ok(Self(discounts))
    }

    /// What is taken off an adjusted count.
    #[inline]
    pub(super) fn of(&self, count: u32) -> f64 {
        match count {
            0 => 0.0,
            n => self.0[(n as usize).min(3) - 1],
        }
    }
}

fn failed(order: usize, n: &[u64; 4], why: String) -> Error {
    let [n1, n2, n3, n4] = n;
    Error::new(
        Code::DiscountFailed,
        format!("cannot derive discounts for order {order}: {why} (counts of counts {n1}, {n2}, {n3}, {n4})"),
    )
    .hint(
        "the text is too small or too repetitive for this order: deduplicate it, lower the order, or set \
         discount_fallback; 0.5, 1, 1.5 are customary",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_form() {
        // Y = 10/20 = 1/2; D1 = 1 - 2/2 * 5/10; D2 = 2 - 3/2 * 3/5; D3 = 3 - 4/2 * 2/3.
        let d = Discounts::from_counts_of_counts(2, &[10, 5, 3, 2]).unwrap();
        for (got, expected) in d.0.iter().zip([0.5, 1.1, 5.0 / 3.0]) {
            assert!((got - expected).abs() < 1e-12, "{got} {expected}");
        }
        assert_eq!([d.of(0), d.of(1), d.of(2)], [0.0, d.0[0], d.0[1]]);
        assert_eq!([d.of(3), d.of(4), d.of(u32::MAX)], [d.0[2]; 3]);
    }

    #[test]
    fn a_failure_names_the_order_and_the_way_out() {
        for n in [[0, 5, 3, 2], [10, 0, 3, 2], [10, 5, 0, 2], [10, 1, 30, 2]] {
            let e = Discounts::from_counts_of_counts(4, &n).unwrap_err();
            assert_eq!(e.code(), Code::DiscountFailed);
            assert!(e.message().contains("order 4"), "{e}");
            assert!(e.hint_text().unwrap().contains("discount_fallback"), "{e}");
        }
    }

    #[test]
    fn no_count_of_four_is_no_failure() {
        assert_eq!(Discounts::from_counts_of_counts(1, &[9, 3, 1, 0]).unwrap().0[2], 3.0);
    }
}
