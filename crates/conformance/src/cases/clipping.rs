//! Norms, factors and sums of per-sample gradients, and exact sums of them on a grid.

use gristmill_core::DType;
use gristmill_core::ops::{
    ClipFactors, ClipRule, ClippedEmbeddingGrad, ClippedSum, EmbeddingNorms, GridSum, SegmentProduct,
    TiedNorms,
};

use super::reduce::offsets;
use super::sum_error;
use crate::case::{Bound, Case, Problem};
use crate::draw::Draw;
use crate::operand::{Operand, encode};
use crate::values::Values;

pub(super) fn cases() -> Vec<Case> {
    [clip_factors(), segment_products(), clipped_sums(), tables(), tied_norms(), grid_sums(), faults()]
        .into_iter()
        .flatten()
        .collect()
}

const RULES: [(&str, ClipRule); 4] = [
    ("flat", ClipRule::Flat),
    ("automatic", ClipRule::Automatic { gamma: 0.01 }),
    ("unit", ClipRule::Unit),
    ("threshold", ClipRule::Threshold),
];

/// Squares of every size, and such as no norm has.
fn squares(draw: &mut Draw, n: usize, special: bool) -> Vec<f64> {
    const SPECIAL: [f64; 8] = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e-40, 3.4e38];
    (0..n)
        .map(|_| match () {
            () if special && draw.one_in(9) => SPECIAL[draw.below(SPECIAL.len())],
            () if draw.one_in(3) => draw.normal().powi(2) * 2f64.powi(draw.below(240) as i32 - 120),
            () => 0.9 + 0.2 * draw.unit(),
        })
        .collect()
}

fn factor_case(
    [groups, samples]: [usize; 2],
    (name, rule): (&str, ClipRule),
    weighted: bool,
    special: bool,
    wrong: Option<(usize, f64)>,
) -> Case {
    let what = format!(
        "{groups}x{samples}/{name}{}{}{}",
        if weighted { "/weights" } else { "" },
        if special { "/special" } else { "" },
        wrong.map_or(String::new(), |(at, value)| format!("/fault{value}at{at}"))
    );
    Case::new("clip_factors", what, Bound::Bits, move |draw| {
        let squared = squares(draw, groups * samples, special);
        let mut bounds: Vec<f64> =
            (0..groups).map(|g| [1.0, 1e-18, 0.3, 1e30, 7e-5][g % 5] * (1.0 + draw.unit())).collect();
        let mut weights: Vec<f64> = (0..samples).map(|_| f64::from(!draw.one_in(4))).collect();
        match wrong {
            Some((at, value)) if at < samples => weights[at] = value,
            Some((at, value)) => bounds[at - samples] = value,
            None => {}
        }
        let mut operands = vec![
            Operand::numbers(DType::F32, &[groups, samples], &squared),
            Operand::numbers(DType::F32, &[groups], &bounds),
            Operand::out(DType::F32, &[groups, samples]),
            Operand::out(DType::U32, &[groups, 3]),
        ];
        if weighted {
            operands.push(Operand::numbers(DType::F32, &[samples], &weights));
        }
        let problem = Problem::new(operands, move |t| ClipFactors {
            squared: t[0].clone(),
            weights: t.get(4).cloned(),
            max_norms: t[1].clone(),
            factors: t[2].clone(),
            counts: t[3].clone(),
            rule,
        });
        match wrong {
            // Of a bound, the group.
            Some((at, _)) => problem.faulty(at.checked_sub(samples).unwrap_or(at) as u64),
            None => problem,
        }
    })
}

fn clip_factors() -> Vec<Case> {
    let mut cases = Vec::new();
    for rule in RULES {
        for shape in [[1, 1], [0, 5], [3, 0], [1, 7], [2, 300], [7, 1000], [1, 5000]] {
            cases.push(factor_case(shape, rule, shape[1] % 2 == 1, false, None));
        }
        cases.push(factor_case([1, 400], rule, false, true, None));
        cases.push(factor_case([3, 400], rule, true, true, None).viewed());
    }
    for wrong in [(0, 0.5), (299, f64::NAN), (17, -1.0), (300, 0.0), (302, f64::INFINITY), (301, 1e-19)] {
        cases.push(factor_case([3, 300], RULES[0], true, true, Some(wrong)));
    }
    cases
}

