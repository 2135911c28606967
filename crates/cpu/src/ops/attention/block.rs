use std::marker::PhantomData;

use super::panel::{Panels, ROWS, multiply};
use super::vector::{VECTOR, Vector};
use crate::ops::exp::exp2;
use crate::ops::lanes::Work;

/// Rows of a block.
pub(super) const BLOCK: usize = 8 * ROWS;

/// Keys of a tile: whole panels.
const TILE: usize = 128;

/// What a block works in.
pub(super) struct Scratch {
    /// Queries with their scale, `[BLOCK, d]`.
    pub(super) q: Vec<f32>,
    /// Scores, then weights, `[BLOCK, TILE]`.
    scores: Vec<f32>,
    /// Sums of weighted values, `[BLOCK, width]`.
    pub(super) out: Vec<f32>,
    /// What a row of these takes.
    pub(super) width: usize,
    /// The greatest score of each row so far.
    maxima: [f32; BLOCK],
    /// The sum of its weights.
    pub(super) sums: [f32; BLOCK],
}

impl Scratch {
    pub(super) fn new(d: usize) -> Self {
        let width = d.next_multiple_of(VECTOR);
        Self {
            q: vec![0.0; BLOCK * d],
            scores: vec![0.0; BLOCK * TILE],
            out: vec![0.0; BLOCK * width],
            width,
            maxima: [0.0; BLOCK],
            sums: [0.0; BLOCK],
        }
    }
}

/// The rows `first..` of a document, whose queries are in the scratch already.
pub(super) struct Block<'a, V> {
    pub(super) scratch: &'a mut Scratch,
    pub(super) keys: &'a Panels,
    pub(super) values: &'a Panels,
    pub(super) d: usize,
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) vector: PhantomData<V>,
}

impl<V: Vector> Work for Block<'_, V> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        let Self { scratch, keys, values, d, first, rows, .. } = self;
        scratch.out.fill(0.0);
        scratch.maxima.fill(f32::NEG_INFINITY);
        scratch.sums.fill(0.0);
        for tile in (0..first + rows).step_by(TILE) {
            for group in (0..rows).step_by(ROWS) {
                // Keys that the last row of the group sees, if it is a row at all; groups begin at whole rows.
                let seen = (first + rows.min(group + ROWS)).saturating_sub(tile).min(TILE);
                if seen > 0 {
                    let scores = &mut scratch.scores[group * TILE..][..ROWS * TILE];
                    score::<V, FUSED>(&scratch.q[group * d..][..ROWS * d], keys, d, tile, seen, scores);
                }
            }
            for group in (0..rows).step_by(ROWS) {
                let seen = (first + rows.min(group + ROWS)).saturating_sub(tile).min(TILE);
                if seen > 0 {
                    take::<V, FUSED>(scratch, values, d, [group, first, tile, seen]);
                }
            }
        }
    }
}

/// The scores of a group of rows for the first `seen` keys of a tile.
#[inline(always)]
fn score<V: Vector, const FUSED: bool>(
    q: &[f32],
    keys: &Panels,
    d: usize,
    tile: usize,
    seen: usize,
    scores: &mut [f32],
) {
    for from in (0..seen).step_by(keys.width) {
        let vectors = (seen - from).min(keys.width).div_ceil(VECTOR);
        let panel = keys.rows((tile + from) / keys.width, 0);
        multiply::<V, FUSED>(d, vectors, (q, d), (panel, keys.width), (&mut scores[from..], TILE), None);
    }
}

/// Makes weights of the scores of a group of rows, and adds the values that they weigh.
#[inline(always)]
fn take<V: Vector, const FUSED: bool>(
    scratch: &mut Scratch,
    values: &Panels,
    d: usize,
    [group, first, tile, seen]: [usize; 4],
) {
    let scores = &mut scratch.scores[group * TILE..][..ROWS * TILE];
    let mut factors = [1.0; ROWS];
    for (r, factor) in factors.iter_mut().enumerate() {
        let row = group + r;
        let own = (first + row + 1).saturating_sub(tile).min(seen);
        let scores = &mut scores[r * TILE..][..seen.next_multiple_of(VECTOR)];
        scores[own..].fill(f32::NEG_INFINITY);
        let before = scratch.maxima[row];
        let greatest = max(before, scores);
        let mut sums = [0.0f32; VECTOR];
        for strip in scores.chunks_exact_mut(VECTOR) {
            for (score, sum) in strip.iter_mut().zip(&mut sums) {
                *score = exp2::<FUSED>(*score - greatest);
                *sum += *score;
            }
        }
        *factor = exp2::<FUSED>(before - greatest);
        scratch.sums[row] = *factor * scratch.sums[row] + total(sums);
        scratch.maxima[row] = greatest;
    }
    for from in (0..d).step_by(values.width) {
        let vectors = (d - from).min(values.width).div_ceil(VECTOR);
        let out = (&mut scratch.out[group * scratch.width + from..], scratch.width);
        let panel = (values.rows(from / values.width, tile), values.width);
        multiply::<V, FUSED>(seen, vectors, (&*scores, TILE), panel, out, Some(&factors));
    }
}

/// The greatest of these and of `floor`, NaNs aside.
#[inline(always)]
fn max(floor: f32, scores: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [floor; VECTOR];
    for strip in scores.chunks_exact(VECTOR) {
        for (lane, &score) in lanes.iter_mut().zip(strip) {
            *lane = greater(*lane, score);
        }
    }
    let mut n = VECTOR / 2;
    while n > 0 {
        for i in 0..n {
            lanes[i] = greater(lanes[i], lanes[i + n]);
        }
        n /= 2;
    }
    lanes[0]
}

/// Added in pairs.
#[inline(always)]
fn total(mut sums: [f32; VECTOR]) -> f32 {
    let mut n = VECTOR / 2;
    while n > 0 {
        for i in 0..n {
            sums[i] += sums[i + n];
        }
        n /= 2;
    }
    sums[0]
}
