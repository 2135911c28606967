use super::{Cost, Operation, Promise, check};
use crate::{DType, Error, Result, Tensor};

/// What the rows of a [`Norm`] are brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// A root mean square of 1 (Zhang and Sennrich 2019).
    Rms,
    /// A mean of 0 and a variance of 1 (Ba, Kiros and Hinton 2016).
    Layer,
}

impl NormKind {
    /// All of them.
    pub const ALL: [NormKind; 2] = [NormKind::Rms, NormKind::Layer];

    /// The name in options and cases.
    pub const fn name(self) -> &'static str {
        match self {
            NormKind::Rms => "rms",
            NormKind::Layer => "layer",
        }
    }
}

/// Rows brought to a common scale, then scaled and shifted column by column: `out = z · weight + bias`, where with
/// `mean` over the columns of a row
///
/// - [`NormKind::Rms`]: `z = x / sqrt(mean(x²) + eps)`,
/// - [`NormKind::Layer`]: `z = (x − mean(x)) / sqrt(mean((x − mean(x))²) + eps)`.
///
/// `x` and `out` are `[rows, columns]`, each `f32`, `bf16` or `f16`; `weight` and `bias` are `f32`, 1 and 0 where there
/// is none. Sums are in `f32` or better, so squares must stay below its range. A row with a NaN gives NaN, and no row
/// depends on another: its bits are the same in whatever batch it comes.
#[derive(Debug, Clone)]
pub struct Norm {
    /// Rows to normalise, `[rows, columns]`.
    pub x: Tensor,
    /// Factor of each column, `[columns]`.
    pub weight: Option<Tensor>,
    /// What is added to each column, `[columns]`.
    pub bias: Option<Tensor>,
    /// Normalised rows, `[rows, columns]`.
    pub out: Tensor,
    /// What is added to the mean of squares, at least 0.
    pub eps: f32,
    /// What rows are brought to.
    pub kind: NormKind,
}

impl Operation for Norm {
    const NAME: &'static str = "norm";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        [&self.x].into_iter().chain(&self.weight).chain(&self.bias).collect()
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &DType::FLOATS)?;
        check::rank("x", &self.x, 2)?;
        let (_, columns) = self.x.shape().rows_cols();
        check::columns("weight", self.weight.as_ref(), columns)?;
        check::columns("bias", self.bias.as_ref(), columns)?;
        check::dtype("out", &self.out, &DType::FLOATS)?;
        check::shape("out", &self.out, self.x.shape())?;
        if !(self.eps.is_finite() && self.eps >= 0.0) {
            return Err(Error::invalid_argument(
                "eps",
                format!("expected a number of at least 0, given {}", self.eps),
            ));
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        Cost {
            flops: 6 * self.x.len() as u64,
            bytes: check::bytes(&[self.inputs(), self.outputs()].concat()),
        }
    }
}

/// How rows are normalised.
#[derive(Debug, Clone)]
pub struct NormOptions {
    /// What rows are brought to.
    pub kind: NormKind,
    /// What is added to the mean of squares; default 1e-5.
    pub eps: f32,
    /// Factor of each column; default none.
    pub weight: Option<Tensor>,
    /// What is added to each column; default nothing.
    pub bias: Option<Tensor>,
    /// Type of the result; default that of the rows.
    pub dtype: Option<DType>,
}

impl NormOptions {
    /// The defaults for this kind.
    pub fn new(kind: NormKind) -> Self {
        Self { kind, eps: 1e-5, weight: None, bias: None, dtype: None }
    }
}

impl Tensor {
    /// Normalised rows; see [`Norm`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::InvalidArgument`],
    /// [`crate::Code::Disposed`].
    pub fn norm(&self, options: NormOptions) -> Result<Tensor> {
        let NormOptions { kind, eps, weight, bias, dtype } = options;
        let out = self.sibling(dtype.unwrap_or(self.dtype()), self.shape())?;
        self.device().run(Norm { x: self.clone(), weight, bias, out: out.clone(), eps, kind })?;
        Ok(out)
    }
}
