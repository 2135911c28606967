use super::{Cost, Operation, Promise, check};
use crate::{DType, Error, Result, Tensor};

/// How groups of numbers are rounded to a few levels ("round to nearest"). Of a group, with `c` the clip:
///
/// - symmetric, as weights are: `L = 2^(bits−1) − 1`, `a = c · max |x|`; levels from `−L − 1` to `L`;
/// - asymmetric, as activations are: `L = 2^bits − 1`, `a = c · max(0, max x) − c · min(0, min x)`, and
///   `z = round(−c · min(0, min x) · i)`, at most `L`; levels from `−z` to `L − z`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RtnRule {
    /// Bits of a level, 2 to 8; 4 by default.
    pub bits: u32,
    /// Whether levels are as many on both sides of 0, but for one; so by default.
    pub symmetric: bool,
    /// What the ends of a group are multiplied by, from 0.01 to 1; 1 by default.
    pub clip: f32,
}

impl Default for RtnRule {
    fn default() -> Self {
        Self { bits: 4, symmetric: true, clip: 1.0 }
    }
}

/// The levels of a group: what is left of a number is `scale · clamp(round(x · inverse))`, between `low` and `high`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RtnGrid {
    /// `i = L / a`; 0 for a group of zeros.
    pub inverse: f32,
    /// `s = a / L`; NaN for a group that has no levels.
    pub scale: f32,
    /// The least level.
    pub low: f32,
    /// The greatest.
    pub high: f32,
}

impl RtnRule {
    /// The extent of a group below which it is as good as zeros, `2^-100`.
    pub const LEAST: f32 = f32::from_bits((127 - 100) << 23);
    /// The magnitude above which a number has no levels, `2^125`.
    pub const MOST: f32 = f32::from_bits((127 + 125) << 23);

    /// The greatest level of one side, or how many there are above the least.
    pub fn levels(&self) -> f32 {
        ((1u32 << (self.bits - u32::from(self.symmetric))) - 1) as f32
    }

    /// The levels of a group whose least and greatest numbers are these; NaN for both where there is one.
    pub fn grid(&self, least: f32, greatest: f32) -> RtnGrid {
        let levels = self.levels();
        let none = |scale: f32| RtnGrid { inverse: 0.0, scale, low: 0.0, high: 0.0 };
        if !(least >= -Self::MOST && greatest <= Self::MOST) {
            return none(f32::NAN);
        }
        let (below, above) = (self.clip * least.min(0.0), self.clip * greatest.max(0.0));
        let extent = if self.symmetric { above.max(-below) } else { above - below };
        if extent < Self::LEAST {
            return none(0.0);
        }
        let (inverse, scale) = (levels / extent, extent / levels);
        if self.symmetric {
            return RtnGrid { inverse, scale, low: -levels - 1.0, high: levels };
        }
        let zero = (-below * inverse).round_ties_even().min(levels);
        RtnGrid { inverse, scale, low: -zero, high: levels - zero }
    }

    fn check(&self) -> Result<()> {
        if !(2..=8).contains(&self.bits) {
            return Err(Error::invalid_argument("bits", format!("expected 2 to 8, given {}", self.bits)));
        }
        if !(self.clip >= 0.01 && self.clip <= 1.0) {
            let text = format!("expected a number from 0.01 to 1, given {}", self.clip);
            return Err(Error::invalid_argument("clip", text));
        }
        Ok(())
    }
}

impl RtnGrid {
    /// What is left of a number of the group.
    #[inline(always)]
    pub fn rounded(&self, x: f32) -> f32 {
        let level = (x * self.inverse).round_ties_even();
        let level = if level < self.low { self.low } else { level };
        let level = if level > self.high { self.high } else { level };
        // No zero has a sign.
        (level + 0.0) * self.scale
    }
}

/// What is left of rows when groups of them are rounded to a few levels and back; see [`RtnRule`]. A group is `group`
/// consecutive columns. Numbers are rounded to the nearest level, ties to even. Every product, quotient and difference is
/// rounded to `f32` by itself, and the result to its type, so that all devices have the same bits.
///
/// `x` and `out` are `[rows, columns]` of one type, `f32`, `bf16` or `f16`. A group whose extent `a` is below
/// [`RtnRule::LEAST`] gives zeros, and one with a NaN, or a magnitude above [`RtnRule::MOST`], gives NaN.
#[derive(Debug, Clone)]
pub struct QuantizeRtn {
    /// Rows.
    pub x: Tensor,
    /// What is left of them.
    pub out: Tensor,
    /// Columns of a group; divides the columns.
    pub group: usize,
    /// How each is rounded.
    pub rule: RtnRule,
}

impl Operation for QuantizeRtn {
    const NAME: &'static str = "quantize_rtn";
    const PROMISE: Promise = Promise::Exact;

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
        self.rule.check()?;
        check::whole_groups("group", self.group, self.x.shape().rows_cols().1)
    }

    fn cost(&self) -> Cost {
        Cost { flops: 8 * self.x.len() as u64, bytes: check::bytes(&[&self.x, &self.out]) }
    }
}

impl Tensor {
    /// What is left of these rows when groups of so many columns (by default whole rows) are rounded to a few levels; see
    /// [`QuantizeRtn`].
    ///
    /// # Errors
    /// [`crate::Code::InvalidArgument`], [`crate::Code::ShapeMismatch`] for groups that do not divide the columns,
    /// [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`].
    pub fn quantize_rtn(&self, rule: RtnRule, group: Option<usize>) -> Result<Tensor> {
        let out = self.sibling(self.dtype(), self.shape())?;
        let group = group.unwrap_or(self.shape().rows_cols().1.max(1));
        self.device().run(QuantizeRtn { x: self.clone(), out: out.clone(), group, rule })?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_where_the_formula_puts_them() {
        let rule = |bits, symmetric, clip| RtnRule { bits, symmetric, clip };
        let grid = rule(4, true, 1.0).grid(-3.5, 1.0);
        assert_eq!(grid, RtnGrid { inverse: 2.0, scale: 0.5, low: -8.0, high: 7.0 });
        // Ties to even, and ends.
        assert_eq!([-3.5, 0.25, 0.75, 9.0, -9.0].map(|x| grid.rounded(x)), [-3.5, 0.0, 1.0, 3.5, -4.0]);
        assert_eq!(grid.rounded(-0.1).to_bits(), 0);
        let grid = rule(4, false, 1.0).grid(-1.0, 14.0);
        assert_eq!(grid, RtnGrid { inverse: 1.0, scale: 1.0, low: -1.0, high: 14.0 });
        assert_eq!([-5.0, -0.4, 3.4, 20.0].map(|x| grid.rounded(x)), [-1.0, 0.0, 3.0, 14.0]);
        // 0 is a level wherever the numbers are.
        assert_eq!(rule(2, false, 1.0).grid(2.0, 3.0).low, 0.0);
        let below = RtnGrid { inverse: 1.0, scale: 1.0, low: -3.0, high: 0.0 };
        assert_eq!(rule(2, false, 1.0).grid(-3.0, -2.0), below);
        assert_eq!(rule(8, true, 0.5).grid(-254.0, 254.0).scale, 1.0);
        for symmetric in [true, false] {
            let rule = rule(4, symmetric, 1.0);
            assert!(rule.grid(f32::NAN, f32::NAN).rounded(1.0).is_nan());
            assert!(rule.grid(0.0, f32::INFINITY).rounded(1.0).is_nan());
            assert_eq!(rule.grid(-1e-40, 1e-31).rounded(1e-31), 0.0);
        }
    }
}
