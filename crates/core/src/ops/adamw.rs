use super::{Cost, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// A step of Adam with decoupled weight decay (Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019), from
/// gradient to parameter in one pass: for every element,
///
/// `g = gradScale · grad`, `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
/// `param ← keep · param − step · m / (√v + eps)`.
///
/// Everything that does not differ between elements is in the scalars: bias correction in `step` and `eps`
/// ([`AdamwRule::bias_corrected`]), weight decay before the update or after it in `keep` and `step`. With `keep` 0 what
/// was in `param` does not matter, and with `step` −1 beside it the result is the direction `m / (√v + eps)`, which is
/// what methods with states in a subspace project back.
///
/// `grad` and `param` are `f32` or `bf16`, in one shape, with at most 2³² elements; moments as in [`Moments`]. Computed
/// in `f32`, from moments that are not yet rounded; what is stored as `bf16` is rounded once, to the nearest or with
/// [`Noise`]. An element whose gradient is not finite, or larger than 2⁶⁰, changes nothing: its parameter stays, its
/// moments do (requantised where a block shares a scale), and its direction is 0.
///
/// The moments are the same bits on every backend: each product and sum is rounded by itself, and what is below the
/// normal numbers of `f32` is 0. The parameter is within a tolerance, as square roots and quotients are.
#[derive(Debug, Clone)]
pub struct Adamw {
    /// The gradient.
    pub grad: Tensor,
    /// What is updated.
    pub param: Tensor,
    /// Its state.
    pub moments: Moments,
    /// The scalars.
    pub rule: AdamwRule,
    /// How numbers become `bf16`; to the nearest without.
    pub noise: Option<Noise>,
}

/// The state of Adam for one parameter.
#[derive(Debug, Clone)]
pub enum Moments {
    /// As numbers: each of as many elements as the parameter, both `f32` or both `bf16`.
    Full {
        /// Mean of the gradients.
        m: Tensor,
        /// Mean of their squares.
        v: Tensor,
    },
    /// As codes of 8 bits in blocks of 256 elements (Dettmers et al. 2022, block-wise dynamic quantisation): a number
    /// is its entry of the map times the greatest magnitude of its block. A number midway between two entries takes the
    /// greater.
    Int8 {
        /// `[2, blocks, 64]`, `u32`: of `m`, then of `v`; four codes a word, the first in the lowest bits.
        codes: Tensor,
        /// `[2, blocks]`, `f32`.
        absmax: Tensor,
        /// `[2, 256]`, `f32`, ascending: for `m`, then for `v`; see [`dynamic_map`].
        maps: Tensor,
    },
}

impl Moments {
    /// Elements of a block.
    pub const BLOCK: usize = 256;

    /// All of its tensors that change.
    pub fn tensors(&self) -> [&Tensor; 2] {
        match self {
            Moments::Full { m, v } => [m, v],
            Moments::Int8 { codes, absmax, .. } => [codes, absmax],
        }
    }

    pub(super) fn check(&self, elements: usize) -> Result<()> {
        match self {
            Moments::Full { m, v } => {
                check::dtype("m", m, &[DType::F32, DType::Bf16])?;
                check::same_dtype("v", v, "m", m.dtype())?;
                for (name, tensor) in [("m", m), ("v", v)] {
                    if tensor.len() != elements {
                        return Err(Error::new(
                            Code::ShapeMismatch,
                            format!(
                                "expected {elements} elements as the parameter has, given {}",
                                tensor.len()
                            ),
                        )
                        .at_column(name));
                    }
                }
                Ok(())
            }
            Moments::Int8 { codes, absmax, maps } => {
                let blocks = elements.div_ceil(Self::BLOCK);
                check::dtype("codes", codes, &[DType::U32])?;
                check::shape("codes", codes, &[2, blocks, Self::BLOCK / 4])?;
                check::dtype("absmax", absmax, &[DType::F32])?;
                check::shape("absmax", absmax, &[2, blocks])?;
                check::dtype("maps", maps, &[DType::F32])?;
                check::shape("maps", maps, &[2, Self::BLOCK])
            }
        }
    }
}

/// The scalars of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamwRule {
    /// Decay of the first moment, from 0 to 1 (exclusive).
    pub beta1: f64,
    /// Decay of the second moment, from 0 to 1 (exclusive).
    pub beta2: f64,
    /// What is added to the root of the second moment; above 0.
    pub eps: f32,
    /// Factor of the direction.
    pub step: f32,
    /// Factor of what the parameter was.
    pub keep: f32,
    /// Factor of the gradient.
    pub grad_scale: f32,
}

