//! kurtosis, hadamard, quantize_rtn: what heavy tails are measured by, spread with, and rounded to.

use gristmill_core::DType;
use gristmill_core::ops::{Hadamard, Kurtosis, QuantizeRtn, RtnRule};

use crate::case::{Bound, Case, Problem, ulp};
use crate::operand::Operand;
use crate::values::Values;

/// Rows and columns.
const SHAPES: [[usize; 2]; 8] = [[0, 5], [3, 0], [1, 1], [5, 2], [1000, 3], [33, 63], [9, 576], [2, 8191]];

pub(super) fn cases() -> Vec<Case> {
    [kurtoses(), hadamards(), quantizations()].into_iter().flatten().collect()
}

fn kurtoses() -> Vec<Case> {
    let kurtosis = |[rows, columns]: [usize; 2], dtype: DType, centered: bool, values: Values| {
        let center = if centered { "centered" } else { "raw" };
        let name = format!("{rows}x{columns}/{center}/{dtype}/{values}");
        // Of few numbers, or of great ones far from zero, the variance has lost digits before anything was done.
        Case::new("kurtosis", name, Bound::Error(2e-5), move |draw| {
            let operands =
                vec![values.input(draw, dtype, &[rows, columns]), Operand::out(DType::F32, &[rows])];
            Problem::new(operands, move |t| Kurtosis { x: t[0].clone(), out: t[1].clone(), centered })
                .beside(3.0)
        })
    };
    let mut cases = Vec::new();
    for centered in [false, true] {
        cases.extend(SHAPES.map(|shape| kurtosis(shape, DType::F32, centered, Values::Normal(1.0))));
        for dtype in DType::FLOATS {
            for values in [
                Values::Normal(3.0),
                Values::Around(30.0),
                Values::Cancelling,
                Values::Ties,
                Values::Zeros,
                Values::Special,
                Values::Constant(0.0),
                Values::Constant(-1.7),
            ] {
                cases.push(kurtosis([7, 300], dtype, centered, values));
            }
            cases.push(kurtosis([9, 77], dtype, centered, Values::Normal(1.0)).viewed());
            cases.push(kurtosis([3, 1500], dtype, centered, Values::Normal(1.0)));
        }
        // Fourth powers of these are no f32.
        for values in [Values::Normal(1e-15), Values::Normal(1e15), Values::Around(1000.0)] {
            cases.push(kurtosis([5, 300], DType::F32, centered, values));
        }
        cases.push(kurtosis([5, 300], DType::Bf16, centered, Values::Normal(1e-30)));
        // Few numbers that are close to each other: what rounding takes from one is a part of the variance.
        for columns in [2, 3] {
            cases.push(kurtosis([500, columns], DType::F32, centered, Values::Around(1000.0)));
        }
    }
    cases
}

fn hadamards() -> Vec<Case> {
    let hadamard = |[rows, columns]: [usize; 2], block: usize, dtype: DType, values: Values| {
        let name = format!("{rows}x{columns}/{block}/{dtype}/{values}");
        let size = if values == Values::Cancelling { 1000.0 } else { 1.0 };
        Case::new("hadamard", name, Bound::Error(3e-6 + ulp(dtype)), move |draw| {
            let operands =
                vec![values.input(draw, dtype, &[rows, columns]), Operand::out(dtype, &[rows, columns])];
            Problem::new(operands, move |t| Hadamard { x: t[0].clone(), out: t[1].clone(), block })
                .beside(size)
        })
    };
    let mut cases = Vec::new();
    for ([rows, columns], block) in [
        ([0, 8], 8),
        ([3, 0], 1),
        ([1, 1], 1),
        ([7, 6], 2),
        ([9001, 8], 4),
        ([33, 4], 4),
        ([5, 24], 8),
        ([300, 64], 64),
        ([3, 1536], 512),
        ([2, 4096], 4096),
        ([3, 8192], 4096),
    ] {
        cases.push(hadamard([rows, columns], block, DType::F32, Values::Normal(1.0)));
    }
    for dtype in DType::FLOATS {
        for values in
            [Values::Normal(1.0), Values::Cancelling, Values::Zeros, Values::Subnormal, Values::Constant(1.0)]
        {
            cases.push(hadamard([5, 384], 128, dtype, values));
        }
        cases.push(hadamard([7, 48], 16, dtype, Values::Normal(1.0)).viewed());
        cases.push(hadamard([9, 2048], 1024, dtype, Values::Normal(1.0)));
    }
    cases
}

fn quantizations() -> Vec<Case> {
    let quantize = |[rows, columns]: [usize; 2],
                    group: usize,
                    dtype: DType,
                    rule: RtnRule,
                    values: Values| {
        let RtnRule { bits, symmetric, clip } = rule;
        let kind = if symmetric { "symmetric" } else { "asymmetric" };
        let name = format!("{rows}x{columns}/{group}/{bits}/{kind}/{clip}/{dtype}/{values}");
        Case::new("quantize_rtn", name, Bound::Exact, move |draw| {
            let operands =
                vec![values.input(draw, dtype, &[rows, columns]), Operand::out(dtype, &[rows, columns])];
            Problem::new(operands, move |t| QuantizeRtn { x: t[0].clone(), out: t[1].clone(), group, rule })
        })
    };
    let mut cases = Vec::new();
    for symmetric in [true, false] {
        let rule = RtnRule { symmetric, ..RtnRule::default() };
        for ([rows, columns], group) in [
            ([0, 8], 8),
            ([3, 0], 5),
            ([1, 1], 1),
            ([5, 63], 9),
            ([5, 63], 63),
            ([700, 3], 3),
            ([9, 576], 32),
            ([2, 8191], 8191),
        ] {
            cases.push(quantize([rows, columns], group, DType::F32, rule, Values::Normal(1.0)));
        }
        for dtype in DType::FLOATS {
            for bits in 2..=8 {
                let rule = RtnRule { bits, symmetric, ..RtnRule::default() };
                cases.push(quantize([6, 256], 64, dtype, rule, Values::Normal(1.0)));
            }
            for values in [
                Values::Around(5.0),
                Values::Around(-5.0),
                Values::Ties,
                Values::Zeros,
                Values::Constant(0.0),
                Values::Constant(1.7),
                Values::Special,
                Values::Masked,
                Values::Cancelling,
                Values::Subnormal,
                Values::Bits,
            ] {
                cases.push(quantize([7, 300], 30, dtype, rule, values));
            }
            let clipped = RtnRule { symmetric, clip: 0.7, bits: 3 };
            cases.push(quantize([7, 300], 100, dtype, clipped, Values::Normal(1.0)));
            cases.push(quantize([7, 60], 20, dtype, rule, Values::Normal(1.0)).viewed());
        }
        for sigma in [1e-33, 1e-30, 1e-28, 1e30, 3e36, 1e37] {
            cases.push(quantize([4, 96], 16, DType::F32, rule, Values::Normal(sigma)));
        }
    }
    cases
}
