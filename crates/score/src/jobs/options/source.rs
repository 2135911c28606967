//! Where documents come from.

use std::fmt;

use gristmill_core::Result;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Where documents come from: a path, directory, glob or URL, several of them, or a table that also says how
/// to read them.
///
/// ```
/// use gristmill_score::jobs::SourceOptions;
///
/// let short: SourceOptions = serde_json::from_str(r#""crawl/**/*.jsonl.gz""#)?;
/// let long: SourceOptions =
///     serde_json::from_str(r#"{"paths": ["a.parquet", "b/"], "text": "body", "where": "lang == \"en\""}"#)?;
/// assert_eq!(short.paths, ["crawl/**/*.jsonl.gz"]);
/// assert_eq!(long.text.as_deref(), Some("body"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceOptions {
    /// Paths, directories, globs and object-store URLs.
    pub paths: Vec<String>,
    /// `parquet`, `jsonl`, `arrow` or `text`; by the file name when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The column that holds the text; detected when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The column that holds the id; detected when not given, made from file and row when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A row filter in the Common Expression Language, such as `lang == "en" && score > 0.5`.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// For plain text: every line is a document, instead of every file.
    pub lines: bool,
}

impl SourceOptions {
    /// The documents of these paths, read with the defaults.
    pub fn paths<S: Into<String>>(paths: impl IntoIterator<Item = S>) -> Self {
        Self { paths: paths.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

impl From<&str> for SourceOptions {
    fn from(path: &str) -> Self {
        Self::paths([path])
    }
}

/// A string or a list of strings.
pub(super) fn one_or_many<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    struct V;
    impl<'de> Visitor<'de> for V {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or an array of strings")
        }
        fn visit_str<E>(self, s: &str) -> Result<Self::Value, E> {
            Ok(vec![s.to_owned()])
        }
        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
            Deserialize::deserialize(SeqAccessDeserializer::new(seq))
        }
    }
    d.deserialize_any(V)
}

impl<'de> Deserialize<'de> for SourceOptions {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Table {
            #[serde(deserialize_with = "one_or_many")]
            paths: Vec<String>,
            format: Option<String>,
            text: Option<String>,
            id: Option<String>,
            #[serde(rename = "where")]
            filter: Option<String>,
            #[serde(default)]
            lines: bool,
        }

        // By hand and not `#[serde(untagged)]`, which would hide the name of a misspelt field.
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = SourceOptions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, an array of paths or an object with \"paths\"")
            }
            fn visit_str<E>(self, s: &str) -> Result<Self::Value, E> {
                Ok(SourceOptions::from(s))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                let paths = Deserialize::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(SourceOptions { paths, ..SourceOptions::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let Table { paths, format, text, id, filter, lines } =
                    Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                Ok(SourceOptions { paths, format, text, id, filter, lines })
            }
        }
        d.deserialize_any(V)
    }
}
