use super::{Contract, Cost, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// Rows of a table: `out[r, ..] = table[ids[r], ..]`, such as the embeddings of tokens.
///
/// `table` is `[rows of the table, d]`, `f32`, `bf16` or `f16`; `ids` is `u32` or `i32`; `out` is of the table's type
/// or `f32`, which holds every value of the others. An index outside the table is a fault of the row.
#[derive(Debug, Clone)]
pub struct Gather {
    /// What is picked from, `[vocab, d]`.
    pub table: Tensor,
    /// Which row of it, `[rows]`.
    pub ids: Tensor,
    /// The rows that were picked, `[rows, d]`.
    pub out: Tensor,
}

impl Operation for Gather {
    const NAME: &'static str = "gather";
    const PROMISE: Promise = Promise::Exact;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.table, &self.ids]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("table", &self.table, &DType::FLOATS)?;
        check::rank("table", &self.table, 2)?;
        check::dtype("ids", &self.ids, &[DType::U32, DType::I32])?;
        check::rank("ids", &self.ids, 1)?;
        check::dtype("out", &self.out, &[self.table.dtype(), DType::F32])?;
        let (_, d) = self.table.shape().rows_cols();
        check::shape("out", &self.out, &[self.ids.len(), d])
    }

    fn cost(&self) -> Cost {
        // What is read of the table depends on the indices: each row that is written was read at least once, unless
        // it was read for another.
        let read = (self.out.len() * self.table.dtype().size()).min(self.table.bytes());
        Cost { flops: 0, bytes: read as u64 + check::bytes(&[&self.ids, &self.out]) }
    }

    fn contract(&self) -> Contract {
        let (bound, _) = self.table.shape().rows_cols();
        let broken = |row, rows| {
            Error::new(Code::InvalidValue, format!("the index lies outside the table of {rows} rows"))
                .at_column("ids")
                .at_row(row)
        };
        Contract { bound, broken }
    }
}

impl Tensor {
    /// Rows of this table, as `dtype`, or the table's own type without one; see [`Gather`].
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::Disposed`]; an index outside the table shows at the
    /// read, as [`Code::InvalidValue`] with its row.
    pub fn gather(&self, ids: &Tensor, dtype: Option<DType>) -> Result<Tensor> {
        check::rank("table", self, 2).map_err(|e| e.in_op(Gather::NAME))?;
        let (_, d) = self.shape().rows_cols();
        let out = self.sibling(dtype.unwrap_or(self.dtype()), &[ids.len(), d])?;
        self.device().run(Gather { table: self.clone(), ids: ids.clone(), out: out.clone() })?;
        Ok(out)
    }
}
