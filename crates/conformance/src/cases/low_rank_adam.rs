use gristmill_core::DType;
use gristmill_core::ops::{AdamwRule, LowRankAdam, Noise};

use super::adamw::State;
use super::sum_error;
use crate::case::{Bound, Case, Problem, ulp};
use crate::operand::Operand;
use crate::values::Values;

#[derive(Clone, Copy)]
struct Kind {
    /// Of gradient, basis and weight.
    types: [DType; 3],
    state: State,
    right: bool,
    noise: bool,
    keep: f32,
    step: f32,
    /// Of gradient, basis and state.
    values: [Values; 3],
}

impl Kind {
    /// Numbers whose sums of products are exact in `f32`: moments are the same bits everywhere.
    const EXACT: [Values; 3] = [Values::Ties, Values::Ties, Values::Normal(1.0)];
    /// Any; large moments, which no rounding of the gradient turns around.
    const ANY: [Values; 3] = [Values::Normal(1.0), Values::Normal(1.0), Values::Around(30.0)];

    fn new(state: State, right: bool) -> Self {
        let values = if state == State::Int8 { Self::EXACT } else { Self::ANY };
        Self { types: [DType::F32; 3], state, right, noise: false, keep: 0.99, step: 0.1, values }
    }

    /// Nothing but the moments moves, and they to the bit.
    fn exact(self) -> Self {
        Self { keep: 1.0, step: 0.0, values: Self::EXACT, ..self }
    }

    fn case(self, [rows, columns, rank]: [usize; 3]) -> Case {
        let Kind { types: [grad, basis, weight], state, right, noise, keep, step, values } = self;
        let (kept, depth) = if right { (rows, columns) } else { (columns, rows) };
        let [grads, bases, states] = values;
        let name = format!(
            "{rows}x{columns}x{rank}/{}/{grad}-{basis}-{weight}-{}{}/{keep},{step}/{grads},{bases},{states}",
            if right { "right" } else { "left" },
            state.name(),
            if noise { "/noise" } else { "" }
        );
        let halves = if weight == DType::Bf16 || state == State::Bf16 { ulp(DType::Bf16) } else { 0.0 };
        let bound = match step == 0.0 {
            true => Bound::Equal,
            // Terms of about 1: a projection's, and those of its way back.
            false => Bound::Error(
                sum_error(depth) * depth as f64
                    + sum_error(rank) * rank as f64
                    + 4.0 * ulp(DType::F32)
                    + 2.0 * halves,
            ),
        };
        Case::new("low_rank_adam", name, bound, move |draw| {
            let before = Values::Normal(1.0).elements(draw, weight, rows * columns);
            let weight = match keep == 0.0 {
                true => Operand::out(weight, &[rows, columns]),
                false => Operand::update(weight, &[rows, columns], before),
            };
            let mut operands = vec![
                grads.input(draw, grad, &[rows, columns]),
                bases.input(draw, basis, &[depth, rank]),
                weight,
            ];
            operands.extend(state.operands(draw, kept * rank, states));
            let noise = noise.then(|| Noise { seed: u64::from(draw.bits()) << 32 | 5, stream: 1 << 40 | 9 });
            Problem::new(operands, move |t| LowRankAdam {
                grad: t[0].clone(),
                basis: t[1].clone(),
                right,
                weight: t[2].clone(),
                moments: state.moments(&t[3..]),
                rule: AdamwRule { beta1: 0.9, beta2: 0.999, eps: 0.5, step, keep, grad_scale: 0.75 },
                noise,
            })
            .beside(1.0)
        })
    }
}

pub(super) fn cases() -> Vec<Case> {
    use DType::{Bf16, F32};
    let mut cases = Vec::new();
    for state in [State::F32, State::Bf16, State::Int8] {
        for right in [true, false] {
            let kind = Kind::new(state, right);
            for types in [[F32; 3], [Bf16, F32, F32], [F32, Bf16, F32], [F32, F32, Bf16], [Bf16; 3]] {
                for noise in [false, true] {
                    let kind = Kind { types, noise, ..kind };
                    cases.push(kind.case([37, 53, 5]));
                    cases.push(kind.exact().case([70, 131, 33]));
                    cases.push(Kind { keep: 0.0, step: -1.0, ..kind }.case([66, 50, 16]));
                    cases.push(kind.case([29, 41, 7]).viewed());
                    cases.push(kind.exact().case([29, 41, 7]).viewed());
                }
            }
            for sizes in [
                [1, 1, 1],
                [8, 48, 16],
                [130, 65, 3],
                [9, 300, 100],
                [300, 9, 100],
                [200, 150, 128],
                [513, 40, 32],
                [40, 513, 32],
                [257, 70, 256],
                [20, 700, 8],
                [700, 20, 8],
            ] {
                cases.push(kind.case(sizes));
                cases.push(kind.exact().case(sizes));
            }
            for sizes in [[0, 5, 3], [5, 0, 3], [0, 0, 1]] {
                cases.push(kind.case(sizes));
            }
            let of = |grads| Kind { values: [grads, Values::Ties, Values::Around(30.0)], ..kind };
            cases.push(of(Values::Zeros).case([33, 70, 9]));
            for grads in [Values::Constant(0.0), Values::Constant(2f64.powi(84)), Values::Constant(f64::NAN)]
            {
                cases.push(Kind { keep: 1.0, step: 0.0, ..of(grads) }.case([33, 70, 9]));
            }
            if state != State::Int8 {
                for grads in [Values::Special, Values::Subnormal, Values::Normal(1e-15)] {
                    cases.push(of(grads).case([33, 70, 9]));
                }
            }
        }
    }
    cases
}
