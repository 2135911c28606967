use gristmill_core::DType::{F32, U32};
use gristmill_core::ops::{INT4_GROUP, Int4Pack, Int4Unpack};

use crate::case::{Bound, Case, Problem};
use crate::operand::Operand;
use crate::values::Values;

fn pack(n: usize, x: Values) -> Case {
    Case::new("int4_pack", format!("{n}/{x}"), Bound::Exact, move |draw| {
        let groups = n.div_ceil(INT4_GROUP);
        let operands = vec![
            x.input(draw, F32, &[n]),
            Operand::out(U32, &[n.div_ceil(8)]),
            Operand::out(F32, &[groups]),
            Operand::out(U32, &[groups]),
        ];
        Problem::new(operands, |t| Int4Pack {
            x: t[0].clone(),
            codes: t[1].clone(),
            scales: t[2].clone(),
            zeros: t[3].clone(),
        })
    })
}

fn unpack(n: usize, scales: Values) -> Case {
    Case::new("int4_unpack", format!("{n}/{scales}"), Bound::Exact, move |draw| {
        let groups = n.div_ceil(INT4_GROUP);
        let operands = vec![
            Values::Bits.input(draw, U32, &[n.div_ceil(8)]),
            scales.input(draw, F32, &[groups]),
            Values::Bits.input(draw, U32, &[groups]),
            Operand::out(F32, &[n]),
        ];
        Problem::new(operands, |t| Int4Unpack {
            codes: t[0].clone(),
            scales: t[1].clone(),
            zeros: t[2].clone(),
            out: t[3].clone(),
        })
    })
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for n in [0, 1, 7, 8, 9, 255, 256, 257, 1003, 70_001] {
        cases.push(pack(n, Values::Normal(0.05)));
        cases.push(unpack(n, Values::Normal(0.01)));
    }
    cases.push(pack(1003, Values::Normal(0.05)).viewed());
    cases.push(unpack(1003, Values::Normal(0.05)).viewed());
    for x in [
        Values::Special,
        Values::Zeros,
        Values::Ties,
        Values::Subnormal,
        Values::Cancelling,
        Values::Constant(0.0),
        Values::Constant(-0.0),
        Values::Constant(7.5),
        Values::Constant(-7.5),
        Values::Around(3.0),
        Values::Around(-3.0),
        Values::Normal(1e-7),
        Values::Normal(1e38),
        Values::Bits,
    ] {
        cases.push(pack(2000, x));
    }
    for scales in [Values::Special, Values::Subnormal, Values::Zeros, Values::Normal(1e38), Values::Bits] {
        cases.push(unpack(70_001, scales));
    }
    cases
}
