//! The header, read strictly: nothing is allocated that the file is too short for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use gristmill_core::{Code, Error, Result};

use super::value::Number;
use super::{Array, Encoding, TensorInfo, Value};

/// The shortest pair: an empty key, its type, a byte.
const LEAST_PAIR: u64 = 8 + 4 + 1;
/// The shortest tensor: an empty name, no sizes, a type, an offset.
const LEAST_TENSOR: u64 = 8 + 4 + 4 + 8;
/// The longest key or name.
const LONGEST_NAME: u64 = 65_535;
/// Arrays of arrays of arrays and no further.
const DEEPEST: u32 = 3;
/// Dimensions that ggml knows.
const MOST_DIMENSIONS: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

type Header = (u32, BTreeMap<String, Value>, Vec<TensorInfo>);

pub(super) fn read(reader: impl Read, length: u64) -> Result<Header> {
    let mut source = Source { reader, offset: 0, length };
    if source.array(4, "the magic number")? != *b"GGUF" {
        return Err(source.invalid("not a GGUF file"));
    }
    let version = source.u32("the version")?;
    if !matches!(version, 2 | 3) {
        let what = match version.swap_bytes() {
            2 | 3 => "a big-endian GGUF file".to_owned(),
            _ => format!("version {version} of GGUF"),
        };
        return Err(Error::new(Code::Unsupported, format!("{what} is not read"))
            .hint("versions 2 and 3 are, little-endian; convert it with a newer llama.cpp"));
    }
    let tensors = source.u64("the number of tensors")?;
    let pairs = source.u64("the number of metadata pairs")?;
    source.expect_many(pairs, LEAST_PAIR, "metadata pairs")?;
    let metadata = source.metadata(pairs)?;
    source.expect_many(tensors, LEAST_TENSOR, "tensors")?;
    let mut infos = Vec::new();
    for _ in 0..tensors {
        infos.push(source.tensor()?);
    }
    place(&mut infos, &metadata, source.offset, length)?;
    Ok((version, metadata, infos))
}

/// Turns offsets from the data's beginning into offsets in the file, and checks them.
fn place(
    tensors: &mut [TensorInfo],
    metadata: &BTreeMap<String, Value>,
    header: u64,
    length: u64,
) -> Result<()> {
    let invalid = |message: String| Error::new(Code::InvalidModel, message);
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(value) => value.as_u64().filter(|a| a.is_power_of_two() && *a <= 1 << 20).ok_or_else(|| {
            invalid("expected a power of two up to 2^20".into()).at_column("general.alignment")
        })?,
    };
    let data = header.next_multiple_of(alignment);
    let mut names = BTreeSet::new();
    for tensor in &mut *tensors {
        let TensorInfo { name, offset, bytes, .. } = tensor;
        if !offset.is_multiple_of(alignment) {
            return Err(
                invalid(format!("the offset {offset} is no multiple of {alignment}")).at_column(&*name)
            );
        }
        let first = data.checked_add(*offset);
        match first.and_then(|first| first.checked_add(*bytes)) {
            Some(end) if end <= length => *offset = end - *bytes,
            _ => {
                let message = format!(
                    "{bytes} bytes at offset {offset} of the data are not inside the file of {length} bytes"
                );
                return Err(invalid(message).at_column(&*name));
            }
        }
        if !names.insert(name.clone()) {
            return Err(invalid("there are two tensors of this name".into()).at_column(&*name));
        }
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|t| (t.offset, t.bytes));
    for pair in order.windows(2) {
        if pair[0].offset + pair[0].bytes > pair[1].offset {
            let message = format!("the tensor overlaps {:?}", pair[0].name);
            return Err(invalid(message).at_column(&pair[1].name));
        }
    }
    Ok(())
}

/// A reader that knows how much the file still has.
struct Source<R> {
    reader: R,
    offset: u64,
    length: u64,
}

impl<R: Read> Source<R> {
    fn invalid(&self, message: impl Into<String>) -> Error {
        Error::new(Code::InvalidModel, message).at_offset(self.offset)
    }

    /// Checks that so many bytes are left.
    fn expect(&self, bytes: u64, what: &str) -> Result<()> {
        let left = self.length - self.offset;
        if bytes > left {
            return Err(
                self.invalid(format!("the file ends inside {what}: {bytes} bytes expected, {left} left"))
            );
        }
        Ok(())
    }

    /// Checks that so many things of at least so many bytes can be left.
    fn expect_many(&self, count: u64, least: u64, what: &str) -> Result<()> {
        match count.checked_mul(least) {
            Some(bytes) if bytes <= self.length - self.offset => Ok(()),
            _ => Err(self.invalid(format!("the file is too short for {count} {what}"))),
        }
    }

