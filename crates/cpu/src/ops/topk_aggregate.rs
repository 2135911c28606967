use gristmill_core::Result;
use gristmill_core::ops::TopkAggregate;
use gristmill_core::payload::{IndexCodec, LARGEST, MAX_CHUNK, PayloadLayout, Quantizer, is_value, settle};
use rayon::prelude::*;

use super::PARALLEL;
use super::lanes::prefetch;
use super::topk_encode::Bands;
use crate::access::Access;
use crate::reference::fail_at;

/// So many times 64 parameters before they are changed, they are asked for: rows of a block are too short for a processor
/// to foresee the next.
const AHEAD: usize = 8;

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

impl Sums {
    #[inline(always)]
    fn add(&mut self, position: usize, v: f32) {
        self.sums[position] += v;
        self.counts[position] += 1;
        self.touched[position / 64] |= 1 << (position % 64);
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
        let origin = chunk.row * chunking.columns() + chunk.column - first;
        // A division for each element would take as long as all the rest.
        let shift = chunk.columns.is_power_of_two().then(|| chunk.columns.trailing_zeros());
        let row = |p: usize| shift.map_or_else(|| p / chunk.columns, |shift| p >> shift);
        let beyond = chunking.columns() - chunk.columns;
        let place = |p: usize| origin + p + row(p) * beyond;
        for word in 0..AHEAD {
            prefetch(theta, place(64 * word)..place(64 * word) + 64);
        }
        for (peer, (payload, &weight)) in self.payloads.iter().zip(self.weights).enumerate() {
            let words = &payload[at..at + layout.words_per_chunk()];
            // Peers are more streams than a processor follows by itself.
            prefetch(payload, at + layout.words_per_chunk()..at + 2 * layout.words_per_chunk());
            let levels = layout.check_levels(&|i| payload[i]);
            let sound = levels.is_ok_and(|levels| add(layout, words, chunk.elements(), levels, weight, sums));
            if !sound {
                *sums = Sums::default();
                return Some((peer * chunking.chunks() + i) as u64);
            }
        }
        for word in 0..chunk.elements().div_ceil(64) {
            let ahead = place(64 * (word + AHEAD));
            prefetch(theta, ahead..ahead + 64);
            let mut left = std::mem::take(&mut sums.touched[word]);
            while left != 0 {
                let p = 64 * word + left.trailing_zeros() as usize;
                left &= left - 1;
                let (sum, count) = (std::mem::take(&mut sums.sums[p]), std::mem::take(&mut sums.counts[p]));
                let step = settle(self.steps[usize::from(count)] * sum);
                if step != 0.0 {
                    theta[place(p)] -= step;
                }
            }
        }
        None
    }
}

/// Takes bits from words, from the least significant on.
struct Bits<'a> {
    words: std::slice::Iter<'a, u32>,
    pending: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(words: &'a [u32]) -> Self {
        Self { words: words.iter(), pending: 0, count: 0 }
    }

    #[inline(always)]
    fn take(&mut self, bits: u32) -> u32 {
        if self.count < bits {
            self.pending |= u64::from(self.words.next().copied().unwrap_or(0)) << self.count;
            self.count += 32;
        }
        let value = self.pending & ((1 << bits) - 1);
        self.pending >>= bits;
        self.count -= bits;
        value as u32
    }
}

/// Adds the entries of a chunk, times a weight; whether its words are sound. What was added of others is void.
fn add(
    layout: &PayloadLayout,
    words: &[u32],
    elements: usize,
    levels: [f32; 4],
    weight: f32,
    sums: &mut Sums,
) -> bool {
    let entries = layout.entries(elements);
    if layout.check_padding(&|i| words[i], entries).is_err() {
        return false;
    }
    let mut codes = Bits::new(&words[layout.codes()]);
    let weighted = |v: f32| settle(weight * v);
    let mut sound = true;
    let ascending = match layout.quantizer() {
        Quantizer::SignMagnitude => {
            let Ok([low, high]) = layout.check_magnitudes(words[0]) else { return false };
            let table = [low, -low, high, -high].map(weighted);
            positions(layout, words, entries, elements, |p| sums.add(p, table[codes.take(2) as usize]))
        }
        Quantizer::Reference => {
            let table = levels.map(weighted);
            positions(layout, words, entries, elements, |p| sums.add(p, table[codes.take(2) as usize]))
        }
        Quantizer::Int8 => {
            let Ok(step) = layout.check_step(words[0]) else { return false };
            positions(layout, words, entries, elements, |p| {
                let steps = codes.take(8) as u8 as i8;
                let v = settle(f32::from(steps) * step);
                sound &= steps > i8::MIN && v.abs() <= LARGEST;
                sums.add(p, weighted(v));
            })
        }
        Quantizer::None => positions(layout, words, entries, elements, |p| {
            let v = f32::from_bits(codes.take(32));
            sound &= is_value(v);
            sums.add(p, weighted(v));
        }),
    };
    sound && ascending
}

/// Visits the positions of a chunk's entries; whether they ascend within its elements. Others are brought into bounds.
#[inline(always)]
fn positions(
    layout: &PayloadLayout,
    words: &[u32],
    entries: usize,
    elements: usize,
    mut visit: impl FnMut(usize),
) -> bool {
    let (mut lows, bits) = (Bits::new(&words[layout.lows()]), layout.low_bits());
    let (mut next, mut sound) = (0, true);
    let mut visit = |p: usize| {
        sound &= (next..elements).contains(&p);
        next = p + 1;
        visit(p % MAX_CHUNK);
    };
    if layout.indices() == IndexCodec::Packed12 {
        (0..entries).for_each(|_| visit(lows.take(bits) as usize));
        return sound;
    }
    let highs = &words[layout.highs()];
    if highs.iter().map(|w| w.count_ones() as usize).sum::<usize>() != entries {
        return false;
    }
    // The i-th bit set is at i or behind.
    let mut i = 0;
    for (at, pair) in highs.chunks(2).enumerate() {
        let mut left = u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 32;
        while left != 0 {
            let bit = 64 * at + left.trailing_zeros() as usize;
            left &= left - 1;
            visit((bit - i) << bits | lows.take(bits) as usize);
            i += 1;
        }
    }
    sound
}