/// Where `eps` of Adam is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EpsPlacement {
    /// To the root of the corrected second moment, as the paper's algorithm and PyTorch do.
    #[default]
    Corrected,
    /// To the root of the second moment as it is, as section 2 of the paper allows and `galore_torch` does.
    Raw,
}

/// When weights decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DecayOrder {
    /// The weight before the update, as PyTorch does.
    #[default]
    Before,
    /// The weight after the update, as `galore_torch` and `bitsandbytes` do.
    After,
}

impl AdamwRule {
    /// The rule of step `t` (from 1) with bias correction: the learning rate `lr` applies to
    /// `(m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + eps)`, or with `eps` beside `√v` where it is [`EpsPlacement::Raw`]; no
    /// weight decays.
    pub fn bias_corrected(
        lr: f64,
        [beta1, beta2]: [f64; 2],
        eps: f64,
        t: u64,
        placement: EpsPlacement,
    ) -> Self {
        let t = t as f64;
        let (first, second) = (1.0 - beta1.powf(t), (1.0 - beta2.powf(t)).sqrt());
        let eps = match placement {
            EpsPlacement::Corrected => eps * second,
            EpsPlacement::Raw => eps,
        };
        let step = (lr * second / first) as f32;
        Self { beta1, beta2, eps: eps as f32, step, keep: 1.0, grad_scale: 1.0 }
    }

    /// The same with the weight multiplied by `1 − decay`: `decay` is the learning rate times the weight decay.
    pub fn decayed(self, decay: f64, order: DecayOrder) -> Self {
        let keep = 1.0 - decay;
        let step = match order {
            DecayOrder::Before => self.step,
            DecayOrder::After => (f64::from(self.step) * keep) as f32,
        };
        Self { keep: keep as f32, step, ..self }
    }

    /// The same, giving the direction without learning rate or sign, and the factor that is left for it.
    pub fn direction(self) -> (Self, f32) {
        (Self { step: -1.0, keep: 0.0, ..self }, self.step)
    }

    /// Checks that each is in its range.
    pub(super) fn check(&self) -> Result<()> {
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(Error::invalid_argument(
                    name,
                    format!("expected a number from 0 to 1, given {beta}"),
                ));
            }
        }
        if !(self.eps.is_finite() && self.eps >= f32::MIN_POSITIVE) {
            return Err(Error::invalid_argument(
                "eps",
                format!("expected a positive number of at least 2^-126, given {}", self.eps),
            ));
        }
        check::finite("step", self.step)?;
        check::finite("keep", self.keep)?;
        check::finite("gradScale", self.grad_scale)
    }

    /// `β₁, 1 − β₁, β₂, 1 − β₂` in single precision.
    pub fn betas(&self) -> [f32; 4] {
        [self.beta1, 1.0 - self.beta1, self.beta2, 1.0 - self.beta2].map(|x| x as f32)
    }

    /// The moments of an element after the step, and whether its gradient counts.
    #[inline(always)]
    pub fn moments(&self, [b1, c1, b2, c2]: [f32; 4], grad: f32, m: f32, v: f32) -> (f32, f32, bool) {
        let g = flush(flush(grad) * self.grad_scale);
        let counts = usable(grad) & usable(g);
        let (m, v) = (flush(m), flush(v));
        let next_m = flush(flush(b1 * m) + flush(c1 * g));
        let next_v = flush(flush(b2 * v) + flush(c2 * flush(g * g)));
        (if counts { next_m } else { m }, if counts { next_v } else { v }, counts)
    }
}

/// Greatest magnitude of a gradient that counts: its square, and sums of such, stay finite.
const LARGEST_GRADIENT: u32 = (127 + 60) << 23;

#[inline(always)]
fn usable(g: f32) -> bool {
    g.to_bits() & 0x7FFF_FFFF <= LARGEST_GRADIENT
}

/// The number, or 0 where it is below the normal ones: what devices do, or not, as they like, is always done here.
#[inline(always)]
pub fn flush(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7F80_0000 == 0 { 0 } else { bits })
}

