//! Small pieces of JSON that several places need.

use std::borrow::Cow;
use std::fmt;

use gristmill_core::{Code, Error};
use serde::Deserialize;
use serde::de::{DeserializeSeed, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The top-level members of an object, as they are written, in their order.
pub(crate) fn members(line: &str) -> serde_json::Result<Vec<(Cow<'_, str>, &RawValue)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut out = Vec::new();
            while let Some(key) = map.next_key_seed(KeySeed)? {
                out.push((key, map.next_value()?));
            }
            Ok(out)
        }
    }
    let mut de = serde_json::Deserializer::from_str(line);
    let out = serde::Deserializer::deserialize_map(&mut de, Members)?;
    de.end()?;
    Ok(out)
}

/// A key, borrowed from the line unless it is written with escapes.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;
    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
        Key::deserialize(d).map(|k| k.0)
    }
}

/// The error for a line that is not a JSON object.
pub(crate) fn bad_line(e: serde_json::Error, line: &[u8]) -> Error {
    let mut message = e.to_string();
    // Every line is the first of its own text: only the column says something.
    if let Some(at) = message.rfind(" at line ") {
        message.truncate(at);
    }
    if e.column() > 0 {
        message = format!("{message} at character {}", e.column());
    }
    let error = Error::new(Code::CorruptData, format!("not a JSON object: {message}"));
    match line.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'[') => error.hint("a JSON array is not JSONL: one object a line is expected"),
        Some(b'{') if e.is_eof() => error.hint("one object a line is expected, not one over several lines"),
        _ => error,
    }
}
