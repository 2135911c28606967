use std::cmp::Reverse;

use gristmill_core::Result;
use gristmill_core::ops::Topk;
use rayon::prelude::*;

use super::lanes::dispatch;
use super::{PARALLEL, TASK};
use crate::access::Access;

/// Elements that one comparison with the threshold may rule out.
const STRIP: usize = 16;

/// Elements of a chunk from which on it is worth sharing out among threads.
const PIECE: usize = 1 << 20;

/// Elements that are looked at to guess a threshold.
const SAMPLE: usize = 512;

pub(super) fn run(op: &Topk, access: &Access) -> Result<()> {
    let x = access.input::<f32>(&op.x)?;
    let (values, indices) = (access.output::<f32>(&op.values)?, access.output::<u32>(&op.indices)?);
    let several = |x: &[f32], values: &mut [f32], indices: &mut [u32]| {
        let mut hint = None;
        let outputs = values.chunks_mut(op.k).zip(indices.chunks_mut(op.k));
        for (chunk, (values, indices)) in x.chunks(op.chunk).zip(outputs) {
            let entries = select(chunk, op.k, hint);
            for (i, (value, index)) in values.iter_mut().zip(indices).enumerate() {
                *index = entries.get(i).map_or(u32::MAX, |e| e.index());
                *value = entries.get(i).map_or(0.0, |e| chunk[e.index() as usize]);
            }
            // What the next chunk is likely to exceed somewhat more often: about a sixteenth less.
            hint = entries.last().map(|e| e.magnitude() - (1 << 20));
        }
    };
    if x.len() < PARALLEL {
        several(x, values, indices);
    } else {
        let per_task = (TASK / op.chunk).max(1);
        let tasks = (
            x.par_chunks(per_task.saturating_mul(op.chunk)),
            values.par_chunks_mut(per_task * op.k),
            indices.par_chunks_mut(per_task * op.k),
        );
        tasks.into_par_iter().for_each(|(x, values, indices)| several(x, values, indices));
    }
    Ok(())
}

/// A magnitude and a position as one number: of two, the greater comes first in the result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry(u64);

impl Entry {
    #[inline(always)]
    fn new(magnitude: i32, index: u32) -> Self {
        Self((magnitude as u64) << 32 | u64::from(!index))
    }

    fn index(self) -> u32 {
        !(self.0 as u32)
    }

    fn magnitude(self) -> i32 {
        (self.0 >> 32) as i32
    }
}

/// The bits without the sign; as an integer they compare as magnitudes do.
#[inline(always)]
fn magnitude(x: f32) -> i32 {
    (x.to_bits() & 0x7FFF_FFFF) as i32
}

/// The `k` first entries of a chunk, or all if they are fewer, in order. The hint is a guess of a magnitude that somewhat
/// more than `k` exceed.
fn select(chunk: &[f32], k: usize, hint: Option<i32>) -> Vec<Entry> {
    let mut entries = if chunk.len() < 2 * PIECE || rayon::current_num_threads() == 1 {
        candidates(chunk, 0, k, hint)
    } else {
        // The first of all are among the first of each piece.
        let pieces = chunk.par_chunks(PIECE).enumerate();
        pieces.flat_map_iter(|(i, piece)| candidates(piece, (i * PIECE) as u32, k, None)).collect()
    };
    keep_first(&mut entries, k);
    entries.sort_unstable_by_key(|&e| Reverse(e));
    entries
}

fn keep_first(entries: &mut Vec<Entry>, k: usize) {
    if entries.len() > k {
        entries.select_nth_unstable_by_key(k - 1, |&e| Reverse(e));
        entries.truncate(k);
    }
}

/// At least the `k` first entries of a piece that begins at `first`, in any order.
///
/// One pass collects what exceeds a threshold that the hint or a sample suggests; whenever that is much more than `k`, it is cut
/// back to `k`, and the threshold rises to the least of them. Only if that misled is there a second pass.
fn candidates(piece: &[f32], first: u32, k: usize, hint: Option<i32>) -> Vec<Entry> {
    let threshold = hint.unwrap_or_else(|| guess(piece, k));
    let found = collect(piece, first, k, threshold);
    if found.len() >= k.min(piece.len()) { found } else { collect(piece, first, k, -1) }
}

/// A magnitude that somewhat more than `k` elements seem to exceed.
fn guess(piece: &[f32], k: usize) -> i32 {
    if piece.len() < 8 * SAMPLE {
        return -1;
    }
    let stride = piece.len() / SAMPLE;
    let mut sample: Vec<i32> = piece.iter().step_by(stride).map(|&x| magnitude(x)).collect();
    // Its mean and three standard deviations of it, as many as exceed the threshold by chance.
    let share = k as f64 / piece.len() as f64 * sample.len() as f64;
    let rank = (share + 3.0 * share.sqrt() + 3.0) as usize;
    if rank >= sample.len() {
        return -1;
    }
    let (_, &mut at, _) = sample.select_nth_unstable_by_key(rank, |&m| Reverse(m));
    at - 1
}

/// Entries of magnitudes above the threshold; if they are more than `k`, at least the `k` first of them.
fn collect(piece: &[f32], first: u32, k: usize, threshold: i32) -> Vec<Entry> {
    let mut entries = vec![Entry(0); (2 * k).min(piece.len()) + 4 * STRIP];
    let (mut len, mut threshold) = (0, threshold);
    dispatch(
        #[inline(always)]
        || {
            let (strips, rest) = piece.as_chunks::<STRIP>();
            for strip in 0..=strips.len() {
                let x = match strips.get(strip) {
                    // Of a length that the compiler knows.
                    Some(x)
                        if x.iter().fold(0, |hits, &x| hits | i32::from(magnitude(x) > threshold)) == 0 =>
                    {
                        continue;
                    }
                    Some(x) => &x[..],
                    None => rest,
                };
                let base = first + (strip * STRIP) as u32;
                for (i, &x) in x.iter().enumerate() {
                    // Written in any case, kept where it counts: there is nothing to predict.
                    entries[len] = Entry::new(magnitude(x), base + i as u32);
                    len += usize::from(magnitude(x) > threshold);
                }
                if len > entries.len() - STRIP {
                    entries[..len].select_nth_unstable_by_key(k - 1, |&e| Reverse(e));
                    // Later elements of the same magnitude come after it.
                    (len, threshold) = (k, entries[k - 1].magnitude());
                }
            }
        },
    );
    entries.truncate(len);
    entries
}