/// What makes rounding to `bf16` right on average: of the two neighbours the greater magnitude with the probability of
/// the distance to the other, from 16 random bits.
///
/// Element `i` takes them from the block of Philox4x32-10 with the counter `(i, 0, stream)` under the key `seed`: the
/// parameter the lower half of word 0, `m` the upper half, `v` the lower half of word 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise {
    /// The key.
    pub seed: u64,
    /// Which sequence: one a step and parameter.
    pub stream: u64,
}

impl Noise {
    /// The random bits of an element, for parameter, `m` and `v`.
    #[inline(always)]
    pub fn bits(&self, i: u32) -> [u32; 3] {
        let [w0, w1, ..] = crate::rng::Philox::new(self.seed, self.stream).block(i.into());
        [w0 & 0xFFFF, w0 >> 16, w1 & 0xFFFF]
    }

    /// The bits of the `bf16` that a number becomes with these random bits.
    #[inline(always)]
    pub fn round(x: f32, random: u32) -> u16 {
        let bits = x.to_bits();
        let up = bits.wrapping_add(random) >> 16;
        // What is not finite stays so, and no NaN loses its last bit.
        let special = (bits >> 16) | if bits & 0x007F_FFFF == 0 { 0 } else { 0x40 };
        (if bits & 0x7F80_0000 == 0x7F80_0000 { special } else { up }) as u16
    }
}

/// The 256 numbers of the dynamic map (Dettmers 2016; the layout of `bitsandbytes`), ascending: for each `i` from 0 to
/// 6, `10^(i − 6) · (0.1 + 0.9 (k + ½) / n)` for `k` below `n`, where `n` is `2^i` with either sign, or `2^(i + 1)`
/// without; and 0 and 1.
pub fn dynamic_map(signed: bool) -> [f32; 256] {
    let mut map = vec![0.0, 1.0];
    for i in 0..7 {
        let n = 1 << (i + i32::from(!signed));
        for k in 0..n {
            let x = 10f64.powi(i - 6) * (0.1 + 0.9 * (f64::from(k) + 0.5) / f64::from(n));
            map.push(x);
            if signed {
                map.push(-x);
            }
        }
    }
    map.sort_by(f64::total_cmp);
    std::array::from_fn(|i| map[i] as f32)
}

/// The numbers midway between neighbours of a map; the last is infinite, so that there are 256.
#[inline]
pub fn midpoints(map: &[f32]) -> [f32; 256] {
    std::array::from_fn(|i| match map.get(i + 1) {
        Some(&next) => (map[i] + next) * 0.5,
        None => f32::INFINITY,
    })
}

/// What a block is measured in: the greatest magnitude, or 0 if that is below the normal numbers; and the power of two
/// below it (at least 2⁻¹²⁶, at most 2¹²⁶), inverted, by which both sides of a comparison are multiplied, so that none
/// is below the normal numbers.
#[inline(always)]
pub fn block_unit(greatest: f32) -> (f32, f32) {
    let absmax = flush(greatest);
    let exponent = (absmax.to_bits() >> 23).clamp(1, 253);
    (absmax, f32::from_bits((254 - exponent) << 23))
}

/// The code of a number in a block with this unit.
#[inline(always)]
pub fn code(midpoints: &[f32; 256], x: f32, (absmax, inverse): (f32, f32)) -> u8 {
    let (x, top) = (flush(x * inverse), absmax * inverse);
    let mut code = 0usize;
    for bit in [128, 64, 32, 16, 8, 4, 2, 1] {
        code += if x >= midpoints[code + bit - 1] * top { bit } else { 0 };
    }
    code as u8
}

impl Operation for Adamw {
    const NAME: &'static str = "adamw";
    const PROMISE: Promise = Promise::Tolerance;

    fn inputs(&self) -> Vec<&Tensor> {
        match &self.moments {
            Moments::Full { .. } => vec![&self.grad],
            Moments::Int8 { maps, .. } => vec![&self.grad, maps],
        }
    }

    fn outputs(&self) -> Vec<&Tensor> {
        if self.rule.keep == 0.0 { vec![&self.param] } else { Vec::new() }
    }

    fn updates(&self) -> Vec<&Tensor> {
        let mut all = self.moments.tensors().to_vec();
        if self.rule.keep != 0.0 {
            all.push(&self.param);
        }
        all
    }

