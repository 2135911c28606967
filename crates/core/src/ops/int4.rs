use super::{Cost, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// Numbers as codes of 4 bits, in groups of 256 in flat order of which the last may be shorter: the asymmetric
/// quantisation of the projectors of Q-GaLore (Zhang et al. 2024, section 3.3), packed.
///
/// Of a group, `s = max(max − min, 10⁻⁵) / 15`, `z = clamp(−round(min / s), 0, 15)` and, for each number `x`,
/// `q = clamp(round(x / s) + z, 0, 15)`; what comes back is `(q − z) s` ([`Int4Unpack`]). Numbers of a group are so at most
/// `s / 2` off where the group holds 0; of one that is far from it, the clamp of `z` takes most.
///
/// `x` is `f32`, of any shape. `codes` is `u32`, `[⌈n / 8⌉]`, eight codes a word, the first in the lowest bits, and 0 behind
/// the last; `scales` is `f32`, `zeros` is `u32`, both `[⌈n / 256⌉]`: 4.25 bits an element in all.
///
/// The same bits on every backend: the division by 15 is a product with the `f32` that is nearest to 1/15, and both
/// roundings, half to even, are comparisons with [`int4_code`]'s products, each rounded once. A group with a number that is
/// not finite, or whose range is not, has the scale NaN and codes of 0, and comes back as NaN: what is lost shows.
#[derive(Debug, Clone)]
pub struct Int4Pack {
    /// The numbers.
    pub x: Tensor,
    /// Their codes.
    pub codes: Tensor,
    /// Scale of each group.
    pub scales: Tensor,
    /// Code of zero of each group.
    pub zeros: Tensor,
}

/// Numbers from codes of 4 bits: `out[i] = (q − z) s`, with code `q` and the group's `z` and `s`; the inverse of
/// [`Int4Pack`], with the same shapes. A scale that is not finite gives NaN, one below the normal numbers counts as 0, and of
/// a zero count its lowest four bits. The same bits on every backend.
#[derive(Debug, Clone)]
pub struct Int4Unpack {
    /// The codes.
    pub codes: Tensor,
    /// Scale of each group.
    pub scales: Tensor,
    /// Code of zero of each group.
    pub zeros: Tensor,
    /// The numbers.
    pub out: Tensor,
}

/// Elements of a group of 4-bit codes.
pub const INT4_GROUP: usize = 256;

/// The scale of a group of numbers from `min` to `max`; NaN where their distance is not finite.
#[inline]
pub fn int4_scale(min: f32, max: f32) -> f32 {
    const FIFTEENTH: f32 = 1.0 / 15.0;
    let range = max - min;
    if range.is_finite() { range.max(1e-5) * FIFTEENTH } else { f32::NAN }
}

/// `clamp(round(x / scale) + zero, 0, 15)`, half to even: the number of multiples `k − zero + ½` of the scale that lie below
/// `x`, with one that is equal to it where that rounds up.
#[inline]
pub fn int4_code(x: f32, scale: f32, zero: u32) -> u32 {
    (0..15u32)
        .map(|k| {
            let steps = k as i32 - zero as i32;
            let middle = scale * (steps as f32 + 0.5);
            u32::from(x > middle || (x == middle && steps & 1 != 0))
        })
        .sum()
}

/// Shapes and types of packed numbers.
fn check_packed(elements: usize, codes: &Tensor, scales: &Tensor, zeros: &Tensor) -> Result<()> {
    if u32::try_from(elements).is_err() {
        return Err(Error::new(Code::ShapeMismatch, "at most 2^32 elements").at_column("codes"));
    }
    let groups = elements.div_ceil(INT4_GROUP);
    check::dtype("codes", codes, &[DType::U32])?;
    check::shape("codes", codes, &[elements.div_ceil(8)])?;
    check::dtype("scales", scales, &[DType::F32])?;
    check::shape("scales", scales, &[groups])?;
    check::dtype("zeros", zeros, &[DType::U32])?;
    check::shape("zeros", zeros, &[groups])
}

impl Operation for Int4Pack {
    const NAME: &'static str = "int4_pack";
    const PROMISE: Promise = Promise::Exact;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.codes, &self.scales, &self.zeros]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &[DType::F32])?;
        check_packed(self.x.len(), &self.codes, &self.scales, &self.zeros)
    }

    fn cost(&self) -> Cost {
        let bytes = check::bytes(&[&self.x, &self.codes, &self.scales, &self.zeros]);
        Cost { flops: 17 * self.x.len() as u64, bytes }
    }
}

impl Operation for Int4Unpack {
    const NAME: &'static str = "int4_unpack";
    const PROMISE: Promise = Promise::Exact;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.codes, &self.scales, &self.zeros]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("out", &self.out, &[DType::F32])?;
        check_packed(self.out.len(), &self.codes, &self.scales, &self.zeros)
    }

    fn cost(&self) -> Cost {
        let bytes = check::bytes(&[&self.codes, &self.scales, &self.zeros, &self.out]);
        Cost { flops: 2 * self.out.len() as u64, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_formula() {
        // A scale that is a power of two, so that quotients are exact and ties are hit.
        for zero in 0..16u32 {
            for half_steps in -40..=40i32 {
                let x = half_steps as f32 * 0.125;
                let q = f64::from(x / 0.25).round_ties_even() + f64::from(zero);
                assert_eq!(f64::from(int4_code(x, 0.25, zero)), q.clamp(0.0, 15.0), "{x} {zero}");
            }
        }
        assert_eq!(int4_scale(0.0, 0.0), 1e-5 / 15.0);
        assert_eq!(int4_scale(-1.0, 14.0), 1.0);
        assert!(int4_scale(-3e38, 3e38).is_nan());
    }
}
