/// Bits that hold the integers from 0 to `max`.
pub(super) fn required_bits(max: u64) -> u32 {
    64 - max.leading_zeros()
}

/// Integers and floats at any bit offset, little-endian, least significant bit first.
pub(super) struct BitReader<'a>(pub(super) &'a [u8]);

impl BitReader<'_> {
    /// Up to 57 bits from bit `at`; bits beyond the end read as 0.
    #[inline]
    pub(super) fn bits(&self, at: u64, length: u32) -> u64 {
        debug_assert!(length <= 57);
        let byte = usize::try_from(at / 8).unwrap_or(usize::MAX);
        let mut word = [0; 8];
        match self.0.get(byte..).unwrap_or_default() {
            rest if rest.len() >= 8 => word.copy_from_slice(&rest[..8]),
            rest => word[..rest.len()].copy_from_slice(rest),
        }
        (u64::from_le_bytes(word) >> (at % 8)) & ((1 << length) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_bits() {
        assert_eq!([0, 1, 2, 255, 256, u64::MAX].map(required_bits), [0, 1, 2, 8, 9, 64]);
    }

    #[test]
    fn reads_across_bytes_and_stops_at_the_end() {
        let bits = BitReader(&[0b1010_0000, 0b0000_0101, 0xff]);
        assert_eq!(bits.bits(4, 6), 0b01_1010);
        assert_eq!(bits.bits(16, 20), 0xff);
        assert_eq!(bits.bits(24, 57), 0);
        assert_eq!(bits.bits(u64::MAX, 57), 0);
    }
}
