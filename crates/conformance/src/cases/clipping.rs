//! Norms, factors and sums of per-sample gradients, and exact sums of them on a grid.

use gristmill_core::DType;
use gristmill_core::ops::{ClipFactors, ClipRule, ClippedSum, GridSum, SegmentProduct};

use super::reduce::offsets;
use super::sum_error;
use crate::case::{Bound, Case, Problem};
use crate::draw::Draw;
use crate::operand::{Operand, encode};
use crate::values::Values;

pub(super) fn cases() -> Vec<Case> {
    [clip_factors(), segment_products(), clipped_sums(), grid_sums()].into_iter().flatten().collect()
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
pub(super) const LENGTHS: [&[usize]; 6] =
    [&[], &[0, 0], &[1], &[5, 0, 3, 1, 0], &[300], &[40, 17, 0, 90, 2, 33]];

/// Offsets that do not cut 60 rows, and the first sample at fault.
pub(super) const OFFSETS: [(DType, &[f64], u64); 4] = [
    (DType::U32, &[0.0, 30.0, 20.0, 60.0], 1),
    (DType::U32, &[0.0, 30.0, 61.0], 1),
    (DType::I32, &[-1.0, 30.0], 0),
    (DType::I32, &[0.0, 3.0, -2_147_483_648.0, 9.0], 1),
];

pub(super) fn rows_of(margins: [usize; 2], lengths: &[usize]) -> usize {
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
    let index = if samples.is_multiple_of(2) { DType::U32 } else { DType::I32 };
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
    for (i, (index, offsets, sample)) in OFFSETS.into_iter().enumerate() {
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
            .faulty(sample)
        }));
    }
    cases
}

/// Factors, some of them 0.
pub(super) fn factors(draw: &mut Draw, samples: usize) -> Vec<f64> {
    (0..samples).map(|s| if s % 3 == 2 { 0.0 } else { draw.unit() }).collect()
}

/// Fills the rows of samples whose factor is 0 with NaN and infinities, which must not matter.
pub(super) fn spoil(operand: &mut Operand, factors: &[f64], rows: impl Fn(usize) -> std::ops::Range<usize>) {
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
