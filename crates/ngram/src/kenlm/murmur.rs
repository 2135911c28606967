/// MurmurHash64A with seed 0, by which KenLM knows words.
#[inline]
pub(crate) fn murmur_hash_64a(bytes: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut h = (bytes.len() as u64).wrapping_mul(M);
    let chunks = bytes.chunks_exact(8);
    let tail = chunks.remainder();
    for chunk in chunks {
        let mut k = u64::from_le_bytes(chunk.try_into().expect("eight bytes")).wrapping_mul(M);
        k = (k ^ (k >> R)).wrapping_mul(M);
        h = (h ^ k).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut last = [0; 8];
        last[..tail.len()].copy_from_slice(tail);
        h = (h ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    h = (h ^ (h >> R)).wrapping_mul(M);
    h ^ (h >> R)
}

#[cfg(test)]
mod tests {
    use super::murmur_hash_64a;

    #[test]
    fn agrees_with_the_original() {
        // From MurmurHash64A of SMHasher's MurmurHash2.cpp with seed 0.
        assert_eq!(murmur_hash_64a(b""), 0);
        assert_eq!(murmur_hash_64a(b"<s>"), 0x0075_8639_bd21_7e70);
        assert_eq!(murmur_hash_64a(b"gristmill"), 0xe528_5102_72cb_4692);
    }
}
