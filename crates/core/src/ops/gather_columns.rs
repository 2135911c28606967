use super::{Contract, Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// Columns of a matrix: `out[r, j] = x[r, index[j]]`, such as the inputs that a column-sparse weight reads.
///
/// `x` is `[rows, columns]`, `f32`, `bf16` or `f16`; `index` is `u32` or `i32`, each above the one before; `out` is of the
/// type of `x`. An index outside the columns, or not above the one before, is a fault at its position, where there are
/// rows.
#[derive(Debug, Clone)]
pub struct GatherColumns {
    /// What is picked from, `[rows, columns]`.
    pub x: Tensor,
    /// Which columns of it, `[k]`.
    pub index: Tensor,
    /// The columns that were picked, `[rows, k]`.
    pub out: Tensor,
}

impl Operation for GatherColumns {
    const NAME: &'static str = "gather_columns";
    const PROMISE: Promise = Promise::Exact;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.index]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &DType::FLOATS)?;
        check::rank("x", &self.x, 2)?;
        check::column_index(&self.index)?;
        check::same_dtype("out", &self.out, "x", self.x.dtype())?;
        let (rows, _) = self.x.shape().rows_cols();
        check::shape("out", &self.out, &[rows, self.index.len()])
    }

    fn cost(&self) -> Cost {
        Cost { flops: 0, bytes: check::bytes(&[&self.out, &self.out, &self.index]) }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.x.shape().rows_cols().1, broken: check::column_index_fault }
    }
}

impl Tensor {
    /// Columns of this matrix; see [`GatherColumns`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`]; an index outside the
    /// columns, or out of order, shows at the read, as [`crate::Code::InvalidValue`] with its position.
    pub fn gather_columns(&self, index: &Tensor) -> Result<Tensor> {
        check::rank("x", self, 2).map_err(|e| e.in_op(GatherColumns::NAME))?;
        let (rows, _) = self.shape().rows_cols();
        let out = self.sibling(self.dtype(), &[rows, index.len()])?;
        self.device().run(GatherColumns { x: self.clone(), index: index.clone(), out: out.clone() })?;
        Ok(out)
    }
}
