use gristmill_core::DType;
use gristmill_core::ops::{ActivationGrad, ActivationKind};

use crate::case::{Bound, Case, Problem, ulp};
use crate::operand::Operand;
use crate::values::Values;

pub(super) fn cases() -> Vec<Case> {
    let grad = |[rows, columns]: [usize; 2], dtype: DType, kind: ActivationKind, [x, dy]: [Values; 2]| {
        let name = format!("{rows}x{columns}/{}/{dtype}/{x},{dy}", kind.name());
        // A derivative goes through 0, where its terms cancel; they are of the size of 1, and so is dy.
        Case::new("activation_grad", name, Bound::Error(5e-6 + ulp(dtype)), move |draw| {
            let shape = [rows, columns];
            let operands = vec![
                x.input(draw, dtype, &shape),
                dy.input(draw, dtype, &shape),
                Operand::out(dtype, &shape),
            ];
            Problem::new(operands, move |t| ActivationGrad {
                x: t[0].clone(),
                dy: t[1].clone(),
                out: t[2].clone(),
                kind,
            })
            .beside(1.0)
        })
    };
    const NORMAL: Values = Values::Normal(1.0);
    let mut cases = Vec::new();
    for kind in ActivationKind::ALL {
        for shape in [[0, 5], [3, 0], [1, 1], [33, 63], [9, 576], [2, 20_001], [300, 300]] {
            cases.push(grad(shape, DType::F32, kind, [Values::Normal(3.0), NORMAL]));
        }
        for dtype in DType::FLOATS {
            for x in [
                NORMAL,
                Values::Normal(30.0),
                Values::Normal(1e4),
                Values::Special,
                Values::Masked,
                Values::Zeros,
                Values::Subnormal,
                Values::Around(-1.278),
            ] {
                cases.push(grad([7, 301], dtype, kind, [x, NORMAL]));
            }
            cases.push(grad([7, 301], dtype, kind, [NORMAL, Values::Zeros]));
            cases.push(grad([5, 77], dtype, kind, [NORMAL, NORMAL]).viewed());
        }
    }
    cases
}
