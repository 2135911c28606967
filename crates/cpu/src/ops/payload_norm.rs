use gristmill_core::Result;
use gristmill_core::ops::PayloadNorm;
use gristmill_core::payload::{Defect, PayloadLayout, Quantizer, SMALLEST, is_value};
use rayon::prelude::*;

use crate::access::Access;
use crate::reference::fail_at;

/// A sum of squares below this counts as 0.
const SMALLEST_SQUARE: f32 = SMALLEST * SMALLEST;

/// Chunks whose sums are added up by halves.
const BLOCK: usize = 256;

pub(super) fn run(op: &PayloadNorm, access: &Access) -> Result<()> {
    let payloads = access.input::<u32>(&op.payloads)?;
    let out = access.output::<f32>(&op.out)?;
    let (words, chunks) = (op.layout.words(&op.chunking), op.chunking.chunks());
    if chunks == 0 {
        out.fill(0.0);
        return Ok(());
    }
    let norm = |(peer, out): (usize, &mut f32)| {
        let sums = (0..chunks.div_ceil(BLOCK)).into_par_iter();
        let sums = sums.map(|block| block_sum(op, &payloads[peer * words..][..words], block, chunks));
        match sums.collect::<Result<Vec<f32>, usize>>() {
            Ok(sums) => *out = total(sums),
            Err(chunk) => return Some((peer * chunks + chunk) as u64),
        }
        None
    };
    let fault = out.par_iter_mut().enumerate().filter_map(norm).min();
    // Of several blocks at fault, collecting may have met a later one first.
    fail_at(op, fault.map(|row| first_fault(op, payloads, row)))
}

/// The sum of the squares of a block of chunks, or a chunk at fault.
fn block_sum(op: &PayloadNorm, payload: &[u32], block: usize, chunks: usize) -> Result<f32, usize> {
    let (layout, mut sums) = (&op.layout, [0.0; BLOCK]);
    let levels = layout.check_levels(&|i| payload[i]).map_err(|_| 0usize)?;
    let first = block * BLOCK;
    for (i, sum) in sums[..BLOCK.min(chunks - first)].iter_mut().enumerate() {
        let at = layout.tensor_words() + (first + i) * layout.words_per_chunk();
        let entries = layout.entries(op.chunking.chunk(first + i).elements());
        let square = square(layout, &payload[at..], entries, levels).map_err(|_| first + i)?;
        *sum = if square < SMALLEST_SQUARE { 0.0 } else { square };
    }
    Ok(halves(&mut sums))
}

/// The first row at fault, where one up to `row` is.
fn first_fault(op: &PayloadNorm, payloads: &[u32], row: u64) -> u64 {
    let (words, chunks) = (op.layout.words(&op.chunking), op.chunking.chunks());
    let peer = row as usize / chunks;
    let payload = &payloads[peer * words..][..words];
    let blocks = (0..chunks.div_ceil(BLOCK)).map(|block| block_sum(op, payload, block, chunks));
    blocks.filter_map(Result::err).map(|chunk| (peer * chunks + chunk) as u64).next().unwrap_or(row)
}

fn halves(sums: &mut [f32; BLOCK]) -> f32 {
    let mut reach = BLOCK / 2;
    while reach > 0 {
        let (low, high) = sums.split_at_mut(reach);
        low.iter_mut().zip(high).for_each(|(a, b)| *a += *b);
        reach /= 2;
    }
    sums[0]
}

/// By halves of blocks, again and again.
fn total(mut sums: Vec<f32>) -> f32 {
    while sums.len() > 1 {
        let block = |part: &[f32]| {
            let mut sums = [0.0; BLOCK];
            sums[..part.len()].copy_from_slice(part);
            halves(&mut sums)
        };
        sums = sums.chunks(BLOCK).map(block).collect();
    }
    sums[0]
}

/// The sum of the squares of a chunk's values.
fn square(layout: &PayloadLayout, words: &[u32], entries: usize, levels: [f32; 4]) -> Result<f32, Defect> {
    let codes = &words[layout.codes()];
    match layout.quantizer() {
        Quantizer::SignMagnitude => {
            let [low, high] = layout.check_magnitudes(words[0])?;
            let [.., second, third] = histogram(codes, entries);
            let upper = second + third;
            Ok((entries as u32 - upper) as f32 * (low * low) + upper as f32 * (high * high))
        }
        Quantizer::Reference => {
            let counts = histogram(codes, entries);
            let [a, b, c, d] = std::array::from_fn(|i| counts[i] as f32 * (levels[i] * levels[i]));
            Ok(((a + b) + c) + d)
        }
        Quantizer::Int8 => {
            let step = layout.check_step(words[0])?;
            let bytes = bytemuck::cast_slice::<u32, i8>(codes);
            let squares: i32 = bytes[..entries].iter().map(|&c| i32::from(c) * i32::from(c)).sum();
            Ok((squares as f32 * step) * step)
        }
        Quantizer::None => codes[..entries].iter().try_fold(0.0, |sum, &bits| {
            let x = f32::from_bits(bits);
            if is_value(x) { Ok(sum + x * x) } else { Err(Defect::Value) }
        }),
    }
}

/// How often each code of 2 bits is there.
fn histogram(codes: &[u32], entries: usize) -> [u32; 4] {
    const ODD: u32 = 0x5555_5555;
    let mut counts = [0; 4];
    for (i, &word) in codes.iter().enumerate() {
        let here = entries.saturating_sub(16 * i).min(16);
        let used = ODD & u32::MAX.checked_shr(32 - 2 * here as u32).unwrap_or(0);
        let (first, second) = (word & used, word >> 1 & used);
        counts[3] += (first & second).count_ones();
        counts[2] += (second & !first).count_ones();
        counts[1] += (first & !second).count_ones();
        counts[0] += (used & !first & !second).count_ones();
    }
    counts
}
