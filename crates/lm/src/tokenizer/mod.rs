//! Text to ids: a `tokenizer.json`, or the vocabulary inside a GGUF file.
//!
//! Both describe a small program, and the library that runs it trusts it: an index out of range or a regular
//! expression that fails is a panic there. Files come from anywhere, so every call is guarded, and a panic is an
//! error of the file.

mod gguf;

use std::path::Path;

use gristmill_core::{Code, Error, Result, ResultExt, guard};
use rayon::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::checkpoint::source::read_small;
use crate::gguf::Gguf;

/// A tokenizer of one model. Encoding adds no tokens that begin or end a text: that is the caller's choice. Special
/// tokens that are spelt out in a text are recognised, as in transformers.
pub struct Tokenizer {
    tokenizer: tokenizers::Tokenizer,
    /// The kind of file that it came from.
    name: &'static str,
    /// Of the file, or of what a GGUF file's vocabulary is as one.
    sha256: String,
    /// Ids, from 0.
    size: usize,
    /// Rows of the model's embedding, where it is known.
    rows: Option<usize>,
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
    adds_eos: bool,
}

impl Tokenizer {
    /// The [`name`](Self::name) of a `tokenizer.json`.
    pub const JSON: &str = "tokenizers/1";
    /// The [`name`](Self::name) of the vocabulary inside a GGUF file.
    pub const GGUF: &str = "gguf-vocabulary/1";

    /// Name and version of its kind, as score files record it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The SHA-256, in hexadecimal, of the `tokenizer.json`, or of what the vocabulary in a GGUF file is as one. Two
    /// tokenizers with one name and one fingerprint give the same ids.
    pub fn fingerprint(&self) -> &str {
        &self.sha256
    }

