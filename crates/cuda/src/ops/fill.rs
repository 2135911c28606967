use gristmill_core::ops::Fill;
use gristmill_core::{Code, DType, Error, Result};
use half::{bf16, f16};

use super::strided;
use crate::backend::Context;
use crate::driver::Args;

pub(super) fn run(op: &Fill, cx: &mut Context<'_>) -> Result<()> {
    if op.out.is_empty() {
        return Ok(());
    }
    let (value, twice) = (op.value, |bits: u16| u32::from(bits) * 0x0001_0001);
    // The element's bytes, repeated over a word; converted here, as a cast from f64 would.
    let pattern = match op.out.dtype() {
        DType::F32 => (value as f32).to_bits(),
        DType::Bf16 => twice(bf16::from_f32(odd(value)).to_bits()),
        DType::F16 => twice(f16::from_f32(odd(value)).to_bits()),
        DType::U8 => u32::from(value as u8) * 0x0101_0101,
        DType::I32 => (value as i32) as u32,
        DType::U32 => value as u32,
        DType::F64 => return Err(Error::new(Code::Unsupported, "f64 is computed on the CPU alone")),
    };
    let bytes = op.out.bytes();
    let args = Args::new().u64(cx.at(&op.out)?).size(bytes).u32(pattern).finish();
    cx.launch("fill", "fill_bytes", strided(bytes.div_ceil(16)), 0, &args)
}

/// The value in `f32`, rounded to odd: where digits are lost the last that is kept is set, so that a later rounding to
/// fewer digits is as if it were the only one. (`from_f64` of `half` drops digits that decide a tie.)
fn odd(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) == value || value.is_nan() {
        return near;
    }
    // Of the two neighbours of the value, the one with an odd last digit; infinity is even.
    let beyond = f64::from(near).abs() > value.abs();
    let towards_zero = f32::from_bits(near.to_bits() - u32::from(beyond));
    f32::from_bits(towards_zero.to_bits() | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_once() {
        // Ties of bf16 and of f16, and what lies a last digit of f64 beside them.
        for tie in [1.0 + 2f64.powi(-8), 1.0 + 2f64.powi(-11), 2f64.powi(-25), -(3.0 + 2f64.powi(-7))] {
            for x in [tie, f64::from_bits(tie.to_bits() + 1), f64::from_bits(tie.to_bits() - 1)] {
                let bf16s = (0..=u16::MAX).map(bf16::from_bits).map(|b| (b.to_f64(), b.to_bits()));
                let f16s = (0..=u16::MAX).map(f16::from_bits).map(|h| (h.to_f64(), h.to_bits()));
                assert_eq!(bf16::from_f32(odd(x)).to_bits(), nearest(x, bf16s), "{x:e}");
                assert_eq!(f16::from_f32(odd(x)).to_bits(), nearest(x, f16s), "{x:e}");
            }
        }
        assert_eq!(bf16::from_f32(odd(1e300)), bf16::INFINITY);
        assert_eq!(f16::from_f32(odd(-65_519.999_999)), f16::MIN);
        assert_eq!(f16::from_f32(odd(-0.0)).to_bits(), 0x8000);
        assert_eq!(bf16::from_f32(odd(-1e-300)).to_bits(), 0x8000);
        assert!(bf16::from_f32(odd(f64::NAN)).is_nan());
    }

    /// The nearest of these, of two equally near the one with even bits.
    fn nearest(x: f64, all: impl Iterator<Item = (f64, u16)>) -> u16 {
        let same_sign = all.filter(|(y, bits)| y.is_finite() && (bits >> 15 == 1) == x.is_sign_negative());
        same_sign
            .min_by(|(a, i), (b, j)| (a - x).abs().total_cmp(&(b - x).abs()).then((i % 2).cmp(&(j % 2))))
            .unwrap()
            .1
    }
}
