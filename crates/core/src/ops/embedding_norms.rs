use super::{Contract, Cost, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// Squared norms of the per-sample gradients of an embedding table: with `g[v] = Σ_t dy[t]` over the rows `t` of
/// sample `b` that have `ids[t] = v`, `out[b] = Σ_v ‖g[v]‖²`. Rows of one sample with the same id are added up before
/// they are squared, without a gradient of the table in memory.
///
/// `ids` and `offsets` are `u32` or `i32`; `dy` is `[rows, d]`, `f32`, `bf16` or `f16`; `out` is `f32`. Sums are in
/// `f32` or better, in a fixed order. Rows with the id `padding_idx` have no gradient; rows before the first and behind
/// the last offset belong to nobody. An id outside the vocabulary, of whichever row, is a fault of that row; offsets of
/// sample `s` that do not ascend or lead beyond the rows are one of row `rows + s`.
#[derive(Debug, Clone)]
pub struct EmbeddingNorms {
    /// Which row of the table, `[rows]`.
    pub ids: Tensor,
    /// Gradient of the row that was picked, `[rows, d]`.
    pub dy: Tensor,
    /// Where samples begin and end, `[samples + 1]`.
    pub offsets: Tensor,
    /// Squared norm of each sample's gradient, `[samples]`.
    pub out: Tensor,
    /// Rows of the table.
    pub vocabulary: usize,
    /// A row of the table without a gradient.
    pub padding_idx: Option<u32>,
}

impl Operation for EmbeddingNorms {
    const NAME: &'static str = "embedding_norms";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.ids, &self.dy, &self.offsets]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        let samples = rows(&self.ids, &self.dy, &self.offsets)?;
        vocabulary(self.vocabulary, self.padding_idx)?;
        check::dtype("out", &self.out, &[DType::F32])?;
        check::shape("out", &self.out, &[samples])
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 3 * self.dy.len() as u64,
            bytes: check::bytes(&[self.inputs(), self.outputs()].concat()),
        }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.ids.len(), broken: fault }
    }
}

/// Rows with an id each, and where samples begin and end; gives how many there are.
pub(super) fn rows(ids: &Tensor, dy: &Tensor, offsets: &Tensor) -> Result<usize> {
    check::dtype("ids", ids, &[DType::U32, DType::I32])?;
    check::rank("ids", ids, 1)?;
    check::dtype("dy", dy, &DType::FLOATS)?;
    check::rank("dy", dy, 2)?;
    let (rows, d) = dy.shape().rows_cols();
    check::shape("dy", dy, &[ids.len(), d])?;
    let samples = check::offsets(offsets)?;
    if u32::try_from(rows + samples + 1).is_err() {
        return Err(
            Error::new(Code::ShapeMismatch, format!("{rows} rows do not fit in 32 bits")).at_column("ids")
        );
    }
    Ok(samples)
}

/// There is a vocabulary, and the padding is of it.
pub(super) fn vocabulary(vocabulary: usize, padding_idx: Option<u32>) -> Result<()> {
    if vocabulary > i32::MAX as usize {
        return Err(Error::invalid_argument(
            "vocabulary",
            format!("expected less than 2^31, given {vocabulary}"),
        ));
    }
    match padding_idx {
        Some(id) if id as usize >= vocabulary => Err(Error::invalid_argument(
            "paddingIdx",
            format!("expected an id below the vocabulary of {vocabulary}, given {id}"),
        )),
        _ => Ok(()),
    }
}

/// What is wrong at this row, or at the sample whose number lies behind that of the last row.
pub(super) fn fault(row: u64, rows: usize) -> Error {
    match row.checked_sub(rows as u64) {
        None => {
            Error::new(Code::InvalidValue, "the id lies outside the vocabulary").at_column("ids").at_row(row)
        }
        Some(sample) => check::offsets_fault(sample, rows),
    }
}

/// The table that [`Tensor::embedding_norms`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingOptions {
    /// Its rows.
    pub vocabulary: usize,
    /// A row without a gradient, if there is one.
    pub padding_idx: Option<u32>,
}

impl Tensor {
    /// Squared norms of the gradients that `dy` gives a table at these ids; see [`EmbeddingNorms`].
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::InvalidArgument`], [`Code::Disposed`]; ids outside the
    /// vocabulary and offsets that do not ascend show at the read.
    pub fn embedding_norms(
        &self,
        dy: &Tensor,
        offsets: &Tensor,
        options: EmbeddingOptions,
    ) -> Result<Tensor> {
        let samples = check::offsets(offsets).map_err(|e| e.in_op(EmbeddingNorms::NAME))?;
        let out = self.sibling(DType::F32, &[samples])?;
        self.device().run(EmbeddingNorms {
            ids: self.clone(),
            dy: dy.clone(),
            offsets: offsets.clone(),
            out: out.clone(),
            vocabulary: options.vocabulary,
            padding_idx: options.padding_idx,
        })?;
        Ok(out)
    }
}
