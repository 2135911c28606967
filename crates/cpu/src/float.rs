//! The floats that `f32` holds, converted without branches so that loops of it become vectors.

use gristmill_core::DType;
use half::{bf16, f16};

use crate::number::Number;

/// A float that `f32` holds, and that operations compute with there.
pub(crate) trait Float: Number {
    /// The same number.
    fn widen(self) -> f32;
    /// The nearest, ties to even.
    fn narrow(x: f32) -> Self;
}

impl Float for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn narrow(x: f32) -> Self {
        x
    }
}

impl Float for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn narrow(x: f32) -> Self {
        let bits = x.to_bits();
        // Half a unit, less a hair where the last bit that stays is even.
        let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1)) >> 16;
        let quiet = (bits >> 16) | 0x40;
        bf16::from_bits(if x.is_nan() { quiet } else { rounded } as u16)
    }
}

impl Float for f16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        let bits = u32::from(self.to_bits());
        // The exponent as if it were one of f32, made right by a multiplication, which also normalises subnormals.
        let magnitude = f32::from_bits((bits & 0x7FFF) << 13) * f32::from_bits((127 + 112) << 23);
        let special = if bits & 0x7C00 == 0x7C00 { 0xFF << 23 } else { 0 };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }

    #[inline(always)]
    fn narrow(x: f32) -> Self {
        const OVERFLOW: u32 = (127 + 16) << 23;
        const SMALLEST_NORMAL: u32 = (127 - 14) << 23;
        // A number whose last bit weighs what the smallest f16 does: added, it makes the hardware round there.
        const ROUNDER: u32 = (127 - 14 + 13) << 23;
        let magnitude = x.to_bits() & 0x7FFF_FFFF;
        let sign = (x.to_bits() >> 16) & 0x8000;
        let subnormal = (f32::from_bits(magnitude) + f32::from_bits(ROUNDER)).to_bits().wrapping_sub(ROUNDER);
        let odd = (magnitude >> 13) & 1;
        let normal = magnitude.wrapping_sub((127 - 15) << 23).wrapping_add(0xFFF + odd) >> 13;
        let special = if magnitude > 0xFF << 23 { 0x7E00 } else { 0x7C00 };
        let finite = if magnitude < SMALLEST_NORMAL { subnormal } else { normal };
        f16::from_bits((sign | if magnitude >= OVERFLOW { special } else { finite }) as u16)
    }
}

/// Widens a run of numbers, or borrows it where there is nothing to do.
#[inline(always)]
pub(crate) fn widened<'a, T: Float>(values: &'a [T], scratch: &'a mut [f32]) -> &'a [f32] {
    if T::DTYPE == DType::F32 {
        return bytemuck::cast_slice(values);
    }
    let scratch = &mut scratch[..values.len()];
    for (wide, value) in scratch.iter_mut().zip(values) {
        *wide = value.widen();
    }
    scratch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widening_keeps_every_value() {
        for bits in 0..=u16::MAX {
            let (h, b) = (f16::from_bits(bits), bf16::from_bits(bits));
            for (got, want) in [(h.widen(), h.to_f32()), (b.widen(), b.to_f32())] {
                assert!(got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()), "{bits:x}");
            }
        }
    }

    #[test]
    fn narrowing_rounds_to_the_nearest() {
        // Every f16 and bf16, the midpoints between neighbours, what is a hair beside them, and other bits.
        let around = |x: f32| [-1i32, 0, 1].map(|d| f32::from_bits(x.to_bits().wrapping_add_signed(d)));
        let check = |x: f32| {
            let (h, b) = (<f16 as Float>::narrow(x), <bf16 as Float>::narrow(x));
            let (wh, wb) = (f16::from_f32(x), bf16::from_f32(x));
            assert!(h == wh && h.to_bits() >> 15 == wh.to_bits() >> 15 || h.is_nan() && wh.is_nan(), "{x:e}");
            assert!(b == wb && b.to_bits() >> 15 == wb.to_bits() >> 15 || b.is_nan() && wb.is_nan(), "{x:e}");
        };
        for bits in 0..u16::MAX {
            let (h, h1) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits + 1).to_f32());
            around(h).into_iter().chain(around((h + h1) / 2.0)).for_each(check);
            around(bf16::from_bits(bits).to_f32()).into_iter().for_each(check);
            around(f32::from_bits(u32::from(bits) << 16 | 0x8000)).into_iter().for_each(check);
        }
        (0..u32::MAX).step_by(65_537).map(f32::from_bits).for_each(check);
    }
}