    /// Reads `tokenizer.json` in a folder, and from `tokenizer_config.json` beside it, if there is one, which tokens
    /// begin and end a text.
    ///
    /// # Errors
    /// [`Code::NotFound`] without the first, [`Code::InvalidModel`] when one is damaged, [`Code::Io`].
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let path = |name: &str| folder.join(name).display().to_string();
        let json = read_small(&folder.join("tokenizer.json"))
            .map_err(|e| e.hint("the tokenizer is read from a tokenizer.json or from a GGUF file"))?;
        let mut tokenizer = Self::from_json(&json).at_path(path("tokenizer.json"))?;
        let settings = folder.join("tokenizer_config.json");
        if settings.is_file() {
            tokenizer.settle(&read_small(&settings)?).at_path(path("tokenizer_config.json"))?;
        }
        Ok(tokenizer)
    }

    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Code::InvalidModel`] when it is damaged, [`Code::Unsupported`] when it cuts at random.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        guarded("cannot be read", || {
            let mut tokenizer = tokenizers::Tokenizer::from_bytes(json)
                .map_err(|e| Error::new(Code::InvalidModel, format!("not a tokenizer.json: {e}")))?;
            // A document is scored whole: cutting or padding it is not the tokenizer's business here.
            tokenizer.with_padding(None);
            tokenizer.with_truncation(None).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            if let tokenizers::ModelWrapper::BPE(bpe) = tokenizer.get_model()
                && bpe.dropout.is_some_and(|p| p != 0.0)
            {
                let message = format!("dropout = {:?} cuts a text at random", bpe.dropout);
                return Err(Error::new(Code::Unsupported, message).at_column("dropout"));
            }
            let sha256 = Sha256::digest(json).iter().map(|b| format!("{b:02x}")).collect();
            Self::of(tokenizer, sha256)
        })
    }

    /// Reads the vocabulary inside a GGUF file.
    ///
    /// # Errors
    /// [`Code::InvalidModel`] when it is damaged, [`Code::Unsupported`] for a kind of vocabulary or a pre-tokenizer
    /// that is not known, [`Code::NotFound`] when there is none.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let vocabulary = gguf::Vocabulary::read(gguf)?;
        let json = serde_json::to_vec(&vocabulary.to_json()?)
            .map_err(|e| Error::new(Code::Internal, format!("cannot write the vocabulary: {e}")))?;
        let mut tokenizer = Self::from_json(&json)?;
        tokenizer.name = Self::GGUF;
        tokenizer.size = vocabulary.len();
        (tokenizer.bos, tokenizer.eos) = (vocabulary.bos, vocabulary.eos);
        (tokenizer.adds_bos, tokenizer.adds_eos) = (vocabulary.adds_bos, vocabulary.adds_eos);
        Ok(tokenizer)
    }

    fn of(tokenizer: tokenizers::Tokenizer, sha256: String) -> Result<Self> {
        let size = tokenizer.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1);
        // What the file's own recipe puts around nothing is what it puts around a text.
        let around = tokenizer.encode("", true);
        let around = around.map_or_else(|_| Vec::new(), |encoding| encoding.get_ids().to_vec());
        let (first, last) = (around.first().copied(), around.last().copied());
        let (bos, eos) = if around.len() > 1 { (first, last) } else { (first, None) };
        let (adds_bos, adds_eos) = (bos.is_some(), eos.is_some());
        Ok(Self { tokenizer, name: Self::JSON, sha256, size, rows: None, bos, eos, adds_bos, adds_eos })
    }

    /// Takes the tokens that begin and end a text from a `tokenizer_config.json`.
    fn settle(&mut self, json: &[u8]) -> Result<()> {
        let settings: Value = serde_json::from_slice(json)
            .map_err(|e| Error::new(Code::InvalidModel, format!("not a tokenizer_config.json: {e}")))?;
        let id = |key: &str| match &settings[key] {
            Value::Null => Ok(None),
            value => {
                let token = value.as_str().or_else(|| value["content"].as_str());
                let id = token.and_then(|t| self.tokenizer.token_to_id(t));
                let wrong = || Error::new(Code::InvalidModel, format!("{value} is no token")).at_column(key);
                id.map(Some).ok_or_else(wrong)
            }
        };
        let (bos, eos) = (id("bos_token")?, id("eos_token")?);
        // The recipe may put one token around a text, and only the names say at which end.
        if self.adds_bos && !self.adds_eos && self.bos == eos && bos != eos {
            (self.adds_bos, self.adds_eos) = (false, true);
        }
        (self.bos, self.eos) = (bos, eos);
        Ok(())
    }

    /// The same, for a model with so many rows: a text that has an id beyond them is refused. Ids that begin and end
    /// a text are taken from `bos` and `eos` where the tokenizer itself names none.
    pub(crate) fn for_model(mut self, rows: usize, bos: Option<u32>, eos: Option<u32>) -> Self {
        self.rows = Some(rows);
        let fits = |id: &u32| (*id as usize) < rows;
        self.bos = self.bos.or(bos).filter(fits);
        self.eos = self.eos.or(eos).filter(fits);
        self
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// [`Code::InvalidModel`] when the tokenizer breaks on the text, or makes an id that the model has no row for.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = guarded("breaks on a text", || {
            self.tokenizer
                .encode_fast(text, false)
                .map_err(|e| Error::new(Code::InvalidModel, format!("the tokenizer failed: {e}")))
        })?;
        let ids = encoding.get_ids().to_vec();
        let beyond = |id: &&u32| self.rows.is_some_and(|rows| **id as usize >= rows);
        if let Some(id) = ids.iter().find(beyond) {
            let rows = self.rows.unwrap_or_default();
            let message = format!("the tokenizer made the id {id}, and the model has {rows} rows");
            return Err(
                Error::new(Code::InvalidModel, message).hint("tokenizer and model are not of one pair")
            );
        }
        Ok(ids)
    }

    /// The ids of many texts, in parallel and in order.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), with the row of the first text that fails.
    pub fn encode_batch<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Result<Vec<Vec<u32>>> {
        let encoded: Vec<_> = texts.par_iter().map(|text| self.encode(text.as_ref())).collect();
        encoded.into_iter().enumerate().map(|(row, ids)| ids.at_row(row as u64)).collect()
    }

    /// The id that begins a text, if there is one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The id that ends a text, if there is one.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether the file's own recipe begins every text with [`bos`](Self::bos).
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Whether the file's own recipe ends every text with [`eos`](Self::eos).
    pub fn adds_eos(&self) -> bool {
        self.adds_eos
    }

    /// Ids are below this; a model may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.size
    }

    /// The id of a token, by the text that stands for it in the file.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Runs a call of the tokenizers library. A tokenizer has caches but no state that a panic leaves half-changed.
fn guarded<T>(what: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    guard(call, |panic| {
        Error::new(Code::InvalidModel, format!("the tokenizer {what}: {panic}"))
            .hint("the file is damaged, or asks for something that the tokenizers library cannot do")
    })
}
