use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use gristmill_core::{Counts, Error, Result};

use crate::Decimal;

/// What a budget counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// Tokens of the score's normaliser or tokenizer. What is meant when nothing is said.
    #[default]
    Tokens,
    /// Documents.
    Documents,
    /// Bytes of UTF-8 text.
    Bytes,
}

impl Measure {
    /// This measure of `counts`.
    #[inline]
    pub fn of(self, counts: &Counts) -> u64 {
        match self {
            Self::Tokens => counts.tokens,
            Self::Documents => counts.documents,
            Self::Bytes => counts.bytes,
        }
    }

    /// `tokens`, `documents` or `bytes`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Documents => "documents",
            Self::Bytes => "bytes",
        }
    }
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many units.
    Units(u64),
    /// So many hundredths of everything that was given to the selection, whether it has a score or not.
    Percent(Decimal),
}

/// How much to select: a number with a unit.
///
/// | Text | Meaning |
/// |---|---|
/// | `10%`, `2.5%` | percent of the pool's tokens |
/// | `10%docs`, `10% of bytes` | percent of its documents, of its bytes |
/// | `1.5Btokens`, `1.5B`, `300M`, `10k`, `123456` | tokens (`k`, `M`, `B` or `G`, `T`: 10³ to 10¹²) |
/// | `2500docs`, `2.5k documents` | documents |
/// | `200MB`, `1.5GiB`, `800KB`, `512 bytes` | bytes of text (`KB` is 10³, `KiB` is 2¹⁰) |
///
/// Case and spaces do not matter, `_` may group digits. Percent is of tokens unless another measure is
/// named, because tokens are what training costs. `B` alone is a billion tokens, never bytes. Numbers are
/// read as decimals and stay exact; an amount that is not a whole number of units is refused.
///
/// ```
/// use gristmill_select::{Amount, Budget, Measure};
///
/// let budget: Budget = "1.5B".parse()?;
/// assert_eq!((budget.amount, budget.measure), (Amount::Units(1_500_000_000), Measure::Tokens));
/// assert_eq!("200 MiB".parse::<Budget>()?.to_string(), "209715200bytes");
/// assert!("half".parse::<Budget>().is_err());
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// How much.
    pub amount: Amount,
    /// Of what.
    pub measure: Measure,
}

const HINT: &str = "examples: 10%, 10%docs, 1.5Btokens, 300M, 2500docs, 200MB";

impl Budget {
    /// Reads a budget; the error names the option `budget` and shows examples.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text).map_err(|why| {
            Error::invalid_argument("budget", format!("{text:?} is no budget: {why}")).hint(HINT)
        })
    }

    fn read(text: &str) -> std::result::Result<Self, String> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase();
        let end =
            compact.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(compact.len());
        let (number, unit) = compact.split_at(end);
        if number.is_empty() {
            return Err("it does not start with a number".into());
        }
        let number = Decimal::parse("budget", number).map_err(|e| e.message().to_owned())?;
        if number.is_zero() {
            return Err("it would select nothing".into());
        }
        if let Some(of) = unit.strip_prefix('%') {
            let of = of.strip_prefix("of").unwrap_or(of);
            let measure = measure(of).ok_or_else(|| format!("percent of {of:?}?"))?;
            let (numerator, denominator) = number.ratio();
            if u128::from(numerator) > 100 * u128::from(denominator) {
                return Err("more than 100% cannot be selected".into());
            }
            return Ok(Self { amount: Amount::Percent(number), measure });
        }
        let (factor, measure) = unit_of(unit).ok_or_else(|| format!("{unit:?} is no unit"))?;
        let units = number
            .times_exactly(factor)
            .ok_or_else(|| format!("not a whole number of {} below 2^64", measure.as_str()))?;
        Ok(Self { amount: Amount::Units(units), measure })
    }

    /// Where the line lies in a pool of `total` units: `(rounded down, rounded up)`, equal when exact.
    pub fn line(&self, total: u64) -> (u64, u64) {
        match self.amount {
            Amount::Units(units) => (units, units),
            Amount::Percent(percent) => {
                let (numerator, denominator) = percent.ratio();
                fraction(total, numerator, u128::from(denominator) * 100)
            }
        }
    }
}

/// `whole * numerator / denominator`, rounded down and up. The quotient must fit: `numerator <= denominator`.
pub(crate) fn fraction(whole: u64, numerator: u64, denominator: u128) -> (u64, u64) {
    let product = u128::from(whole) * u128::from(numerator);
    let floor = (product / denominator) as u64;
    (floor, floor + u64::from(product % denominator != 0))
}

fn measure(word: &str) -> Option<Measure> {
    Some(match word {
        "" | "tok" | "toks" | "token" | "tokens" => Measure::Tokens,
        "d" | "doc" | "docs" | "document" | "documents" => Measure::Documents,
        "byte" | "bytes" => Measure::Bytes,
        _ => return None,
    })
}

fn unit_of(unit: &str) -> Option<(u64, Measure)> {
    if let Some(m) = measure(unit) {
        return Some((1, m));
    }
    let mut chars = unit.chars();
    let power = match chars.next()? {
        'k' => 1,
        'm' => 2,
        'b' | 'g' => 3,
        't' => 4,
        _ => return None,
    };
    let decimal = 1000u64.pow(power);
    match chars.as_str() {
        // A billion is not written `bb`, and `bib` is no unit of bytes.
        "b" if !unit.starts_with('b') => Some((decimal, Measure::Bytes)),
        "ib" if !unit.starts_with('b') => Some((1024u64.pow(power), Measure::Bytes)),
        rest => measure(rest).map(|m| (decimal, m)),
    }
}

