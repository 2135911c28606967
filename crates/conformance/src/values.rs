use std::fmt;

use gristmill_core::DType;

use crate::draw::Draw;
use crate::operand::{Operand, encode};

/// How the elements of an input are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Values {
    /// Normal, with this standard deviation.
    Normal(f64),
    /// Normal, around this mean.
    Around(f64),
    /// Large numbers, each with its opposite somewhere behind it, among small ones: the sum is what they hide.
    Cancelling,
    /// A handful of distinct magnitudes, of either sign.
    Ties,
    /// All the same number.
    Constant(f64),
    /// Numbers below the normal range of the type, and around its end.
    Subnormal,
    /// Zeros of either sign, and a few ones.
    Zeros,
    /// Normal, with a few infinities and NaNs.
    Special,
    /// Normal, with many negative infinities.
    Masked,
    /// Any bits.
    Bits,
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Values::Normal(sigma) if *sigma == 1.0 => f.write_str("normal"),
            Values::Normal(sigma) => write!(f, "normal*{sigma}"),
            Values::Around(mean) => write!(f, "around{mean}"),
            Values::Constant(value) => write!(f, "all{value}"),
            Values::Cancelling => f.write_str("cancelling"),
            Values::Ties => f.write_str("ties"),
            Values::Subnormal => f.write_str("subnormal"),
            Values::Zeros => f.write_str("zeros"),
            Values::Special => f.write_str("special"),
            Values::Masked => f.write_str("masked"),
            Values::Bits => f.write_str("bits"),
        }
    }
}

impl Values {
    /// An input of this shape.
    pub(crate) fn input(self, draw: &mut Draw, dtype: DType, shape: &[usize]) -> Operand {
        Operand::input(dtype, shape, self.elements(draw, dtype, shape.iter().product()))
    }

    /// This many elements.
    pub(crate) fn elements(self, draw: &mut Draw, dtype: DType, n: usize) -> Vec<u8> {
        if self == Values::Bits {
            return draw.bytes(n * dtype.size());
        }
        encode(dtype, &self.numbers(draw, dtype, n))
    }

    fn numbers(self, draw: &mut Draw, dtype: DType, n: usize) -> Vec<f64> {
        if self == Values::Cancelling {
            return cancelling(draw, n);
        }
        (0..n).map(|_| self.number(draw, dtype)).collect()
    }

    fn number(self, draw: &mut Draw, dtype: DType) -> f64 {
        let sign = |draw: &mut Draw| if draw.one_in(2) { -1.0 } else { 1.0 };
        match self {
            Values::Normal(sigma) => sigma * draw.normal(),
            Values::Around(mean) => mean + draw.normal(),
            Values::Constant(value) => value,
            Values::Ties => sign(draw) * [0.0, 0.5, 1.0, 1.5, 3.0][draw.below(5)],
            Values::Subnormal => {
                sign(draw) * smallest(dtype) * f64::from(draw.bits() >> draw.below(32)).sqrt()
            }
            Values::Zeros if draw.one_in(20) => sign(draw),
            Values::Zeros => sign(draw) * 0.0,
            Values::Special if draw.one_in(50) => {
                [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -f64::NAN][draw.below(4)]
            }
            Values::Masked if draw.one_in(3) => f64::NEG_INFINITY,
            Values::Special | Values::Masked | Values::Cancelling | Values::Bits => draw.normal(),
        }
    }
}

/// Pairs of opposites at random distances, with small numbers in between.
fn cancelling(draw: &mut Draw, n: usize) -> Vec<f64> {
    let mut values: Vec<f64> = (0..n).map(|_| draw.normal()).collect();
    for _ in 0..n / 4 {
        let (i, j) = (draw.below(n), draw.below(n));
        if i != j {
            values[i] = 1000.0 * draw.normal();
            values[j] = -values[i];
        }
    }
    values
}

/// The smallest number above zero.
fn smallest(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 2f64.powi(-149),
        DType::F64 => f64::from_bits(1),
        DType::Bf16 => 2f64.powi(-133),
        DType::F16 => 2f64.powi(-24),
        DType::U8 | DType::I32 | DType::U32 => 1.0,
    }
}
