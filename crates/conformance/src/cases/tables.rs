//! Norms and sums of the gradients that samples give a table.

use gristmill_core::DType;
use gristmill_core::ops::{ClippedEmbeddingGrad, EmbeddingNorms, TiedNorms};

use super::clipping::{LENGTHS, OFFSETS, factors, rows_of, spoil};
use super::reduce::offsets;
use super::sum_error;
use crate::case::{Bound, Case, Problem};
use crate::draw::Draw;
use crate::operand::Operand;
use crate::values::Values;

pub(super) fn cases() -> Vec<Case> {
    [tables(), tied_norms(), faults()].into_iter().flatten().collect()
}

/// A table and the rows that name its rows.
#[derive(Clone, Copy)]
struct Table {
    margins: [usize; 2],
    lengths: &'static [usize],
    d: usize,
    vocabulary: usize,
    padding_idx: Option<u32>,
    dtype: DType,
    index: DType,
    values: Values,
}

impl Table {
    fn new(lengths: &'static [usize], d: usize, vocabulary: usize) -> Self {
        Self {
            margins: [0; 2],
            lengths,
            d,
            vocabulary,
            padding_idx: None,
            dtype: DType::F32,
            index: DType::U32,
            values: Values::Normal(1.0),
        }
    }

    fn rows(&self) -> usize {
        rows_of(self.margins, self.lengths)
    }

    fn name(&self) -> String {
        let Self { margins: [before, behind], lengths, d, vocabulary, dtype, index, values, .. } = self;
        let padding = self.padding_idx.map_or(String::new(), |id| format!("/padding{id}"));
        let (samples, rows) = (lengths.len(), self.rows());
        format!("{samples}in{rows}/{vocabulary}x{d}/{dtype}/{index}/{before}+{behind}/{values}{padding}")
    }

    fn ids(&self, draw: &mut Draw) -> Operand {
        // Some ids often, some once.
        let id = |draw: &mut Draw| {
            let bound = if draw.one_in(2) { self.vocabulary.min(3) } else { self.vocabulary };
            draw.below(bound) as f64
        };
        let ids: Vec<f64> = (0..self.rows()).map(|_| id(draw)).collect();
        Operand::numbers(self.index, &[ids.len()], &ids)
    }

    fn offsets(&self) -> Operand {
        offsets(self.index, self.margins[0], self.lengths)
    }

    fn norms(self) -> Case {
        let bound = Bound::Error(2.0 * sum_error(self.rows()) + sum_error(self.rows() * self.d));
        Case::new("embedding_norms", self.name(), bound, move |draw| {
            let operands = vec![
                self.ids(draw),
                self.values.input(draw, self.dtype, &[self.rows(), self.d]),
                self.offsets(),
                Operand::out(DType::F32, &[self.lengths.len()]),
            ];
            Problem::new(operands, move |t| EmbeddingNorms {
                ids: t[0].clone(),
                dy: t[1].clone(),
                offsets: t[2].clone(),
                out: t[3].clone(),
                vocabulary: self.vocabulary,
                padding_idx: self.padding_idx,
            })
            .by_terms()
        })
    }

    fn gradient(self) -> Case {
        let bound = Bound::Error(sum_error(self.rows()));
        Case::new("clipped_embedding_grad", self.name(), bound, move |draw| {
            let ids = self.ids(draw);
            let mut dy = self.values.input(draw, self.dtype, &[self.rows(), self.d]);
            let factors = factors(draw, self.lengths.len());
            let begin = |s: usize| self.margins[0] + self.lengths[..s].iter().sum::<usize>();
            spoil(&mut dy, &factors, |s| begin(s)..begin(s + 1));
            let grad = Values::Normal(1.0).elements(draw, DType::F32, self.vocabulary * self.d);
            let operands = vec![
                ids,
                dy,
                self.offsets(),
                Operand::numbers(DType::F32, &[factors.len()], &factors),
                Operand::update(DType::F32, &[self.vocabulary, self.d], grad),
            ];
            Problem::new(operands, move |t| ClippedEmbeddingGrad {
                ids: t[0].clone(),
                dy: t[1].clone(),
                offsets: t[2].clone(),
                factors: t[3].clone(),
                grad: t[4].clone(),
                padding_idx: self.padding_idx,
            })
            .by_terms()
        })
    }

    fn tied(self) -> Case {
        let longest = self.lengths.iter().max().copied().unwrap_or(0);
        let bound = Bound::Error(2.0 * sum_error(longest) + sum_error(longest * self.d));
        Case::new("tied_norms", self.name(), bound, move |draw| {
            // What an infinity becomes, itself or NaN, depends on the order of the products.
            let finite_or_nan = |x: f64| if x.is_infinite() { f64::NAN } else { x };
            let input = |draw: &mut Draw, columns: usize| {
                self.values.input(draw, self.dtype, &[self.rows(), columns]).map(finite_or_nan)
            };
            let operands = vec![
                self.ids(draw),
                input(draw, self.d),
                input(draw, self.d),
                input(draw, self.vocabulary),
                self.offsets(),
                Operand::out(DType::F32, &[self.lengths.len()]),
            ];
            Problem::new(operands, |t| TiedNorms {
                ids: t[0].clone(),
                e: t[1].clone(),
                h: t[2].clone(),
                dlogits: t[3].clone(),
                offsets: t[4].clone(),
                out: t[5].clone(),
            })
            .by_terms()
        })
    }
}

