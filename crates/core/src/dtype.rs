use std::fmt;
use std::str::FromStr;

use half::{bf16, f16};

use crate::{Code, Error, Result};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 double precision; on the CPU only.
    F64,
    /// The upper half of an `f32`: 8 bits of exponent, 7 of fraction.
    Bf16,
    /// IEEE 754 half precision: 5 bits of exponent, 10 of fraction.
    F16,
    /// Unsigned byte.
    U8,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
}

impl DType {
    /// All of them.
    pub const ALL: [DType; 7] =
        [DType::F32, DType::F64, DType::Bf16, DType::F16, DType::U8, DType::I32, DType::U32];

    /// The floating-point types that every backend computes with.
    pub const FLOATS: [DType; 3] = [DType::F32, DType::Bf16, DType::F16];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 => 8,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::Bf16 | DType::F16 => 2,
            DType::U8 => 1,
        }
    }

    /// The name in options, files and messages, such as `bf16`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
            DType::U8 => "u8",
            DType::I32 => "i32",
            DType::U32 => "u32",
        }
    }

    /// Whether elements are floating-point numbers.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::Bf16 | DType::F16)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name).ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("no dtype {name:?}"))
                .hint(format!("one of {}", Self::ALL.map(DType::name).join(", ")))
        })
    }
}

/// A Rust type that can be the element of a tensor.
pub trait Element: bytemuck::Pod + Send + Sync {
    /// Its name at run time.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($t:ty = $d:ident,)*) => {$(
        impl Element for $t {
            const DTYPE: DType = DType::$d;
        }
    )*};
}
elements!(f32 = F32, f64 = F64, bf16 = Bf16, f16 = F16, u8 = U8, i32 = I32, u32 = U32,);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_sizes_match_the_rust_types() {
        for d in DType::ALL {
            assert_eq!(d.name().parse::<DType>().unwrap(), d);
        }
        let sizes = [
            (f32::DTYPE, size_of::<f32>()),
            (f64::DTYPE, size_of::<f64>()),
            (bf16::DTYPE, size_of::<bf16>()),
            (f16::DTYPE, size_of::<f16>()),
            (u8::DTYPE, size_of::<u8>()),
            (i32::DTYPE, size_of::<i32>()),
            (u32::DTYPE, size_of::<u32>()),
        ];
        assert_eq!(sizes.map(|(d, _)| d), DType::ALL);
        for (d, size) in sizes {
            assert_eq!(d.size(), size);
        }
        assert_eq!("fp8".parse::<DType>().unwrap_err().code(), Code::InvalidArgument);
    }
}
