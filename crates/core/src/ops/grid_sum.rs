use super::{Contract, Cost, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// Adds up rows that are scaled and rounded to a grid, exactly: `sums[j] += Σ_s round(factors[s] · rows[s, j] / step)`
/// with `step = 2^exponent`, in 64-bit integers.
///
/// The product is rounded to the nearest `f32` and the quotient to the nearest integer, ties to even; since the step is a
/// power of two, every device gets the same integers, and sums of integers have no order. `rows` and `factors` are
/// `f32`; `sums` is `u32`, `[n, 2]`: the low word and the high one of a number in two's complement. A factor of 0 adds
/// nothing, whatever its row holds.
///
/// With noise that is on the grid too, nothing of the last bits of anybody's numbers is left in a sum. Rounding may
/// lengthen a row by half a step times the square root of `n`: clip to that much less than the bound.
///
/// A quotient of 2^31 and more in magnitude, or a NaN, is a fault of the row: its norm was not what its factor is for.
#[derive(Debug, Clone)]
pub struct GridSum {
    /// A row for each sample, `[samples, n]`.
    pub rows: Tensor,
    /// A factor for each, `[samples]`.
    pub factors: Tensor,
    /// What is added to, `[n, 2]`.
    pub sums: Tensor,
    /// The step of the grid, as a power of two.
    pub exponent: i32,
}

impl GridSum {
    /// The exponents that a step may have: far from the ends of `f32`.
    pub const EXPONENTS: std::ops::RangeInclusive<i32> = -100..=100;

    /// `1 / step`.
    pub fn reciprocal(&self) -> f32 {
        f32::from_bits(((127 - self.exponent) as u32) << 23)
    }
}

impl Operation for GridSum {
    const NAME: &'static str = "grid_sum";
    const PROMISE: Promise = Promise::Exact;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.rows, &self.factors]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn updates(&self) -> Vec<&Tensor> {
        vec![&self.sums]
    }

    fn check(&self) -> Result<()> {
        check::rank("rows", &self.rows, 2)?;
        let (samples, n) = self.rows.shape().rows_cols();
        check::dtype("rows", &self.rows, &[DType::F32])?;
        check::dtype("factors", &self.factors, &[DType::F32])?;
        check::shape("factors", &self.factors, &[samples])?;
        check::dtype("sums", &self.sums, &[DType::U32])?;
        check::shape("sums", &self.sums, &[n, 2])?;
        if Self::EXPONENTS.contains(&self.exponent) {
            return Ok(());
        }
        Err(Error::invalid_argument("exponent", format!("expected -100 to 100, given {}", self.exponent)))
    }

    fn cost(&self) -> Cost {
        let bytes = check::bytes(&self.inputs()) + 2 * self.sums.bytes() as u64;
        Cost { flops: 3 * self.rows.len() as u64, bytes }
    }

    fn contract(&self) -> Contract {
        let broken = |row, _| {
            Error::new(Code::InvalidValue, "a scaled number of the row lies beyond 2^31 steps of the grid")
                .at_column("rows")
                .at_row(row)
                .hint("factors must bound the norms of the rows, and the step must be at least the bound by 2^30")
        };
        Contract { bound: 0, broken }
    }
}

impl Tensor {
    /// Adds these rows, scaled and rounded to multiples of `2^exponent`, to 64-bit sums; see [`GridSum`].
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::InvalidArgument`], [`Code::Disposed`]; numbers beyond
    /// the grid show at the read, as [`Code::InvalidValue`].
    pub fn grid_sum(&self, factors: &Tensor, sums: &Tensor, exponent: i32) -> Result<()> {
        self.device().run(GridSum {
            rows: self.clone(),
            factors: factors.clone(),
            sums: sums.clone(),
            exponent,
        })
    }
}
