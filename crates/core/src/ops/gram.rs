use super::{Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// A product of a matrix with its own transpose, of which half is computed:
/// `out = alpha · x · xᵀ + beta · c`, or `alpha · xᵀ · x + beta · c`.
///
/// `x` is `[n, k]`, or `[k, n]` for the second, `f32`, `bf16` or `f16`; products are added in `f32`; `out` is `[n, n]`, of
/// the type of `x` or `f32`. `c` is `[n, n]` of the type of `out`, and symmetric: what it has above its diagonal is not
/// read. The result is symmetric to the bit. For a symmetric `x` it is `alpha · x² + beta · c`, and `c` may be `x` itself.
/// Subnormal numbers as in [`Matmul`](super::Matmul).
#[derive(Debug, Clone)]
pub struct Gram {
    /// The matrix.
    pub x: Tensor,
    /// What is added.
    pub c: Option<Tensor>,
    /// The product.
    pub out: Tensor,
    /// Whether columns are multiplied with columns, rather than rows with rows.
    pub columns: bool,
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of `c`.
    pub beta: f32,
}

impl Gram {
    /// Rows of the product, and terms of each of its sums.
    pub fn sizes(&self) -> (usize, usize) {
        let (rows, columns) = self.x.shape().rows_cols();
        if self.columns { (columns, rows) } else { (rows, columns) }
    }
}

impl Operation for Gram {
    const NAME: &'static str = "gram";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        [&self.x].into_iter().chain(&self.c).collect()
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &[DType::F32, DType::Bf16, DType::F16])?;
        check::rank("x", &self.x, 2)?;
        check::dtype("out", &self.out, &[self.x.dtype(), DType::F32])?;
        let (n, _) = self.sizes();
        check::shape("out", &self.out, &[n, n])?;
        if let Some(c) = &self.c {
            check::same_dtype("c", c, "out", self.out.dtype())?;
            check::shape("c", c, &[n, n])?;
        }
        check::finite("alpha", self.alpha)?;
        check::finite("beta", self.beta)
    }

    fn cost(&self) -> Cost {
        let (n, k) = self.sizes();
        let c = self.c.as_ref().map_or(0, |c| c.bytes() as u64);
        Cost { flops: (n * (n + 1)) as u64 * k as u64, bytes: check::bytes(&[&self.x, &self.out]) + c }
    }
}

/// How to multiply a matrix with its transpose.
#[derive(Debug, Clone)]
pub struct GramOptions {
    /// Whether columns are multiplied with columns, rather than rows with rows; default `false`.
    pub columns: bool,
    /// Factor of the product; default 1.
    pub alpha: f32,
    /// A symmetric matrix that is added; default none.
    pub c: Option<Tensor>,
    /// Factor of that; default 1.
    pub beta: f32,
    /// Type of the result; default that of the matrix.
    pub dtype: Option<DType>,
}

impl Default for GramOptions {
    fn default() -> Self {
        Self { columns: false, alpha: 1.0, c: None, beta: 1.0, dtype: None }
    }
}

impl Tensor {
    /// The product of this matrix with its own transpose; see [`Gram`].
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`](crate::Code::ShapeMismatch), [`Code::DtypeMismatch`](crate::Code::DtypeMismatch),
    /// [`Code::DeviceMismatch`](crate::Code::DeviceMismatch), [`Code::Disposed`](crate::Code::Disposed).
    pub fn gram(&self, options: GramOptions) -> Result<Tensor> {
        let GramOptions { columns, alpha, c, beta, dtype } = options;
        check::rank("x", self, 2).map_err(|e| e.in_op(Gram::NAME))?;
        let x = self.clone();
        // Only the sizes are asked of this one; its output is a stand-in.
        let draft = Gram { out: x.clone(), x, c, columns, alpha, beta };
        let (n, _) = draft.sizes();
        let out = self.sibling(dtype.unwrap_or(self.dtype()), &[n, n])?;
        self.device().run(Gram { out: out.clone(), ..draft })?;
        Ok(out)
    }
}
