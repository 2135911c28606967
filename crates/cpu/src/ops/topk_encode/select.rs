use std::cmp::Reverse;

use gristmill_core::payload::MAX_CHUNK;

use crate::ops::Vectors;

/// How many more than wanted may exceed a threshold: sorting these out costs less than another look at the chunk.
const fn slack(k: usize) -> usize {
    k / 2 + 16
}

/// Looks at a chunk at the most before what exceeds the threshold is taken, however much it is.
const LOOKS: usize = 16;

/// Finds the entries of greatest magnitude of chunks that resemble each other.
///
/// A threshold that the chunk before suggests, and bisection where it misleads, leave somewhat more than are wanted, as
/// a bit for each element; a selection among them does the rest. So the elements are looked at about once, in the
/// nearest cache, without a branch that depends on them.
pub(super) struct Selection {
    vectors: Vectors,
    /// A bit for each element whose magnitude exceeds the threshold.
    above: [u64; MAX_CHUNK / 64],
    keys: Vec<u64>,
    sorted: Vec<u64>,
    positions: Vec<u16>,
    /// The least magnitude that the last chunk sent.
    last: Option<i32>,
}

impl Selection {
    pub(super) fn new() -> Self {
        Self {
            vectors: Vectors::detect(),
            above: [0; MAX_CHUNK / 64],
            keys: Vec::with_capacity(MAX_CHUNK),
            sorted: Vec::with_capacity(MAX_CHUNK),
            positions: Vec::with_capacity(MAX_CHUNK),
            last: None,
        }
    }

    /// The positions of the `k` greatest magnitudes of the first `n` elements, of equal ones the first, ascending;
    /// `greatest` are the bits of the greatest of all.
    pub(super) fn greatest(&mut self, x: &[f32; MAX_CHUNK], n: usize, k: usize, greatest: u32) -> &[u16] {
        self.positions.clear();
        if k == n {
            self.positions.extend(0..n as u16);
            return &self.positions;
        }
        self.collect(x, n, k, greatest as i32);
        let mut cutoff = 0;
        if self.keys.len() > k {
            self.sorted.clone_from(&self.keys);
            cutoff = *self.sorted.select_nth_unstable_by_key(k - 1, |&key| Reverse(key)).1;
        }
        let chosen = self.keys.iter().filter(|&&key| key >= cutoff);
        self.positions.extend(chosen.map(|&key| !(key as u32) as u16));
        self.last = Some((cutoff >> 32) as i32);
        &self.positions
    }

    /// Gathers at least `k` keys, magnitude before inverted position, in ascending order of position.
    fn collect(&mut self, x: &[f32; MAX_CHUNK], n: usize, k: usize, greatest: i32) {
        // At least k exceed `low`, and fewer than k exceed `high`.
        let (mut low, mut high) = (-1, greatest);
        let mut step = 1 << 22;
        // What the chunk before sent, less a sixteenth part; or half of the greatest.
        let mut at = self.last.map_or(greatest - (1 << 23), |last| last - (3 << 18)).clamp(-1, greatest);
        for _ in 0..LOOKS {
            let count = self.look(x, n, at);
            if count < k {
                high = at;
            } else {
                low = at;
                if count <= k + slack(k) || high - low <= 1 {
                    break;
                }
            }
            at = if low >= 0 { low + (high - low) / 2 } else { (high - step).max(-1) };
            step *= 2;
        }
        if at != low {
            self.look(x, n, low);
        }
        self.keys.clear();
        for (word, &above) in self.above[..n.div_ceil(64)].iter().enumerate() {
            let mut left = above;
            while left != 0 {
                let position = 64 * word + left.trailing_zeros() as usize;
                left &= left - 1;
                let magnitude = u64::from(x[position].to_bits() & 0x7FFF_FFFF);
                self.keys.push(magnitude << 32 | u64::from(!(position as u32)));
            }
        }
    }

    /// Marks the elements whose magnitude exceeds the threshold, and counts them.
    fn look(&mut self, x: &[f32; MAX_CHUNK], n: usize, threshold: i32) -> usize {
        let (blocks, _) = x.as_chunks::<64>();
        let blocks = &blocks[..n.div_ceil(64)];
        let above = &mut self.above[..blocks.len()];
        match self.vectors {
            // SAFETY: the processor has the extensions, as `detect` found.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 => unsafe { x86::mark_avx512(blocks, threshold, above) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => unsafe { x86::mark_avx2(blocks, threshold, above) },
            Vectors::Baseline => mark(blocks, threshold, above),
        }
        if !n.is_multiple_of(64) {
            above[n / 64] &= (1 << (n % 64)) - 1;
        }
        above.iter().map(|word| word.count_ones() as usize).sum()
    }
}

fn mark(blocks: &[[f32; 64]], threshold: i32, above: &mut [u64]) {
    for (block, above) in blocks.iter().zip(above) {
        let bit = |(i, x): (usize, &f32)| u64::from((x.to_bits() & 0x7FFF_FFFF) as i32 > threshold) << i;
        *above = block.iter().enumerate().map(bit).fold(0, |word, bit| word | bit);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn mark_avx512(blocks: &[[f32; 64]], threshold: i32, above: &mut [u64]) {
        let (sign, threshold) = (_mm512_set1_epi32(0x7FFF_FFFF), _mm512_set1_epi32(threshold));
        for (block, above) in blocks.iter().zip(above) {
            let mut word = 0;
            for (i, x) in block.as_chunks::<16>().0.iter().enumerate() {
                // SAFETY: sixteen elements are there to be read; any alignment will do.
                let x = unsafe { _mm512_loadu_si512(x.as_ptr().cast()) };
                let mask = _mm512_cmpgt_epi32_mask(_mm512_and_si512(x, sign), threshold);
                word |= u64::from(mask) << (16 * i);
            }
            *above = word;
        }
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn mark_avx2(blocks: &[[f32; 64]], threshold: i32, above: &mut [u64]) {
        let (sign, threshold) = (_mm256_set1_epi32(0x7FFF_FFFF), _mm256_set1_epi32(threshold));
        for (block, above) in blocks.iter().zip(above) {
            let mut word = 0;
            for (i, x) in block.as_chunks::<8>().0.iter().enumerate() {
                // SAFETY: eight elements are there to be read; any alignment will do.
                let x = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
                let mask = _mm256_cmpgt_epi32(_mm256_and_si256(x, sign), threshold);
                word |= u64::from(_mm256_movemask_ps(_mm256_castsi256_ps(mask)) as u32) << (8 * i);
            }
            *above = word;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_vectors_mark_the_same() {
        let block = |seed: u32| {
            std::array::from_fn(|i| {
                f32::from_bits((i as u32 + seed).wrapping_mul(0x9E37_79B9).rotate_left(seed % 32))
            })
        };
        let blocks: Vec<[f32; 64]> = (0..8).map(block).collect();
        for threshold in [-1, 0, 1 << 20, 0x3F80_0000, 0x7F80_0000, i32::MAX] {
            let mut want = [0; 8];
            mark(&blocks, threshold, &mut want);
            #[cfg(target_arch = "x86_64")]
            {
                let mut got = [0; 8];
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has it.
                    unsafe { x86::mark_avx2(&blocks, threshold, &mut got) };
                    assert_eq!(got, want);
                }
                if Vectors::detect() == Vectors::Avx512 {
                    // SAFETY: the processor has it.
                    unsafe { x86::mark_avx512(&blocks, threshold, &mut got) };
                    assert_eq!(got, want);
                }
            }
            assert_eq!(want.iter().all(|&w| w == !0), threshold < 0);
        }
    }
}
