use gristmill_core::DType;
use gristmill_core::ops::{ChannelFactors, ChannelStep, Noise};

use crate::case::{Bound, Case, Problem, ulp};
use crate::operand::Operand;
use crate::values::Values;

/// Factors of channels with these sums of squares, of direction, projection and gradient.
fn factors(n: usize, whole: bool, previous: Option<f64>, sums: [Values; 3]) -> Case {
    let limiter = previous.map_or("none".into(), |x| x.to_string());
    let over = if whole { "whole" } else { "each" };
    let name = format!("{n}/{over}/{limiter}/{},{},{}", sums[0], sums[1], sums[2]);
    // Square roots, quotients, and sums over all channels.
    let bound = Bound::Error(ulp(DType::F32) * (32.0 + n as f64 / 256.0));
    Case::new("channel_factors", name, bound, move |draw| {
        // What is subtracted to get the last may leave less than 0; the others are squares.
        let square = |x: f64| if x == -1.0 { x } else { x.abs() };
        let mut operands: Vec<_> =
            sums.iter().map(|values| values.input(draw, DType::F32, &[n]).map(square)).collect();
        operands.push(Operand::out(DType::F32, &[n]));
        if let Some(previous) = previous {
            operands.push(Operand { role: crate::operand::Role::Update, ..one(previous) });
        }
        Problem::new(operands, move |t| ChannelFactors {
            direction: t[0].clone(),
            projected: t[1].clone(),
            gradient: t[2].clone(),
            factors: t[3].clone(),
            previous: t.get(4).cloned(),
            whole,
            scale: 1.25,
            grad_scale: 0.75,
        })
    })
}

fn one(value: f64) -> Operand {
    Operand::numbers(DType::F32, &[1], &[value])
}

struct Kind {
    types: [DType; 2],
    columns: bool,
    noise: bool,
    step: f32,
}

fn step(shape: [usize; 2], kind: Kind, [grads, factors]: [Values; 2]) -> Case {
    let Kind { types: [grad, param], columns, noise, step } = kind;
    let rounding = if noise { "/noise" } else { "" };
    let across = if columns { "columns" } else { "rows" };
    let name =
        format!("{}x{}/{grad}-{param}{rounding}/{across}/{step}/{grads},{factors}", shape[0], shape[1]);
    // Without a step a number is one product, and random bits are the same everywhere.
    let bound = match step == 0.0 && noise {
        true => Bound::Equal,
        false => Bound::Error(2.0 * ulp(param).max(4.0 * ulp(DType::F32))),
    };
    Case::new("channel_step", name, bound, move |draw| {
        let before = Values::Normal(1.0).elements(draw, param, shape[0] * shape[1]);
        let operands = vec![
            grads.input(draw, grad, &shape),
            factors.input(draw, DType::F32, &[shape[usize::from(columns)]]),
            Operand::update(param, &shape, before),
        ];
        let noise = noise.then(|| Noise { seed: u64::from(draw.bits()) << 32 | 5, stream: 1 << 40 | 9 });
        let op = move |step: f32, keep: f32, t: &[gristmill_core::Tensor]| ChannelStep {
            grad: t[0].clone(),
            factors: t[1].clone(),
            param: t[2].clone(),
            columns,
            step,
            keep,
            noise,
        };
        let problem = Problem::new(operands, move |t| op(step, 0.97, t));
        // The difference may be far smaller than what is subtracted.
        let terms = std::sync::Arc::new(move |t: &[gristmill_core::Tensor]| op(-step, 0.97, t).into());
        problem.by_terms_of(terms, |_, operand| operand.map(f64::abs))
    })
}

pub(super) fn cases() -> Vec<Case> {
    use DType::{Bf16, F32};
    const NORMAL: Values = Values::Normal(1.0);
    let mut cases = Vec::new();
    for whole in [false, true] {
        for previous in
            [None, Some(0.0), Some(1e-3), Some(1e9), Some(1e-40), Some(f64::NAN), Some(f64::INFINITY)]
        {
            cases.push(factors(300, whole, previous, [NORMAL; 3]));
        }
        for n in [0, 1, 63, 256, 257, 11_008] {
            cases.push(factors(n, whole, Some(2.5), [NORMAL; 3]));
        }
        cases.push(factors(517, whole, Some(2.5), [NORMAL; 3]).viewed());
        for sums in [
            [Values::Special, NORMAL, NORMAL],
            [NORMAL, Values::Special, NORMAL],
            [NORMAL, NORMAL, Values::Special],
            [Values::Zeros, Values::Zeros, Values::Zeros],
            [NORMAL, Values::Constant(0.0), Values::Constant(0.0)],
            [NORMAL, NORMAL, Values::Constant(-1.0)],
            [Values::Subnormal, NORMAL, NORMAL],
            [NORMAL, Values::Normal(1e-20), Values::Normal(1e-20)],
            [Values::Normal(1e30), Values::Normal(1e30), Values::Normal(1e30)],
            [Values::Normal(1e-30), NORMAL, Values::Normal(1e-30)],
            // Too much for f32: nothing is known then.
            [Values::Constant(1e38), Values::Constant(0.0), Values::Constant(1e38)],
            [Values::Ties, Values::Ties, Values::Ties],
        ] {
            cases.push(factors(300, whole, Some(0.125), sums));
            cases.push(factors(300, whole, Some(0.0), sums));
        }
    }
    for types in [[F32, F32], [F32, Bf16], [Bf16, F32], [Bf16, Bf16]] {
        for columns in [false, true] {
            for noise in [false, true] {
                let kind = || Kind { types, columns, noise, step: 0.01 };
                cases.push(step([37, 61], kind(), [NORMAL; 2]));
                cases.push(step([37, 61], kind(), [NORMAL; 2]).viewed());
            }
            let decay = || Kind { types, columns, noise: true, step: 0.0 };
            cases.push(step([300, 259], decay(), [NORMAL; 2]));
            cases.push(step([37, 61], decay(), [NORMAL; 2]).viewed());
            let kind = || Kind { types, columns, noise: false, step: 0.01 };
            for grads in [
                Values::Special,
                Values::Zeros,
                Values::Subnormal,
                Values::Normal(3e19),
                Values::Cancelling,
                Values::Constant(0.0),
            ] {
                cases.push(step([20, 33], kind(), [grads, NORMAL]));
            }
            cases.push(step([33, 20], kind(), [NORMAL, Values::Special]));
            cases.push(step([33, 20], kind(), [NORMAL, Values::Zeros]));
        }
    }
    for columns in [false, true] {
        for shape in [[0, 5], [5, 0], [1, 1], [1, 70_001], [70_001, 1], [3, 4099], [257, 300]] {
            for (types, noise) in [([F32, F32], false), ([Bf16, Bf16], true)] {
                cases.push(step(shape, Kind { types, columns, noise, step: 0.01 }, [NORMAL; 2]));
            }
        }
    }
    cases
}
