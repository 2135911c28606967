use gristmill_core::DType;

use crate::Bound;
use crate::operand::decode;

/// Below this an `f32` result is as good as zero: devices may flush what is smaller than the normal numbers, which is
/// a relative error here of no more than a few units in the last place.
const FLUSHED: f64 = f32::MIN_POSITIVE as f64 * (1 << 23) as f64;

/// The size below which errors are absolute.
fn floor(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::MIN_POSITIVE,
        DType::F16 => 2f64.powi(-14),
        DType::F32 | DType::Bf16 | DType::U8 | DType::I32 | DType::U32 => FLUSHED,
    }
}

/// The greatest error of an element, or what is wrong.
///
/// `scale` gives the size that the error of each element is measured by.
pub(crate) fn compare(
    bound: Bound,
    dtype: DType,
    got: &[u8],
    want: &[u8],
    scale: impl Fn(usize, f64) -> f64,
) -> Result<f64, String> {
    if got.len() != want.len() {
        return Err(format!("{} bytes instead of {}", got.len(), want.len()));
    }
    let size = dtype.size();
    let differs = got.chunks(size).zip(want.chunks(size)).enumerate().filter(|(_, (g, w))| g != w);
    let (got_numbers, want_numbers) = (decode(dtype, got), decode(dtype, want));
    let mut worst: f64 = 0.0;
    for (i, (g_bits, w_bits)) in differs {
        let (g, w) = (got_numbers[i], want_numbers[i]);
        let error = match bound {
            Bound::Bits => f64::INFINITY,
            Bound::Exact if g.is_nan() && w.is_nan() => 0.0,
            Bound::Exact => f64::INFINITY,
            _ if g == w || (g.is_nan() && w.is_nan()) => 0.0,
            Bound::Error(_) if g.is_finite() && w.is_finite() => {
                (g - w).abs() / scale(i, w).max(floor(dtype))
            }
            Bound::Equal | Bound::Error(_) => f64::INFINITY,
        };
        // Also when the scale is NaN.
        if !matches!(bound, Bound::Error(limit) if error <= limit) && error != 0.0 {
            return Err(format!(
                "element {i} is {g:e} ({}) instead of {w:e} ({}){}",
                hex(g_bits),
                hex(w_bits),
                if error.is_finite() { format!(", an error of {error:.1e}") } else { String::new() }
            ));
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().rev().fold("0x".into(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(values: &[f32]) -> Vec<u8> {
        bytemuck::cast_slice(values).to_vec()
    }

    fn held(bound: Bound, got: f32, want: f32) -> bool {
        compare(bound, DType::F32, &f32s(&[0.5, got]), &f32s(&[0.5, want]), |_, w| w.abs()).is_ok()
    }

    #[test]
    fn bounds_mean_what_they_say() {
        let nan = f32::from_bits(0x7FC0_0001);
        for (got, want, bits, exact, equal, close) in [
            (1.0, 1.0, true, true, true, true),
            (nan, nan, true, true, true, true),
            (nan, f32::NAN, false, true, true, true),
            (0.0, -0.0, false, false, true, true),
            (1.000_000_1, 1.0, false, false, false, true),
            (1.1, 1.0, false, false, false, false),
            (f32::NAN, 1.0, false, false, false, false),
            (1.0, f32::NAN, false, false, false, false),
            (f32::INFINITY, f32::MAX, false, false, false, false),
            (f32::INFINITY, f32::NEG_INFINITY, false, false, false, false),
            (1e-45, 0.0, false, false, false, true),
            (1e-30, 0.0, false, false, false, false),
        ] {
            let all =
                [Bound::Bits, Bound::Exact, Bound::Equal, Bound::Error(1e-6)].map(|b| held(b, got, want));
            assert_eq!(all, [bits, exact, equal, close], "{got} {want}");
        }
    }

    #[test]
    fn the_worst_error_is_reported_and_a_wrong_length_refused() {
        let (got, want) = (f32s(&[1.0, 2.5, 4.0]), f32s(&[1.0, 2.0, 5.0]));
        assert_eq!(compare(Bound::Error(1.0), DType::F32, &got, &want, |_, w| w), Ok(0.25));
        let why = compare(Bound::Error(0.21), DType::F32, &got, &want, |_, w| w).unwrap_err();
        assert!(why.contains("element 1 is 2.5e0 (0x40200000)"), "{why}");
        assert!(compare(Bound::Error(0.21), DType::F32, &got, &want, |_, _| f64::NAN).is_err());
        assert!(compare(Bound::Bits, DType::F32, &got[4..], &want, |_, w| w).is_err());
    }
}
