//! Arguments as JavaScript has them: numbers that must be sizes, names that must be of a closed set.

use gristmill_core::ops::{ActivationKind, ClipPath, ClipRule, Draw, NormKind, NormsMethod, Reduction};
use gristmill_core::{DType, Error, Result};
use napi::Either;
use napi::bindgen_prelude::BigInt;

/// The largest whole number up to which all are exact.
const MAX_SAFE: f64 = 9_007_199_254_740_991.0;

/// A number of elements, rows or bytes.
pub(crate) fn size(name: &str, value: f64) -> Result<usize> {
    if value.fract() == 0.0 && (0.0..=MAX_SAFE).contains(&value) {
        return Ok(value as usize);
    }
    Err(Error::invalid_argument(name, format!("expected a whole number of at least 0, given {value}")))
}

/// A size that may be left out.
pub(crate) fn optional_size(name: &str, value: Option<f64>) -> Result<Option<usize>> {
    value.map(|value| size(name, value)).transpose()
}

/// The dimensions of a tensor.
pub(crate) fn shape(dims: &[f64]) -> Result<Vec<usize>> {
    dims.iter().map(|&dim| size("shape", dim)).collect()
}

/// A scalar of an operation, which computes in single precision.
pub(crate) fn single(name: &str, value: f64) -> Result<f32> {
    let single = value as f32;
    if value.is_finite() && single.is_infinite() {
        return Err(Error::invalid_argument(name, format!("{value} is too large for a 32-bit float")));
    }
    Ok(single)
}

/// A 64-bit word.
pub(crate) fn word(name: &str, value: Either<f64, BigInt>) -> Result<u64> {
    match value {
        Either::A(number) => size(name, number).map(|n| n as u64),
        Either::B(big) => match big.get_u64() {
            (false, word, true) => Ok(word),
            _ => Err(Error::invalid_argument(name, "expected a whole number from 0 to 2^64 - 1")),
        },
    }
}

/// An element type.
pub(crate) fn dtype(name: &str) -> Result<DType> {
    name.parse::<DType>().map_err(|e| e.at_column("dtype"))
}

/// A rule of a reduction.
pub(crate) fn reduction(name: &str) -> Result<Reduction> {
    match name {
        "sum" => Ok(Reduction::Sum),
        "max" => Ok(Reduction::Max),
        "sumSquares" => Ok(Reduction::SumSquares),
        _ => Err(Error::invalid_argument("reduction", format!("no reduction {name:?}"))
            .hint("one of sum, max, sumSquares")),
    }
}

/// What random numbers look like.
pub(crate) fn draw(name: &str) -> Result<Draw> {
    match name {
        "bits" => Ok(Draw::Bits),
        "uniform" => Ok(Draw::Uniform),
        "normal" => Ok(Draw::Normal),
        _ => Err(Error::invalid_argument("draw", format!("no kind of draw {name:?}"))
            .hint("one of bits, uniform, normal")),
    }
}

/// What rows are brought to.
pub(crate) fn norm_kind(name: &str) -> Result<NormKind> {
    match name {
        "rms" => Ok(NormKind::Rms),
        "layer" => Ok(NormKind::Layer),
        _ => {
            Err(Error::invalid_argument("kind", format!("no kind of norm {name:?}"))
                .hint("one of rms, layer"))
        }
    }
}

/// How the norms of samples' gradients are found.
pub(crate) fn norms_method(name: &str) -> Result<NormsMethod> {
    NormsMethod::ALL.into_iter().find(|method| method.name() == name).ok_or_else(|| {
        Error::invalid_argument("method", format!("no method {name:?}")).hint("one of direct, gram")
    })
}

/// Whether samples' gradients are made once or twice.
pub(crate) fn clip_path(name: &str) -> Result<ClipPath> {
    ClipPath::ALL.into_iter().find(|path| path.name() == name).ok_or_else(|| {
        Error::invalid_argument("path", format!("no path {name:?}")).hint("one of fused, two-phase")
    })
}

/// How a norm becomes a factor; `gamma` belongs to `automatic`.
pub(crate) fn clip_rule(name: &str, gamma: Option<f64>) -> Result<ClipRule> {
    match name {
        "flat" => Ok(ClipRule::Flat),
        "automatic" => Ok(ClipRule::Automatic { gamma: single("gamma", gamma.unwrap_or(0.01))? }),
        "unit" => Ok(ClipRule::Unit),
        "threshold" => Ok(ClipRule::Threshold),
        _ => Err(Error::invalid_argument("rule", format!("no rule {name:?}"))
            .hint("one of flat, automatic, unit, threshold")),
    }
}

/// A function of single numbers.
pub(crate) fn activation_kind(name: &str) -> Result<ActivationKind> {
    match name {
        "gelu" => Ok(ActivationKind::Gelu),
        "geluTanh" => Ok(ActivationKind::GeluTanh),
        "silu" => Ok(ActivationKind::Silu),
        _ => Err(Error::invalid_argument("kind", format!("no activation {name:?}"))
            .hint("one of gelu, geluTanh, silu")),
    }
}
