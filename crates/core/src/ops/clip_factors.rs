use super::{Contract, Cost, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// How the norm `n` of a sample's gradient becomes the factor that it is scaled by, for a bound `C`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClipRule {
    /// `min(1, C / (n + 1e-6))` (Abadi et al. 2016, with the constant of Opacus).
    Flat,
    /// `C / (n + gamma)`, for every norm (AUTO-S; Bu et al. 2022).
    Automatic {
        /// What keeps small gradients small, from [`ClipRule::LEAST_GAMMA`]; 0.01 in the paper.
        gamma: f32,
    },
    /// `C / n`, and 0 for a gradient of zeros.
    Unit,
    /// 1 where `n <= C`, and else 0 (Bu et al. 2023).
    Threshold,
}

impl ClipRule {
    /// The least `gamma`: far above the norms that count as 0.
    pub const LEAST_GAMMA: f32 = 1e-12;

    /// Every factor is smaller than its formula says by this relative margin, `1 - 2^-20`. The four roundings of a factor
    /// take at most a quarter of the margin. The rest allows for a norm that was measured too small by a relative
    /// `7e-7` (its square by `1.4e-6`): the norm times the factor then never exceeds `C` in real arithmetic.
    pub const MARGIN: f32 = 1.0 - 1.0 / (1 << 20) as f32;

    /// The least bound: above the norms that count as 0.
    pub const LEAST_BOUND: f32 = 1e-18;

    /// What is added to a norm that is clipped flat.
    pub const FLAT: f32 = 1e-6;

    /// The factor for the square of a norm.
    ///
    /// A square that is no finite number, or negative, has factor 0, and so has any under a bound that is not finite or
    /// below [`ClipRule::LEAST_BOUND`]: what protects somebody fails closed. Squares and factors below the normal numbers
    /// of `f32` count as 0. Each of the operations is rounded to the nearest, so that every device gives the same bits.
    pub fn factor(self, squared_norm: f32, max_norm: f32) -> f32 {
        if !Self::measured(squared_norm) || !Self::bounds(max_norm) {
            return 0.0;
        }
        let norm = Self::norm(squared_norm);
        let quotient = match self {
            ClipRule::Flat => max_norm / (norm + Self::FLAT),
            ClipRule::Automatic { gamma } => max_norm / (norm + gamma),
            ClipRule::Unit if norm == 0.0 => return 0.0,
            ClipRule::Unit => max_norm / norm,
            ClipRule::Threshold if norm <= max_norm * Self::MARGIN => return 1.0,
            ClipRule::Threshold => return 0.0,
        };
        // A quotient beyond the finite numbers is only made smaller.
        let factor = quotient.min(f32::MAX) * Self::MARGIN;
        match self {
            ClipRule::Flat if factor > 1.0 => 1.0,
            _ if factor < f32::MIN_POSITIVE => 0.0,
            _ => factor,
        }
    }

    /// Whether this is the square of a norm.
    pub fn measured(squared_norm: f32) -> bool {
        squared_norm.is_finite() && squared_norm >= 0.0
    }

    /// Whether this is a bound for norms.
    pub fn bounds(max_norm: f32) -> bool {
        max_norm.is_finite() && max_norm >= Self::LEAST_BOUND
    }

    /// The norm for its square, which must be one.
    pub fn norm(squared_norm: f32) -> f32 {
        if squared_norm < f32::MIN_POSITIVE { 0.0 } else { squared_norm.sqrt() }
    }

    /// Its number for devices, and gamma.
    pub const fn code(self) -> (u32, f32) {
        match self {
            ClipRule::Flat => (0, 0.0),
            ClipRule::Automatic { gamma } => (1, gamma),
            ClipRule::Unit => (2, 0.0),
            ClipRule::Threshold => (3, 0.0),
        }
    }

    /// Refuses a gamma that would not bound anything.
    pub fn check(self) -> Result<()> {
        match self {
            ClipRule::Automatic { gamma } if !(gamma.is_finite() && gamma >= Self::LEAST_GAMMA) => {
                Err(Error::invalid_argument(
                    "gamma",
                    format!("expected a number from {:e} on, given {gamma}", Self::LEAST_GAMMA),
                ))
            }
            _ => Ok(()),
        }
    }
}

