use super::row_reduce::sum_dtype;
use super::{Contract, Cost, Operation, Promise, Reduction, check};
use crate::{DType, Result, Tensor};

/// `out[s] = reduction of x[offsets[s] .. offsets[s + 1]]`: one number for each of consecutive segments, such as the
/// documents of a batch.
///
/// `x` is `f32`, `bf16`, `f16` (or `f64` on the CPU) with one dimension; `offsets` is `u32` or `i32`, one more than
/// there are segments, ascending, the first not necessarily 0; `out` is `f32` (`f64`). Sums are added in a fixed
/// order, in `f64` where a device has it and otherwise with an error of at most a few units in the last place of the
/// sum of magnitudes.
///
/// Offsets that do not ascend or lead beyond `x` are a fault of the segment.
#[derive(Debug, Clone)]
pub struct SegmentReduce {
    /// Elements to reduce, `[n]`.
    pub x: Tensor,
    /// Where segments begin and end, `[segments + 1]`.
    pub offsets: Tensor,
    /// One number for each segment, `[segments]`.
    pub out: Tensor,
    /// The rule.
    pub reduction: Reduction,
}

impl Operation for SegmentReduce {
    const NAME: &'static str = "segment_reduce";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x, &self.offsets]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn promise(&self) -> Promise {
        if self.reduction == Reduction::Max { Promise::Exact } else { Promise::Tolerance }
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &[DType::F32, DType::Bf16, DType::F16, DType::F64])?;
        check::rank("x", &self.x, 1)?;
        let segments = check::offsets(&self.offsets)?;
        check::same_dtype("out", &self.out, "the sum", sum_dtype(&self.x))?;
        check::shape("out", &self.out, &[segments])
    }

    fn cost(&self) -> Cost {
        Cost { flops: self.x.len() as u64, bytes: check::bytes(&[&self.x, &self.offsets, &self.out]) }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.x.len(), broken: check::offsets_fault }
    }
}

impl Tensor {
    /// A sum, maximum or sum of squares of consecutive segments; see [`SegmentReduce`].
    ///
    /// # Errors
    /// [`crate::Code::DtypeMismatch`], [`crate::Code::ShapeMismatch`], [`crate::Code::Disposed`]; offsets that do not
    /// ascend show at the read.
    pub fn segment_reduce(&self, offsets: &Tensor, reduction: Reduction) -> Result<Tensor> {
        let segments = check::offsets(offsets).map_err(|e| e.in_op(SegmentReduce::NAME))?;
        let out = self.sibling(sum_dtype(self), &[segments])?;
        self.device().run(SegmentReduce {
            x: self.clone(),
            offsets: offsets.clone(),
            out: out.clone(),
            reduction,
        })?;
        Ok(out)
    }
}