/// Samples: none, short ones, empty ones, one that is longer than a tile.
const LENGTHS: [&[usize]; 6] = [&[], &[0, 0], &[1], &[5, 0, 3, 1, 0], &[300], &[40, 17, 0, 90, 2, 33]];

fn rows_of(margins: [usize; 2], lengths: &[usize]) -> usize {
    margins.iter().sum::<usize>() + lengths.iter().sum::<usize>()
}

fn product(
    margins: [usize; 2],
    lengths: &'static [usize],
    n: usize,
    dtype: DType,
    both: bool,
    values: Values,
) -> Case {
    let rows = rows_of(margins, lengths);
    let samples = lengths.len();
    let index = if samples % 2 == 0 { DType::U32 } else { DType::I32 };
    let both_name = if both { "ab" } else { "a" };
    let name = format!("{samples}in{rows}x{n}/{dtype}/{both_name}/{}+{}/{values}", margins[0], margins[1]);
    Case::new("segment_product", name, Bound::Error(sum_error(rows)), move |draw| {
        let mut operands = vec![
            values.input(draw, dtype, &[rows, n]),
            offsets(index, margins[0], lengths),
            Operand::out(DType::F32, &[samples, n]),
        ];
        if both {
            operands.push(values.input(draw, dtype, &[rows, n]));
        }
        Problem::new(operands, move |t| SegmentProduct {
            a: t[0].clone(),
            b: t.get(3).cloned(),
            offsets: t[1].clone(),
            out: t[2].clone(),
        })
        .by_terms()
    })
}

fn segment_products() -> Vec<Case> {
    let mut cases = Vec::new();
    let normal = Values::Normal(1.0);
    for lengths in LENGTHS {
        cases.push(product([0, 0], lengths, 33, DType::F32, true, normal));
        cases.push(product([3, 70], lengths, 257, DType::F32, false, normal));
    }
    for dtype in DType::FLOATS {
        for both in [false, true] {
            for n in [0, 1, 7, 768] {
                cases.push(product([2, 1], LENGTHS[5], n, dtype, both, normal));
            }
            for values in [Values::Special, Values::Zeros, Values::Cancelling] {
                cases.push(product([0, 5], LENGTHS[5], 65, dtype, both, values));
            }
            cases.push(product([1, 1], LENGTHS[3], 19, dtype, both, normal).viewed());
        }
    }
    cases.push(product([0, 0], &[5000, 1], 3, DType::F32, true, Values::Around(1.0)));
    cases
}

/// Factors, some of them 0.
fn factors(draw: &mut Draw, samples: usize) -> Vec<f64> {
    (0..samples).map(|s| if s % 3 == 2 { 0.0 } else { draw.unit() }).collect()
}

/// Fills the rows of samples whose factor is 0 with NaN and infinities, which must not matter.
fn spoil(operand: &mut Operand, factors: &[f64], rows: impl Fn(usize) -> std::ops::Range<usize>) {
    let row = operand.bytes.len() / operand.shape[0].max(1);
    let wrong = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(|x| encode(operand.dtype, &[x]));
    for sample in (0..factors.len()).filter(|&s| factors[s] == 0.0) {
        let bytes = &mut operand.bytes[rows(sample).start * row..rows(sample).end * row];
        for (i, element) in bytes.chunks_mut(wrong[0].len()).enumerate() {
            element.copy_from_slice(&wrong[i % 3]);
        }
    }
}

