//! Blocks of 8-bit codes ([`Moments::Int8`]): each a search for 256 numbers among 255 others.
//!
//! What lies midway between neighbours of the map is kept as a binary tree in an array, node `i` above `2i` and `2i + 1`,
//! so that a search is eight times `i ← 2i + (x ≥ t[i])`, and what is behind it, less 256, is the code. For a block, all
//! of the tree is multiplied by its scale at once, as the definition does for the numbers that it compares: the same
//! comparisons, and the same bits. The tree is sixteen vectors of 512 bits, which stay in registers; sixteen numbers go
//! down a level by permutations of those that hold it.

use gristmill_core::ops::{Moments, block_unit, flush, midpoints};

use super::lanes::{Vectors, max};

const BLOCK: usize = Moments::BLOCK;

/// Numbers that are searched for side by side.
const LANES: usize = 16;

/// A map, and what lies midway between its numbers.
pub(super) struct Table {
    map: [f32; 256],
    tree: [f32; 256],
    vectors: Vectors,
}

impl Table {
    pub(super) fn new(map: &[f32]) -> Self {
        let middle = midpoints(map);
        let mut tree = [f32::INFINITY; 256];
        for level in 0..8 {
            for before in 0..1 << level {
                tree[(1 << level) + before] = middle[(before << (8 - level)) + (128 >> level) - 1];
            }
        }
        Self { map: std::array::from_fn(|i| map[i]), tree, vectors: Vectors::detect() }
    }

    /// The numbers of a block.
    #[inline(always)]
    pub(super) fn decode(&self, codes: &[u32], absmax: f32, values: &mut [f32; BLOCK]) {
        let absmax = flush(absmax);
        #[cfg(target_arch = "x86_64")]
        if self.vectors == Vectors::Avx512 {
            // SAFETY: the instructions were detected.
            return unsafe { avx512::decode(&self.map, bytemuck::cast_slice(codes), absmax, values) };
        }
        for (word, values) in codes.iter().zip(values.chunks_exact_mut(4)) {
            for (byte, value) in values.iter_mut().enumerate() {
                *value = flush(self.map[(word >> (8 * byte)) as usize & 255] * absmax);
            }
        }
    }

    /// Writes the codes of a block; its scale.
    #[inline(always)]
    pub(super) fn encode(&self, values: &[f32; BLOCK], codes: &mut [u32]) -> f32 {
        let greatest = max::<_, u32, LANES>(&values[..], 0, |x| x.to_bits() & 0x7FFF_FFFF);
        let (absmax, inverse) = block_unit(f32::from_bits(greatest));
        let tree = self.tree.map(|middle| middle * (absmax * inverse));
        #[cfg(target_arch = "x86_64")]
        if self.vectors == Vectors::Avx512 {
            // SAFETY: the instructions were detected.
            unsafe { avx512::encode(&tree, inverse, values, bytemuck::cast_slice_mut(codes)) };
            return absmax;
        }
        for (words, values) in codes.chunks_exact_mut(LANES / 4).zip(values.as_chunks::<LANES>().0) {
            let values = values.map(|x| flush(x * inverse));
            let mut node = [1usize; LANES];
            for _ in 0..8 {
                for (node, x) in node.iter_mut().zip(values) {
                    *node = 2 * *node + usize::from(x >= tree[*node & 255]);
                }
            }
            for (word, nodes) in words.iter_mut().zip(node.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(nodes.map(|node| node as u8));
            }
        }
        absmax
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{BLOCK, LANES};

    /// `table[i]` for 16 numbers `i`, of which the lower eight bits count.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn look_up(table: &[__m512; 16], i: __m512i) -> __m512 {
        let of_32 = |first: usize| _mm512_permutex2var_ps(table[first], i, table[first + 1]);
        let bit = |bit: i32| _mm512_test_epi32_mask(i, _mm512_set1_epi32(1 << bit));
        let (bit5, bit6, bit7) = (bit(5), bit(6), bit(7));
        let of_64 = |first: usize| _mm512_mask_blend_ps(bit5, of_32(first), of_32(first + 2));
        let of_128 = |first: usize| _mm512_mask_blend_ps(bit6, of_64(first), of_64(first + 4));
        _mm512_mask_blend_ps(bit7, of_128(0), of_128(8))
    }

