/// The block of ChaCha20 for a key, a block counter and a nonce (RFC 8439, 2.3), as 16 words.
#[inline(always)]
pub fn chacha20_block(key: &[u32; 8], counter: u32, nonce: [u32; 3]) -> [u32; 16] {
    let [k0, k1, k2, k3, k4, k5, k6, k7] = *key;
    let [n0, n1, n2] = nonce;
    // "expand 32-byte k".
    let start = [
        0x6170_7865,
        0x3320_646E,
        0x7962_2D32,
        0x6B20_6574,
        k0,
        k1,
        k2,
        k3,
        k4,
        k5,
        k6,
        k7,
        counter,
        n0,
        n1,
        n2,
    ];
    let mut x = start;
    for _ in 0..10 {
        for [a, b, c, d] in QUARTERS {
            x[a] = x[a].wrapping_add(x[b]);
            x[d] = (x[d] ^ x[a]).rotate_left(16);
            x[c] = x[c].wrapping_add(x[d]);
            x[b] = (x[b] ^ x[c]).rotate_left(12);
            x[a] = x[a].wrapping_add(x[b]);
            x[d] = (x[d] ^ x[a]).rotate_left(8);
            x[c] = x[c].wrapping_add(x[d]);
            x[b] = (x[b] ^ x[c]).rotate_left(7);
        }
    }
    for (x, start) in x.iter_mut().zip(start) {
        *x = x.wrapping_add(start);
    }
    x
}

/// The quarter rounds of two rounds: the columns, then the diagonals.
pub const QUARTERS: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

/// The words of a key.
pub fn key_words(key: &[u8; 32]) -> [u32; 8] {
    std::array::from_fn(|i| u32::from_le_bytes([key[4 * i], key[4 * i + 1], key[4 * i + 2], key[4 * i + 3]]))
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use chacha20::rand_core::{Rng, SeedableRng};

    use super::*;

    fn bytes(words: [u32; 16]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|b| u8::from_str_radix(b, 16).unwrap()).collect()
    }

    #[test]
    fn gives_the_published_block() {
        // RFC 8439, 2.3.2.
        let key: [u8; 32] = std::array::from_fn(|i| i as u8);
        let got = chacha20_block(&key_words(&key), 1, [0x0900_0000, 0x4A00_0000, 0]);
        let want = hex(
            "10 f1 e7 e4 d1 3b 59 15 50 0f dd 1f a3 20 71 c4 c7 d1 f4 c7 33 c0 68 03 04 22 aa 9a c3 d4 6c 4e \
             d2 82 64 46 07 9f aa 09 14 c2 d7 05 d9 8b 02 a2 b5 12 9c d1 de 16 4e b9 cb d0 83 e8 a2 50 3c 4e",
        );
        assert_eq!(bytes(got), want);
    }

    #[test]
    fn gives_the_blocks_of_the_cipher_crate() {
        let key: [u8; 32] = std::array::from_fn(|i| (i * 37 + 11) as u8);
        let mut stream = ChaCha20Rng::from_seed(key);
        for block in 0..5 {
            let mut want = [0; 64];
            stream.fill_bytes(&mut want);
            assert_eq!(bytes(chacha20_block(&key_words(&key), block, [0; 3])), want, "block {block}");
        }
    }
}
