use gristmill_core::DType;
use gristmill_core::ops::{Draw, Philox};

use crate::case::{Bound, Case, Problem};
use crate::operand::Operand;

pub(super) fn cases() -> Vec<Case> {
    let philox = |draw: Draw, n: usize, offset: u64| {
        let (what, bound, dtype) = match draw {
            Draw::Bits => ("bits", Bound::Bits, DType::U32),
            Draw::Uniform => ("uniform", Bound::Bits, DType::F32),
            // The radius is at most 5.8, and the angle is rounded to f32.
            Draw::Normal => ("normal", Bound::Error(8e-6), DType::F32),
        };
        Case::new("philox", format!("{n}/{what}/{offset}"), bound, move |random| {
            let mut word = || u64::from(random.bits()) << 32 | u64::from(random.bits());
            let (seed, stream) = (word(), word());
            Problem::new(vec![Operand::out(dtype, &[n])], move |t| Philox {
                out: t[0].clone(),
                seed,
                stream,
                offset,
                draw,
            })
            .beside(1.0)
        })
    };
    let mut cases = Vec::new();
    for draw in [Draw::Bits, Draw::Uniform, Draw::Normal] {
        for n in [0, 1, 2, 3, 64, 1021, 100_003] {
            cases.push(philox(draw, n, 0));
        }
        // In the middle of a block, of a pair, and where the words of the counter carry.
        for offset in [1, 2, 3, 777, (1 << 34) - 7, 1 << 40, u64::MAX - 600] {
            cases.push(philox(draw, 600, offset));
        }
        cases.push(philox(draw, 517, 5).viewed());
    }
    cases
}
