use gristmill_core::DType;
use gristmill_core::ops::Topk;

use crate::case::{Bound, Case, Problem};
use crate::operand::Operand;
use crate::values::Values;

pub(super) fn cases() -> Vec<Case> {
    let topk = |n: usize, chunk: usize, k: usize, values: Values| {
        Case::new("topk", format!("{n}/{chunk}/{k}/{values}"), Bound::Bits, move |draw| {
            let shape = [n.div_ceil(chunk), k];
            let operands = vec![
                values.input(draw, DType::F32, &[n]),
                Operand::out(DType::F32, &shape),
                Operand::out(DType::U32, &shape),
            ];
            Problem::new(operands, move |t| Topk {
                x: t[0].clone(),
                values: t[1].clone(),
                indices: t[2].clone(),
                chunk,
                k,
            })
        })
    };
    let mut cases = Vec::new();
    for (n, chunk, k) in [
        (0, 4, 2),
        (1, 1, 1),
        (5, 5, 5),
        (10, 4, 3),
        (1000, 7, 2),
        (4096 * 3 + 5, 4096, 64),
        (4096 * 4, 4096, 1),
        (4096, 4096, 4096),
        (10_000, 1000, 999),
        (70_001, 1 << 20, 100),
        (200_003, 65_536, 655),
        (2_200_000, 1 << 22, 1000),
    ] {
        cases.push(topk(n, chunk, k, Values::Normal(1.0)));
    }
    for values in [
        Values::Ties,
        Values::Constant(-1.0),
        Values::Zeros,
        Values::Subnormal,
        Values::Special,
        Values::Bits,
        Values::Around(1e6),
    ] {
        cases.push(topk(4096 * 2 + 77, 4096, 33, values));
        cases.push(topk(900, 300, 150, values).viewed());
    }
    cases
}
