use gristmill_core::ops::Fill;
use gristmill_core::{DType, Result};
use half::{bf16, f16};

use super::{Run, elements};

pub(super) fn run(run: &mut Run, op: &Fill) -> Result<()> {
    let bits = bits_of(op.value, op.out.dtype());
    elements::run(run, "fill", None, &op.out, |kernel| kernel.param("value", bits))
}

/// The value as an element of a type.
fn bits_of(value: f64, dtype: DType) -> u32 {
    match dtype {
        DType::F32 | DType::F64 => (value as f32).to_bits(),
        DType::Bf16 => bf16::from_f32(odd(value)).to_bits().into(),
        DType::F16 => f16::from_f32(odd(value)).to_bits().into(),
        DType::U8 => (value as u8).into(),
        DType::I32 => (value as i32) as u32,
        DType::U32 => value as u32,
    }
}

/// The value cut to an `f32`, with the last bit set if that lost anything: rounds on as the value itself would.
fn odd(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) == value || value.is_nan() {
        return near;
    }
    let bits = near.to_bits();
    let cut = if f64::from(near).abs() > value.abs() { bits - 1 } else { bits };
    f32::from_bits(cut | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_once() {
        // Above the tie of bf16 (and f16) by less than f32 can show.
        let (b, h) = (1.0 + 2f64.powi(-8) + 2f64.powi(-40), 1.0 + 2f64.powi(-11) + 2f64.powi(-40));
        assert_eq!(bits_of(b, DType::Bf16), 0x3F81);
        assert_eq!(bits_of(1.0 + 2f64.powi(-8), DType::Bf16), 0x3F80);
        assert_eq!(bits_of(h, DType::F16), 0x3C01);
        assert_eq!(bits_of(65_519.999_999_999, DType::F16), 0x7BFF);
        assert_eq!(bits_of(65_520.0, DType::F16), 0x7C00);
        assert_eq!(bits_of(1e300, DType::Bf16), 0x7F80);
        assert_eq!(bits_of(-1e-300, DType::Bf16), 0x8000);
        assert_eq!(bits_of(f64::NAN, DType::U8), 0);
        assert_eq!(bits_of(-1.5, DType::I32), u32::MAX);
        assert_eq!(bits_of(300.0, DType::U8), 255);
    }
}
