use gristmill_core::{Code, DType, Element, Error};
use half::{bf16, f16};

use crate::float::Float;

/// An element as a number: the conversions of [`gristmill_core::ops::Cast`], by way of `f64`, which holds every
/// value of every type. The names are not those of `half`, whose own methods would go before these, and lose bits.
pub(crate) trait Number: Element {
    fn as_f64(self) -> f64;
    /// To the nearest, ties to even; integers towards zero and saturating.
    fn nearest(x: f64) -> Self;
}

macro_rules! numbers {
    ($($t:ty)*) => {$(
        impl Number for $t {
            #[inline(always)]
            fn as_f64(self) -> f64 {
                self.into()
            }
            #[inline(always)]
            fn nearest(x: f64) -> Self {
                x as $t
            }
        }
    )*};
}
numbers!(f32 f64 u8 i32 u32);

macro_rules! halves {
    ($($t:ty)*) => {$(
        impl Number for $t {
            #[inline(always)]
            fn as_f64(self) -> f64 {
                self.widen().into()
            }
            #[inline(always)]
            fn nearest(x: f64) -> Self {
                Self::narrow(round_to_odd(x))
            }
        }
    )*};
}
halves!(bf16 f16);

/// The neighbour in `f32` whose last bit is 1, when `x` is none itself: rounding that to a type of at most 22 bits of
/// precision gives what rounding `x` would, which rounding twice to the nearest does not.
#[inline(always)]
fn round_to_odd(x: f64) -> f32 {
    let near = x as f32;
    if near as f64 == x || x.is_nan() {
        return near;
    }
    let towards_zero = if (near as f64).abs() > x.abs() { f32::from_bits(near.to_bits() - 1) } else { near };
    f32::from_bits(towards_zero.to_bits() | 1)
}

/// The error for a type that validation should have refused.
pub(crate) fn unexpected(dtype: DType) -> Error {
    Error::new(Code::Internal, format!("no code for {dtype}"))
}

/// Evaluates an expression with a name for the Rust type of a dtype: of any, of any float, or of a float that every
/// backend has.
macro_rules! with {
    ($dtype:expr, all $T:ident => $body:expr) => {
        $crate::number::with!(@ $dtype, $T, $body,
            F32 f32, F64 f64, Bf16 half::bf16, F16 half::f16, U8 u8, I32 i32, U32 u32)
    };
    ($dtype:expr, float $T:ident => $body:expr) => {
        $crate::number::with!(@ $dtype, $T, $body, F32 f32, F64 f64, Bf16 half::bf16, F16 half::f16)
    };
    ($dtype:expr, common $T:ident => $body:expr) => {
        $crate::number::with!(@ $dtype, $T, $body, F32 f32, Bf16 half::bf16, F16 half::f16)
    };
    (@ $dtype:expr, $T:ident, $body:expr, $($D:ident $t:ty),*) => {
        match $dtype {
            $(gristmill_core::DType::$D => {
                type $T = $t;
                $body
            })*
            #[allow(unreachable_patterns)]
            other => Err($crate::number::unexpected(other)),
        }
    };
}
pub(crate) use with;

#[cfg(test)]
mod tests {
    use super::*;

    /// The nearest of all finite values, by looking at each of them.
    fn nearest(x: f64, all: &[(f64, u16)]) -> u16 {
        let mut best = all[0];
        for &(value, bits) in all {
            let (d, b) = ((value - x).abs(), (best.0 - x).abs());
            if d < b || (d == b && bits % 2 == 0) {
                best = (value, bits);
            }
        }
        best.1
    }

    #[test]
    fn halves_are_rounded_once() {
        let all = |to: fn(u16) -> f64| -> Vec<(f64, u16)> {
            (0..=u16::MAX).map(|b| (to(b), b)).filter(|(v, b)| v.is_finite() && *b != 0x8000).collect()
        };
        let f16s = all(|b| f16::from_bits(b).to_f64());
        let bf16s = all(|b| bf16::from_bits(b).to_f64());
        for i in 0..60u32 {
            let base = 1.0 + f64::from(i * 37 % 64) / 64.0;
            for tie in [2f64.powi(-11), 2f64.powi(-8), 3.0 * 2f64.powi(-11)] {
                // A hair beside the tie, too small for an f32 beside it to show.
                for hair in [0.0, 2f64.powi(-40), -2f64.powi(-40)] {
                    for scale in [1.0, -1.0, 2f64.powi(-14), 2f64.powi(-20)] {
                        let x = (base + tie + hair) * scale;
                        assert_eq!(<f16 as Number>::nearest(x).to_bits(), nearest(x, &f16s), "{x:e}");
                        assert_eq!(<bf16 as Number>::nearest(x).to_bits(), nearest(x, &bf16s), "{x:e}");
                    }
                }
            }
        }
        assert_eq!(<f16 as Number>::nearest(65_520.0), f16::INFINITY);
        assert_eq!(<f16 as Number>::nearest(65_519.999_999_999), f16::MAX);
        assert_eq!(<bf16 as Number>::nearest(1e300), bf16::INFINITY);
        assert_eq!(<bf16 as Number>::nearest(-1e-300).to_bits(), 0x8000);
        assert!(<bf16 as Number>::nearest(f64::NAN).is_nan());
    }
}
