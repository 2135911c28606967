//! A format as JSON: how bindings and configuration files say it.

use gristmill_core::payload::{Chunking, MAX_CHUNK, PayloadLayout};
use gristmill_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::format::{Codec, DivideBy, Format, TensorEntry};

/// A [`Format`] in the words of its options. What is left out is: sparse, chunks of 4,096 of which 64 are sent,
/// `signMagnitude`, `eliasFano`, divided by contributors.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FormatSpec {
    /// `dense`, or `sparse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Elements of a chunk at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<usize>,
    /// Entries of a chunk at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// The quantiser by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantizer: Option<String>,
    /// The index codec by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indices: Option<String>,
    /// The divisor by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divide_by: Option<String>,
    /// The tensors, in order.
    pub params: Vec<ParamSpec>,
}

/// A tensor of a [`FormatSpec`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParamSpec {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Rows and columns of a block of it, as rows by the last dimension. Left out, it is as [`Chunking::of`] says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<[usize; 2]>,
}

impl TryFrom<FormatSpec> for Format {
    type Error = Error;

    fn try_from(spec: FormatSpec) -> Result<Self> {
        let chunk = spec.chunk.unwrap_or(MAX_CHUNK);
        let codec = match spec.codec.as_deref() {
            Some("dense") => {
                if spec.top_k.is_some() || spec.quantizer.is_some() || spec.indices.is_some() {
                    return Err(Error::invalid_argument(
                        "codec",
                        "a dense payload has no top-k or quantiser",
                    ));
                }
                Codec::Dense
            }
            None | Some("sparse") => Codec::Sparse(PayloadLayout::new(
                chunk,
                spec.top_k.unwrap_or(64),
                spec.quantizer.as_deref().unwrap_or("signMagnitude").parse()?,
                spec.indices.as_deref().unwrap_or("eliasFano").parse()?,
            )?),
            Some(other) => {
                return Err(Error::invalid_argument("codec", format!("no codec {other:?}"))
                    .hint("one of sparse, dense"));
            }
        };
        let divide_by = spec.divide_by.as_deref().map_or(Ok(DivideBy::Contributors), str::parse)?;
        let tensors = spec.params.into_iter().map(|p| p.entry(chunk)).collect::<Result<_>>()?;
        Format::new(codec, divide_by, tensors)
    }
}

impl From<&Format> for FormatSpec {
    fn from(format: &Format) -> Self {
        let layout = match format.codec() {
            Codec::Dense => None,
            Codec::Sparse(layout) => Some(layout),
        };
        let chunk = layout.map_or(MAX_CHUNK, PayloadLayout::chunk);
        let params = format.tensors().iter().map(|t| {
            let cut = t.chunking();
            let usual = Chunking::of(t.shape(), chunk).is_ok_and(|usual| usual == *cut);
            ParamSpec {
                name: t.name().into(),
                shape: t.shape().to_vec(),
                block: (!usual).then(|| [cut.block_rows(), cut.block_columns()]),
            }
        });
        Self {
            codec: Some(format.codec().name().into()),
            chunk: layout.map(PayloadLayout::chunk),
            top_k: layout.map(PayloadLayout::k),
            quantizer: layout.map(|l| l.quantizer().name().into()),
            indices: layout.map(|l| l.indices().name().into()),
            divide_by: Some(format.divide_by().name().into()),
            params: params.collect(),
        }
    }
}

impl ParamSpec {
    /// The entry of a table for it, in chunks of so many elements where it does not say otherwise.
    pub(crate) fn entry(self, chunk: usize) -> Result<TensorEntry> {
        let Some([block_rows, block_columns]) = self.block else {
            return TensorEntry::of(self.name, &self.shape, chunk);
        };
        let (columns, outer) = self.shape.split_last().map_or((1, &[][..]), |(&last, outer)| (last, outer));
        let rows = outer.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(usize::MAX);
        let chunking = Chunking::blocks(rows, columns, block_rows, block_columns)?;
        TensorEntry::new(self.name, &self.shape, chunking)
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::Code;
    use serde_json::json;

    use super::*;

    fn format(spec: serde_json::Value) -> Result<Format> {
        serde_json::from_value::<FormatSpec>(spec).unwrap().try_into()
    }

    #[test]
    fn what_is_left_out_is_the_default() {
        let params = json!([{"name": "w", "shape": [640, 1024]}, {"name": "b", "shape": [1024]}]);
        let short = format(json!({"params": params})).unwrap();
        let long = format(json!({
            "codec": "sparse", "chunk": 4096, "topK": 64, "quantizer": "signMagnitude", "indices": "eliasFano",
            "divideBy": "contributors",
            "params": [{"name": "w", "shape": [640, 1024], "block": [64, 64]}, {"name": "b", "shape": [1024]}],
        }));
        assert_eq!(short, long.unwrap());
        assert_eq!(short.chunks(), 161);
        assert_eq!(short.body_len(), 161 * 84);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let params = json!([{"name": "w", "shape": [4]}]);
        for wrong in [
            json!({"codec": "zip", "params": params}),
            json!({"codec": "dense", "topK": 3, "params": params}),
            json!({"quantizer": "4bit", "params": params}),
            json!({"indices": "none", "params": params}),
            json!({"divideBy": "two", "params": params}),
            json!({"chunk": 5000, "params": params}),
            json!({"chunk": 64, "topK": 65, "params": params}),
            json!({"params": []}),
            json!({"params": [{"name": "w", "shape": [4, 4], "block": [0, 4]}]}),
        ] {
            assert_eq!(format(wrong.clone()).unwrap_err().code(), Code::InvalidArgument, "{wrong}");
        }
    }
}
