//! `.gml`, Gristmill's own model file.
//!
//! Compact, checked, and lossless: the same tables come back, bit for bit, so an ARPA file can be written
//! from it at any time. The same tables and metadata always give the same bytes.
//!
//! # Layout, version 1
//!
//! All integers are little-endian; *varint* is unsigned LEB128.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic `89 47 4D 4C 0D 0A 1A 0A` (`\x89GML\r\n\x1a\n`, so that text-mode copies are noticed) |
//! | 4 | version, 1 |
//! | 4 | length of the header |
//! | .. | header, JSON: `words` (size of the vocabulary with its three special words), `counts` (n-grams of each order), `normalizer` and `metadata` as in [`ModelMeta`] |
//! | 8 | XXH3-64 of everything so far |
//! | | then the sections: the vocabulary and one for each order, each as |
//! | 8 | length of the payload |
//! | .. | payload |
//! | 8 | XXH3-64 of length and payload |
//!
//! Nothing follows the last section. The payload of the **vocabulary** is, for each word from id 3 on, a
//! varint length and that many bytes of UTF-8 (ids 0, 1, 2 are `<unk>`, `<s>`, `</s>`). That of **order n**
//! has four columns:
//!
//! 1. for each n-gram of order n − 1 in turn, a varint: how many n-grams have it as their context (for
//!    unigrams this column is absent);
//! 2. for each n-gram, a varint: the id of its last word, for the first of a context as it is, after that
//!    less the one before, less 1, since rows ascend;
//! 3. log10 probabilities, f32;
//! 4. log10 backoffs, f32; absent for the highest order.
//!
//! That every n-gram has its context in the model, and that rows ascend and are distinct, is so by
//! construction and needs no check.

mod read;
mod write;

use serde::{Deserialize, Serialize};

use crate::model::ModelMeta;

pub(crate) use read::read_model;
pub use read::{load, parse};
pub use write::{save, write};

const MAGIC: [u8; 8] = *b"\x89GML\r\n\x1a\n";
const VERSION: u32 = 1;
/// Headers are small; a larger one is not ours.
const MAX_HEADER: u32 = 1 << 26;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header {
    words: u64,
    counts: Vec<u64>,
    #[serde(default)]
    model: ModelMeta,
}

/// Whether a file that starts like this is a `.gml` file.
pub(crate) fn recognises(head: &[u8]) -> bool {
    head.starts_with(&MAGIC)
}
