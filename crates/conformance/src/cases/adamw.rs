use gristmill_core::ops::{Adamw, AdamwRule, Moments, Noise, dynamic_map};
use gristmill_core::{DType, Tensor};

use crate::case::{Bound, Case, Problem, ulp};
use crate::draw::Draw;
use crate::operand::{Operand, encode};
use crate::values::Values;

/// How the state is kept.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum State {
    F32,
    Bf16,
    Int8,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            State::F32 => "f32",
            State::Bf16 => "bf16",
            State::Int8 => "int8",
        }
    }

    /// The state as operands, of numbers like those of a gradient.
    pub(super) fn operands(self, draw: &mut Draw, n: usize, values: Values) -> Vec<Operand> {
        let dtype = match self {
            State::F32 => DType::F32,
            State::Bf16 => DType::Bf16,
            State::Int8 => {
                let blocks = n.div_ceil(Moments::BLOCK);
                let absmax = draw_numbers(draw, 2 * blocks, |draw| {
                    draw.normal().abs() * [1.0, 1e-30, 0.0][draw.below(3)]
                });
                let maps: Vec<f64> = [true, false].into_iter().flat_map(dynamic_map).map(f64::from).collect();
                return vec![
                    Operand::update(DType::U32, &[2, blocks, 64], draw.bytes(8 * blocks * 64)),
                    Operand::update(DType::F32, &[2, blocks], encode(DType::F32, &absmax)),
                    Operand::numbers(DType::F32, &[2, 256], &maps),
                ];
            }
        };
        let m = Operand::update(dtype, &[n], values.elements(draw, dtype, n));
        let v = Operand::update(dtype, &[n], values.elements(draw, dtype, n)).map(f64::abs);
        vec![m, v]
    }

    /// The state of these operands.
    pub(super) fn moments(self, t: &[Tensor]) -> Moments {
        match self {
            State::Int8 => Moments::Int8 { codes: t[0].clone(), absmax: t[1].clone(), maps: t[2].clone() },
            State::F32 | State::Bf16 => Moments::Full { m: t[0].clone(), v: t[1].clone() },
        }
    }
}

fn draw_numbers(draw: &mut Draw, n: usize, number: impl Fn(&mut Draw) -> f64) -> Vec<f64> {
    (0..n).map(|_| number(draw)).collect()
}

struct Kind {
    types: [DType; 2],
    state: State,
    noise: bool,
    keep: f32,
    step: f32,
}

fn adamw(kind: Kind, n: usize, [grads, states]: [Values; 2]) -> Case {
    let Kind { types: [grad, param], state, noise, keep, step } = kind;
    let rounding = if noise { "/noise" } else { "" };
    let name = format!("{n}/{grad}-{param}-{}{rounding}/{keep},{step}/{grads},{states}", state.name());
    // Without a step there is nothing but the state to compare, and that is the same bits everywhere.
    let bound = match step == 0.0 {
        true => Bound::Equal,
        false => Bound::Error(2.0 * ulp(param).max(4.0 * ulp(DType::F32))),
    };
    Case::new("adamw", name, bound, move |draw| {
        let before = Values::Normal(1.0).elements(draw, param, n);
        let param = match keep == 0.0 {
            true => Operand::out(param, &[n]),
            false => Operand::update(param, &[n], before),
        };
        let mut operands = vec![grads.input(draw, grad, &[n]), param];
        operands.extend(state.operands(draw, n, states));
        let noise = noise.then(|| Noise { seed: u64::from(draw.bits()) << 32 | 5, stream: 1 << 40 | 9 });
        Problem::new(operands, move |t| Adamw {
            grad: t[0].clone(),
            param: t[1].clone(),
            moments: state.moments(&t[2..]),
            rule: AdamwRule { beta1: 0.9, beta2: 0.999, eps: 1e-8, step, keep, grad_scale: 0.75 },
            noise,
        })
        .beside(1.0)
    })
}

pub(super) fn cases() -> Vec<Case> {
    use DType::{Bf16, F32};
    const NORMAL: [Values; 2] = [Values::Normal(1.0); 2];
    let mut cases = Vec::new();
    for state in [State::F32, State::Bf16, State::Int8] {
        for types in [[F32, F32], [F32, Bf16], [Bf16, F32], [Bf16, Bf16]] {
            for noise in [false, true] {
                let kind = |keep, step| Kind { types, state, noise, keep, step };
                cases.push(adamw(kind(0.99, 1e-3), 1003, NORMAL));
                cases.push(adamw(kind(0.0, -1.0), 1003, NORMAL));
                cases.push(adamw(kind(1.0, 0.0), 4099, NORMAL));
                cases.push(adamw(kind(1.0, 0.0), 517, NORMAL).viewed());
                cases.push(adamw(kind(0.9, 0.1), 517, NORMAL).viewed());
            }
            // Elements of more than one task have random bits of their own, too.
            cases.push(adamw(Kind { types, state, noise: true, keep: 0.99, step: 0.0 }, 70_001, NORMAL));
        }
        let kind = |keep, step| Kind { types: [F32, F32], state, noise: false, keep, step };
        for grads in [
            Values::Special,
            Values::Zeros,
            Values::Ties,
            Values::Subnormal,
            Values::Cancelling,
            Values::Constant(0.0),
            Values::Normal(1e-15),
            Values::Normal(3e19),
        ] {
            cases.push(adamw(kind(1.0, 0.0), 2000, [grads, Values::Normal(1e-3)]));
            cases.push(adamw(kind(0.0, -1.0), 2000, [grads, Values::Normal(1e-3)]));
        }
        cases.push(adamw(kind(1.0, 0.0), 2000, [Values::Normal(1e-19), Values::Subnormal]));
        for n in [0, 1, 63, 256, 257, 70_001] {
            cases.push(adamw(kind(0.999, 0.01), n, NORMAL));
            cases.push(adamw(kind(1.0, 0.0), n, NORMAL));
        }
    }
    cases
}