fn clipped_sums() -> Vec<Case> {
    let sum = |[samples, n]: [usize; 2], values: Values, spoiled: bool| {
        let name = format!("{samples}x{n}/{values}{}", if spoiled { "/spoiled" } else { "" });
        Case::new("clipped_sum", name, Bound::Error(sum_error(samples)), move |draw| {
            let mut rows = values.input(draw, DType::F32, &[samples, n]);
            let factors = factors(draw, samples);
            if spoiled {
                spoil(&mut rows, &factors, |s| s..s + 1);
            }
            let operands = vec![
                rows,
                Operand::numbers(DType::F32, &[samples], &factors),
                Operand::update(DType::F32, &[n], Values::Normal(1.0).elements(draw, DType::F32, n)),
            ];
            Problem::new(operands, |t| ClippedSum {
                rows: t[0].clone(),
                factors: t[1].clone(),
                out: t[2].clone(),
            })
            .by_terms()
        })
    };
    let shapes = [[0, 5], [3, 0], [1, 1], [4, 257], [64, 1000], [1000, 7], [3, 70_001]];
    let mut cases = Vec::from(shapes.map(|shape| sum(shape, Values::Normal(1.0), shape[0] > 3)));
    for values in [Values::Special, Values::Zeros, Values::Cancelling] {
        cases.push(sum([20, 300], values, true));
    }
    cases.push(sum([9, 517], Values::Normal(1.0), true).viewed());
    cases
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
            let operands = vec![
                self.ids(draw),
                self.values.input(draw, self.dtype, &[self.rows(), self.d]),
                self.values.input(draw, self.dtype, &[self.rows(), self.d]),
                self.values.input(draw, self.dtype, &[self.rows(), self.vocabulary]),
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

fn grid_sums() -> Vec<Case> {
    let sum = |[samples, n]: [usize; 2], exponent: i32, values: Values, wrong: Option<(usize, f64)>| {
        let wrong_name = wrong.map_or(String::new(), |(row, x)| format!("/fault{x:e}at{row}"));
        let name = format!("{samples}x{n}/2^{exponent}/{values}{wrong_name}");
        Case::new("grid_sum", name, Bound::Bits, move |draw| {
            let mut rows = values.input(draw, DType::F32, &[samples, n]);
            let factors = factors(draw, samples);
            spoil(&mut rows, &factors, |s| s..s + 1);
            if let Some((row, x)) = wrong {
                let at = 4 * (row * n + n / 2);
                rows.bytes[at..at + 4].copy_from_slice(&(x as f32).to_ne_bytes());
            }
            let operands = vec![
                rows,
                Operand::numbers(DType::F32, &[samples], &factors),
                Operand::update(DType::U32, &[n, 2], Values::Bits.elements(draw, DType::U32, 2 * n)),
            ];
            let problem = Problem::new(operands, move |t| GridSum {
                rows: t[0].clone(),
                factors: t[1].clone(),
                sums: t[2].clone(),
                exponent,
            });
            match wrong {
                Some((row, _)) => problem.faulty(row as u64),
                None => problem,
            }
        })
    };
    let normal = Values::Normal(1.0);
    let mut cases = Vec::new();
    for shape in [[0, 5], [3, 0], [1, 1], [7, 257], [300, 19], [4, 5000]] {
        cases.push(sum(shape, -26, normal, None));
    }
    // Halves of a step, on which rounding hangs; few steps, and many.
    cases.push(sum([50, 100], 0, Values::Ties, None));
    cases.push(sum([50, 100], 2, normal, None).viewed());
    cases.push(sum([50, 100], -28, Values::Zeros, None));
    cases.push(sum([50, 100], -100, Values::Subnormal, None));
    for wrong in [(4, f64::NAN), (7, 1e30), (0, f64::NEG_INFINITY), (49, -1e20)] {
        cases.push(sum([50, 100], -26, normal, Some(wrong)));
    }
    cases
}

/// Ids and offsets that break the contract.
fn faults() -> Vec<Case> {
    // Where an id is wrong, and which; or offsets, and the first sample at fault.
    const IDS: [(usize, DType, f64); 4] =
        [(0, DType::U32, 9.0), (59, DType::U32, 4e9), (58, DType::I32, -1.0), (30, DType::I32, 9.0)];
    const OFFSETS: [(DType, &[f64], u64); 4] = [
        (DType::U32, &[0.0, 30.0, 20.0, 60.0], 1),
        (DType::U32, &[0.0, 30.0, 61.0], 1),
        (DType::I32, &[-1.0, 30.0], 0),
        (DType::I32, &[0.0, 3.0, -2_147_483_648.0, 9.0], 1),
    ];
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
        if wrong_id.is_none() {
            cases.push(Case::new("segment_product", format!("fault/{i}"), Bound::Exact, move |draw| {
                let operands = vec![
                    Values::Normal(1.0).input(draw, DType::F32, &[60, 5]),
                    Operand::numbers(index, &[offsets.len()], offsets),
                    Operand::out(DType::F32, &[offsets.len() - 1, 5]),
                ];
                Problem::new(operands, |t| SegmentProduct {
                    a: t[0].clone(),
                    b: None,
                    offsets: t[1].clone(),
                    out: t[2].clone(),
                })
                .faulty(row)
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
