use super::{Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// The same numbers in another element type.
///
/// To a narrower float: round to nearest, ties to even; what is too large becomes infinity; NaN stays NaN (quiet, of
/// any payload). To an integer: towards zero, saturating, NaN to 0. From an integer: to the nearest float. Subnormal
/// numbers keep their value.
#[derive(Debug, Clone)]
pub struct Cast {
    /// Elements to convert.
    pub x: Tensor,
    /// Converted elements, in the same shape.
    pub out: Tensor,
}

impl Operation for Cast {
    const NAME: &'static str = "cast";
    const PROMISE: Promise = Promise::Exact;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::shape("out", &self.out, self.x.shape())
    }

    fn cost(&self) -> Cost {
        Cost { flops: 0, bytes: check::bytes(&[&self.x, &self.out]) }
    }
}

impl Tensor {
    /// The same numbers as another type; see [`Cast`].
    ///
    /// # Errors
    /// [`crate::Code::Unsupported`] for `f64` elsewhere than on the CPU; [`crate::Code::Disposed`].
    pub fn cast(&self, dtype: DType) -> Result<Tensor> {
        let out = self.sibling(dtype, self.shape())?;
        self.device().run(Cast { x: self.clone(), out: out.clone() })?;
        Ok(out)
    }
}