    fn check(&self) -> Result<()> {
        check::dtype("grad", &self.grad, &[DType::F32, DType::Bf16])?;
        check::dtype("param", &self.param, &[DType::F32, DType::Bf16])?;
        check::shape("grad", &self.grad, self.param.shape())?;
        if u32::try_from(self.param.len()).is_err() {
            return Err(Error::new(Code::ShapeMismatch, "at most 2^32 elements").at_column("param"));
        }
        self.moments.check(self.param.len())?;
        self.rule.check()
    }

    fn cost(&self) -> Cost {
        let [a, b] = self.moments.tensors();
        let again = if self.rule.keep == 0.0 { 0 } else { self.param.bytes() as u64 };
        Cost {
            flops: 13 * self.param.len() as u64,
            bytes: check::bytes(&[&self.grad, &self.param, a, a, b, b]) + again,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_those_of_the_format() {
        let (signed, unsigned) = (dynamic_map(true), dynamic_map(false));
        for map in [&signed, &unsigned] {
            assert!(map.windows(2).all(|w| w[0] < w[1]));
            assert_eq!((map[255], map.iter().filter(|&&x| x == 0.0).count()), (1.0, 1));
        }
        assert!(signed[0] > -1.0 && (signed[0] + 0.99297).abs() < 1e-5);
        assert_eq!((signed[127], unsigned[0]), (0.0, 0.0));
        // The smallest: one number around 0.55e-6, and two.
        assert!((signed[128] / 5.5e-7 - 1.0).abs() < 1e-6 && signed[126] == -signed[128]);
        assert!((unsigned[1] / 3.25e-7 - 1.0).abs() < 1e-6 && (unsigned[2] / 7.75e-7 - 1.0).abs() < 1e-6);
    }

    #[test]
    fn every_code_comes_back_whatever_the_scale() {
        for signed in [true, false] {
            let map = dynamic_map(signed);
            let middle = midpoints(&map);
            for absmax in [1.0, 3.7e-30, 1.5 * f32::MIN_POSITIVE, 2.9e36, 0.3] {
                let unit = block_unit(absmax);
                for (i, entry) in map.iter().enumerate() {
                    let x = flush(entry * absmax);
                    let back = map[usize::from(code(&middle, x, unit))] * absmax;
                    assert!(flush(back) == x, "{signed} {absmax:e} {i}");
                }
            }
            // Below the normal numbers a block is all zeros.
            assert_eq!(block_unit(1e-40).0, 0.0);
        }
    }

    #[test]
    fn rounding_with_noise_is_right_on_average() {
        let noise = Noise { seed: 7, stream: 3 };
        for x in [1.001_f32, -3.333e-5, 65.1, 1e30] {
            let n = 100_000u32;
            let each =
                (0..n).map(|i| f64::from(f32::from_bits(u32::from(Noise::round(x, noise.bits(i)[0])) << 16)));
            let (mean, unit) = (each.sum::<f64>() / f64::from(n), f64::from(x.abs()) * 2f64.powi(-7));
            assert!((mean - f64::from(x)).abs() < 5.0 * 0.5 * unit / f64::from(n).sqrt(), "{x} {mean}");
        }
        for special in [f32::INFINITY, f32::NEG_INFINITY, 1.0, -0.0] {
            assert_eq!(
                f32::from_bits(u32::from(Noise::round(special, 0xFFFF)) << 16).to_bits(),
                special.to_bits()
            );
        }
        assert!(f32::from_bits(u32::from(Noise::round(f32::from_bits(0x7F80_0001), 0)) << 16).is_nan());
    }

    #[test]
    fn scalars_are_those_of_both_conventions() {
        let corrected = AdamwRule::bias_corrected(0.1, [0.9, 0.99], 1e-8, 1, EpsPlacement::Corrected);
        assert_eq!((corrected.step, corrected.eps), (0.1, 1e-9));
        let raw = AdamwRule::bias_corrected(0.1, [0.9, 0.99], 1e-8, 1, EpsPlacement::Raw);
        assert_eq!((raw.step, raw.eps), (0.1, 1e-8));
        let (before, after) = (raw.decayed(0.5, DecayOrder::Before), raw.decayed(0.5, DecayOrder::After));
        assert_eq!([before.keep, before.step, after.keep, after.step], [0.5, 0.1, 0.5, 0.05]);
        assert_eq!(raw.betas()[3], 0.01_f32);
    }
}
