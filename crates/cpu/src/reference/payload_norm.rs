use gristmill_core::Result;
use gristmill_core::ops::PayloadNorm;
use gristmill_core::payload::{Defect, PayloadLayout, Quantizer, SMALLEST, is_value};

use crate::access::Access;
use crate::reference::fail_at;

/// A sum of squares below this counts as 0.
const SMALLEST_SQUARE: f32 = SMALLEST * SMALLEST;

pub(super) fn run(op: &PayloadNorm, access: &Access) -> Result<()> {
    let payloads = access.input::<u32>(&op.payloads)?;
    let out = access.output::<f32>(&op.out)?;
    let (words, chunks) = (op.layout.words(&op.chunking), op.chunking.chunks());
    let mut fault = None;
    for (peer, out) in out.iter_mut().enumerate() {
        let payload = &payloads[peer * words..][..words];
        let levels = op.layout.check_levels(&|i| payload[i]);
        let square = |i: usize| -> Result<f32, Defect> {
            let at = op.layout.tensor_words() + i * op.layout.words_per_chunk();
            let entries = op.layout.entries(op.chunking.chunk(i).elements());
            let sum = square(&op.layout, &payload[at..], entries, levels?)?;
            Ok(if sum < SMALLEST_SQUARE { 0.0 } else { sum })
        };
        let squares: Vec<_> = (0..chunks).map(square).collect();
        if let Some(i) = squares.iter().position(|s| s.is_err()) {
            fault = fault.or(Some((peer * chunks + i) as u64));
        }
        *out = total(squares.into_iter().map(|s| s.unwrap_or(0.0)).collect());
    }
    fail_at(op, fault)
}

/// By halves of 256, again and again.
fn total(mut sums: Vec<f32>) -> f32 {
    while sums.len() > 1 {
        let block = |sums: &[f32]| {
            let mut block = [0.0; 256];
            block[..sums.len()].copy_from_slice(sums);
            for reach in [128, 64, 32, 16, 8, 4, 2, 1] {
                for i in 0..reach {
                    block[i] += block[i + reach];
                }
            }
            block[0]
        };
        sums = sums.chunks(256).map(block).collect();
    }
    sums.first().copied().unwrap_or(0.0)
}

/// The sum of the squares of a chunk's values.
fn square(layout: &PayloadLayout, words: &[u32], entries: usize, levels: [f32; 4]) -> Result<f32, Defect> {
    let code = |i: usize| {
        let (at, bits) = (i * layout.code_bits(), layout.code_bits());
        (words[layout.codes().start + at / 32] >> (at % 32)) & (u32::MAX >> (32 - bits))
    };
    let codes = (0..entries).map(code);
    let count = |c: u32| (0..entries).filter(|&i| code(i) == c).count() as f32;
    match layout.quantizer() {
        Quantizer::SignMagnitude => {
            let [low, high] = layout.check_magnitudes(words[0])?;
            Ok((count(0) + count(1)) * (low * low) + (count(2) + count(3)) * (high * high))
        }
        Quantizer::Reference => {
            let part = |c: u32| count(c) * (levels[c as usize] * levels[c as usize]);
            Ok(((part(0) + part(1)) + part(2)) + part(3))
        }
        Quantizer::Int8 => {
            let step = layout.check_step(words[0])?;
            let squares = codes.map(|c| i32::from(c as u8 as i8).pow(2)).sum::<i32>();
            Ok((squares as f32 * step) * step)
        }
        Quantizer::None => codes
            .map(f32::from_bits)
            .try_fold(0.0, |sum, x| if is_value(x) { Ok(sum + x * x) } else { Err(Defect::Value) }),
    }
}
