//! GGUF files, versions 2 and 3: the format in which llama.cpp keeps a model, its vocabulary and its settings.
//!
//! ```text
//! "GGUF", u32 version, u64 tensors, u64 pairs
//! pairs    × { string key, u32 type, value }                   a string is a u64 length and UTF-8
//! tensors  × { string name, u32 n, n × u64 sizes, u32 type, u64 offset }     innermost size first
//! padding to general.alignment (32 by default); then the data, every offset from here and aligned
//! ```
//!
//! All of it little-endian. [`Gguf::open`] reads the header and checks it against the length of the file before it
//! allocates; tensors must lie inside the file, aligned and apart.

mod header;
mod quant;
mod value;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use gristmill_core::{Code, Error, Result, ResultExt};

pub use quant::Encoding;
pub use value::{Array, Value};

/// The header of a GGUF file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    length: u64,
    version: u32,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<TensorInfo>,
}

/// A tensor of a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its dimensions, outermost first (the file has them the other way round).
    pub shape: Vec<usize>,
    /// How its elements are stored.
    pub encoding: Encoding,
    /// Its first byte in the file.
    pub offset: u64,
    /// Its bytes in the file.
    pub bytes: u64,
}

impl Gguf {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// [`Code::NotFound`] and [`Code::Io`]; [`Code::InvalidModel`] when it is damaged; [`Code::Unsupported`] for
    /// another version or byte order, or a tensor in an encoding that is not read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = path.display().to_string();
        let open = || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let (file, length) = open().map_err(|e| Error::io(&text, "open the model", e))?;
        let mut gguf = Self::parse(BufReader::with_capacity(1 << 18, file), length).at_path(text)?;
        gguf.path = path.to_owned();
        Ok(gguf)
    }

    /// Reads the header of a file of this length from its beginning.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(reader: impl Read, length: u64) -> Result<Self> {
        let (version, metadata, tensors) = header::read(reader, length)?;
        Ok(Self { path: PathBuf::new(), length, version, metadata, tensors })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The version of the format.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    /// The tensors, in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|t| t.name == name)
    }

    /// The elements of a small tensor.
    pub(crate) fn read_f32(&self, tensor: &TensorInfo) -> Result<Vec<f32>> {
        let path = self.path.display().to_string();
        let mut bytes = vec![0; tensor.bytes as usize];
        let mut read = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(tensor.offset))?;
            file.read_exact(&mut bytes)
        };
        read().map_err(|e| Error::io(path, "read a tensor", e))?;
        let mut out = vec![0.0; tensor.shape.iter().product()];
        tensor.encoding.decode(&bytes, &mut out);
        Ok(out)
    }

    /// The value of `key`, which must be a string.
    pub(crate) fn string(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", Value::as_str)
    }

    /// The value of `key`, which must be a number that is no fraction and not negative.
    pub(crate) fn size(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "a size", Value::as_u64)
    }

    /// The value of `key`, which must be a number.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "a number", |v| v.as_f64().map(|x| x as f32))
    }

    /// The value of `key`, which must be true or false.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", Value::as_bool)
    }

    /// The value of `key`, which must be an array.
    pub(crate) fn array(&self, key: &str) -> Result<Option<&Array>> {
        self.typed(key, "an array", Value::as_array)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        let wrong = || {
            let message = format!("expected {expected}, found {}", value.kind());
            Error::new(Code::InvalidModel, message).at_column(key)
        };
        read(value).map(Some).ok_or_else(wrong)
    }
}
