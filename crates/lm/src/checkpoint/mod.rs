//! Weights under canonical names, from any kind of file.
//!
//! [`Checkpoint::open`] reads headers only: it finds every tensor that the [`Config`] asks for, checks its shape, and
//! refuses what is missing, left over or of another shape. [`Checkpoint::tensor`] then reads one tensor, undoes what
//! the family or the converter did to its layout, and converts it:
//!
//! | in the file | here |
//! |---|---|
//! | GPT-2's `c_attn`, `c_fc`, `c_proj`: `[in, out]`, queries, keys and values side by side | `[out, in]`, apart |
//! | GPT-NeoX's `query_key_value`: per head queries, keys, values | apart |
//! | GGUF `attn_qkv`: queries, keys, values one under the other | apart |
//! | GGUF of Llama and OLMo: rows of queries and keys reordered for neighbouring rotary pairs | in halves, as trained |
//! | f16, bf16, quantised blocks | f32 or bf16 |

mod names;
mod read;
mod safetensors;
pub(crate) mod source;

use std::fs;
use std::path::{Path, PathBuf};

use gristmill_core::device::HostBytes;
use gristmill_core::{Code, DType, Error, Result, ResultExt};
use half::bf16;

use crate::config::{Config, TensorSpec};
use crate::gguf::Gguf;
use crate::tokenizer::Tokenizer;
use read::Rows;
use source::{Source, Stored};

/// A tensor in memory, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct HostTensor {
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: HostData,
}

/// The elements of a tensor in memory.
#[derive(Debug, Clone, PartialEq)]
pub enum HostData {
    /// In f32.
    F32(Vec<f32>),
    /// In bf16, rounded to nearest, ties to even.
    Bf16(Vec<bf16>),
}

impl HostTensor {
    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        match self.data {
            HostData::F32(_) => DType::F32,
            HostData::Bf16(_) => DType::Bf16,
        }
    }

    /// Its elements as bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.data {
            HostData::F32(data) => bytemuck::cast_slice(data),
            HostData::Bf16(data) => bytemuck::cast_slice(data),
        }
    }

    /// What [`gristmill_core::Tensor::write`] takes, without a copy.
    pub fn into_host_bytes(self) -> HostBytes {
        Box::new(self)
    }

    /// Its elements in f32.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            HostData::F32(data) => data.clone(),
            HostData::Bf16(data) => data.iter().map(|x| x.to_f32()).collect(),
        }
    }
}

impl AsRef<[u8]> for HostTensor {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// An open model: its configuration, and its weights on request.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    config: Config,
    source: Source,
    tensors: Vec<Located>,
}

/// A tensor that the model must have, and where it is.
#[derive(Debug)]
struct Located {
    spec: TensorSpec,
    rows: Rows,
    stored: Stored,
}

impl Checkpoint {
    /// Opens a folder (`config.json` with `model.safetensors` or `model.safetensors.index.json` and its shards; or one
    /// `.gguf` file and no `config.json`) or a `.gguf` file. Reads headers, not weights.
    ///
    /// # Errors
    /// [`Code::NotFound`] when there is no model, [`Code::InvalidModel`] when a file is damaged or a tensor is
    /// missing, left over or mis-shaped, [`Code::Unsupported`] for a family or an option that is not implemented,
    /// [`Code::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (config, source) = match find(path)? {
            Found::Gguf(file) => {
                let gguf = Gguf::open(&file)?;
                let config = Config::from_gguf(&gguf).at_path(text(&file))?;
                (config, Source::gguf(gguf))
            }
            Found::Folder => {
                let file = path.join("config.json");
                let json = source::read_small(&file)?;
                let config = Config::from_json(&json).at_path(text(&file))?;
                (config, safetensors::open(path, json)?)
            }
        };
        let tensors = names::locate(&config, &source).at_path(text(path))?;
        let checkpoint = Self { path: path.to_owned(), config, source, tensors };
        checkpoint.check_tied_head()?;
        Ok(checkpoint)
    }

    /// What the model is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The canonical names and shapes of all tensors, as [`Config::tensors`].
    pub fn tensors(&self) -> impl Iterator<Item = &TensorSpec> {
        self.tensors.iter().map(|t| &t.spec)
    }

    /// Bytes that the stored tensors take in their files.
    pub fn stored_bytes(&self) -> u64 {
        self.source.stored_bytes()
    }

    /// Reads the tensor of this canonical name (see [`Config::tensors`]) and converts it to f32 or bf16. Peak memory
    /// is the result and the stored bytes of this tensor.
    ///
    /// # Errors
    /// [`Code::NotFound`] for a name that the model does not have, [`Code::DtypeMismatch`] for another type than
    /// these two, [`Code::Io`], [`Code::InvalidModel`] when the file has become shorter, [`Code::OutOfMemory`].
    pub fn tensor(&self, name: &str, to: DType) -> Result<HostTensor> {
        let located = self.tensors.iter().find(|t| t.spec.name == name).ok_or_else(|| {
            Error::new(Code::NotFound, format!("the model has no tensor {name:?}")).at_path(text(&self.path))
        })?;
        read::tensor(&self.source, located, to).map_err(|e| e.at_column(name))
    }

    /// The SHA-256, in hexadecimal, of the configuration and of every byte of the files with weights: of
    /// `config.json` and the safetensors files in the order of their names, each with its length before it; or of
    /// the GGUF file. Reads all of it.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn fingerprint(&self) -> Result<String> {
        self.source.fingerprint()
    }

    /// The tokenizer that came with the model: `tokenizer.json` in the folder, or the vocabulary inside the GGUF. A
    /// text with an id that the model has no row for is refused when it is encoded.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::InvalidModel`], [`Code::Unsupported`], [`Code::Io`].
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let tokenizer = match self.source.as_gguf() {
            Some(gguf) => Tokenizer::from_gguf(gguf).at_path(text(&self.path))?,
            None => Tokenizer::open(&self.path)?,
        };
        Ok(tokenizer.for_model(self.config.vocab, self.config.bos, self.config.eos))
    }

    /// A tied model whose file has a head all the same must have the embedding there.
    fn check_tied_head(&self) -> Result<()> {
        match names::stored_head(&self.config, &self.source) {
            Some(head) => read::same(&self.source, &self.tensors[0].stored, head).at_path(text(&self.path)),
            None => Ok(()),
        }
    }
}

enum Found {
    Gguf(PathBuf),
    Folder,
}

/// What kind of model is at a path.
fn find(path: &Path) -> Result<Found> {
    let meta = fs::metadata(path).map_err(|e| Error::io(text(path), "open the model", e))?;
    if !meta.is_dir() {
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) {
            return Ok(Found::Gguf(path.to_owned()));
        }
        return Err(Error::new(Code::Unsupported, "neither a folder nor a .gguf file")
            .at_path(text(path))
            .hint("name the folder that config.json is in"));
    }
    if path.join("config.json").is_file() {
        return Ok(Found::Folder);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| Error::io(text(path), "list the folder", e))? {
        let file = entry.map_err(|e| Error::io(text(path), "list the folder", e))?.path();
        if file.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) {
            files.push(file);
        }
    }
    files.sort();
    match &files[..] {
        [one] => Ok(Found::Gguf(one.clone())),
        [] => Err(Error::new(Code::NotFound, "no model in the folder: neither config.json nor a .gguf file")
            .at_path(text(path))),
        many => Err(Error::new(Code::InvalidArgument, format!("{} .gguf files in the folder", many.len()))
            .at_path(text(path))
            .hint("name one of them")),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
