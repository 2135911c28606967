use gristmill_core::Result;
use gristmill_core::ops::{Draw, Philox};
use gristmill_core::rng::{philox4x32_10, uniform};

use super::elementwise::pieces;
use super::exp::{ln, sin_cos_turns};
use super::lanes::dispatch;
use crate::access::Access;

/// Blocks that are made at once, a lane each.
const LANES: usize = 16;

/// Draws of that many blocks.
const GROUP: usize = 4 * LANES;

pub(super) fn run(op: &Philox, access: &Access) -> Result<()> {
    match op.draw {
        Draw::Bits => generate(
            op,
            access.output::<u32>(&op.out)?,
            #[inline(always)]
            |words| words,
        ),
        Draw::Uniform => generate(
            op,
            access.output::<f32>(&op.out)?,
            #[inline(always)]
            |words| words.map(uniform),
        ),
        Draw::Normal => generate(op, access.output::<f32>(&op.out)?, normals),
    }
    Ok(())
}

/// Writes what `convert` makes of the words of groups of blocks.
fn generate<T: Copy + Send>(op: &Philox, out: &mut [T], convert: impl Fn([u32; GROUP]) -> [T; GROUP] + Sync) {
    pieces(out, |start, piece| {
        dispatch(
            #[inline(always)]
            || {
                let mut at = op.offset + start as u64;
                let mut rest = piece;
                while !rest.is_empty() {
                    // The first group may have begun earlier, and the last may be longer.
                    let (group, skip) = (at / GROUP as u64, (at % GROUP as u64) as usize);
                    let draws = convert(words(op, group * LANES as u64));
                    let n = rest.len().min(GROUP - skip);
                    let (now, later) = rest.split_at_mut(n);
                    now.copy_from_slice(&draws[skip..skip + n]);
                    (at, rest) = (at.wrapping_add(n as u64), later);
                }
            },
        );
    });
}

/// The words of [`LANES`] blocks from `first` on, in the order of draws.
#[inline(always)]
fn words(op: &Philox, first: u64) -> [u32; GROUP] {
    let halves = |x: u64| [x as u32, (x >> 32) as u32];
    let ([s0, s1], key) = (halves(op.stream), halves(op.seed));
    let mut lanes = [[0; LANES]; 4];
    for lane in 0..LANES {
        let [b0, b1] = halves(first.wrapping_add(lane as u64));
        let block = philox4x32_10([b0, b1, s0, s1], key);
        for (word, &value) in lanes.iter_mut().zip(&block) {
            word[lane] = value;
        }
    }
    let mut words = [0; GROUP];
    for (lane, block) in words.chunks_exact_mut(4).enumerate() {
        for (word, from) in block.iter_mut().zip(&lanes) {
            *word = from[lane];
        }
    }
    words
}

/// Normal numbers, two of each pair of words.
#[inline(always)]
fn normals(words: [u32; GROUP]) -> [f32; GROUP] {
    let mut radius = [0.0; GROUP / 2];
    let mut wave = [(0.0, 0.0); GROUP / 2];
    for (i, pair) in words.chunks_exact(2).enumerate() {
        radius[i] = (-2.0 * ln(uniform(pair[0]))).sqrt();
        wave[i] = sin_cos_turns(uniform(pair[1]));
    }
    let mut out = [0.0; GROUP];
    for (i, pair) in out.chunks_exact_mut(2).enumerate() {
        let (sin, cos) = wave[i];
        pair[0] = radius[i] * cos;
        pair[1] = radius[i] * sin;
    }
    out
}
