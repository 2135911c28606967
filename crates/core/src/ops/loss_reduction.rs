use super::{Contract, Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// Loss reduction of documents, from the losses of their tokens under two models in one pass: for each segment
/// `s` of tokens `offsets[s] .. offsets[s + 1]`, both sums and
/// `score[s] = (prior_sum[s] − conditional_sum[s]) / tokens` (CoLoR-Filter, equation 5, for one document).
///
/// Losses are `f32`; outputs are `f32`. An empty document scores NaN. Offsets that do not ascend or lead beyond the
/// losses are a fault of the segment. The difference is taken of sums of higher precision than `f32`, or token by
/// token, so that it keeps its digits when the sums are close.
#[derive(Debug, Clone)]
pub struct LossReduction {
    /// Loss of each token under the prior model, `[n]`.
    pub prior: Tensor,
    /// Loss of each token under the conditional model, `[n]`.
    pub conditional: Tensor,
    /// Where documents begin and end, `[documents + 1]`; `u32` or `i32`.
    pub offsets: Tensor,
    /// Sum of the prior's losses, `[documents]`.
    pub prior_sum: Tensor,
    /// Sum of the conditional model's losses, `[documents]`.
    pub conditional_sum: Tensor,
    /// Loss reduction for each token, `[documents]`.
    pub score: Tensor,
}

impl Operation for LossReduction {
    const NAME: &'static str = "loss_reduction";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.prior, &self.conditional, &self.offsets]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.prior_sum, &self.conditional_sum, &self.score]
    }

    fn check(&self) -> Result<()> {
        check::dtype("prior", &self.prior, &[DType::F32])?;
        check::rank("prior", &self.prior, 1)?;
        check::dtype("conditional", &self.conditional, &[DType::F32])?;
        check::shape("conditional", &self.conditional, self.prior.shape())?;
        let segments = check::offsets(&self.offsets)?;
        for (name, out) in [
            ("prior_sum", &self.prior_sum),
            ("conditional_sum", &self.conditional_sum),
            ("score", &self.score),
        ] {
            check::dtype(name, out, &[DType::F32])?;
            check::shape(name, out, &[segments])?;
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        let all = [self.inputs(), self.outputs()].concat();
        Cost { flops: 3 * self.prior.len() as u64, bytes: check::bytes(&all) }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.prior.len(), broken: check::offsets_fault }
    }
}

/// What [`Tensor::loss_reduction`] gives.
#[derive(Debug, Clone)]
pub struct LossReductionOutput {
    /// Sum of the prior's losses of each document.
    pub prior_sum: Tensor,
    /// Sum of the conditional model's losses of each document.
    pub conditional_sum: Tensor,
    /// Loss reduction for each token of each document.
    pub score: Tensor,
}

impl Tensor {
    /// Loss reduction of documents, with this as the prior's losses; see [`LossReduction`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`]; offsets that do not
    /// ascend show at the read.
    pub fn loss_reduction(&self, conditional: &Tensor, offsets: &Tensor) -> Result<LossReductionOutput> {
        let segments = check::offsets(offsets).map_err(|e| e.in_op(LossReduction::NAME))?;
        let out = || self.sibling(DType::F32, &[segments]);
        let (prior_sum, conditional_sum, score) = (out()?, out()?, out()?);
        self.device().run(LossReduction {
            prior: self.clone(),
            conditional: conditional.clone(),
            offsets: offsets.clone(),
            prior_sum: prior_sum.clone(),
            conditional_sum: conditional_sum.clone(),
            score: score.clone(),
        })?;
        Ok(LossReductionOutput { prior_sum, conditional_sum, score })
    }
}