impl FromStr for Budget {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Budget {
    /// The canonical text, which reads back as the same budget.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.amount {
            Amount::Units(units) => write!(f, "{units}{}", self.measure.as_str()),
            Amount::Percent(percent) => write!(f, "{percent}%{}", self.measure.as_str()),
        }
    }
}

impl Serialize for Budget {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Budget {
    /// From a string, or from a whole number of tokens.
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Budget;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a budget ({HINT})")
            }

            fn visit_str<E: de::Error>(self, v: &str) -> Result<Budget, E> {
                Budget::parse(v).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Budget, E> {
                self.visit_str(&v.to_string())
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Budget, E> {
                self.visit_str(&v.to_string())
            }

            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Budget, E> {
                // JavaScript writes whole numbers beyond 2^53 in this form.
                self.visit_str(&v.to_string())
            }
        }
        d.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Measure::{Bytes, Documents, Tokens};

    #[test]
    fn every_documented_form_reads() {
        for (text, units, measure) in [
            ("123456", 123_456, Tokens),
            ("1_000", 1000, Tokens),
            ("10k", 10_000, Tokens),
            ("300M", 300_000_000, Tokens),
            ("300m", 300_000_000, Tokens),
            ("1B", 1_000_000_000, Tokens),
            ("1G", 1_000_000_000, Tokens),
            ("1.5Btokens", 1_500_000_000, Tokens),
            ("1.5 B tokens", 1_500_000_000, Tokens),
            ("2T", 2_000_000_000_000, Tokens),
            ("0.001ktok", 1, Tokens),
            ("2500docs", 2500, Documents),
            ("2.5k documents", 2500, Documents),
            ("1 doc", 1, Documents),
            ("200MB", 200_000_000, Bytes),
            ("1GB", 1_000_000_000, Bytes),
            ("800KB", 800_000, Bytes),
            ("800kb", 800_000, Bytes),
            ("1.5KiB", 1536, Bytes),
            ("1TiB", 1 << 40, Bytes),
            ("512bytes", 512, Bytes),
            ("3Mbytes", 3_000_000, Bytes),
            ("18446744073709551614", u64::MAX - 1, Tokens),
        ] {
            let got = Budget::parse(text).unwrap();
            assert_eq!((got.amount, got.measure), (Amount::Units(units), measure), "{text}");
            assert_eq!(got.to_string().parse::<Budget>().unwrap(), got, "{text}");
        }
        for (text, canonical) in [
            ("10%", "10%tokens"),
            ("2.50 % of docs", "2.5%documents"),
            ("100%bytes", "100%bytes"),
            ("0.0001%", "0.0001%tokens"),
        ] {
            let got = Budget::parse(text).unwrap();
            assert_eq!(got.to_string(), canonical);
            assert_eq!(canonical.parse::<Budget>().unwrap(), got);
        }
    }

    #[test]
    fn what_is_no_budget_is_refused_with_examples() {
        for text in [
            "",
            "%",
            "docs",
            "half",
            "-10%",
            "+5",
            "0",
            "0%",
            "0.0docs",
            "100.1%",
            "1e9",
            "1,5B",
            "NaN",
            "inf",
            "1.5docs",
            "0.3",
            "10%%",
            "10%foo",
            "5bb",
            "5bib",
            "5x",
            "1.2.3",
            "10MBs",
            "5 apples",
            "99999999999T",
            "1234567890123456789012",
            "٣docs",
            "10\u{202f}％",
        ] {
            let e = Budget::parse(text).expect_err(text);
            assert_eq!(e.code(), gristmill_core::Code::InvalidArgument, "{text}");
            assert!(e.to_string().contains("10%docs"), "{text}");
        }
    }

    #[test]
    fn percentages_are_exact_where_floats_are_not() {
        // 0.29 * 100 is 28.999999999999996 in floats.
        assert_eq!(Budget::parse("29%").unwrap().line(100), (29, 29));
        assert_eq!(Budget::parse("10%").unwrap().line(15), (1, 2));
        assert_eq!(Budget::parse("100%").unwrap().line(u64::MAX), (u64::MAX, u64::MAX));
        assert_eq!(Budget::parse("0.000000000000001%").unwrap().line(u64::MAX), (184, 185));
        assert_eq!(Budget::parse("50%").unwrap().line(u64::MAX), (u64::MAX / 2, u64::MAX / 2 + 1));
    }

    #[test]
    fn serde_takes_numbers_and_strings() {
        assert_eq!(serde_json::from_str::<Budget>("2500").unwrap().to_string(), "2500tokens");
        assert_eq!(serde_json::from_str::<Budget>("1e9").unwrap().to_string(), "1000000000tokens");
        assert_eq!(serde_json::to_string(&Budget::parse("5%docs").unwrap()).unwrap(), "\"5%documents\"");
        assert!(serde_json::from_str::<Budget>("-1").is_err());
        assert!(serde_json::from_str::<Budget>("0.1").is_err());
    }
}
