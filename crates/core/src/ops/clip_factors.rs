use crate::{Error, Result};

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

    /// What is added to a norm that is clipped flat.
    pub const FLAT: f32 = 1e-6;

    /// The factor for the square of a norm.
    ///
    /// A square that is no finite number, or negative, has factor 0, and so has any under a bound that is not a positive
    /// number: what protects somebody fails closed. Squares and factors below the normal numbers of `f32` count as 0. Each
    /// of the operations is rounded to the nearest, so that every device gives the same bits.
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

    /// Whether this is a bound for norms: a positive normal number.
    pub fn bounds(max_norm: f32) -> bool {
        max_norm.is_normal() && max_norm > 0.0
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
