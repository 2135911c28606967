//! The discrete Gaussian by exact arithmetic (Canonne, Kamath and Steinke 2020, "The Discrete Gaussian for Differential
//! Privacy"): no floating-point number takes part, so that the distribution is the one that proofs speak of.

use rand_chacha::rand_core::Rng;

/// The widest that arithmetic of 128 bits has room for.
pub(crate) const WIDEST: u64 = 1 << 52;

/// A number with probability proportional to `exp(-x² / 2 sigma²)`, for a `sigma` from 1 to [`WIDEST`].
pub(crate) fn discrete_gaussian(sigma: u64, rng: &mut impl Rng) -> i64 {
    let t = sigma + 1;
    let (square, product) = (u128::from(sigma) * u128::from(sigma), u128::from(sigma) * u128::from(t));
    loop {
        let candidate = discrete_laplace(t, rng);
        // exp(-(|y| - σ²/t)² / 2σ²), with the root of the fraction as p / q.
        let p = (u128::from(candidate.unsigned_abs()) * u128::from(t)).abs_diff(square);
        if survives_half_square(p, product, rng) {
            return candidate;
        }
    }
}

/// A number with probability proportional to `exp(-|x| / t)`.
fn discrete_laplace(t: u64, rng: &mut impl Rng) -> i64 {
    loop {
        let fraction = below(u128::from(t), rng);
        if !survives(fraction, u128::from(t), rng) {
            continue;
        }
        let mut whole = 0_u64;
        while survives(1, 1, rng) {
            whole += 1;
        }
        // With a probability below exp(-2^10) it is no number of 64 bits: drawn again.
        let Some(size) = whole.checked_mul(t).and_then(|w| w.checked_add(fraction as u64)) else { continue };
        let Ok(size) = i64::try_from(size) else { continue };
        match rng.next_u64() & 1 {
            0 => return size,
            // Zero would count twice.
            _ if size == 0 => {}
            _ => return -size,
        }
    }
}

/// True with probability `exp(-(p/q)² / 2)`: with `p = m q + r` it is `exp(-m²/2) exp(-m r/q) exp(-(r/q)²/2)`.
fn survives_half_square(p: u128, q: u128, rng: &mut impl Rng) -> bool {
    let (m, r) = (p / q, p % q);
    let squares = m.saturating_mul(m);
    // All of them would have to survive: the first that does not ends it.
    let mut i = 0;
    while i < squares {
        if !survives(1, 2, rng) {
            return false;
        }
        i += 1;
    }
    let mut i = 0;
    while i < m {
        if !survives(r, q, rng) {
            return false;
        }
        i += 1;
    }
    series(rng, |k, rng| happens(r, q, rng) && happens(r, q, rng) && happens(1, 2 * k, rng))
}

/// True with probability `exp(-a/b)`, for `a <= b`.
fn survives(a: u128, b: u128, rng: &mut impl Rng) -> bool {
    series(rng, |k, rng| happens(a, b, rng) && happens(1, k, rng))
}

/// With events of probability `x / k`, true with probability `exp(-x)` (von Neumann): whether the first that does not happen
/// has an odd number.
fn series<R: Rng>(rng: &mut R, mut event: impl FnMut(u128, &mut R) -> bool) -> bool {
    let mut k = 1;
    while event(k, rng) {
        k += 1;
    }
    k % 2 == 1
}

/// True with probability `a / b`.
fn happens(a: u128, b: u128, rng: &mut impl Rng) -> bool {
    a >= b || below(b, rng) < a
}

/// A number from 0 to `n - 1`, each as likely.
fn below(n: u128, rng: &mut impl Rng) -> u128 {
    // As many bits as the greatest has: at most every other one is drawn again.
    let bits = 128 - (n - 1).leading_zeros();
    loop {
        let mut drawn = u128::from(rng.next_u64());
        if bits > 64 {
            drawn |= u128::from(rng.next_u64()) << 64;
        }
        let drawn = if bits == 0 { 0 } else { drawn & (u128::MAX >> (128 - bits)) };
        if drawn < n {
            return drawn;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// Chi-square against the probabilities themselves, for the narrow ones where each number counts.
    #[test]
    fn small_ones_have_the_probabilities_of_their_definition() {
        for sigma in [1_u64, 2, 5] {
            let mut rng = ChaCha20Rng::from_seed([sigma as u8; 32]);
            let (n, reach) = (200_000, 4 * sigma as i64);
            let weight = |x: i64| (-(x * x) as f64 / (2.0 * (sigma * sigma) as f64)).exp();
            let total: f64 = (-20 * reach..=20 * reach).map(weight).sum();
            let mut counts = std::collections::BTreeMap::new();
            for _ in 0..n {
                *counts.entry(discrete_gaussian(sigma, &mut rng)).or_insert(0) += 1;
            }
            let mut chi = 0.0;
            let mut inside = 0;
            for x in -reach..=reach {
                let expected = f64::from(n) * weight(x) / total;
                let seen = counts.get(&x).copied().unwrap_or(0);
                inside += seen;
                chi += (f64::from(seen) - expected).powi(2) / expected;
            }
            let freedom = (2 * reach) as f64;
            assert!(chi < freedom + 6.0 * (2.0 * freedom).sqrt(), "{sigma}: {chi} of {freedom}");
            assert!(f64::from(n - inside) < 1e-3 * f64::from(n));
        }
    }

    #[test]
    fn wide_ones_are_normal() {
        for sigma in [1_000_003_u64, 1 << 31, WIDEST] {
            let mut rng = ChaCha20Rng::from_seed([7; 32]);
            let n = 60_000;
            let mut all: Vec<f64> =
                (0..n).map(|_| discrete_gaussian(sigma, &mut rng) as f64 / sigma as f64).collect();
            let variance = all.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
            assert!((variance - 1.0).abs() < 5.0 * (2.0 / f64::from(n)).sqrt(), "{sigma}: {variance}");
            all.sort_by(f64::total_cmp);
            let cumulated = |x: f64| 0.5 * libm::erfc(-x / 2f64.sqrt());
            let far = all
                .iter()
                .enumerate()
                .map(|(i, x)| (cumulated(*x) - (i as f64 + 0.5) / f64::from(n)).abs())
                .fold(0.0, f64::max);
            // Kolmogorov and Smirnov, at one in ten thousand.
            assert!(far < 2.23 / f64::from(n).sqrt(), "{sigma}: {far}");
        }
    }
}
