use super::{AdamwRule, Cost, Moments, Noise, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// A step of Adam in a subspace of the gradient (Zhao et al. 2024, "GaLore", algorithm 2), from gradient to weight:
///
/// `R = grad · basis` (or `gradᵀ · basis`), the moments move by `R` as those of [`Adamw`](super::Adamw) do,
/// `N = m / (√v + eps)`, and `weight ← keep · weight − step · N · basisᵀ` (or `− step · basis · Nᵀ`).
///
/// `grad` and `weight` are `[rows, columns]`, with at most 2³² elements, `basis` is `[columns, rank]` where it is of the
/// right side and `[rows, rank]` where it is of the left, each `f32` or `bf16`. The moments are those of a parameter of
/// `[rows, rank]`, or of `[columns, rank]` for the left side. Computed in `f32`, with sums in one order for each element,
/// whatever the others are. With `keep` 0 what was in `weight` does not matter.
///
/// Given `R`, the moments have the bits that [`Adamw`](super::Adamw) gives them. An element of `R` that is not finite, or larger than
/// 2⁶⁰, changes nothing and has the direction 0, so a row of the gradient (a column, for the left side) with a number
/// that is not finite leaves its part of the weight where decay puts it. Noise rounds the weight by the number of the
/// element there, and the moments by their own.
#[derive(Debug, Clone)]
pub struct LowRankAdam {
    /// The gradient.
    pub grad: Tensor,
    /// Orthonormal columns, whatever is meant by that: nothing here depends on it.
    pub basis: Tensor,
    /// Whether the basis is of the right side.
    pub right: bool,
    /// What is updated.
    pub weight: Tensor,
    /// The state.
    pub moments: Moments,
    /// The scalars: `step` and `keep` are factors of the direction in the space of the weight, and of the weight.
    pub rule: AdamwRule,
    /// How numbers become `bf16`; to the nearest without.
    pub noise: Option<Noise>,
}

/// The sizes of a step, once its operands are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LowRankSizes {
    /// Rows of the weight.
    pub rows: usize,
    /// Columns of the weight.
    pub columns: usize,
    /// Columns of the basis.
    pub rank: usize,
    /// Rows of the state: the side of the weight that stays.
    pub kept: usize,
    /// The side of the weight that is projected.
    pub depth: usize,
}

impl LowRankAdam {
    /// The sizes of the step.
    pub fn sizes(&self) -> LowRankSizes {
        let (rows, columns) = self.weight.shape().rows_cols();
        let (kept, depth) = if self.right { (rows, columns) } else { (columns, rows) };
        LowRankSizes { rows, columns, rank: self.basis.shape().rows_cols().1, kept, depth }
    }
}

impl Operation for LowRankAdam {
    const NAME: &'static str = "low_rank_adam";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        let mut inputs = vec![&self.grad, &self.basis];
        if let Moments::Int8 { maps, .. } = &self.moments {
            inputs.push(maps);
        }
        inputs
    }

    fn outputs(&self) -> Vec<&Tensor> {
        if self.rule.keep == 0.0 { vec![&self.weight] } else { Vec::new() }
    }

    fn updates(&self) -> Vec<&Tensor> {
        let mut all = self.moments.tensors().to_vec();
        if self.rule.keep != 0.0 {
            all.push(&self.weight);
        }
        all
    }

    fn check(&self) -> Result<()> {
        for (name, tensor) in [("grad", &self.grad), ("basis", &self.basis), ("weight", &self.weight)] {
            check::dtype(name, tensor, &[DType::F32, DType::Bf16])?;
            check::rank(name, tensor, 2)?;
        }
        check::shape("grad", &self.grad, self.weight.shape())?;
        if u32::try_from(self.weight.len()).is_err() {
            return Err(Error::new(Code::ShapeMismatch, "at most 2^32 elements").at_column("weight"));
        }
        let s = self.sizes();
        if s.rank == 0 {
            return Err(Error::new(Code::ShapeMismatch, "expected at least one column").at_column("basis"));
        }
        check::shape("basis", &self.basis, &[s.depth, s.rank])?;
        let elements = s.kept.checked_mul(s.rank).filter(|&n| u32::try_from(n).is_ok());
        let elements = elements.ok_or_else(|| {
            Error::new(Code::ShapeMismatch, "at most 2^32 elements of state").at_column("basis")
        })?;
        self.moments.check(elements)?;
        self.rule.check()
    }

    fn cost(&self) -> Cost {
        let LowRankSizes { rows, columns, rank, kept, .. } = self.sizes();
        let products = 4 * rows as u64 * (columns * rank) as u64;
        let [a, b] = self.moments.tensors();
        let again = if self.rule.keep == 0.0 { 0 } else { self.weight.bytes() as u64 };
        Cost {
            flops: products + 13 * (kept * rank) as u64,
            bytes: check::bytes(&[&self.grad, &self.basis, &self.weight, a, a, b, b]) + again,
        }
    }
}