    fn fill(&mut self, bytes: &mut [u8], what: &str) -> Result<()> {
        self.expect(bytes.len() as u64, what)?;
        self.reader.read_exact(bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => self.invalid(format!("the file ends inside {what}")),
            _ => Error::new(Code::Io, format!("cannot read {what}: {e}")).at_offset(self.offset),
        })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn array(&mut self, length: u64, what: &str) -> Result<Vec<u8>> {
        self.expect(length, what)?;
        let mut bytes = Vec::new();
        let room = usize::try_from(length).ok().filter(|n| bytes.try_reserve_exact(*n).is_ok());
        let Some(room) = room else {
            return Err(Error::new(Code::OutOfMemory, format!("no memory for {what}, {length} bytes")));
        };
        bytes.resize(room, 0);
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes, what)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes, what)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn string(&mut self, what: &str) -> Result<String> {
        let length = self.u64(what)?;
        let at = self.offset;
        let bytes = self.array(length, what)?;
        String::from_utf8(bytes)
            .map_err(|_| Error::new(Code::InvalidModel, format!("{what} is not UTF-8")).at_offset(at))
    }

    fn name(&mut self, what: &str) -> Result<String> {
        let at = self.offset;
        let name = self.string(what)?;
        if name.is_empty() || name.len() as u64 > LONGEST_NAME {
            let message = format!("{what} has {} bytes", name.len());
            return Err(Error::new(Code::InvalidModel, message).at_offset(at));
        }
        Ok(name)
    }

    fn metadata(&mut self, pairs: u64) -> Result<BTreeMap<String, Value>> {
        let mut metadata = BTreeMap::new();
        for _ in 0..pairs {
            let key = self.name("a metadata key")?;
            let kind = self.u32("the type of a metadata value")?;
            let value = self.value(kind).map_err(|e| e.at_column(&key))?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(self.invalid("the key is there twice").at_column(key));
            }
        }
        Ok(metadata)
    }

    fn value(&mut self, kind: u32) -> Result<Value> {
        match kind {
            STRING => Ok(Value::String(self.string("a text")?)),
            ARRAY => Ok(Value::Array(self.list(DEEPEST)?)),
            _ => {
                let kind = self.number(kind)?;
                let bytes = self.array(kind.size() as u64, "a metadata value")?;
                self.check_bools(kind, &bytes)?;
                Ok(kind.value(&bytes))
            }
        }
    }

    fn number(&self, kind: u32) -> Result<Number> {
        Number::of(kind).ok_or_else(|| self.invalid(format!("there is no metadata type {kind}")))
    }

    fn check_bools(&self, kind: Number, bytes: &[u8]) -> Result<()> {
        match bytes.iter().find(|b| kind == Number::Bool && **b > 1) {
            Some(other) => Err(self.invalid(format!("a truth value is {other}"))),
            None => Ok(()),
        }
    }

    fn list(&mut self, depth: u32) -> Result<Array> {
        let kind = self.u32("the type of an array")?;
        let count = self.u64("the length of an array")?;
        match kind {
            STRING => {
                self.expect_many(count, 8, "texts")?;
                // The memory grows with what is read, not with what is claimed.
                let mut texts = Vec::new();
                for _ in 0..count {
                    texts.push(self.string("a text of an array")?);
                }
                Ok(Array::Strings(texts))
            }
            ARRAY if depth == 0 => Err(self.invalid("arrays are nested too deeply")),
            ARRAY => {
                self.expect_many(count, 4 + 8, "arrays")?;
                let mut lists = Vec::new();
                for _ in 0..count {
                    lists.push(self.list(depth - 1)?);
                }
                Ok(Array::Arrays(lists))
            }
            _ => {
                let kind = self.number(kind)?;
                self.expect_many(count, kind.size() as u64, "numbers of an array")?;
                let bytes = self.array(count * kind.size() as u64, "an array")?;
                self.check_bools(kind, &bytes)?;
                Ok(Array::Numbers { kind, bytes })
            }
        }
    }

    /// A tensor, with its offset from the beginning of the data.
    fn tensor(&mut self) -> Result<TensorInfo> {
        let name = self.name("the name of a tensor")?;
        self.tensor_of(&name).map_err(|e| e.at_column(&name))
    }

    fn tensor_of(&mut self, name: &str) -> Result<TensorInfo> {
        let rank = self.u32("the number of dimensions")?;
        if rank == 0 || rank > MOST_DIMENSIONS {
            return Err(self.invalid(format!("a tensor of {rank} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            let size = self.u64("a dimension")?;
            let size = usize::try_from(size).ok().filter(|s| *s > 0);
            shape.push(size.ok_or_else(|| self.invalid("a dimension is zero or too large"))?);
        }
        let kind = self.u32("the type of a tensor")?;
        let offset = self.u64("the offset of a tensor")?;
        let encoding = Encoding::ALL.into_iter().find(|e| e.ggml_type() == kind).ok_or_else(|| {
            let read = Encoding::ALL.map(|e| e.to_string()).join(", ");
            Error::new(Code::Unsupported, format!("the encoding {} is not read", type_name(kind)))
                .hint(format!("one of {read} is"))
        })?;
        let elements = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let bytes = elements.and_then(|n| encoding.bytes(n)).filter(|_| encoding.bytes(shape[0]).is_some());
        let Some(bytes) = bytes else {
            return Err(self.invalid(format!("the sizes {shape:?} are no whole blocks of {encoding}")));
        };
        shape.reverse();
        Ok(TensorInfo { name: name.to_owned(), shape, encoding, offset, bytes: bytes as u64 })
    }
}

/// What ggml calls an encoding that is not read.
fn type_name(kind: u32) -> String {
    let name = match kind {
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => return format!("of number {kind}"),
    };
    name.to_owned()
}
