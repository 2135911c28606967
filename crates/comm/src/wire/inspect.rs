//! A look at a payload by somebody who knows nothing of its run.

use serde::Serialize;

use super::Hash;
use super::decode::Parts;
use super::format::Codec;
use super::header::Header;
use super::refusal::Refusal;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was checked: `header`, `table`, `integrity`, `signature` or `body`.
    pub name: &'static str,
    /// The text form of the [`Reason`](super::Reason) for which it would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What was found, for a person to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What a payload says of a tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its chunks; 0 for dense payloads.
    pub chunks: u64,
    /// Its bytes in the body.
    pub bytes: u64,
    /// Its values that are sent and not zero.
    pub nonzero: u64,
    /// The Euclidean norm of what is sent of it.
    pub norm: f64,
}

/// What can be known of a payload without its run and without the parameters. Serialises in the form of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// Bytes of the file.
    pub bytes: u64,
    /// The BLAKE3 hash of the file: what objects are named after.
    pub hash: Hash,
    /// Whether it would be taken by a run that it is meant for.
    pub ok: bool,
    /// What was checked, up to the first that failed.
    pub checks: Vec<Check>,
    /// The header, where it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderReport>,
    /// The tensors, where all checks passed.
    pub tensors: Vec<TensorReport>,
    /// The Euclidean norm of all that is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub norm: Option<f64>,
    /// The share of values that are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub density: Option<f64>,
    /// How many times smaller than all values as `f32`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

/// A header, in the form of `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderReport {
    run: String,
    round: u64,
    peer: String,
    base: Hash,
    table: Hash,
    codec: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    geometry: Option<Geometry>,
    divide_by: &'static str,
    tensors: u32,
    values: u64,
    chunks: u64,
    body_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Hash>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Geometry {
    chunk: usize,
    top_k: usize,
    quantizer: &'static str,
    indices: &'static str,
    chunk_bytes: usize,
}

impl From<&Header> for HeaderReport {
    fn from(h: &Header) -> Self {
        let geometry = match &h.codec {
            Codec::Dense => None,
            Codec::Sparse(layout) => Some(Geometry {
                chunk: layout.chunk(),
                top_k: layout.k(),
                quantizer: layout.quantizer().name(),
                indices: layout.indices().name(),
                chunk_bytes: layout.words_per_chunk() * 4,
            }),
        };
        Self {
            run: h.address.run.clone(),
            round: h.address.round,
            peer: h.address.peer.clone(),
            base: h.address.base,
            table: h.table,
            codec: h.codec.name(),
            geometry,
            divide_by: h.divide_by.name(),
            tensors: h.tensors,
            values: h.values,
            chunks: h.chunks,
            body_bytes: h.body_len,
            key: h.key.map(Hash),
        }
    }
}

/// Looks at a payload: its header, its sizes and norms, and all checks that need no run. Never fails: what is
/// wrong is in the report.
pub fn inspect(bytes: &[u8]) -> Inspection {
    let mut report = Inspection {
        bytes: bytes.len() as u64,
        hash: Hash::of(bytes),
        ok: false,
        checks: Vec::new(),
        header: None,
        tensors: Vec::new(),
        norm: None,
        density: None,
        ratio: None,
    };
    report.ok = look(bytes, &mut report).is_some();
    report
}

fn look(bytes: &[u8], report: &mut Inspection) -> Option<()> {
    let parts = Parts::split(bytes);
    if let Ok(header) = Header::decode(bytes) {
        report.header = Some((&header).into());
    }
    let parts = report.pass("header", parts)?;
    let format = report.pass("table", parts.format())?;
    report.pass("integrity", parts.check_integrity())?;
    if parts.header.key.is_some() {
        report.pass("signature", parts.check_signature())?;
    }
    report.pass("body", format.check_body(parts.body))?;
    let mut squares = 0.0;
    for (i, entry) in format.tensors().iter().enumerate() {
        let bytes = &parts.body[format.tensor_range(i)];
        let (square, nonzero) = report.pass("norm", format.tensor_norm(i, bytes))?;
        squares += square;
        let sparse = matches!(format.codec(), Codec::Sparse(_));
        report.tensors.push(TensorReport {
            name: entry.name().into(),
            shape: entry.shape().into(),
            chunks: if sparse { entry.chunking().chunks() as u64 } else { 0 },
            bytes: bytes.len() as u64,
            nonzero,
            norm: square.sqrt(),
        });
    }
    report.checks.retain(|c| c.name != "norm");
    report.norm = Some(squares.sqrt());
    let values = format.values() as f64;
    if values > 0.0 {
        report.density = Some(format.entries() as f64 / values);
        report.ratio = Some(4.0 * values / bytes.len() as f64);
    }
    Some(())
}

impl Inspection {
    fn pass<T>(&mut self, name: &'static str, result: Result<T, Refusal>) -> Option<T> {
        let refusal = result.as_ref().err();
        self.checks.push(Check {
            name,
            reason: refusal.map(|r| r.reason.as_str()),
            detail: refusal.map(|r| r.detail.clone()),
        });
        result.ok()
    }
}
