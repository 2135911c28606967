use super::{Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// How heavy the tails of every row are: `out[r] = m₄ / v² − 3`, with `v` the mean of `(x − mean x)²` over the row, and `m₄`
/// the mean of `(x − mean x)⁴` if `centered`, of `x⁴` if not, as outlier-safe pre-training measures it (OSP, arXiv
/// 2506.19697). 0 of normal numbers around 0.
///
/// `x` is `[rows, columns]`, `f32`, `bf16` or `f16`; `out` is `[rows]`, `f32`. NaN for a row whose numbers are all equal, or
/// not all finite. A row has the same bits whatever the others are.
#[derive(Debug, Clone)]
pub struct Kurtosis {
    /// Rows.
    pub x: Tensor,
    /// Kurtosis of each.
    pub out: Tensor,
    /// Whether the mean is taken away from fourth powers too.
    pub centered: bool,
}

impl Operation for Kurtosis {
    const NAME: &'static str = "kurtosis";
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
        check::dtype("out", &self.out, &[DType::F32])?;
        check::shape("out", &self.out, &[self.x.shape().rows_cols().0])
    }

    fn cost(&self) -> Cost {
        Cost { flops: 8 * self.x.len() as u64, bytes: check::bytes(&[&self.x, &self.out]) }
    }
}

impl Tensor {
    /// The excess kurtosis of every row; see [`Kurtosis`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`].
    pub fn kurtosis(&self, centered: bool) -> Result<Tensor> {
        check::rank("x", self, 2).map_err(|e| e.in_op(Kurtosis::NAME))?;
        let out = self.sibling(DType::F32, &[self.shape().rows_cols().0])?;
        self.device().run(Kurtosis { x: self.clone(), out: out.clone(), centered })?;
        Ok(out)
    }
}
