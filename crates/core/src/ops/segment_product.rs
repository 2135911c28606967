use super::{Contract, Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// Column sums of each of consecutive samples: `out[s, j] = Σ_t a[t, j] · b[t, j]` over the rows `t` of sample `s`, or
/// `Σ_t a[t, j]` without `b`. These are the per-sample gradients of a LayerNorm or RMSNorm: of its scale with the
/// gradient of its output as `a` and the normalised input as `b`, of its shift (and of any bias) without `b`.
///
/// `a` and `b` are `[rows, n]`, `f32`, `bf16` or `f16` alike; `out` is `f32`. Sums are in `f32` or better, in a fixed
/// order. `offsets` is `u32` or `i32`, one more than there are samples, and ascends; rows before the first and behind the
/// last belong to nobody. Offsets that do not ascend or lead beyond the rows are a fault of the sample.
#[derive(Debug, Clone)]
pub struct SegmentProduct {
    /// One factor, `[rows, n]`.
    pub a: Tensor,
    /// The other, likewise.
    pub b: Option<Tensor>,
    /// Where samples begin and end, `[samples + 1]`.
    pub offsets: Tensor,
    /// Sums of each sample, `[samples, n]`.
    pub out: Tensor,
}

impl Operation for SegmentProduct {
    const NAME: &'static str = "segment_product";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        [&self.a, &self.offsets].into_iter().chain(&self.b).collect()
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("a", &self.a, &DType::FLOATS)?;
        check::rank("a", &self.a, 2)?;
        if let Some(b) = &self.b {
            check::same_dtype("b", b, "a", self.a.dtype())?;
            check::shape("b", b, self.a.shape())?;
        }
        let samples = check::offsets(&self.offsets)?;
        check::dtype("out", &self.out, &[DType::F32])?;
        check::shape("out", &self.out, &[samples, self.a.shape().rows_cols().1])
    }

    fn cost(&self) -> Cost {
        let each = 1 + u64::from(self.b.is_some());
        let bytes = check::bytes(&[self.inputs(), self.outputs()].concat());
        Cost { flops: each * self.a.len() as u64, bytes }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.a.shape().rows_cols().0, broken: check::offsets_fault }
    }
}

impl Tensor {
    /// Column sums of samples, of these rows or of their products with others; see [`SegmentProduct`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`]; offsets that do not
    /// ascend show at the read.
    pub fn segment_product(&self, b: Option<&Tensor>, offsets: &Tensor) -> Result<Tensor> {
        let samples = check::offsets(offsets).map_err(|e| e.in_op(SegmentProduct::NAME))?;
        let out = self.sibling(DType::F32, &[samples, self.shape().rows_cols().1])?;
        self.device().run(SegmentProduct {
            a: self.clone(),
            b: b.cloned(),
            offsets: offsets.clone(),
            out: out.clone(),
        })?;
        Ok(out)
    }
}
