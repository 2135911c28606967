/// The block of Philox4x32-10 for a counter and a key (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as
/// 1, 2, 3; SC 2011).
#[inline(always)]
pub fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let (a, b) = (MULTIPLIERS[0] * counter[0] as u64, MULTIPLIERS[1] * counter[2] as u64);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

/// The uniform number on (0, 1) of 32 random bits: `((bits >> 9) + 1/2) · 2^-23`. Exact in `f32`; never 0 or 1.
#[inline]
pub fn uniform(bits: u32) -> f32 {
    ((bits >> 9) as f32 + 0.5) * (1.0 / (1 << 23) as f32)
}

/// A sequence of Philox: draw `g` is word `g mod 4` of the block with the counter `(g / 4, stream)` under the key
/// `seed`, as the operation [`crate::ops::Philox`] defines. Any draw can be asked for at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Philox {
    seed: u64,
    stream: u64,
}

impl Philox {
    /// The sequence of this number under this key.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self { seed, stream }
    }

    /// The four draws from `4 · block` on.
    #[inline(always)]
    pub fn block(&self, block: u64) -> [u32; 4] {
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        let ([a, b], [c, d]) = (halves(block), halves(self.stream));
        philox4x32_10([a, b, c, d], halves(self.seed))
    }

    /// Draw `g`.
    #[inline]
    pub fn bits(&self, g: u64) -> u32 {
        self.block(g / 4)[(g % 4) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_answers() {
        // Known-answer vectors of Random123.
        for (counter, key, block) in [
            ([0; 4], [0; 2], [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]),
            (
                [0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344],
                [0xA409_3822, 0x299F_31D0],
                [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1],
            ),
        ] {
            assert_eq!(philox4x32_10(counter, key), block);
        }
    }

    #[test]
    fn words_go_where_the_definition_says() {
        let p = Philox::new(0x299F_31D0_A409_3822, 0x0370_7344_1319_8A2E);
        let g = 0x85A3_08D3_243F_6A88u64;
        assert_eq!(p.block(g), [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1]);
        assert_eq!(Philox::new(0, 0).bits(2), 0xBC57_AC4C);
    }

    #[test]
    fn uniforms_stay_inside() {
        assert_eq!(uniform(0), 0.5 / 8_388_608.0);
        assert!(uniform(u32::MAX) < 1.0);
        assert_eq!(uniform(u32::MAX) as f64, 1.0 - 0.5 / 8_388_608.0);
    }
}
