//! fill, cast, copy, scale, axpby.

use gristmill_core::DType;
use gristmill_core::ops::{Axpby, Cast, Copy, Fill, Scale};

use super::FLOATS;
use crate::case::{Bound, Case, Problem, ulp};
use crate::operand::{Operand, Role};
use crate::values::Values;

/// Sizes around those that blocks and workgroups have, and nothing at all.
const SIZES: [usize; 6] = [0, 1, 63, 1000, 4099, 70_001];

pub(super) fn cases() -> Vec<Case> {
    [fills(), casts(), copies(), scales(), axpbys()].into_iter().flatten().collect()
}

fn fills() -> Vec<Case> {
    let fill = |dtype: DType, n: usize, value: f64| {
        Case::new("fill", format!("{n}/{dtype}/{value:e}"), Bound::Exact, move |_| {
            Problem::new(vec![Operand::out(dtype, &[n])], move |t| Fill { out: t[0].clone(), value })
        })
    };
    let mut cases = Vec::new();
    for dtype in DType::ALL {
        for value in [0.0, -0.0, 1.0 / 3.0, 300.7, -1e9, 1e39, 5e-324, f64::NAN, f64::NEG_INFINITY] {
            cases.push(fill(dtype, 67, value));
        }
        cases.push(fill(dtype, 4099, 7.0).viewed());
    }
    cases.extend(SIZES.map(|n| fill(DType::F32, n, 2.5)));
    cases
}

fn casts() -> Vec<Case> {
    let cast = |from: DType, to: DType, n: usize, values: Values| {
        Case::new("cast", format!("{n}/{from}-{to}/{values}"), Bound::Exact, move |draw| {
            let operands = vec![values.input(draw, from, &[n]), Operand::out(to, &[n])];
            Problem::new(operands, |t| Cast { x: t[0].clone(), out: t[1].clone() })
        })
    };
    let mut cases = Vec::new();
    for from in DType::ALL {
        for to in DType::ALL {
            cases.push(cast(from, to, 4099, Values::Bits));
            cases.push(cast(from, to, 517, Values::Normal(300.0)).viewed());
        }
        if from.is_float() {
            for to in FLOATS {
                cases.push(cast(from, to, 1000, Values::Subnormal));
            }
        }
    }
    cases.extend(SIZES.map(|n| cast(DType::F32, DType::Bf16, n, Values::Normal(1.0))));
    cases
}

fn copies() -> Vec<Case> {
    let copy = |dtype: DType, n: usize| {
        Case::new("copy", format!("{n}/{dtype}/bits"), Bound::Bits, move |draw| {
            let operands = vec![Values::Bits.input(draw, dtype, &[n]), Operand::out(dtype, &[n])];
            Problem::new(operands, |t| Copy { x: t[0].clone(), out: t[1].clone() })
        })
    };
    let mut cases: Vec<_> = DType::ALL.into_iter().map(|dtype| copy(dtype, 1003)).collect();
    cases.extend(DType::ALL.map(|dtype| copy(dtype, 517).viewed()));
    cases.extend(SIZES.map(|n| copy(DType::U8, n)));
    cases
}

fn scales() -> Vec<Case> {
    let scale = |dtype: DType, n: usize, alpha: f32, values: Values| {
        let name = format!("{n}/{dtype}/{alpha}/{values}");
        Case::new("scale", name, Bound::Error(ulp(dtype)), move |draw| {
            let operands = vec![values.input(draw, dtype, &[n]), Operand::out(dtype, &[n])];
            Problem::new(operands, move |t| Scale { x: t[0].clone(), out: t[1].clone(), alpha })
        })
    };
    let mut cases = Vec::new();
    for dtype in FLOATS {
        cases.push(scale(dtype, 1003, -1.7, Values::Normal(1.0)));
        cases.push(scale(dtype, 1003, 0.0, Values::Special));
        cases.push(scale(dtype, 1003, 3.0, Values::Special));
        cases.push(scale(dtype, 1003, 0.7, Values::Subnormal));
        cases.push(scale(dtype, 517, 0.1, Values::Normal(1.0)).viewed());
    }
    cases.extend(SIZES.map(|n| scale(DType::F32, n, 1.0 / 3.0, Values::Normal(1.0))));
    cases
}

fn axpbys() -> Vec<Case> {
    let axpby = |[x, y]: [DType; 2], n: usize, [alpha, beta]: [f32; 2], values: Values| {
        let name = format!("{n}/{x}-{y}/{alpha},{beta}/{values}");
        Case::new("axpby", name, Bound::Error(2.0 * ulp(y).max(ulp(DType::F32))), move |draw| {
            let update = Operand { role: Role::Update, ..values.input(draw, y, &[n]) };
            let make = |alpha: f32, beta: f32| {
                move |t: &[gristmill_core::Tensor]| Axpby { x: t[0].clone(), y: t[1].clone(), alpha, beta }
            };
            let magnitudes = make(alpha.abs(), beta.abs());
            Problem::new(vec![values.input(draw, x, &[n]), update], make(alpha, beta))
                .by_terms_of(std::sync::Arc::new(move |t| magnitudes(t).into()), |_, o| o.map(f64::abs))
        })
    };
    let mut cases = Vec::new();
    for x in FLOATS {
        for y in FLOATS {
            cases.push(axpby([x, y], 1003, [0.3, 0.9], Values::Normal(1.0)));
            cases.push(axpby([x, y], 517, [-2.0, 1.0], Values::Normal(1.0)).viewed());
        }
        cases.push(axpby([x, x], 1003, [1.0, 0.0], Values::Special));
        cases.push(axpby([x, x], 1003, [1.0, -1.0], Values::Special));
        cases.push(axpby([x, x], 1003, [0.6, 0.6], Values::Subnormal));
        cases.push(axpby([x, x], 1003, [0.99999, -1.0], Values::Around(500.0)));
    }
    cases.extend(SIZES.map(|n| axpby([DType::F32; 2], n, [0.25, 0.75], Values::Normal(1.0))));
    cases
}
