//! Amounts of memory and text.

use std::fmt;

use gristmill_core::{Code, Error, Result};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

/// A number of bytes: a number, or text with a unit such as `2GB`, `512MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads `1500`, `64KB`, `1.5 GB`, `512MiB`, `2G`. `K`, `M`, `G`, `T` are powers of 1000, `Ki` … of 1024.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim().to_ascii_lowercase();
        let scale = match unit.strip_suffix('b').unwrap_or(&unit) {
            "" => 1u64,
            "k" => 1_000,
            "m" => 1_000_000,
            "g" => 1_000_000_000,
            "t" => 1_000_000_000_000,
            "ki" => 1 << 10,
            "mi" => 1 << 20,
            "gi" => 1 << 30,
            "ti" => 1 << 40,
            _ => 0,
        };
        let bytes = number.parse::<f64>().ok().filter(|_| scale > 0).map(|n| n * scale as f64);
        match bytes {
            Some(bytes) if (1.0..=(1u64 << 53) as f64).contains(&bytes) => Ok(Self(bytes as u64)),
            _ => Err(Error::new(Code::InvalidArgument, format!("{text:?} is not a number of bytes"))
                .hint("write for instance 512MB, 2GB or 1.5GiB")),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        ByteSize::parse(&number_or_text(d)?).map_err(serde::de::Error::custom)
    }
}

/// A number or text, as text.
fn number_or_text<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    struct V;
    impl Visitor<'_> for V {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number, or a string with a number and a unit")
        }
        fn visit_str<E>(self, s: &str) -> Result<String, E> {
            Ok(s.to_owned())
        }
        fn visit_u64<E>(self, n: u64) -> Result<String, E> {
            Ok(n.to_string())
        }
        fn visit_i64<E>(self, n: i64) -> Result<String, E> {
            Ok(n.to_string())
        }
        fn visit_f64<E>(self, n: f64) -> Result<String, E> {
            Ok(n.to_string())
        }
    }
    d.deserialize_any(V)
}

pub(super) fn optional_number_or_text<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    struct Text(#[serde(deserialize_with = "number_or_text")] String);
    Ok(Option::<Text>::deserialize(d)?.map(|t| t.0))
}