    /// The number, or 0 where it is below the normal ones.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn flush(x: __m512) -> __m512 {
        let normal = _mm512_test_epi32_mask(_mm512_castps_si512(x), _mm512_set1_epi32(0x7F80_0000));
        _mm512_maskz_mov_ps(normal, x)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(table: &[f32; 256]) -> [__m512; 16] {
        let mut vectors = [_mm512_setzero_ps(); 16];
        for (vector, numbers) in vectors.iter_mut().zip(table.as_chunks::<LANES>().0) {
            // SAFETY: 16 numbers are read, which are there.
            *vector = unsafe { _mm512_loadu_ps(numbers.as_ptr()) };
        }
        vectors
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn decode(map: &[f32; 256], codes: &[u8], absmax: f32, values: &mut [f32; BLOCK]) {
        let (map, absmax) = (load(map), _mm512_set1_ps(absmax));
        for (codes, values) in codes.as_chunks::<LANES>().0.iter().zip(values.as_chunks_mut::<LANES>().0) {
            // SAFETY: 16 bytes are read and 16 numbers written, which are there.
            unsafe {
                let codes = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.as_ptr().cast()));
                let x = flush(_mm512_mul_ps(look_up(&map, codes), absmax));
                _mm512_storeu_ps(values.as_mut_ptr(), x);
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn encode(tree: &[f32; 256], inverse: f32, values: &[f32; BLOCK], codes: &mut [u8]) {
        let (t, inverse, one) = (load(tree), _mm512_set1_ps(inverse), _mm512_set1_epi32(1));
        for (codes, values) in codes.as_chunks_mut::<LANES>().0.iter_mut().zip(values.as_chunks::<LANES>().0)
        {
            // SAFETY: 16 numbers are read, which are there.
            let x = unsafe { _mm512_loadu_ps(values.as_ptr()) };
            let x = flush(_mm512_mul_ps(x, inverse));
            let down = |node: __m512i, middle: __m512| {
                let greater = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, middle);
                let left = _mm512_add_epi32(node, node);
                _mm512_mask_add_epi32(left, greater, left, one)
            };
            let bit = |node: __m512i, bit: i32| _mm512_test_epi32_mask(node, _mm512_set1_epi32(1 << bit));
            let mut node = one;
            // Nodes 1 to 15 are one vector, 16 to 31 another.
            for _ in 0..4 {
                node = down(node, _mm512_permutexvar_ps(node, t[0]));
            }
            node = down(node, _mm512_permutexvar_ps(node, t[1]));
            node = down(node, _mm512_permutex2var_ps(t[2], node, t[3]));
            let of_32 = |node: __m512i, first: usize| _mm512_permutex2var_ps(t[first], node, t[first + 1]);
            let middle = _mm512_mask_blend_ps(bit(node, 5), of_32(node, 4), of_32(node, 6));
            node = down(node, middle);
            let of_64 =
                |first: usize| _mm512_mask_blend_ps(bit(node, 5), of_32(node, first), of_32(node, first + 2));
            node = down(node, _mm512_mask_blend_ps(bit(node, 6), of_64(8), of_64(12)));
            // SAFETY: 16 bytes are written, which are there.
            unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(node)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::ops::{code, dynamic_map};

    use super::*;

    /// Numbers of all sizes, each number of the map, the numbers midway, and their neighbours, and what is none.
    fn blocks(map: &[f32; 256]) -> Vec<[f32; BLOCK]> {
        let middle = midpoints(map);
        let near = |d: i32| {
            std::array::from_fn(|i| f32::from_bits(middle[i.min(254)].to_bits().wrapping_add_signed(d)))
        };
        let mut state = 9u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from_bits(state) * 1e-10
        };
        let mut blocks = vec![*map, near(0), near(1), near(-1), [0.0; BLOCK], [-0.0; BLOCK], [1e-40; BLOCK]];
        blocks
            .extend((0..20).map(|_| {
                std::array::from_fn(|_| random()).map(|x: f32| if x.is_finite() { x } else { 0.0 })
            }));
        blocks.push(std::array::from_fn(|i| [f32::NAN, f32::INFINITY, 1.0, -3.0][i % 4]));
        let scales = [1.0, 1e-30, 3e30, 0.7];
        blocks.iter().flat_map(|block| scales.map(|scale| block.map(|x| x * scale))).collect()
    }

    #[test]
    fn codes_and_numbers_are_those_of_the_definition() {
        for signed in [true, false] {
            let map = dynamic_map(signed);
            let middle = midpoints(&map);
            let mut table = Table::new(&map);
            for vectors in [table.vectors, Vectors::Baseline] {
                table.vectors = vectors;
                for values in blocks(&map) {
                    let greatest = values.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7FFF_FFFF));
                    let unit = block_unit(f32::from_bits(greatest));
                    let mut words = [0u32; BLOCK / 4];
                    let absmax = table.encode(&values, &mut words);
                    assert_eq!(absmax.to_bits(), unit.0.to_bits());
                    let want = values.map(|x| code(&middle, x, unit));
                    assert_eq!(bytemuck::cast_slice::<u32, u8>(&words), want, "{vectors:?} {values:?}");
                    let mut decoded = [0.0; BLOCK];
                    table.decode(&words, absmax, &mut decoded);
                    let same = decoded.iter().zip(want).all(|(x, code)| {
                        let want = flush(map[usize::from(code)] * flush(absmax));
                        x.to_bits() == want.to_bits() || x.is_nan() && want.is_nan()
                    });
                    assert!(same, "{vectors:?} {values:?}");
                }
            }
        }
    }
}
