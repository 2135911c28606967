//! safetensors: a u64 length, a JSON header of that length, the tensors' bytes.
//!
//! The header is read here and not by the library, which wants the whole file in memory to check it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;

use gristmill_core::{Code, Error, Result, ResultExt};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::source::{Source, SourceFile, Stored, read_small};
use super::text;
use crate::gguf::Encoding;

/// The longest header, as in the library.
const LONGEST_HEADER: u64 = 100_000_000;
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Opens the weights in a folder: one file, or the shards that an index names.
pub(super) fn open(folder: &Path, config: Vec<u8>) -> Result<Source> {
    let mut tensors = BTreeMap::new();
    let mut files = Vec::new();
    let single = folder.join(SINGLE);
    if single.is_file() {
        let (file, stored) = header(&single, 0)?;
        files.push(file);
        tensors.extend(stored.into_iter().map(|s| (s.name.clone(), s)));
        return Ok(Source::new(files, config, tensors));
    }
    let index = folder.join(INDEX);
    if !index.is_file() {
        return Err(Error::new(Code::NotFound, format!("neither {SINGLE} nor {INDEX} in the folder"))
            .at_path(text(folder))
            .hint("weights in another format must be converted to safetensors first"));
    }
    for (shard, names) in shards(&index)? {
        let (file, stored) = header(&folder.join(&shard), files.len())?;
        let invalid =
            |message: String| Err(Error::new(Code::InvalidModel, message).at_path(text(&file.path)));
        if let Some(missing) = names.iter().find(|n| !stored.iter().any(|s| s.name == **n)) {
            return invalid(format!("the index says that {missing:?} is here, and it is not"));
        }
        for tensor in stored {
            if !names.contains(&tensor.name) {
                return invalid(format!("{:?} is here, and the index does not say so", tensor.name));
            }
            tensors.insert(tensor.name.clone(), tensor);
        }
        files.push(file);
    }
    Ok(Source::new(files, config, tensors))
}

/// The shards of an index with the tensors in each.
fn shards(path: &Path) -> Result<BTreeMap<String, Vec<String>>> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: Entries<String>,
    }
    let invalid = |message: String| Error::new(Code::InvalidModel, message).at_path(text(path));
    let index: Index =
        serde_json::from_slice(&read_small(path)?).map_err(|e| invalid(format!("not an index: {e}")))?;
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, shard) in index.weight_map.distinct().at_path(text(path))? {
        // A shard lies in the same folder: an index must not name files elsewhere.
        if shard.contains(['/', '\\', ':']) || !shard.ends_with(".safetensors") {
            return Err(invalid(format!("{shard:?} is no name of a shard")).at_column(name));
        }
        shards.entry(shard).or_default().push(name);
    }
    if shards.is_empty() {
        return Err(invalid("the index names no tensor".into()));
    }
    Ok(shards)
}

/// Reads and checks the header of a file.
fn header(path: &Path, file: usize) -> Result<(SourceFile, Vec<Stored>)> {
    let io = |e| Error::io(text(path), "read the weights", e);
    let mut reader = File::open(path).map_err(io)?;
    let length = reader.metadata().map_err(io)?.len();
    let stored = parse(&mut reader, length, file).at_path(text(path))?;
    Ok((SourceFile { path: path.to_owned(), length }, stored))
}

