use gristmill_core::Result;
use gristmill_core::ops::{GaussianNoise, NoiseGenerator};
use gristmill_core::rng::{QUARTERS, normal_pair, philox4x32_10};
use rayon::prelude::*;

use super::lanes::dispatch;
use super::{PARALLEL, TASK};
use crate::access::Access;

/// Pairs that are made at once.
const PAIRS: usize = 64;

/// Blocks of ChaCha20 that these take, each of 16 words.
const BLOCKS: usize = PAIRS / 4;

/// The four words of each pair, in any order of the pairs.
type Words = [[u32; PAIRS]; 4];

pub(super) fn run(op: &GaussianNoise, access: &Access) -> Result<()> {
    let y = access.output::<f32>(&op.y)?;
    // Tasks begin at whole groups of pairs.
    let work = |(task, y): (usize, &mut [f32])| {
        for (i, y) in y.chunks_mut(2 * PAIRS).enumerate() {
            let first = (task * TASK / 2 + i * PAIRS) as u32;
            dispatch(
                #[inline(always)]
                || group(op, first, y),
            );
        }
    };
    match y.len() < PARALLEL {
        true => y.chunks_mut(TASK).enumerate().for_each(work),
        false => y.par_chunks_mut(TASK).enumerate().for_each(work),
    }
    Ok(())
}

/// The numbers of some pairs from `first` on.
#[inline(always)]
fn group(op: &GaussianNoise, first: u32, y: &mut [f32]) {
    let [std, scale] = op.factors();
    let mut normals = [0.0; 2 * PAIRS];
    match op.generator {
        NoiseGenerator::Philox => {
            let (cosines, sines) = pairs(&philox(op, first));
            for (pair, both) in normals.chunks_exact_mut(2).enumerate() {
                both.copy_from_slice(&[cosines[pair], sines[pair]]);
            }
        }
        NoiseGenerator::ChaCha20 => {
            let (cosines, sines) = pairs(&chacha20(op, first / 4));
            for (pair, both) in normals.chunks_exact_mut(2).enumerate() {
                let at = pair % 4 * BLOCKS + pair / 4;
                both.copy_from_slice(&[cosines[at], sines[at]]);
            }
        }
    }
    for (y, normal) in y.iter_mut().zip(normals) {
        *y = (*y + std * normal) * scale;
    }
}

#[inline(always)]
fn pairs(words: &Words) -> ([f32; PAIRS], [f32; PAIRS]) {
    let [a, b, c, d] = words;
    let (mut cosines, mut sines) = ([0.0; PAIRS], [0.0; PAIRS]);
    for i in 0..PAIRS {
        [cosines[i], sines[i]] = normal_pair([a[i], b[i], c[i], d[i]]);
    }
    (cosines, sines)
}

#[inline(always)]
fn philox(op: &GaussianNoise, first: u32) -> Words {
    let ([s0, s1], key) = (op.step_words(), op.key_words());
    let mut words = [[0; PAIRS]; 4];
    let [a, b, c, d] = &mut words;
    for i in 0..PAIRS {
        [a[i], b[i], c[i], d[i]] =
            philox4x32_10([first.wrapping_add(i as u32), op.tensor, s0, s1], [key[0], key[1]]);
    }
    words
}

/// Pair `p` of the group is at `p mod 4 · BLOCKS + p / 4`.
#[inline(always)]
fn chacha20(op: &GaussianNoise, first: u32) -> Words {
    let [s0, s1] = op.step_words();
    let mut start = [[0u32; BLOCKS]; 16];
    let constant = [0x6170_7865, 0x3320_646E, 0x7962_2D32, 0x6B20_6574];
    let fixed = constant.into_iter().chain(op.key_words()).chain([0, op.tensor, s0, s1]);
    for (lanes, word) in start.iter_mut().zip(fixed) {
        lanes.fill(word);
    }
    for (i, counter) in start[12].iter_mut().enumerate() {
        *counter = first.wrapping_add(i as u32);
    }
    let mut x = start;
    for _ in 0..10 {
        for [a, b, c, d] in QUARTERS {
            half_quarter(&mut x, [a, b, c, d], 16, 12);
            half_quarter(&mut x, [a, b, c, d], 8, 7);
        }
    }
    let mut words = [[0; PAIRS]; 4];
    for (w, (x, start)) in x.iter().zip(start).enumerate() {
        let lanes = &mut words[w % 4][w / 4 * BLOCKS..][..BLOCKS];
        for ((lane, x), start) in lanes.iter_mut().zip(x).zip(start) {
            *lane = x.wrapping_add(start);
        }
    }
    words
}

/// Half of a quarter round, of all blocks.
#[inline(always)]
fn half_quarter(x: &mut [[u32; BLOCKS]; 16], [a, b, c, d]: [usize; 4], turn_d: u32, turn_b: u32) {
    for i in 0..BLOCKS {
        x[a][i] = x[a][i].wrapping_add(x[b][i]);
        x[d][i] = (x[d][i] ^ x[a][i]).rotate_left(turn_d);
    }
    for i in 0..BLOCKS {
        x[c][i] = x[c][i].wrapping_add(x[d][i]);
        x[b][i] = (x[b][i] ^ x[c][i]).rotate_left(turn_b);
    }
}
