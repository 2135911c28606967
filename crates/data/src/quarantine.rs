//! What could not be read, kept so that nothing is lost without a trace.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gristmill_core::{Error, Result};

use crate::fault;

/// One row, or a part of a file, that was put aside.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Quarantined {
    /// The file.
    pub path: String,
    /// The row group or record batch, where the format has such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_group: Option<u64>,
    /// The row; for damage that makes the rest of a file (or row group) unreadable, the first row lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// How many rows are lost, when more or fewer than one: known for a row group, unknown (absent) for
    /// the rest of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The column at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The stable code of the error.
    pub code: &'static str,
    /// The error's message.
    pub reason: String,
    /// The row as it was read: a line, or the value of the text column.
    #[serde(flatten)]
    pub raw: Raw,
}

/// The bytes of a row that was put aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    /// They could not be had: the file is damaged there, or they are more than the limit on a document.
    Absent,
    /// They are text; written as `raw`.
    Text(String),
    /// They are not UTF-8; written as `rawBase64`.
    Bytes(Vec<u8>),
}

impl serde::Serialize for Raw {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = s.serialize_map(None)?;
        match self {
            Raw::Absent => {}
            Raw::Text(text) => map.serialize_entry("raw", text)?,
            Raw::Bytes(bytes) => map.serialize_entry("rawBase64", &STANDARD.encode(bytes))?,
        }
        map.end()
    }
}

impl Raw {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Raw::Text(text.into()),
            Err(_) => Raw::Bytes(bytes.into()),
        }
    }
}

impl Quarantined {
    pub(crate) fn new(error: &Error, raw: Raw) -> Self {
        let at = error.location();
        Self {
            path: at.path.clone().unwrap_or_default(),
            row_group: at.row_group,
            row: at.row,
            rows: None,
            column: at.column.clone(),
            code: error.code().as_str(),
            reason: error.message().into(),
            raw,
        }
    }

    /// Whether this stands for one row, and not for a part of a file.
    pub fn is_row(&self) -> bool {
        self.row.is_some() && self.rows == Some(1)
    }

    pub(crate) fn weight(&self) -> usize {
        let raw = match &self.raw {
            Raw::Absent => 0,
            Raw::Text(t) => t.len(),
            Raw::Bytes(b) => b.len(),
        };
        raw + self.reason.len() + self.path.len() + 64
    }

    /// Appends this as one line of JSON.
    pub fn write_to(&self, out: &mut impl Write) -> Result<()> {
        let mut line = serde_json::to_vec(self)
            .map_err(|e| Error::new(gristmill_core::Code::Internal, "cannot encode").with_source(e))?;
        line.push(b'\n');
        out.write_all(&line).map_err(|e| fault::write("quarantine", e))
    }
}
