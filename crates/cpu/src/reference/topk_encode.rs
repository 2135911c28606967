use gristmill_core::Result;
use gristmill_core::ops::TopkEncode;
use gristmill_core::payload::{Chunk, LARGEST, PayloadLayout, Quantizer, fit_magnitudes, fit_step, settle};

use crate::access::Access;
use crate::reference::fail_at;

pub(super) fn run(op: &TopkEncode, access: &Access) -> Result<()> {
    let (base, local) = (access.input::<f32>(&op.base)?, access.input::<f32>(&op.local)?);
    let residual = access.input::<f32>(&op.residual)?;
    let residual_out = access.output::<f32>(&op.residual_out)?;
    let payload = access.output::<u32>(&op.payload)?.chunks_exact_mut(op.layout.words_per_chunk());
    let mut fault = None;
    for (i, words) in payload.enumerate() {
        let chunk = op.chunking.chunk(i);
        let places: Vec<usize> = places(&chunk, op.chunking.columns()).collect();
        let acc: Vec<f32> = places
            .iter()
            .map(|&p| settle(settle(op.decay * residual[p]) + settle(base[p] - local[p])))
            .collect();
        // Also where it is NaN.
        if !acc.iter().all(|x| x.abs() <= LARGEST) {
            fault = fault.or(Some(i as u64));
            continue;
        }
        for (&place, &acc) in places.iter().zip(&acc) {
            residual_out[place] = acc;
        }
        let positions = select(&acc, op.layout.entries(acc.len()));
        let values: Vec<f32> = positions.iter().map(|&p| acc[p]).collect();
        pack(&op.layout, &positions, &values, words);
        let sent = op.layout.decode_chunk(&|i| words[i], acc.len(), &[0.0; 4], |position, v| {
            residual_out[places[position]] = settle(acc[position] - v);
        });
        sent.map_err(|defect| {
            gristmill_core::Error::new(gristmill_core::Code::Internal, defect.to_string())
        })?;
    }
    fail_at(op, fault)
}

/// Where the elements of a chunk are, in order.
pub(super) fn places(chunk: &Chunk, columns: usize) -> impl Iterator<Item = usize> + use<> {
    let chunk = *chunk;
    (0..chunk.elements())
        .map(move |p| (chunk.row + p / chunk.columns) * columns + chunk.column + p % chunk.columns)
}

/// The positions of the `k` greatest magnitudes, of equal ones the first, in ascending order.
fn select(acc: &[f32], k: usize) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..acc.len()).collect();
    // Stable, so equal magnitudes stay in ascending order of position.
    positions.sort_by_key(|&p| std::cmp::Reverse(acc[p].abs().to_bits()));
    positions.truncate(k);
    positions.sort_unstable();
    positions
}

fn pack(layout: &PayloadLayout, positions: &[usize], values: &[f32], words: &mut [u32]) {
    let magnitudes: Vec<f32> = values.iter().map(|x| x.abs()).collect();
    let negative = |i: usize| values[i].is_sign_negative();
    let codes: Vec<u32>;
    let mut scale = 0;
    match layout.quantizer() {
        Quantizer::SignMagnitude => {
            let mut high = vec![0; values.len()];
            scale = fit_magnitudes(&magnitudes, &mut high);
            codes = high.iter().enumerate().map(|(i, &h)| h << 1 | u32::from(negative(i))).collect();
        }
        Quantizer::Int8 => {
            let (step, count) = fit_step(magnitudes.iter().copied().fold(0.0, f32::max));
            scale = step.to_bits();
            let signed = |(i, &m): (usize, &f32)| {
                let count = count(m) as i32;
                (if negative(i) { -count } else { count }) as u32 & 0xFF
            };
            codes = magnitudes.iter().enumerate().map(signed).collect();
        }
        Quantizer::None | Quantizer::Reference => codes = values.iter().map(|x| x.to_bits()).collect(),
    }
    layout.pack_chunk(scale, positions.iter().copied().zip(codes), words);
}
