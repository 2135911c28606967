use gristmill_core::Result;
use gristmill_core::ops::{Draw, Philox};
use gristmill_core::rng::{philox4x32_10, uniform};

use super::elementwise::pieces;
use super::exp::{ln, sin_cos_turns};
use super::lanes::dispatch;
use crate::access::Access;

/// Blocks that are made at once, a lane each.
const LANES: usize = 64;

/// Draws of that many blocks.
const GROUP: usize = 4 * LANES;

/// Word by word, something for each of the blocks.
type Words<T> = [[T; LANES]; 4];

pub(super) fn run(op: &Philox, access: &Access) -> Result<()> {
    match op.draw {
        Draw::Bits => generate(
            op,
            access.output::<u32>(&op.out)?,
            #[inline(always)]
            |words| *words,
        ),
        Draw::Uniform => generate(op, access.output::<f32>(&op.out)?, uniforms),
        Draw::Normal => generate(op, access.output::<f32>(&op.out)?, normals),
    }
    Ok(())
}

/// Writes what `convert` makes of the words of groups of blocks.
fn generate<T: Copy + Default + Send>(
    op: &Philox,
    out: &mut [T],
    convert: impl Fn(&Words<u32>) -> Words<T> + Sync,
) {
    pieces(out, |start, piece| {
        dispatch(
            #[inline(always)]
            || {
                let mut at = op.offset + start as u64;
                let mut rest = piece;
                while !rest.is_empty() {
                    // The first group may have begun earlier, and the last may be longer.
                    let (group, skip) = (at / GROUP as u64, (at % GROUP as u64) as usize);
                    let draws = in_order(&convert(&words(op, group * LANES as u64)));
                    let n = rest.len().min(GROUP - skip);
                    let (now, later) = rest.split_at_mut(n);
                    now.copy_from_slice(&draws[skip..skip + n]);
                    (at, rest) = (at.wrapping_add(n as u64), later);
                }
            },
        );
    });
}

/// The words of [`LANES`] blocks from `first` on.
#[inline(always)]
fn words(op: &Philox, first: u64) -> Words<u32> {
    let halves = |x: u64| [x as u32, (x >> 32) as u32];
    let ([s0, s1], key) = (halves(op.stream), halves(op.seed));
    let mut words = [[0; LANES]; 4];
    let [w0, w1, w2, w3] = &mut words;
    for lane in 0..LANES {
        let [b0, b1] = halves(first.wrapping_add(lane as u64));
        [w0[lane], w1[lane], w2[lane], w3[lane]] = philox4x32_10([b0, b1, s0, s1], key);
    }
    words
}

/// Block by block.
#[inline(always)]
fn in_order<T: Copy + Default>(words: &Words<T>) -> [T; GROUP] {
    let mut draws = [T::default(); GROUP];
    for (lane, block) in draws.chunks_exact_mut(4).enumerate() {
        for (draw, word) in block.iter_mut().zip(words) {
            *draw = word[lane];
        }
    }
    draws
}

#[inline(always)]
fn uniforms(words: &Words<u32>) -> Words<f32> {
    let mut out = [[0.0; LANES]; 4];
    for (out, words) in out.iter_mut().zip(words) {
        for (out, &bits) in out.iter_mut().zip(words) {
            *out = uniform(bits);
        }
    }
    out
}

/// Two normal numbers of each pair of words.
#[inline(always)]
fn normals(words: &Words<u32>) -> Words<f32> {
    let mut out = uniforms(words);
    let [a, b, c, d] = &mut out;
    for (u0, u1) in [(a, b), (c, d)] {
        for (x, y) in u0.iter_mut().zip(u1) {
            let radius = (-2.0 * ln(*x)).sqrt();
            let (sin, cos) = sin_cos_turns(*y);
            (*x, *y) = (radius * cos, radius * sin);
        }
    }
    out
}
