use super::{Cost, Operation, Promise, check};
use crate::{DType, Error, Result, Tensor};

/// The orthonormal Walsh-Hadamard transform of consecutive blocks of every row (Sylvester's order):
/// `out[r, b·n + i] = n^(-1/2) · Σ_j (−1)^popcount(i & j) · x[r, b·n + j]` for blocks of `n` elements. It is its own inverse,
/// and spreads what is concentrated in few columns over all of a block.
///
/// `x` and `out` are `[rows, columns]` of one type, `f32`, `bf16` or `f16`; `n` is a power of two up to
/// [`BLOCK`](Hadamard::BLOCK) that divides the columns. Sums are `f32`, in `log₂ n` steps of additions of two, and rounded
/// once.
#[derive(Debug, Clone)]
pub struct Hadamard {
    /// Rows.
    pub x: Tensor,
    /// Their transforms.
    pub out: Tensor,
    /// Elements of a block.
    pub block: usize,
}

impl Hadamard {
    /// Elements of a block at the most.
    pub const BLOCK: usize = 4096;

    /// The factor of the sums.
    pub fn factor(&self) -> f32 {
        (1.0 / (self.block as f64).sqrt()) as f32
    }
}

impl Operation for Hadamard {
    const NAME: &'static str = "hadamard";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &DType::FLOATS)?;
        check::rank("x", &self.x, 2)?;
        check::same_dtype("out", &self.out, "x", self.x.dtype())?;
        check::shape("out", &self.out, self.x.shape())?;
        if !self.block.is_power_of_two() || self.block > Self::BLOCK {
            let text = format!("expected a power of two up to {}, given {}", Self::BLOCK, self.block);
            return Err(Error::invalid_argument("block", text));
        }
        check::whole_groups("block", self.block, self.x.shape().rows_cols().1)
    }

    fn cost(&self) -> Cost {
        let steps = u64::from(self.block.trailing_zeros()) + 1;
        Cost { flops: steps * self.x.len() as u64, bytes: check::bytes(&[&self.x, &self.out]) }
    }
}

impl Tensor {
    /// The Walsh-Hadamard transform of blocks of every row; see [`Hadamard`]. Without a block, that of the whole row.
    ///
    /// # Errors
    /// [`crate::Code::InvalidArgument`] for a block that is no power of two or too large, [`crate::Code::ShapeMismatch`] for one that does
    /// not divide the columns, [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`].
    pub fn hadamard(&self, block: Option<usize>) -> Result<Tensor> {
        let out = self.sibling(self.dtype(), self.shape())?;
        let block = block.unwrap_or(self.shape().rows_cols().1.max(1));
        self.device().run(Hadamard { x: self.clone(), out: out.clone(), block })?;
        Ok(out)
    }
}
