use gristmill_core::DType;
use gristmill_core::ops::{NormGrad, NormKind};

use crate::case::{Bound, Case, Problem, ulp};
use crate::operand::Operand;
use crate::values::Values;

/// A gradient of the table.
#[derive(Clone, Copy)]
struct Graded {
    shape: [usize; 2],
    kind: NormKind,
    dtype: DType,
    weight: bool,
    eps: f32,
    values: Values,
    /// What errors are measured by beside the result: the scale of the rows times the gradients, or their sum.
    size: f64,
}

impl Graded {
    fn new(shape: [usize; 2], kind: NormKind) -> Self {
        Self {
            shape,
            kind,
            dtype: DType::F32,
            weight: true,
            eps: 1e-5,
            values: Values::Normal(1.0),
            size: 3.0,
        }
    }

    fn case(self) -> Case {
        let Self { shape: [rows, columns], kind, dtype, weight, eps, values, size } = self;
        let weighted = if weight { "/weight" } else { "" };
        let name = format!("{rows}x{columns}/{}/{dtype}/{values}/{eps}{weighted}", kind.name());
        Case::new("norm_grad", name, Bound::Error(2e-5 + ulp(dtype)), move |draw| {
            let shape = [rows, columns];
            let mut operands = vec![
                values.input(draw, dtype, &shape),
                Values::Normal(1.0).input(draw, dtype, &shape),
                Operand::out(dtype, &shape),
                Operand::out(DType::F32, &[rows]),
            ];
            if weight {
                operands.push(Values::Normal(1.0).input(draw, DType::F32, &[columns]));
            }
            Problem::new(operands, move |t| NormGrad {
                x: t[0].clone(),
                dy: t[1].clone(),
                dx: t[2].clone(),
                dots: t[3].clone(),
                weight: weight.then(|| t[4].clone()),
                eps,
                kind,
            })
            .beside(size)
        })
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in NormKind::ALL {
        for shape in [[0, 5], [3, 0], [1, 1], [33, 63], [9, 576], [2, 8191], [300, 40]] {
            // A row of one number has no variance: its scale is that of eps alone.
            let size = if shape[1] == 1 { 400.0 } else { 3.0 };
            cases.push(Graded { size, ..Graded::new(shape, kind) }.case());
        }
        for dtype in DType::FLOATS {
            let graded = Graded { dtype, ..Graded::new([6, 300], kind) };
            cases.push(graded.case());
            cases.push(Graded { weight: false, ..graded }.case());
            cases.push(Graded { eps: 0.0, ..graded }.case());
            cases.push(Graded { eps: 0.5, ..graded }.case());
            cases.push(Graded { values: Values::Around(30.0), ..graded }.case());
            cases.push(Graded { values: Values::Zeros, size: 30.0, ..graded }.case());
            cases.push(Graded { values: Values::Cancelling, ..graded }.case());
            // Next to nothing beside eps: the scale is 1/√eps.
            cases.push(Graded { values: Values::Subnormal, size: 2000.0, ..graded }.case());
            cases.push(Graded { shape: [5, 77], ..graded }.case().viewed());
        }
    }
    cases
}
