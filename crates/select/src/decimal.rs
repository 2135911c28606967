use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use gristmill_core::{Error, Result};

/// The most digits after the point, so that every product of a selection fits in 128 bits.
const MAX_DECIMALS: usize = 18;

/// A non-negative decimal number, exactly as it was written: `mantissa / 10^scale`.
///
/// Budgets and shares are held in this form because 0.1 is no binary fraction: at a trillion tokens the
/// rounding of a float decides about real documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    mantissa: u64,
    scale: u32,
}

impl Decimal {
    /// Reads `12`, `0.25`, `.5` or `1_000`; `option` names the setting in the error.
    pub fn parse(option: &str, text: &str) -> Result<Self> {
        let bad = |why: &str| Err(Error::invalid_argument(option, format!("{text:?} {why}")));
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits: String = [whole, fraction].concat().replace('_', "");
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) || text.starts_with('_') {
            return bad("is not a plain non-negative decimal number");
        }
        let decimals = fraction.replace('_', "").len();
        // Zeros that carry no value do not count against the limit.
        let kept_decimals = decimals - trailing_zeros(&digits).min(decimals);
        let significant = digits[..digits.len() - (decimals - kept_decimals)].trim_start_matches('0');
        let mantissa = match significant {
            "" => 0,
            digits => digits.parse().unwrap_or(u64::MAX),
        };
        if kept_decimals > MAX_DECIMALS || mantissa == u64::MAX {
            return bad("has too many digits (at most 18 after the point, and below 2^64 without it)");
        }
        Ok(Self { mantissa, scale: if mantissa == 0 { 0 } else { kept_decimals as u32 } })
    }

    /// Whether this is nought.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// `(numerator, denominator)`; the denominator is at most 10^18.
    pub fn ratio(self) -> (u64, u64) {
        (self.mantissa, 10u64.pow(self.scale))
    }

    /// This number times 10^`scale`, or `None` when that is not a whole number below 2^64.
    pub(crate) fn scaled(self, scale: u32) -> Option<u64> {
        self.mantissa.checked_mul(10u64.checked_pow(scale.checked_sub(self.scale)?)?)
    }

    pub(crate) fn scale(self) -> u32 {
        self.scale
    }

    /// This number times a whole one, or `None` when that is not a whole number below 2^64.
    pub(crate) fn times_exactly(self, factor: u64) -> Option<u64> {
        let (numerator, denominator) = self.ratio();
        let product = u128::from(numerator) * u128::from(factor);
        (product % u128::from(denominator) == 0)
            .then_some(product / u128::from(denominator))
            .and_then(|p| u64::try_from(p).ok())
    }
}

fn trailing_zeros(digits: &str) -> usize {
    digits.len() - digits.trim_end_matches('0').len()
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, unit) = self.ratio();
        write!(f, "{}", self.mantissa / unit)?;
        match self.scale {
            0 => Ok(()),
            scale => write!(f, ".{:0width$}", self.mantissa % unit, width = scale as usize),
        }
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    /// From a string, or from a number: a float stands for the shortest decimal that reads back as it.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Decimal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a non-negative decimal number")
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Decimal, E> {
                Decimal::parse("share", v).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Decimal, E> {
                self.visit_str(&v.to_string())
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Decimal, E> {
                self.visit_str(&v.to_string())
            }

            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Decimal, E> {
                self.visit_str(&v.to_string())
            }
        }
        d.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Decimal> {
        Decimal::parse("share", text)
    }

    #[test]
    fn reads_plain_decimals_exactly() {
        for (text, ratio) in [
            ("12", (12, 1)),
            ("0.250", (25, 100)),
            (".5", (5, 10)),
            ("1_000", (1000, 1)),
            ("10.0", (10, 1)),
            ("0.000", (0, 1)),
            ("000000000000000000001", (1, 1)),
            ("0.1000000000000000000000", (1, 10)),
            ("0.000000000000000001", (1, 1_000_000_000_000_000_000)),
        ] {
            assert_eq!(parse(text).unwrap().ratio(), ratio, "{text}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            ".",
            "-1",
            "+1",
            "1e3",
            "1.2.3",
            "NaN",
            "inf",
            "1,5",
            "_1",
            "½",
            "18446744073709551615",
            "0.0000000000000000001",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn serde_takes_numbers_and_strings() {
        let got: Vec<Decimal> = serde_json::from_str(r#"[0.1, "0.30", 2, 1e-3]"#).unwrap();
        assert_eq!(serde_json::to_string(&got).unwrap(), r#"["0.1","0.3","2","0.001"]"#);
        assert!(serde_json::from_str::<Decimal>("-2").is_err());
        assert!(serde_json::from_str::<Decimal>("-0.5").is_err());
    }
}
