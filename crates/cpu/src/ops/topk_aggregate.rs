use gristmill_core::Result;
use gristmill_core::ops::TopkAggregate;
use gristmill_core::payload::{MAX_CHUNK, settle};
use rayon::prelude::*;

use super::PARALLEL;
use super::topk_encode::Bands;
use crate::access::Access;
use crate::reference::fail_at;

pub(super) fn run(op: &TopkAggregate, access: &Access) -> Result<()> {
    let theta = access.output::<f32>(&op.theta)?;
    let payloads = access.input::<u32>(&op.payloads)?;
    let words = op.layout.words(&op.chunking);
    let peers = Peers {
        op,
        payloads: payloads.chunks_exact(words.max(1)).collect(),
        weights: access.input::<f32>(&op.weights)?,
        steps: access.input::<f32>(&op.steps)?,
    };
    let bands = Bands::of(&op.chunking);
    let apply = |(band, theta): (usize, &mut [f32])| {
        let mut sums = Sums::default();
        let chunks = bands.chunk(band)..(bands.chunk(band) + bands.chunks).min(op.chunking.chunks());
        chunks.filter_map(|i| peers.chunk(i, bands.element(band), theta, &mut sums)).min()
    };
    let fault = match theta.len() < PARALLEL {
        true => theta.chunks_mut(bands.elements).enumerate().filter_map(apply).min(),
        false => theta.par_chunks_mut(bands.elements).enumerate().filter_map(apply).min(),
    };
    fail_at(op, fault)
}

/// What peers say of each element of a chunk, in the nearest cache; zeros between chunks.
struct Sums {
    sums: [f32; MAX_CHUNK],
    counts: [u16; MAX_CHUNK],
    /// A bit for each element that somebody has an entry for.
    touched: [u64; MAX_CHUNK / 64],
}

impl Default for Sums {
    fn default() -> Self {
        Self { sums: [0.0; MAX_CHUNK], counts: [0; MAX_CHUNK], touched: [0; MAX_CHUNK / 64] }
    }
}

struct Peers<'a> {
    op: &'a TopkAggregate,
    payloads: Vec<&'a [u32]>,
    weights: &'a [f32],
    steps: &'a [f32],
}

impl Peers<'_> {
    /// Applies a chunk to the part of the parameters that begins at `first`, unless it is at fault: then the row.
    fn chunk(&self, i: usize, first: usize, theta: &mut [f32], sums: &mut Sums) -> Option<u64> {
        let (layout, chunking) = (&self.op.layout, &self.op.chunking);
        let chunk = chunking.chunk(i);
        let at = layout.tensor_words() + i * layout.words_per_chunk();
        let mut fault = None;
        for (peer, (payload, &weight)) in self.payloads.iter().zip(self.weights).enumerate() {
            let words = &payload[at..at + layout.words_per_chunk()];
            let decoded = layout.check_levels(&|i| payload[i]).and_then(|levels| {
                layout.decode_chunk(&|i| words[i], chunk.elements(), &levels, |position, v| {
                    sums.sums[position] += settle(weight * v);
                    sums.counts[position] += 1;
                    sums.touched[position / 64] |= 1 << (position % 64);
                })
            });
            if decoded.is_err() {
                fault = fault.or(Some((peer * chunking.chunks() + i) as u64));
            }
        }
        let origin = chunk.row * chunking.columns() + chunk.column - first;
        for word in 0..chunk.elements().div_ceil(64) {
            let mut left = std::mem::take(&mut sums.touched[word]);
            while left != 0 {
                let p = 64 * word + left.trailing_zeros() as usize;
                left &= left - 1;
                let (sum, count) = (std::mem::take(&mut sums.sums[p]), std::mem::take(&mut sums.counts[p]));
                let step = settle(self.steps[usize::from(count)] * sum);
                if step != 0.0 {
                    theta[origin + p / chunk.columns * chunking.columns() + p % chunk.columns] -= step;
                }
            }
        }
        fault
    }
}
