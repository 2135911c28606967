use gristmill_core::DType;
use gristmill_core::ops::Attention;

use super::reduce::offsets;
use crate::case::{Bound, Case, Problem, ulp};
use crate::operand::{Operand, encode};
use crate::values::Values;

/// An attention of the table.
#[derive(Clone, Copy)]
struct Attended {
    /// Rows before the first document and behind the last.
    margins: [usize; 2],
    lengths: &'static [usize],
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    dtype: DType,
    offsets: DType,
    /// Standard deviation of queries and keys.
    size: f64,
    /// A document that has a NaN in its first key, and in its first value.
    nan: Option<usize>,
}

/// Documents around the sizes that tiles have, and empty ones.
const MIXED: &[usize] = &[0, 1, 5, 0, 65, 1, 31, 64, 3, 0];

impl Attended {
    fn new(lengths: &'static [usize], [heads, kv_heads, head_dim]: [usize; 3]) -> Self {
        Self {
            margins: [0; 2],
            lengths,
            heads,
            kv_heads,
            head_dim,
            dtype: DType::F32,
            offsets: DType::U32,
            size: 1.0,
            nan: None,
        }
    }

    fn rows(&self) -> usize {
        self.margins.iter().sum::<usize>() + self.lengths.iter().sum::<usize>()
    }

    fn name(&self) -> String {
        let Self { margins: [before, behind], heads, kv_heads, head_dim, dtype, offsets, size, .. } = self;
        let (rows, documents) = (self.rows(), self.lengths.len());
        let nan = self.nan.map_or("", |_| "/nan");
        format!(
            "{documents}in{rows}/{heads}of{kv_heads}x{head_dim}/{dtype}/{offsets}/*{size}/{before}+{behind}{nan}"
        )
    }

    fn case(self) -> Case {
        // A score is known to a part of the magnitudes of its terms, and so is every weight.
        let scores = 2f64.powi(-22) * (4.0 + self.size * self.size * (self.head_dim as f64).sqrt());
        let bound = Bound::Error(scores + ulp(self.dtype));
        Case::new("attention", self.name(), bound, move |draw| {
            let rows = self.rows();
            let [q, kv] = [self.heads, self.kv_heads].map(|heads| [rows, heads * self.head_dim]);
            let of = Values::Normal(self.size);
            let mut operands = vec![
                of.input(draw, self.dtype, &q),
                of.input(draw, self.dtype, &kv),
                Values::Normal(1.0).input(draw, self.dtype, &kv),
                offsets(self.offsets, self.margins[0], self.lengths),
                Operand::out(self.dtype, &q),
            ];
            if let Some(document) = self.nan {
                let row = self.margins[0] + self.lengths[..document].iter().sum::<usize>();
                let nan = encode(self.dtype, &[f64::NAN]);
                for (operand, head) in [(1, 0), (2, self.kv_heads - 1)] {
                    let at = (row * kv[1] + head * self.head_dim) * nan.len();
                    operands[operand].bytes[at..at + nan.len()].copy_from_slice(&nan);
                }
            }
            let scale = 1.0 / (self.head_dim as f32).sqrt();
            Problem::new(operands, move |t| Attention {
                q: t[0].clone(),
                k: t[1].clone(),
                v: t[2].clone(),
                offsets: t[3].clone(),
                out: t[4].clone(),
                heads: self.heads,
                kv_heads: self.kv_heads,
                scale,
            })
            .beside(1.0)
        })
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for heads in [
        [1, 1, 1],
        [1, 1, 16],
        [3, 1, 20],
        [3, 1, 64],
        [2, 2, 80],
        [2, 1, 96],
        [4, 2, 33],
        [1, 1, 128],
        [1, 1, 256],
    ] {
        cases.push(Attended::new(MIXED, heads).case());
    }
    for dtype in DType::FLOATS {
        let of = |lengths, heads| Attended { dtype, ..Attended::new(lengths, heads) };
        for heads in [[2, 1, 16], [3, 3, 20], [3, 1, 64], [1, 1, 80], [2, 2, 7], [2, 1, 128], [1, 1, 256]] {
            cases.push(Attended { offsets: DType::I32, ..of(&[70, 0, 1, 33], heads) }.case());
        }
        cases.push(of(&[700], [1, 1, 16]).case());
        // Weights that differ by many orders of magnitude, so that sums are scaled again and again.
        cases.push(Attended { size: 8.0, ..of(&[200, 40], [2, 1, 32]) }.case());
        cases.push(Attended { size: 0.0, ..of(&[130], [1, 1, 32]) }.case());
        cases.push(Attended { margins: [3, 70], ..of(&[7, 0, 90], [2, 1, 24]) }.case());
        cases.push(Attended { nan: Some(1), ..of(&[37, 45, 70, 1], [3, 1, 64]) }.case());
        cases.push(of(&[20, 1, 67], [3, 1, 20]).case().viewed());
        cases.push(Attended { offsets: DType::I32, ..of(&[20, 1, 67], [2, 2, 64]) }.case().viewed());
    }
    let of = |lengths| Attended::new(lengths, [2, 1, 8]);
    cases.push(of(&[]).case());
    cases.push(of(&[0, 0]).case());
    cases.push(Attended { margins: [4, 0], ..of(&[]) }.case());
    cases.push(Attended { margins: [4, 5], ..of(&[0]) }.case());
    cases.push(of(&[1; 300]).case());
    cases
}