/// Tables of every kind, for the operations that have one.
fn varied() -> Vec<Table> {
    let mut tables: Vec<_> = LENGTHS.iter().map(|lengths| Table::new(lengths, 20, 11)).collect();
    for dtype in DType::FLOATS {
        let of = |lengths, d, vocabulary| Table { dtype, ..Table::new(lengths, d, vocabulary) };
        tables.push(Table { index: DType::I32, ..of(LENGTHS[5], 65, 50) });
        tables.push(Table { margins: [3, 9], ..of(LENGTHS[5], 7, 2) });
        tables.push(of(LENGTHS[5], 0, 5));
        tables.push(of(LENGTHS[3], 300, 1));
        for values in [Values::Special, Values::Cancelling, Values::Zeros] {
            tables.push(Table { values, ..of(LENGTHS[5], 33, 20) });
        }
    }
    tables
}

fn tables() -> Vec<Case> {
    let mut cases = Vec::new();
    for table in varied() {
        let padded = Table { padding_idx: Some(0), ..table };
        cases.extend([table.norms(), table.gradient(), padded.norms(), padded.gradient()]);
    }
    for dtype in DType::FLOATS {
        let table = Table { dtype, margins: [1, 2], ..Table::new(LENGTHS[5], 19, 9) };
        cases.extend([table.norms().viewed(), table.gradient().viewed()]);
    }
    cases
}

fn tied_norms() -> Vec<Case> {
    let mut cases: Vec<_> = varied().into_iter().map(Table::tied).collect();
    for dtype in DType::FLOATS {
        let table = Table { dtype, margins: [1, 2], ..Table::new(LENGTHS[5], 19, 9) };
        cases.push(table.tied().viewed());
    }
    cases
}

/// Ids and offsets that break the contract.
fn faults() -> Vec<Case> {
    // Where an id is wrong, and which; or offsets, and the first sample at fault.
    const IDS: [(usize, DType, f64); 4] =
        [(0, DType::U32, 9.0), (59, DType::U32, 4e9), (58, DType::I32, -1.0), (30, DType::I32, 9.0)];
    let ids = IDS.map(|(row, index, id)| (Some((row, id)), index, &[0.0, 30.0, 60.0][..], row as u64));
    let offsets = OFFSETS.map(|(index, offsets, sample)| (None, index, offsets, sample));
    let mut cases = Vec::new();
    for (i, (wrong_id, index, offsets, row)) in ids.into_iter().chain(offsets).enumerate() {
        for op in ["embedding_norms", "clipped_embedding_grad", "tied_norms"] {
            cases.push(Case::new(op, format!("fault/{i}"), Bound::Exact, move |draw| {
                let table = Table { index, ..Table::new(&[60], 5, 9) };
                let mut ids: Vec<f64> = (0..60).map(|_| draw.below(9) as f64).collect();
                if let Some((row, id)) = wrong_id {
                    ids[row] = id;
                }
                let samples = offsets.len() - 1;
                let mut operands = vec![
                    Operand::numbers(index, &[60], &ids),
                    Operand::numbers(index, &[offsets.len()], offsets),
                ];
                operands.extend((0..2).map(|_| table.values.input(draw, DType::F32, &[60, 5])));
                broken(op, operands, samples, draw).faulty(row)
            }));
        }
    }
    cases
}

/// An operation on ids, offsets and two factors.
fn broken(op: &str, mut operands: Vec<Operand>, samples: usize, draw: &mut Draw) -> Problem {
    let normal = Values::Normal(1.0);
    match op {
        "embedding_norms" => {
            operands.push(Operand::out(DType::F32, &[samples]));
            Problem::new(operands, |t| EmbeddingNorms {
                ids: t[0].clone(),
                dy: t[2].clone(),
                offsets: t[1].clone(),
                out: t[4].clone(),
                vocabulary: 9,
                padding_idx: None,
            })
        }
        "clipped_embedding_grad" => {
            operands.push(normal.input(draw, DType::F32, &[samples]));
            operands.push(Operand::update(DType::F32, &[9, 5], normal.elements(draw, DType::F32, 45)));
            Problem::new(operands, |t| ClippedEmbeddingGrad {
                ids: t[0].clone(),
                dy: t[2].clone(),
                offsets: t[1].clone(),
                factors: t[4].clone(),
                grad: t[5].clone(),
                padding_idx: None,
            })
        }
        _ => {
            operands.push(normal.input(draw, DType::F32, &[60, 9]));
            operands.push(Operand::out(DType::F32, &[samples]));
            Problem::new(operands, |t| TiedNorms {
                ids: t[0].clone(),
                e: t[2].clone(),
                h: t[3].clone(),
                dlogits: t[4].clone(),
                offsets: t[1].clone(),
                out: t[5].clone(),
            })
        }
    }
}
