//! Hashes whose values are part of file formats and of reproducible choices: they never change.

pub use xxhash_rust::xxh3::Xxh3;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// XXH3-64 of `bytes` under `seed`.
#[inline]
pub fn hash64(seed: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

/// A uniform number in (0, 1) from the top 52 bits of a hash: `((hash >> 12) + 1/2) * 2^-52`, never 0 and
/// never 1. With 53 bits the half would be lost to rounding from 2^52 on, and the largest hash would give 1.
#[inline]
pub fn unit_open(hash: u64) -> f64 {
    ((hash >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_fixed() {
        assert_eq!(hash64(0, b""), 0x2D06_8005_38D3_94C2);
        assert_ne!(hash64(1, b"a"), hash64(2, b"a"));
    }

    #[test]
    fn unit_never_reaches_its_ends() {
        assert!(unit_open(0) > 0.0);
        assert!(unit_open(u64::MAX) < 1.0);
    }
}
