//! row_reduce, segment_reduce, column_norms, softmax_stats.

use gristmill_core::DType;
use gristmill_core::ops::{ColumnNorms, Reduction, RowReduce, SegmentReduce, SoftmaxStats};

use super::{FLOATS, sum_error};
use crate::case::{Bound, Case, Problem, ulp};
use crate::draw::Draw;
use crate::operand::Operand;
use crate::values::Values;

/// Rows and columns.
pub(super) const SHAPES: [[usize; 2]; 11] = [
    [0, 5],
    [3, 0],
    [1, 1],
    [5, 2],
    [1000, 3],
    [7, 63],
    [4, 257],
    [33, 1000],
    [2, 4096],
    [3, 50_257],
    [1, 131_073],
];

pub(super) fn cases() -> Vec<Case> {
    [row_reduces(), segment_reduces(), column_norms(), softmax_stats()].into_iter().flatten().collect()
}

/// The type of sums.
fn sum_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

fn row_reduces() -> Vec<Case> {
    let reduce = |[rows, columns]: [usize; 2], dtype: DType, reduction: Reduction, values: Values| {
        let name = format!("{rows}x{columns}/{dtype}/{}/{values}", reduction.name());
        let out = sum_dtype(dtype);
        let bound = match (reduction, dtype) {
            (Reduction::Max, _) => Bound::Equal,
            (_, DType::F64) => Bound::Error(ulp(DType::F64) * columns as f64),
            _ => Bound::Error(sum_error(columns)),
        };
        Case::new("row_reduce", name, bound, move |draw| {
            let operands = vec![values.input(draw, dtype, &[rows, columns]), Operand::out(out, &[rows])];
            Problem::new(operands, move |t| RowReduce { x: t[0].clone(), out: t[1].clone(), reduction })
                .by_terms()
        })
    };
    let mut cases = Vec::new();
    for reduction in Reduction::ALL {
        cases.extend(SHAPES.map(|shape| reduce(shape, DType::F32, reduction, Values::Normal(1.0))));
        for dtype in FLOATS {
            cases.push(reduce([9, 517], dtype, reduction, Values::Normal(1.0)).viewed());
            for values in
                [Values::Special, Values::Zeros, Values::Subnormal, Values::Masked, Values::Cancelling]
            {
                cases.push(reduce([16, 300], dtype, reduction, values));
            }
        }
        cases.push(reduce([5, 4001], DType::F32, reduction, Values::Around(-1000.0)));
    }
    cases.push(scalar());
    cases
}

/// A tensor without dimensions is one row of one element.
fn scalar() -> Case {
    Case::new("row_reduce", "scalar/f32/sum", Bound::Exact, |draw| {
        let operands = vec![Values::Normal(1.0).input(draw, DType::F32, &[]), Operand::out(DType::F32, &[])];
        Problem::new(operands, |t| RowReduce {
            x: t[0].clone(),
            out: t[1].clone(),
            reduction: Reduction::Sum,
        })
    })
}

/// Lengths of documents: empty ones, short ones and a long one.
pub(super) fn lengths(draw: &mut Draw, segments: usize) -> Vec<usize> {
    (0..segments)
        .map(|_| match draw.below(8) {
            0 | 1 => 0,
            2 => 1,
            3 => 1000 + draw.below(4000),
            _ => draw.below(200),
        })
        .collect()
}

/// Offsets of segments of these lengths, the first at `first`.
pub(super) fn offsets(dtype: DType, first: usize, lengths: &[usize]) -> Operand {
    let mut at = first as f64;
    let mut offsets = vec![at];
    offsets.extend(lengths.iter().map(|&n| {
        at += n as f64;
        at
    }));
    Operand::numbers(dtype, &[offsets.len()], &offsets)
}

fn segment_reduces() -> Vec<Case> {
    let reduce =
        |segments: usize, dtype: DType, offsets_dtype: DType, reduction: Reduction, values: Values| {
            let name = format!("{segments}/{dtype}/{offsets_dtype}/{}/{values}", reduction.name());
            let out = sum_dtype(dtype);
            let bound = match reduction {
                Reduction::Max => Bound::Equal,
                // Promised whatever the length: a few units in the last place of the sum of magnitudes.
                _ if dtype != DType::F64 => Bound::Error(4.0 * ulp(DType::F32)),
                _ => Bound::Error(ulp(DType::F64) * 5000.0),
            };
            Case::new("segment_reduce", name, bound, move |draw| {
                let lengths = lengths(draw, segments);
                let n = lengths.iter().sum::<usize>() + 12;
                let operands = vec![
                    values.input(draw, dtype, &[n]),
                    offsets(offsets_dtype, 5, &lengths),
                    Operand::out(out, &[segments]),
                ];
                Problem::new(operands, move |t| SegmentReduce {
                    x: t[0].clone(),
                    offsets: t[1].clone(),
                    out: t[2].clone(),
                    reduction,
                })
                .by_terms()
            })
        };
    let mut cases = Vec::new();
    for reduction in Reduction::ALL {
        for dtype in FLOATS {
            for values in [Values::Normal(1.0), Values::Cancelling, Values::Special] {
                cases.push(reduce(50, dtype, DType::U32, reduction, values));
            }
            cases.push(reduce(50, dtype, DType::I32, reduction, Values::Around(8.0)).viewed());
        }
        for segments in [0, 1, 3, 1000] {
            cases.push(reduce(segments, DType::F32, DType::I32, reduction, Values::Normal(3.0)));
        }
        cases.push(long_segment(reduction));
    }
    cases
}

