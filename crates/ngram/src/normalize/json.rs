//! Tokens of a `tokenizer.json`.
//!
//! The file describes a small program, and the crate that runs it trusts it: an index out of range, a regular
//! expression that fails, an arithmetic overflow is a panic there. Files come from anywhere, so every call is
//! guarded, and a panic is an error of the file.

use gristmill_core::{Code, Error, Result};

/// A `tokenizer.json` with its tokens by id: the fast way to encode gives ids and no text.
pub(super) struct JsonTokenizer {
    tokenizer: tokenizers::Tokenizer,
    tokens: Vec<String>,
}

impl JsonTokenizer {
    pub(super) fn parse(json: &[u8]) -> Result<Self> {
        guarded("cannot be read", || Self::parse_trusting(json))
    }

    fn parse_trusting(json: &[u8]) -> Result<Self> {
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|e| Error::new(Code::InvalidModel, format!("not a tokenizer.json: {e}")))?;
        // A document is scored whole: cutting or padding it is not the tokenizer's business here.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        let mut tokens = Vec::new();
        for (token, id) in tokenizer.get_vocab(true) {
            let at = id as usize;
            // Ids count tokens; one far beyond the size of the file would only cost memory.
            if at >= json.len() {
                return Err(Error::new(
                    Code::InvalidModel,
                    format!("the id {id} of {token:?} is out of range"),
                ));
            }
            if at >= tokens.len() {
                tokens.resize(at + 1, String::new());
            }
            tokens[at] = token;
        }
        Ok(Self { tokenizer, tokens })
    }

    pub(super) fn for_each(&self, text: &str, f: impl FnMut(&str)) -> Result<()> {
        let encoding = guarded("breaks on a text", || {
            self.tokenizer
                .encode_fast(text, false)
                .map_err(|e| Error::new(Code::InvalidModel, format!("the tokenizer failed: {e}")))
        })?;
        let token = |id: &u32| self.tokens.get(*id as usize).map_or("", String::as_str);
        encoding.get_ids().iter().map(token).for_each(f);
        Ok(())
    }
}

/// Runs a call of the tokenizers crate. A tokenizer has caches but no state that a panic leaves half-changed.
fn guarded<T>(what: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    gristmill_core::guard(call, |panic| {
        Error::new(Code::InvalidModel, format!("the tokenizer file {what}: {panic}"))
            .hint("the file is damaged, or asks for something that the tokenizers library cannot do")
    })
}