/// The factors that clip per-sample gradients, from the squares of their norms: `factors[g, b]` is
/// [`ClipRule::factor`] of `squared[g, b]` under the bound `max_norms[g]`, for every group `g` of parameters and
/// sample `b`.
///
/// All numbers are `f32`. A sample of weight 0 is padding: its factors are 0 and it is not counted; without weights all
/// are 1. A sample whose square is no finite number (or negative) in any group has factor 0 in every group: it is left
/// out as a whole. `counts[g]` says of the samples of weight 1 how many took part, how many were left out for their
/// norms, and how many of those that took part have a norm of at most `max_norms[g]`, which is what adaptive clipping
/// goes by (Andrew et al. 2021). The counts are as private as the samples.
///
/// A weight other than 0 and 1 is a fault of the sample's row; a bound that is not finite, or below
/// [`ClipRule::LEAST_BOUND`], is one of row `samples + g`.
#[derive(Debug, Clone)]
pub struct ClipFactors {
    /// Squares of norms, `[groups, samples]`.
    pub squared: Tensor,
    /// Which samples count, `[samples]`.
    pub weights: Option<Tensor>,
    /// The bound of each group, `[groups]`.
    pub max_norms: Tensor,
    /// A factor for each, `[groups, samples]`.
    pub factors: Tensor,
    /// Samples that took part, were left out, and were not clipped, `u32` `[groups, 3]`.
    pub counts: Tensor,
    /// The rule.
    pub rule: ClipRule,
}

impl Operation for ClipFactors {
    const NAME: &'static str = "clip_factors";
    const PROMISE: Promise = Promise::Exact;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        [&self.squared, &self.max_norms].into_iter().chain(&self.weights).collect()
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.factors, &self.counts]
    }

    fn check(&self) -> Result<()> {
        check::rank("squared", &self.squared, 2)?;
        let (groups, samples) = self.squared.shape().rows_cols();
        let f32s = [
            ("squared", Some(&self.squared), &[groups, samples][..]),
            ("weights", self.weights.as_ref(), &[samples]),
            ("maxNorms", Some(&self.max_norms), &[groups]),
            ("factors", Some(&self.factors), &[groups, samples]),
        ];
        for (name, tensor, shape) in f32s.into_iter().filter_map(|(n, t, s)| Some((n, t?, s))) {
            check::dtype(name, tensor, &[DType::F32])?;
            check::shape(name, tensor, shape)?;
        }
        check::dtype("counts", &self.counts, &[DType::U32])?;
        check::shape("counts", &self.counts, &[groups, 3])?;
        if u32::try_from(samples + groups).is_err() {
            return Err(Error::new(Code::ShapeMismatch, format!("{samples} samples do not fit in 32 bits"))
                .at_column("squared"));
        }
        self.rule.check()
    }

    fn cost(&self) -> Cost {
        let bytes = check::bytes(&[self.inputs(), self.outputs()].concat());
        Cost { flops: 5 * self.squared.len() as u64, bytes }
    }

    fn contract(&self) -> Contract {
        let broken = |row: u64, samples| match row.checked_sub(samples as u64) {
            None => Error::new(Code::InvalidValue, "the weight of a sample is neither 0 nor 1")
                .at_column("weights")
                .at_row(row),
            Some(group) => {
                Error::new(Code::InvalidValue, "the bound of a group is not a finite number from 1e-18 on")
                    .at_column("maxNorms")
                    .at_row(group)
            }
        };
        Contract { bound: self.squared.shape().rows_cols().1, broken }
    }
}

/// What [`Tensor::clip_factors`] works with.
#[derive(Debug, Clone)]
pub struct ClipOptions {
    /// The bound of each group, `[groups]`.
    pub max_norms: Tensor,
    /// 1 for each sample that counts, 0 for padding; without, all count.
    pub weights: Option<Tensor>,
    /// The rule.
    pub rule: ClipRule,
}

