//! Names of formats and compressions, and how one is recognised: by the extension, then by the first bytes.

use std::io::{self, Read};

use gristmill_core::{Code, Error, Result};

use crate::place::Input;

/// How documents are stored in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// One JSON object a line.
    Jsonl,
    /// Arrow IPC, file or stream.
    Arrow,
    /// Plain text: one document a file, or one a line.
    Text,
}

impl Format {
    /// The format of this name (`parquet`, `jsonl`, `arrow`, `text`).
    pub fn parse(name: &str) -> Result<Self> {
        extension_format(name).ok_or_else(|| {
            Error::invalid_argument("format", format!("unknown format {name:?}"))
                .hint("one of parquet, jsonl, arrow, text")
        })
    }
}

/// How the bytes of a file are compressed as a whole. Parquet and Arrow compress inside instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Gzip, of one or several members.
    Gzip,
    /// Zstandard, of one or several frames.
    Zstd,
}

fn extension_format(extension: &str) -> Option<Format> {
    Some(match extension {
        "parquet" | "pq" => Format::Parquet,
        "jsonl" | "ndjson" | "json" => Format::Jsonl,
        "arrow" | "arrows" | "feather" | "ipc" => Format::Arrow,
        "txt" | "text" => Format::Text,
        _ => return None,
    })
}

/// What a file name says, and the name without the extensions that said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NameHint<'a> {
    pub(crate) stem: &'a str,
    pub(crate) format: Option<Format>,
    pub(crate) compression: Compression,
}

impl<'a> NameHint<'a> {
    pub(crate) fn of(name: &'a str) -> Self {
        let (mut stem, compression) = match split_extension(name) {
            Some((stem, "gz" | "gzip")) => (stem, Compression::Gzip),
            Some((stem, "zst" | "zstd")) => (stem, Compression::Zstd),
            _ => (name, Compression::None),
        };
        let mut format = None;
        if let Some((s, extension)) = split_extension(stem) {
            format = extension_format(&extension.to_ascii_lowercase());
            if format.is_some() {
                stem = s;
            }
        }
        Self { stem, format, compression }
    }

    /// Whether a file of this name is taken from a directory that is read as a whole. Plain `.json` is
    /// not: that is where tools put what describes a data set.
    pub(crate) fn is_data_file(&self, name: &str) -> bool {
        let plain_json =
            self.compression == Compression::None && name.to_ascii_lowercase().ends_with(".json");
        self.format.is_some() && !plain_json
    }
}

/// A dot that begins the file name begins no extension.
fn split_extension(name: &str) -> Option<(&str, &str)> {
    let file = name.rfind('/').map_or(0, |i| i + 1);
    let dot = name[file..].rfind('.').filter(|&dot| dot > 0)? + file;
    Some((&name[..dot], &name[dot + 1..]))
}

const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const SKIPPABLE_ZSTD: &[u8] = &[0x2a, 0x4d, 0x18];
pub(crate) const ARROW_FILE_MAGIC: &[u8] = b"ARROW1";
const ARROW_STREAM_MAGIC: &[u8] = &[0xff, 0xff, 0xff, 0xff];

/// The compression that the first bytes show.
pub(crate) fn sniff_compression(head: &[u8]) -> Compression {
    if head.starts_with(GZIP_MAGIC) {
        Compression::Gzip
    } else if head.starts_with(ZSTD_MAGIC)
        || (head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..].starts_with(SKIPPABLE_ZSTD))
    {
        Compression::Zstd
    } else {
        Compression::None
    }
}

/// The format that the first bytes (uncompressed) show; text when they are neither binary nor JSON.
pub(crate) fn sniff_format(head: &[u8]) -> Option<Format> {
    if head.starts_with(b"PAR1") {
        return Some(Format::Parquet);
    }
    if head.starts_with(ARROW_FILE_MAGIC) || head.starts_with(ARROW_STREAM_MAGIC) {
        return Some(Format::Arrow);
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    match text.iter().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => Some(Format::Jsonl),
        // A character may be cut at the end of what was read.
        Some(_) if !text.contains(&0) => match std::str::from_utf8(text) {
            Ok(_) => Some(Format::Text),
            Err(e) if e.error_len().is_none() => Some(Format::Text),
            Err(_) => None,
        },
        _ => None,
    }
}

