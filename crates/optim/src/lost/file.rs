//! Layers as safetensors files.

use gristmill_core::{Code, DType, Device, Error, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::{LostActivation, LostLinear, LostParts};
use crate::checkpoint::{Entry, parse, type_name, write};

/// What the layers here call themselves.
const FORMAT: &str = "gristmill-lost/1";

/// What of a layer is no tensor.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct About {
    gamma: f64,
    activation: LostActivation,
}

fn corrupt(why: impl std::fmt::Display) -> Error {
    Error::new(Code::CorruptData, format!("no layer of LOST: {why}"))
}

impl LostLinear {
    /// All of it, as a safetensors file: tensors `a`, `b`, `sparse`, `index` and `bias`, and in the metadata, under
    /// `gristmill`, a JSON object with `gamma` and `activation`.
    ///
    /// # Errors
    /// Those of reading from the device.
    pub fn save(&self) -> Result<Vec<u8>> {
        let LostParts { a, b, sparse, index, bias } = self.parts();
        let named = [("a", a), ("b", b), ("sparse", sparse), ("index", index)];
        let tensors = named.into_iter().chain(bias.map(|bias| ("bias", bias)));
        write(
            FORMAT,
            &About { gamma: self.gamma, activation: self.activation },
            tensors.map(|(name, tensor)| (name.to_owned(), tensor.clone())),
        )
    }

    /// The layer that [`save`](Self::save) wrote, with the same bits, on any device.
    ///
    /// # Errors
    /// [`Code::CorruptData`] for what is no such file, or damaged; those of [`from_parts`](Self::from_parts).
    pub fn load(device: &Device, file: &[u8]) -> Result<Self> {
        let (header, data) = parse(file).map_err(corrupt)?;
        let about: About = match (header.metadata.get("format"), header.metadata.get("gristmill")) {
            (Some(format), Some(about)) if format == FORMAT => {
                serde_json::from_str(about).map_err(|e| corrupt(format!("its metadata: {e}")))?
            }
            _ => return Err(corrupt(format!("its metadata do not say {FORMAT:?}"))),
        };
        if let Some(stranger) =
            header.entries.keys().find(|name| !["a", "b", "sparse", "index", "bias"].contains(&name.as_str()))
        {
            return Err(corrupt(format!("it has a tensor {stranger:?}")));
        }
        let tensor = |name: &str| -> Result<Option<Tensor>> {
            let Some(Entry { dtype, shape, data_offsets: [start, end] }) = header.entries.get(name) else {
                return Ok(None);
            };
            let known = [DType::F32, DType::Bf16, DType::U32].into_iter().find(|d| type_name(*d) == dtype);
            let known = known.ok_or_else(|| corrupt(format!("{name} is of type {dtype:?}")))?;
            let elements = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
            if elements.and_then(|n| n.checked_mul(known.size())) != Some(end - start) {
                return Err(corrupt(format!("{name} is not as long as its shape says")));
            }
            device.tensor_from(Box::new(data[*start..*end].to_vec()), known, shape.clone()).map(Some)
        };
        let there = |name: &str| tensor(name)?.ok_or_else(|| corrupt(format!("it has no {name:?}")));
        let parts = LostParts {
            a: there("a")?,
            b: there("b")?,
            sparse: there("sparse")?,
            index: there("index")?,
            bias: tensor("bias")?,
        };
        let inputs = parts.a.shape().first().copied().unwrap_or(0) as u64;
        let index = if parts.index.dtype() == DType::U32 { parts.index.to_vec::<u32>()? } else { Vec::new() };
        let ascends = index.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascends || index.last().is_some_and(|&last| u64::from(last) >= inputs) {
            return Err(corrupt("its index does not ascend within the inputs"));
        }
        Self::from_parts(parts, about.gamma, about.activation)
    }
}
