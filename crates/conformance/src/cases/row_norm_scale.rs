use gristmill_core::DType;
use gristmill_core::ops::RowNormScale;

use super::reduce::SHAPES;
use super::sum_error;
use crate::case::{Bound, Case, Problem};
use crate::operand::Operand;
use crate::values::Values;

pub(super) fn cases() -> Vec<Case> {
    let scale = |[rows, columns]: [usize; 2], dtype: DType, max_norm: f32, values: Values| {
        let name = format!("{rows}x{columns}/{dtype}/{max_norm}/{values}");
        let bound = Bound::Error(sum_error(rows.max(columns)));
        Case::new("row_norm_scale", name, bound, move |draw| {
            let operands = vec![
                values.input(draw, dtype, &[rows, columns]),
                Operand::out(DType::F32, &[rows]),
                Operand::out(DType::F32, &[rows]),
                Operand::out(DType::F32, &[columns]),
            ];
            // Magnitudes have the same norms and factors, and a sum without cancellation.
            Problem::new(operands, move |t| RowNormScale {
                x: t[0].clone(),
                norms: t[1].clone(),
                factors: t[2].clone(),
                out: t[3].clone(),
                max_norm,
            })
            .by_terms()
        })
    };
    let mut cases = Vec::from(SHAPES.map(|shape| scale(shape, DType::F32, 1.0, Values::Normal(1.0))));
    for dtype in DType::FLOATS {
        for values in [Values::Special, Values::Zeros, Values::Cancelling, Values::Constant(0.0)] {
            cases.push(scale([40, 100], dtype, 2.5, values));
        }
        // Some rows are clipped and some are not.
        cases.push(scale([64, 257], dtype, 16.0, Values::Normal(1.0)));
        cases.push(scale([9, 517], dtype, 1e-3, Values::Normal(1.0)).viewed());
    }
    cases
}
