use super::{Cost, Operation, Promise, check};
use crate::ops::NormKind;
use crate::{DType, Error, Result, Tensor};

/// The gradient of [`super::Norm`] at its rows. With `x̂` the normalised row, `s` what it was scaled by and `g = dy ⊙ weight`:
///
/// - `rms`: `dx = s · (g − x̂ · mean(g ⊙ x̂))`;
/// - `layer`: `dx = s · (g − mean(g) − x̂ · mean(g ⊙ x̂))`;
///
/// and `dots[r] = Σ_j dy[r, j] · x̂[r, j]`, which add up to the gradient of a weight that is one number for all columns.
///
/// `x`, `dy` and `dx` are `[rows, columns]` of one type, `f32`, `bf16` or `f16`; `weight` is `[columns]`, `f32`, 1 where
/// there is none; `dots` is `[rows]`, `f32`. A row has the same bits whatever the others are.
#[derive(Debug, Clone)]
pub struct NormGrad {
    /// Rows as the norm had them, `[rows, columns]`.
    pub x: Tensor,
    /// Gradient at its results, `[rows, columns]`.
    pub dy: Tensor,
    /// Factor of each column, `[columns]`.
    pub weight: Option<Tensor>,
    /// Gradient at the rows, `[rows, columns]`.
    pub dx: Tensor,
    /// Inner products with the normalised rows, `[rows]`.
    pub dots: Tensor,
    /// What is added to the mean of squares, at least 0.
    pub eps: f32,
    /// What rows were brought to.
    pub kind: NormKind,
}

impl Operation for NormGrad {
    const NAME: &'static str = "norm_grad";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        [&self.x, &self.dy].into_iter().chain(&self.weight).collect()
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.dx, &self.dots]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &DType::FLOATS)?;
        check::rank("x", &self.x, 2)?;
        let (rows, columns) = self.x.shape().rows_cols();
        for (name, tensor) in [("dy", &self.dy), ("dx", &self.dx)] {
            check::same_dtype(name, tensor, "x", self.x.dtype())?;
            check::shape(name, tensor, self.x.shape())?;
        }
        check::columns("weight", self.weight.as_ref(), columns)?;
        check::dtype("dots", &self.dots, &[DType::F32])?;
        check::shape("dots", &self.dots, &[rows])?;
        if !(self.eps.is_finite() && self.eps >= 0.0) {
            let text = format!("expected a number of at least 0, given {}", self.eps);
            return Err(Error::invalid_argument("eps", text));
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        let bytes = check::bytes(&[self.inputs(), self.outputs()].concat());
        Cost { flops: 14 * self.x.len() as u64, bytes }
    }
}

/// What [`Tensor::norm_grad`] gives.
#[derive(Debug, Clone)]
pub struct NormGradOutput {
    /// Gradient at the rows.
    pub dx: Tensor,
    /// Inner products of the gradient at the results with the normalised rows.
    pub dots: Tensor,
}

impl Tensor {
    /// The gradient at these rows of their norm, from that at its results; see [`NormGrad`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::InvalidArgument`],
    /// [`crate::Code::Disposed`].
    pub fn norm_grad(
        &self,
        dy: &Tensor,
        kind: NormKind,
        eps: f32,
        weight: Option<&Tensor>,
    ) -> Result<NormGradOutput> {
        let dx = self.sibling(self.dtype(), self.shape())?;
        let dots = self.sibling(DType::F32, &[self.shape().rows_cols().0])?;
        self.device().run(NormGrad {
            x: self.clone(),
            dy: dy.clone(),
            weight: weight.cloned(),
            dx: dx.clone(),
            dots: dots.clone(),
            eps,
            kind,
        })?;
        Ok(NormGradOutput { dx, dots })
    }
}
