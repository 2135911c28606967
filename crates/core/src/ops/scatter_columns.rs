use super::{Contract, Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// Adds columns to some of those of a matrix, in place: `out[r, index[j]] = out[r, index[j]] + y[r, j]`, the gradient of
/// [`super::GatherColumns`].
///
/// `y` is `[rows, k]` and `out` `[rows, columns]`, of one type, `f32`, `bf16` or `f16`; `index` is `u32` or `i32`, each
/// above the one before, so that no column is met twice. Each sum is rounded once; of numbers below the normal range of
/// `f32` a device may make zeros. An index outside the columns, or not above the one before, is a fault at its position,
/// where there are rows.
#[derive(Debug, Clone)]
pub struct ScatterColumns {
    /// What is added, `[rows, k]`.
    pub y: Tensor,
    /// To which columns, `[k]`.
    pub index: Tensor,
    /// What is added to, `[rows, columns]`.
    pub out: Tensor,
}

impl Operation for ScatterColumns {
    const NAME: &'static str = "scatter_columns";
    const PROMISE: Promise = Promise::Exact;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.y, &self.index]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn updates(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("out", &self.out, &DType::FLOATS)?;
        check::rank("out", &self.out, 2)?;
        check::column_index(&self.index)?;
        check::same_dtype("y", &self.y, "out", self.out.dtype())?;
        let (rows, _) = self.out.shape().rows_cols();
        check::shape("y", &self.y, &[rows, self.index.len()])
    }

    fn cost(&self) -> Cost {
        Cost { flops: self.y.len() as u64, bytes: check::bytes(&[&self.y, &self.y, &self.y, &self.index]) }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.out.shape().rows_cols().1, broken: check::column_index_fault }
    }
}

impl Tensor {
    /// Adds columns to some of those of this matrix, in place; see [`ScatterColumns`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`]; an index outside the
    /// columns, or out of order, shows at the read, as [`crate::Code::InvalidValue`] with its position.
    pub fn scatter_columns(&self, y: &Tensor, index: &Tensor) -> Result<()> {
        self.device().run(ScatterColumns { y: y.clone(), index: index.clone(), out: self.clone() })
    }
}