/// Reads as much of the beginning as detection needs.
pub(crate) fn sniff(input: &Input, hint: NameHint<'_>) -> Result<(Option<Format>, Compression)> {
    let mut head = [0u8; 512];
    let n = read_up_to(&mut input.reader(0), &mut head).map_err(|e| crate::fault::decompress("file", e))?;
    let head = &head[..n];
    let shown = sniff_compression(head);
    let compression = if n == 0 { hint.compression } else { shown };
    // Binary formats carry their own compression, so a name such as `x.parquet.gz` is taken at its word
    // only when the bytes agree.
    let format = match hint.format {
        Some(format) => Some(format),
        None if compression == Compression::None => sniff_format(head),
        None => {
            let mut plain = [0u8; 512];
            let mut reader = crate::stream::decompressed(Box::new(input.reader(0)), compression)?;
            // Damage shows when the file is read for good; here it only hides the format.
            let n = read_up_to(&mut reader, &mut plain).unwrap_or(0);
            sniff_format(&plain[..n])
        }
    };
    Ok((format, compression))
}

fn read_up_to(reader: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match reader.read(&mut buf[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// What a selected or scored shard is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutputFormat {
    /// Parquet, Zstandard inside.
    Parquet,
    /// One JSON object a line.
    Jsonl(Compression),
    /// Arrow IPC file.
    Arrow,
}

impl OutputFormat {
    /// The format of this name: `parquet`, `jsonl`, `jsonl.gz`, `jsonl.zst` or `arrow`.
    pub fn parse(name: &str) -> Result<Self> {
        Ok(match name.trim_start_matches('.') {
            "parquet" => Self::Parquet,
            "jsonl" => Self::Jsonl(Compression::None),
            "jsonl.gz" => Self::Jsonl(Compression::Gzip),
            "jsonl.zst" => Self::Jsonl(Compression::Zstd),
            "arrow" => Self::Arrow,
            _ => {
                return Err(Error::invalid_argument(
                    "outputFormat",
                    format!("unknown output format {name:?}"),
                )
                .hint("one of parquet, jsonl, jsonl.gz, jsonl.zst, arrow"));
            }
        })
    }

    /// The extension that files of this format get, without the first dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl(Compression::None) => "jsonl",
            Self::Jsonl(Compression::Gzip) => "jsonl.gz",
            Self::Jsonl(Compression::Zstd) => "jsonl.zst",
            Self::Arrow => "arrow",
        }
    }

    /// The output format that keeps an input as it was; plain text becomes JSONL.
    pub fn like(format: Format, compression: Compression) -> Self {
        match format {
            Format::Parquet => Self::Parquet,
            Format::Arrow => Self::Arrow,
            Format::Jsonl | Format::Text => Self::Jsonl(compression),
        }
    }
}

pub(crate) fn unknown_format(path: &str) -> Error {
    Error::new(Code::Unsupported, "neither the name nor the first bytes tell the format")
        .at_path(path)
        .hint("name it with --format: parquet, jsonl, arrow or text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_format_and_compression() {
        let of = |n| {
            let h = NameHint::of(n);
            (h.stem, h.format, h.compression)
        };
        assert_eq!(of("a/b.jsonl.gz"), ("a/b", Some(Format::Jsonl), Compression::Gzip));
        assert_eq!(of("a.b/c.JSON.zst"), ("a.b/c", Some(Format::Jsonl), Compression::Zstd));
        assert_eq!(of("x.parquet"), ("x", Some(Format::Parquet), Compression::None));
        assert_eq!(of("v1.2/README"), ("v1.2/README", None, Compression::None));
        assert_eq!(of(".txt"), (".txt", None, Compression::None));
        assert_eq!(of("d/.jsonl"), ("d/.jsonl", None, Compression::None));
    }

    #[test]
    fn plain_json_is_not_picked_up_from_a_directory() {
        for (name, taken) in [("state.json", false), ("c4.json.gz", true), ("a.jsonl", true), ("a.md", false)]
        {
            assert_eq!(NameHint::of(name).is_data_file(name), taken, "{name}");
        }
    }

    #[test]
    fn first_bytes_tell_the_format() {
        assert_eq!(sniff_format(b"PAR1..."), Some(Format::Parquet));
        assert_eq!(sniff_format(b" \n{\"a\":1}"), Some(Format::Jsonl));
        assert_eq!(sniff_format("caf\u{e9}".as_bytes()), Some(Format::Text));
        assert_eq!(sniff_format(&"caf\u{e9}".as_bytes()[..4]), Some(Format::Text));
        assert_eq!(sniff_format(&[0x89, b'P', b'N', b'G']), None);
        assert_eq!(sniff_format(b"\0\0\0"), None);
        assert_eq!(sniff_compression(&[0x50, 0x2a, 0x4d, 0x18]), Compression::Zstd);
    }
}
