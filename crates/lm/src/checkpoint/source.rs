//! Stored tensors and the files that they are in.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use gristmill_core::{Code, Error, Result};
use sha2::{Digest, Sha256};

use super::text;
use crate::gguf::{Encoding, Gguf};

/// The longest `config.json`, index or tokenizer that is read into memory.
const MOST_SMALL: u64 = 256 << 20;

/// A tensor in a file.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// Its name in the file.
    pub(super) name: String,
    /// How its elements are stored; an error message where that is not read.
    pub(super) encoding: Result<Encoding, String>,
    /// Its dimensions, outermost first.
    pub(super) shape: Vec<usize>,
    /// Which of the files.
    pub(super) file: usize,
    /// Its first byte in the file.
    pub(super) offset: u64,
    /// Its bytes in the file.
    pub(super) bytes: u64,
}

/// The files of a model and the tensors in them.
#[derive(Debug)]
pub(super) struct Source {
    files: Vec<SourceFile>,
    /// `config.json`, where there is one.
    config: Vec<u8>,
    stored: BTreeMap<String, Stored>,
    gguf: Option<Gguf>,
}

/// A file with weights and its length when it was opened.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) length: u64,
}

impl Source {
    pub(super) fn new(files: Vec<SourceFile>, config: Vec<u8>, stored: BTreeMap<String, Stored>) -> Self {
        Self { files, config, stored, gguf: None }
    }

    pub(super) fn gguf(gguf: Gguf) -> Self {
        let files = vec![SourceFile { path: gguf.path().to_owned(), length: gguf.length() }];
        let stored = gguf.tensors().iter().map(|t| {
            let stored = Stored {
                name: t.name.clone(),
                encoding: Ok(t.encoding),
                shape: t.shape.clone(),
                file: 0,
                offset: t.offset,
                bytes: t.bytes,
            };
            (t.name.clone(), stored)
        });
        Self { files, config: Vec::new(), stored: stored.collect(), gguf: Some(gguf) }
    }

    pub(super) fn as_gguf(&self) -> Option<&Gguf> {
        self.gguf.as_ref()
    }

    pub(super) fn stored(&self) -> &BTreeMap<String, Stored> {
        &self.stored
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        self.stored.values().map(|s| s.bytes).sum()
    }

    /// Fills `out` with bytes of a tensor, from `from` of its first on.
    pub(super) fn fill(&self, stored: &Stored, from: u64, out: &mut [u8]) -> Result<()> {
        let SourceFile { path, length } = &self.files[stored.file];
        let io = |e| Error::io(text(path), "read the weights", e);
        let mut file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() != *length {
            let message = format!("the file had {length} bytes when it was opened, and has changed since");
            return Err(Error::new(Code::InvalidModel, message).at_path(text(path)));
        }
        file.seek(SeekFrom::Start(stored.offset + from)).map_err(io)?;
        file.read_exact(out).map_err(io)
    }

    /// Bytes of a tensor.
    pub(super) fn read(&self, stored: &Stored, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = zeroed((range.end - range.start) as usize)?;
        self.fill(stored, range.start, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn fingerprint(&self) -> Result<String> {
        let mut sha256 = Sha256::new();
        if self.gguf.is_none() {
            sha256.update((self.config.len() as u64).to_le_bytes());
            sha256.update(&self.config);
        }
        let mut block = vec![0; 1 << 20];
        for SourceFile { path, length } in &self.files {
            if self.gguf.is_none() {
                sha256.update(length.to_le_bytes());
            }
            let io = |e| Error::io(text(path), "read the weights", e);
            let mut file = File::open(path).map_err(io)?;
            loop {
                let n = file.read(&mut block).map_err(io)?;
                if n == 0 {
                    break;
                }
                sha256.update(&block[..n]);
            }
        }
        Ok(sha256.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }
}

/// So many zeros, or an error where there is no memory for them.
pub(super) fn zeroed<T: bytemuck::Zeroable + Clone>(count: usize) -> Result<Vec<T>> {
    let mut items = Vec::new();
    if items.try_reserve_exact(count).is_err() {
        let bytes = count.saturating_mul(size_of::<T>());
        return Err(Error::new(Code::OutOfMemory, format!("no memory for a tensor of {bytes} bytes")));
    }
    items.resize(count, T::zeroed());
    Ok(items)
}

/// Reads a file that is small by its nature.
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>> {
    let io = |e| Error::io(text(path), "read", e);
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(MOST_SMALL + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MOST_SMALL {
        let message = format!("the file has more than {MOST_SMALL} bytes");
        return Err(Error::new(Code::InvalidModel, message).at_path(text(path)));
    }
    Ok(bytes)
}