/// One segment that is longer than any block.
fn long_segment(reduction: Reduction) -> Case {
    const N: usize = 300_007;
    let bound = if reduction == Reduction::Max { Bound::Equal } else { Bound::Error(4.0 * ulp(DType::F32)) };
    Case::new("segment_reduce", format!("1/{N}/{}", reduction.name()), bound, move |draw| {
        let operands = vec![
            Values::Around(2.0).input(draw, DType::F32, &[N]),
            offsets(DType::U32, 0, &[N - 1]),
            Operand::out(DType::F32, &[1]),
        ];
        Problem::new(operands, move |t| SegmentReduce {
            x: t[0].clone(),
            offsets: t[1].clone(),
            out: t[2].clone(),
            reduction,
        })
        .by_terms()
    })
}

fn column_norms() -> Vec<Case> {
    let norms = |[rows, columns]: [usize; 2], dtype: DType, values: Values| {
        let name = format!("{rows}x{columns}/{dtype}/{values}");
        Case::new("column_norms", name, Bound::Error(sum_error(rows)), move |draw| {
            let operands =
                vec![values.input(draw, dtype, &[rows, columns]), Operand::out(DType::F32, &[columns])];
            Problem::new(operands, move |t| ColumnNorms { x: t[0].clone(), out: t[1].clone() })
        })
    };
    // As many rows as columns otherwise, so that long columns are there too.
    let mut cases = Vec::from(SHAPES.map(|shape| norms(shape, DType::F32, Values::Normal(1.0))));
    let turned = SHAPES.iter().filter(|[rows, columns]| rows != columns);
    cases.extend(turned.map(|&[rows, columns]| norms([columns, rows], DType::F32, Values::Normal(1.0))));
    for dtype in DType::FLOATS {
        cases.push(norms([517, 9], dtype, Values::Normal(1.0)).viewed());
        cases.push(norms([70, 1030], dtype, Values::Normal(1e-4)));
        for values in [Values::Special, Values::Zeros, Values::Masked, Values::Cancelling] {
            cases.push(norms([300, 16], dtype, values));
        }
    }
    // Squares that f32 cannot hold, on either side.
    cases.push(norms([33, 5], DType::F32, Values::Normal(1e30)));
    cases.push(norms([33, 5], DType::F32, Values::Normal(1e-30)));
    cases
}

fn softmax_stats() -> Vec<Case> {
    let stats = |[rows, columns]: [usize; 2], dtype: DType, values: Values| {
        let name = format!("{rows}x{columns}/{dtype}/{values}");
        Case::new("softmax_stats", name, Bound::Error(4e-6), move |draw| {
            let operands = vec![
                values.input(draw, dtype, &[rows, columns]),
                Operand::out(DType::F32, &[rows]),
                Operand::out(DType::F32, &[rows]),
            ];
            Problem::new(operands, |t| SoftmaxStats { x: t[0].clone(), max: t[1].clone(), lse: t[2].clone() })
                .beside(1.0)
        })
    };
    let mut cases = Vec::from(SHAPES.map(|shape| stats(shape, DType::F32, Values::Normal(3.0))));
    for dtype in DType::FLOATS {
        for values in [
            Values::Masked,
            Values::Constant(f64::NEG_INFINITY),
            Values::Around(-3000.0),
            Values::Normal(100.0),
            Values::Zeros,
            Values::Subnormal,
        ] {
            cases.push(stats([7, 1000], dtype, values));
        }
        cases.push(stats([5, 517], dtype, Values::Normal(2.0)).viewed());
    }
    cases.push(nan_rows());
    cases
}

/// A NaN spoils its own row and no other.
fn nan_rows() -> Case {
    Case::new("softmax_stats", "5x300/f32/nan", Bound::Error(4e-6), |draw| {
        let mut x = Values::Normal(1.0).input(draw, DType::F32, &[5, 300]);
        for row in [1, 3] {
            let at = 4 * (300 * row + draw.below(300));
            x.bytes[at..at + 4].copy_from_slice(&f32::NAN.to_ne_bytes());
        }
        let operands = vec![x, Operand::out(DType::F32, &[5]), Operand::out(DType::F32, &[5])];
        Problem::new(operands, |t| SoftmaxStats { x: t[0].clone(), max: t[1].clone(), lse: t[2].clone() })
            .beside(1.0)
    })
}
