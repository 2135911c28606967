//! The quantiser of the published code: four levels of a whole tensor.

use gristmill_core::Result;
use gristmill_core::payload::{Chunking, Defect, PayloadLayout, settle};

const BINS: usize = 4;

/// A payload with levels, and what levels do not say of each value, made from a payload with values.
pub(super) struct Quantized {
    pub(super) payload: Vec<u32>,
    pub(super) rest: Vec<u32>,
}

/// Quantises the values of a tensor. With μ their mean and σ their standard deviation (over n − 1), bins are 6σ/4 wide
/// (1 where that is nothing) around μ; a value's code is the nearest bin, and a level the mean of the values of its bin (μ
/// of none). Sums are in `f64`, from the first value on.
pub(super) fn quantize(
    values: &[u32],
    exact: &PayloadLayout,
    levels: &PayloadLayout,
    chunking: &Chunking,
) -> Result<Quantized, Defect> {
    let chunks = || (0..chunking.chunks()).map(|i| (i, chunking.chunk(i).elements()));
    let mut all = Vec::new();
    for (i, elements) in chunks() {
        let words = &values[i * exact.words_per_chunk()..];
        exact.decode_chunk(&|i| words[i], elements, &[0.0; 4], |_, v| all.push(f64::from(v)))?;
    }
    let table = Table::of(&all);
    let mut out = Quantized {
        payload: table.levels.iter().map(|x| x.to_bits()).collect(),
        rest: Vec::with_capacity(values.len()),
    };
    let mut all = all.iter();
    for (i, elements) in chunks() {
        let words = &values[i * exact.words_per_chunk()..];
        let mut entries = Vec::new();
        exact.decode_chunk(&|i| words[i], elements, &[0.0; 4], |position, v| entries.push((position, v)))?;
        let codes: Vec<usize> = all.by_ref().take(entries.len()).map(|&v| table.code(v)).collect();
        let mut chunk = vec![0; levels.words_per_chunk()];
        let coded = entries.iter().zip(&codes).map(|(&(position, _), &code)| (position, code as u32));
        levels.pack_chunk(0, coded, &mut chunk);
        out.payload.extend(chunk);
        let mut chunk = vec![0; exact.words_per_chunk()];
        let left =
            entries.iter().zip(&codes).map(|(&(p, v), &code)| (p, settle(v - table.levels[code]).to_bits()));
        exact.pack_chunk(0, left, &mut chunk);
        out.rest.extend(chunk);
    }
    Ok(out)
}

struct Table {
    mean: f64,
    step: f64,
    levels: [f32; BINS],
}

impl Table {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n.max(1.0);
        let squares = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        let step = 6.0 * (squares / (n - 1.0).max(1.0)).sqrt() / BINS as f64;
        let mut table = Self { mean, step: if step > 0.0 { step } else { 1.0 }, levels: [0.0; BINS] };
        let (mut sums, mut counts) = ([0.0; BINS], [0u64; BINS]);
        for &v in values {
            let code = table.code(v);
            sums[code] += v - mean;
            counts[code] += 1;
        }
        table.levels = std::array::from_fn(|c| settle((mean + sums[c] / counts[c].max(1) as f64) as f32));
        table
    }

    fn code(&self, v: f64) -> usize {
        let middle = BINS as f64 / 2.0;
        ((v - self.mean) / self.step + middle).round_ties_even().clamp(0.0, BINS as f64 - 1.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_those_of_the_published_code() {
        // μ = 0, σ = √(20/3): bins 3.873 wide around 0; ±1 and ±3 give codes 2, 1 or 3, in units 0.26 and 0.77.
        let table = Table::of(&[-3.0, -1.0, 1.0, 3.0]);
        assert!((table.step - 1.5 * (20f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!([-3.0, -1.0, 1.0, 3.0].map(|v| table.code(v)), [1, 2, 2, 3]);
        assert_eq!(table.levels, [0.0, -3.0, 0.0, 3.0]);
        // Nothing to tell apart.
        let same = Table::of(&[2.0, 2.0]);
        assert_eq!((same.step, same.code(2.0), same.levels[2]), (1.0, 2, 2.0));
    }
}
