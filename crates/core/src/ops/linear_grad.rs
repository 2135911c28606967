//! What the operations on per-sample gradients of a linear layer share.

use super::check;
use crate::{Code, DType, Error, Result, Tensor};

/// Inputs and output gradients of a linear layer, with the samples that their rows belong to.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) x: &'a Tensor,
    pub(super) dy: &'a Tensor,
    pub(super) offsets: &'a Tensor,
}

/// The sizes of such a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearSizes {
    /// Rows of all samples together.
    pub rows: usize,
    /// Inputs of the layer.
    pub d: usize,
    /// Its outputs.
    pub p: usize,
    /// How many samples there are.
    pub samples: usize,
}

impl LinearSizes {
    /// Rows of a sample on average, rounded up. What each has is known to the device alone.
    pub fn length(self) -> usize {
        self.rows.div_ceil(self.samples.max(1))
    }

    /// Floating-point operations of the gradient of a layer over all rows.
    pub(super) fn gradient_flops(self) -> u64 {
        2 * (self.rows * self.d) as u64 * self.p as u64
    }
}

impl Layer<'_> {
    /// The sizes, as far as the shapes tell.
    pub(super) fn sizes(self) -> LinearSizes {
        let ((rows, d), (_, p)) = (self.x.shape().rows_cols(), self.dy.shape().rows_cols());
        LinearSizes { rows, d, p, samples: self.offsets.len().saturating_sub(1) }
    }

    /// Checks types and shapes.
    pub(super) fn check(self) -> Result<LinearSizes> {
        check::dtype("x", self.x, &DType::FLOATS)?;
        check::rank("x", self.x, 2)?;
        check::same_dtype("dy", self.dy, "x", self.x.dtype())?;
        check::rank("dy", self.dy, 2)?;
        check::offsets(self.offsets)?;
        let sizes = self.sizes();
        check::shape("dy", self.dy, &[sizes.rows, sizes.p])?;
        Ok(sizes)
    }
}

/// One `f32` for each sample.
pub(super) fn of_samples(name: &str, tensor: &Tensor, samples: usize) -> Result<()> {
    check::dtype(name, tensor, &[DType::F32])?;
    check::shape(name, tensor, &[samples])
}

/// The gradients of weight and bias, `f32`.
pub(super) fn gradients(grad: &Tensor, bias: Option<&Tensor>, sizes: LinearSizes) -> Result<()> {
    check::dtype("grad", grad, &[DType::F32])?;
    check::shape("grad", grad, &[sizes.p, sizes.d])?;
    check::columns("bias", bias, sizes.p)
}

/// What is wrong with the offsets of this sample, or, behind the last of `samples`, with its weight.
pub(super) fn fault(row: u64, samples: usize) -> Error {
    match row.checked_sub(samples as u64) {
        None => Error::new(Code::InvalidValue, "offsets must ascend and stay within the rows")
            .at_column("offsets")
            .at_row(row),
        Some(sample) => Error::new(Code::InvalidValue, "the weight of a sample is neither 0 nor 1")
            .at_column("weights")
            .at_row(sample),
    }
}
