use super::{Cost, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// `out = alpha · op(a) · op(b) + beta · out`, where `op` transposes the last two dimensions or not.
///
/// `op(a)` is `[m, k]` and `op(b)` is `[k, n]`, or both have one more dimension in front, a batch of equal size, or
/// only `a` has and every `a` meets the same `b`. Inputs `f32`, `bf16` or `f16` (both the same), or `f64` on the CPU;
/// products are added in `f32` (`f64`); `out` is of the inputs' type or `f32`. With `beta` 0 what was in `out` does
/// not matter, not even NaN; with `k` 0 the product is 0. Processors with instructions for products of `bf16` take
/// subnormal factors and sums of these for 0.
///
/// With `a` stored by rows, a row of the product has the same bits whatever the other rows are and however many, but for
/// one case: cuBLASLt, which CUDA devices use where it is installed, chooses by the size of the whole.
#[derive(Debug, Clone)]
pub struct Matmul {
    /// Left factor.
    pub a: Tensor,
    /// Right factor.
    pub b: Tensor,
    /// The product, `[m, n]`, with the batch of `a` in front if it has one.
    pub out: Tensor,
    /// Whether `a` is stored as `[k, m]`.
    pub trans_a: bool,
    /// Whether `b` is stored as `[n, k]`.
    pub trans_b: bool,
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of what was in `out`.
    pub beta: f32,
}

/// The sizes of a product, once its operands are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatmulSizes {
    /// Independent products.
    pub batch: usize,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Products in each sum.
    pub k: usize,
    /// Whether each product has a `b` of its own.
    pub batched_b: bool,
}

impl MatmulSizes {
    /// The shape of the result, for a left factor of this rank.
    fn shape(&self, rank: usize) -> Vec<usize> {
        [self.batch, self.m, self.n][3 - rank.clamp(2, 3)..].to_vec()
    }
}

impl Matmul {
    /// The sizes of the product.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`] when the factors do not fit.
    pub fn sizes(&self) -> Result<MatmulSizes> {
        let (batch_a, rows_a, cols_a) = matrix("a", &self.a)?;
        let (batch_b, rows_b, cols_b) = matrix("b", &self.b)?;
        let (m, k) = if self.trans_a { (cols_a, rows_a) } else { (rows_a, cols_a) };
        let (k_b, n) = if self.trans_b { (cols_b, rows_b) } else { (rows_b, cols_b) };
        let mismatch = |what: String| Err(Error::new(Code::ShapeMismatch, what).at_column("b"));
        if k != k_b {
            return mismatch(format!(
                "cannot multiply [{m}, {k}] by [{k_b}, {n}] (a is {}{}, b is {}{})",
                self.a.shape(),
                if self.trans_a { " transposed" } else { "" },
                self.b.shape(),
                if self.trans_b { " transposed" } else { "" },
            ));
        }
        if batch_b.is_some() && batch_a != batch_b {
            return mismatch(format!(
                "the batch of b ({}) is not that of a ({})",
                self.b.shape(),
                self.a.shape()
            ));
        }
        Ok(MatmulSizes { batch: batch_a.unwrap_or(1), m, n, k, batched_b: batch_b.is_some() })
    }
}

fn matrix(name: &str, t: &Tensor) -> Result<(Option<usize>, usize, usize)> {
    match **t.shape() {
        [rows, cols] => Ok((None, rows, cols)),
        [batch, rows, cols] => Ok((Some(batch), rows, cols)),
        _ => Err(Error::new(Code::ShapeMismatch, format!("expected 2 or 3 dimensions, given {}", t.shape()))
            .at_column(name)),
    }
}

impl Operation for Matmul {
    const NAME: &'static str = "matmul";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.a, &self.b]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        if self.beta == 0.0 { vec![&self.out] } else { Vec::new() }
    }

    fn updates(&self) -> Vec<&Tensor> {
        if self.beta == 0.0 { Vec::new() } else { vec![&self.out] }
    }

    fn check(&self) -> Result<()> {
        let dtype = self.a.dtype();
        check::dtype("a", &self.a, &[DType::F32, DType::Bf16, DType::F16, DType::F64])?;
        check::same_dtype("b", &self.b, "a", dtype)?;
        let outs = if dtype == DType::F64 { [DType::F64; 2] } else { [dtype, DType::F32] };
        check::dtype("out", &self.out, &outs)?;
        check::finite("alpha", self.alpha)?;
        check::finite("beta", self.beta)?;
        let s = self.sizes()?;
        check::shape("out", &self.out, &s.shape(self.a.shape().rank()))
    }

    fn cost(&self) -> Cost {
        let flops = self.sizes().map_or(0, |s| 2 * (s.batch * s.m) as u64 * (s.n * s.k) as u64);
        let again = if self.beta == 0.0 { 0 } else { self.out.bytes() as u64 };
        Cost { flops, bytes: check::bytes(&[&self.a, &self.b, &self.out]) + again }
    }
}

/// How to multiply.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatmulOptions {
    /// Whether the left factor is stored transposed; default `false`.
    pub trans_a: bool,
    /// Whether the right factor is stored transposed; default `false`.
    pub trans_b: bool,
    /// Factor of the product; default 1.
    pub alpha: f32,
    /// Type of the result; default that of the factors.
    pub dtype: Option<DType>,
}

impl Default for MatmulOptions {
    fn default() -> Self {
        Self { trans_a: false, trans_b: false, alpha: 1.0, dtype: None }
    }
}

impl Tensor {
    /// The matrix product with `b`; see [`Matmul`].
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::DeviceMismatch`], [`Code::Disposed`].
    pub fn matmul(&self, b: &Tensor, options: MatmulOptions) -> Result<Tensor> {
        let MatmulOptions { trans_a, trans_b, alpha, dtype } = options;
        let (a, b) = (self.clone(), b.clone());
        // Only the sizes are asked of this one; its output is a stand-in.
        let draft = Matmul { out: a.clone(), a, b, trans_a, trans_b, alpha, beta: 0.0 };
        let s = draft.sizes().map_err(|e| e.in_op(Matmul::NAME))?;
        let out = self.sibling(dtype.unwrap_or(self.dtype()), &s.shape(self.shape().rank()))?;
        self.device().run(Matmul { out: out.clone(), ..draft })?;
        Ok(out)
    }
}