/// What [`Tensor::clip_factors`] gives.
#[derive(Debug, Clone)]
pub struct ClipFactorsOutput {
    /// A factor for each group and sample.
    pub factors: Tensor,
    /// Samples that took part, were left out, and were not clipped, for each group.
    pub counts: Tensor,
}

impl Tensor {
    /// Factors that clip gradients with these squares of norms; see [`ClipFactors`].
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::InvalidArgument`], [`Code::Disposed`]; a weight other
    /// than 0 and 1 and a bound that is none show at the read, as [`Code::InvalidValue`].
    pub fn clip_factors(&self, options: ClipOptions) -> Result<ClipFactorsOutput> {
        let ClipOptions { max_norms, weights, rule } = options;
        let factors = self.sibling(DType::F32, self.shape())?;
        let counts = self.sibling(DType::U32, &[self.shape().rows_cols().0, 3])?;
        self.device().run(ClipFactors {
            squared: self.clone(),
            weights,
            max_norms,
            factors: factors.clone(),
            counts: counts.clone(),
            rule,
        })?;
        Ok(ClipFactorsOutput { factors, counts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: [ClipRule; 4] =
        [ClipRule::Flat, ClipRule::Automatic { gamma: 0.01 }, ClipRule::Unit, ClipRule::Threshold];

    #[test]
    fn no_factor_lets_a_norm_exceed_its_bound() {
        let mut bits = 1u32;
        for i in 0..200_000 {
            bits = bits.wrapping_mul(0x9E37_79B1).wrapping_add(i);
            // Squares of every size, and bounds near the norm and far from it.
            let squared = f32::from_bits(bits % 0x7F80_0000);
            let norm = f64::from(squared).sqrt();
            // As if the square had been measured too small.
            let true_norm = norm * (1.0 + 7e-7);
            for bound in [norm as f32, 1.0, 1e-3, (norm * 1.3) as f32, 1e-18, 1e30] {
                if !ClipRule::bounds(bound) {
                    continue;
                }
                for rule in RULES {
                    let factor = f64::from(rule.factor(squared, bound));
                    assert!(factor * true_norm <= f64::from(bound), "{rule:?} {squared:e} {bound:e}");
                }
            }
        }
    }

    #[test]
    fn factors_are_close_to_their_formulas() {
        let near = |got: f32, want: f64| assert!((f64::from(got) / want - 1.0).abs() < 2e-6, "{got} {want}");
        near(ClipRule::Flat.factor(16.0, 1.0), 1.0 / 4.000_001);
        near(ClipRule::Automatic { gamma: 0.5 }.factor(16.0, 2.0), 2.0 / 4.5);
        near(ClipRule::Unit.factor(16.0, 3.0), 0.75);
        assert_eq!(ClipRule::Flat.factor(16.0, 5.0), 1.0);
        assert_eq!(ClipRule::Threshold.factor(16.0, 4.1), 1.0);
        assert_eq!(ClipRule::Threshold.factor(16.0, 3.9), 0.0);
    }

    #[test]
    fn what_is_no_norm_has_factor_0() {
        for rule in RULES {
            for squared in [f32::NAN, f32::INFINITY, -1.0, f32::NEG_INFINITY] {
                assert_eq!(rule.factor(squared, 1.0), 0.0, "{rule:?} {squared}");
            }
            for bound in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-19] {
                assert_eq!(rule.factor(1.0, bound), 0.0, "{rule:?} {bound}");
            }
        }
        assert_eq!(ClipRule::Unit.factor(0.0, 1.0), 0.0);
        assert_eq!(ClipRule::Unit.factor(1e-40, 1.0), 0.0);
        assert_eq!(ClipRule::Flat.factor(-0.0, 1.0), 1.0);
        assert!(ClipRule::Unit.factor(2e-38, 3e38).is_finite());
        assert!(ClipRule::Unit.factor(3e38, 1e-18) < 1e-36);
        assert!(ClipRule::Automatic { gamma: 1e-13 }.check().is_err());
    }
}