fn parse(reader: &mut impl Read, length: u64, file: usize) -> Result<Vec<Stored>> {
    let invalid = |message: String| Error::new(Code::InvalidModel, message);
    let io = |e: std::io::Error| Error::new(Code::Io, format!("cannot read the header: {e}")).with_source(e);
    if length < 8 {
        return Err(invalid(format!("a file of {length} bytes has no safetensors header")));
    }
    let mut prefix = [0; 8];
    reader.read_exact(&mut prefix).map_err(io)?;
    let size = u64::from_le_bytes(prefix);
    if size > LONGEST_HEADER || size > length - 8 {
        return Err(invalid(format!("a header of {size} bytes in a file of {length}")));
    }
    let mut json = vec![0; size as usize];
    reader.read_exact(&mut json).map_err(io)?;
    if json.first() != Some(&b'{') {
        return Err(invalid("the header is no JSON object".into()));
    }
    let entries: Entries<Described> =
        serde_json::from_slice(&json).map_err(|e| invalid(format!("the header is damaged: {e}")))?;
    let data = 8 + size;
    let mut tensors = Vec::new();
    for (name, entry) in entries.distinct()? {
        match entry {
            Described::Tensor(tensor) => {
                let stored =
                    tensor.stored(&name, file, data, length - data).map_err(|e| e.at_column(&name))?;
                tensors.push(stored);
            }
            Described::Metadata(_) if name == "__metadata__" => {}
            Described::Metadata(other) => {
                let message = format!("expected dtype, shape and data_offsets, found {other:?}");
                return Err(invalid(message).at_column(name));
            }
        }
    }
    contiguous(&tensors, data, length)?;
    Ok(tensors)
}

/// Tensors must fill the data without gap or overlap, as the format says.
fn contiguous(tensors: &[Stored], data: u64, length: u64) -> Result<()> {
    let mut order: Vec<&Stored> = tensors.iter().collect();
    order.sort_by_key(|t| (t.offset, t.bytes));
    let mut end = data;
    for tensor in order {
        if tensor.offset != end {
            let what = if tensor.offset < end { "overlap" } else { "leave a gap before" };
            let message = format!("its bytes {what} those of another tensor");
            return Err(Error::new(Code::InvalidModel, message).at_column(&tensor.name));
        }
        end += tensor.bytes;
    }
    if end != length {
        let message = format!("the tensors end at byte {end} of a file of {length}");
        return Err(Error::new(Code::InvalidModel, message));
    }
    Ok(())
}

/// An entry of the header.
#[derive(Deserialize)]
#[serde(untagged)]
enum Described {
    Tensor(Description),
    Metadata(BTreeMap<String, String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl Description {
    fn stored(self, name: &str, file: usize, data: u64, room: u64) -> Result<Stored> {
        let invalid = |message: String| Error::new(Code::InvalidModel, message);
        let size = match &*self.dtype {
            "F64" | "I64" | "U64" => 8,
            "F32" | "I32" | "U32" => 4,
            "F16" | "BF16" | "I16" | "U16" => 2,
            "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "I8" | "U8" | "BOOL" => 1,
            other => return Err(Error::new(Code::Unsupported, format!("the dtype {other:?} is not known"))),
        };
        let encoding = match &*self.dtype {
            "F32" => Ok(Encoding::F32),
            "F16" => Ok(Encoding::F16),
            "BF16" => Ok(Encoding::Bf16),
            other => Err(other.to_owned()),
        };
        let (begin, end) = self.data_offsets;
        if begin > end || end > room {
            return Err(invalid(format!("bytes {begin} to {end} of {room}")));
        }
        let claimed = self.shape.iter().try_fold(size, |n: u64, d| n.checked_mul(*d as u64));
        if claimed != Some(end - begin) {
            let message =
                format!("{} bytes for a {} tensor of shape {:?}", end - begin, self.dtype, self.shape);
            return Err(invalid(message));
        }
        let (offset, bytes) = (data + begin, end - begin);
        Ok(Stored { name: name.to_owned(), encoding, shape: self.shape, file, offset, bytes })
    }
}

/// A JSON object as it is written: a map would swallow a key that is there twice.
struct Entries<T>(Vec<(String, T)>);

impl<T> Entries<T> {
    fn distinct(self) -> Result<Vec<(String, T)>> {
        let mut entries = self.0;
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        match entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => {
                Err(Error::new(Code::InvalidModel, "the name is there twice").at_column(&pair[0].0))
            }
            None => Ok(entries),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Vec<(String, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData)).map(Self)
    }
}
