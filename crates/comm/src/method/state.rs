//! Checkpoints as safetensors files: a length, a header in JSON, and the bytes of `f32` tensors.

use std::collections::BTreeMap;

use gristmill_core::{Code, Device, Error, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::replica::ready;

/// Bytes of a header at the most, as the format has it.
const MAX_HEADER: usize = 100_000_000;

#[derive(Serialize, Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    entries: BTreeMap<String, Entry>,
}

/// Writes tensors under names such as `residual/w`; `about` says what they are of, and must be the same to be read back.
pub(super) fn save(about: &[(&str, String)], tensors: &[(String, &Tensor)]) -> Result<Vec<u8>> {
    let (mut entries, mut end) = (BTreeMap::new(), 0);
    for (name, tensor) in tensors {
        let data_offsets = [end, end + tensor.bytes()];
        end = data_offsets[1];
        entries.insert(
            name.clone(),
            Entry { dtype: "F32".into(), shape: tensor.shape().to_vec(), data_offsets },
        );
    }
    let metadata = about.iter().map(|(k, v)| ((*k).into(), v.clone())).collect();
    let mut header = serde_json::to_vec(&Header { metadata, entries })
        .map_err(|e| Error::new(Code::Internal, format!("a header that is no JSON: {e}")))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = Vec::with_capacity(8 + header.len() + end);
    out.extend((header.len() as u64).to_le_bytes());
    out.extend(header);
    for (_, tensor) in tensors {
        tensor.to_vec::<f32>()?.iter().for_each(|x| out.extend(x.to_le_bytes()));
    }
    Ok(out)
}

/// Reads tensors of the names and shapes of those given, in their order.
pub(super) fn load(
    state: &[u8],
    about: &[(&str, String)],
    expected: &[(String, &Tensor)],
    device: &Device,
) -> Result<Vec<Tensor>> {
    let corrupt = |why: String| Error::new(Code::CorruptData, format!("no state of this method: {why}"));
    let (length, rest) = state.split_first_chunk::<8>().ok_or_else(|| corrupt("it is too short".into()))?;
    let length = u64::from_le_bytes(*length);
    let length = usize::try_from(length).ok().filter(|&n| n <= MAX_HEADER.min(rest.len()));
    let (header, data) = rest.split_at(length.ok_or_else(|| corrupt("its header is cut off".into()))?);
    let header: Header = serde_json::from_slice(header).map_err(|e| corrupt(format!("its header: {e}")))?;
    for (key, value) in about {
        match header.metadata.get(*key) {
            Some(found) if found == value => {}
            found => {
                let found = found.map_or("nothing", |f| f);
                return Err(Error::new(
                    Code::ShapeMismatch,
                    format!("{key} is {value}, in the state {found}"),
                )
                .at_column(*key));
            }
        }
    }
    let mut tensors = Vec::new();
    for (name, like) in expected {
        let entry = header.entries.get(name).ok_or_else(|| corrupt(format!("it has no {name:?}")))?;
        let [start, end] = entry.data_offsets;
        let bytes = data.get(start..end).filter(|b| b.len() == like.bytes() && entry.dtype == "F32");
        let Some(bytes) = bytes.filter(|_| *entry.shape == **like.shape()) else {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!("expected {like:?}, in the state {:?}", entry.shape),
            )
            .at_column(name));
        };
        let values = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        tensors.push(device.tensor::<f32>(values, like.shape().to_vec())?);
    }
    ready(&tensors)?;
    Ok(tensors)
}
