use super::embedding_norms::{fault, rows, vocabulary};
use super::{Contract, Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// Adds the clipped gradients of an embedding table: `grad[v] += Σ_b factors[b] · g_b[v]`, where `g_b[v] = Σ_t dy[t]`
/// over the rows `t` of sample `b` that have `ids[t] = v`. The factor is applied in `f32` to the sum that
/// [`super::EmbeddingNorms`] measures; one of 0 adds exactly nothing, whatever the rows hold.
///
/// `ids` and `offsets` are `u32` or `i32`; `dy` is `[rows, d]`, `f32`, `bf16` or `f16`; `factors` and `grad` are `f32`.
/// Each row of the table is added to in the order of the rows. Faults are those of [`super::EmbeddingNorms`].
#[derive(Debug, Clone)]
pub struct ClippedEmbeddingGrad {
    /// Which row of the table, `[rows]`.
    pub ids: Tensor,
    /// Gradient of the row that was picked, `[rows, d]`.
    pub dy: Tensor,
    /// Where samples begin and end, `[samples + 1]`.
    pub offsets: Tensor,
    /// A factor for each sample, `[samples]`.
    pub factors: Tensor,
    /// What is added to, `[vocabulary, d]`.
    pub grad: Tensor,
    /// A row of the table without a gradient.
    pub padding_idx: Option<u32>,
}

impl Operation for ClippedEmbeddingGrad {
    const NAME: &'static str = "clipped_embedding_grad";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.ids, &self.dy, &self.offsets, &self.factors]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn updates(&self) -> Vec<&Tensor> {
        vec![&self.grad]
    }

    fn check(&self) -> Result<()> {
        let samples = rows(&self.ids, &self.dy, &self.offsets)?;
        check::dtype("factors", &self.factors, &[DType::F32])?;
        check::shape("factors", &self.factors, &[samples])?;
        check::dtype("grad", &self.grad, &[DType::F32])?;
        check::rank("grad", &self.grad, 2)?;
        let (entries, _) = self.grad.shape().rows_cols();
        check::shape("grad", &self.grad, &[entries, self.dy.shape().rows_cols().1])?;
        vocabulary(entries, self.padding_idx)
    }

    fn cost(&self) -> Cost {
        // Of the table only the rows that are named are touched, at most one for each id.
        let (_, d) = self.dy.shape().rows_cols();
        let touched = (4 * self.ids.len() * d).min(self.grad.bytes());
        Cost { flops: 2 * self.dy.len() as u64, bytes: check::bytes(&self.inputs()) + 2 * touched as u64 }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.ids.len(), broken: fault }
    }
}

impl Tensor {
    /// Adds the clipped gradients that `dy` gives a table at these ids to `grad`; see [`ClippedEmbeddingGrad`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::InvalidArgument`],
    /// [`crate::Code::Disposed`]; ids outside the table and offsets that do not ascend show at the read.
    pub fn clipped_embedding_grad(
        &self,
        dy: &Tensor,
        offsets: &Tensor,
        factors: &Tensor,
        grad: &Tensor,
        padding_idx: Option<u32>,
    ) -> Result<()> {
        self.device().run(ClippedEmbeddingGrad {
            ids: self.clone(),
            dy: dy.clone(),
            offsets: offsets.clone(),
            factors: factors.clone(),
            grad: grad.clone(),
            padding_idx,
        })
    }
}
