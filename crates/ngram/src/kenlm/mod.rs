//! KenLM binary files, version 5, read into a [`Model`].
//!
//! All six kinds are read: probing, probing with rest costs (which a left-to-right query does not need),
//! and tries with values quantised or not and pointers compressed or not. Quantised models give exactly the
//! numbers that KenLM gives for them. The tables are rebuilt in our own layout while the file streams
//! through; no part of it is mapped, so a file that shrinks underneath is an error and not a signal.
//!
//! Words are known by MurmurHash64A alone. Where the file has its words as text at the end, they are checked
//! against the hashes and dropped.
//!
//! # Layout
//!
//! Little-endian, from the sources of KenLM (`lm/binary_format.cc` and what it includes):
//!
//! | bytes | content |
//! |---|---|
//! | 88 | magic, padded to 56; f32 0, 1, −0.5; u32 1, 2³²−1, padding; u64 1 |
//! | 20 | u8 order, padding, f32 multiplier of probing tables, u32 kind, u8 has words, padding, u32 version of the search structure |
//! | 8 each | u64 count of n-grams of each order |
//! | | vocabulary: see `probing.rs` and `trie.rs` |
//! | | n-grams: see `probing.rs` and `trie.rs` |
//! | | the words in order of id, from `<unk>` on, each ended by a NUL |

mod header;
mod murmur;
mod packed;
mod probing;
mod trie;

use std::io::{BufRead, Read};

use gristmill_core::{Code, Error, Result};

use crate::model::{HashedWords, Lexicon, Model, ModelMeta, Weights};
use crate::source::Source;
use header::{Header, Kind};
pub(crate) use murmur::murmur_hash_64a;

/// The longest word that is believed to be one.
const MAX_WORD: u64 = 1 << 20;

/// Whether a file that starts like this is a KenLM binary, of whatever version.
pub(crate) fn recognises(head: &[u8]) -> bool {
    head.starts_with(header::MAGIC_ANY_VERSION) || head.starts_with(header::MAGIC_INCOMPLETE)
}

/// Reads a model.
pub(crate) fn read_model(mut source: Source<impl Read>) -> Result<Model> {
    let header = Header::read(&mut source)?;
    let (builder, words, bound) = match header.kind {
        Kind::Probing { rest } => probing::read(&mut source, &header, rest)?,
        Kind::Trie { quantised, compressed } => trie::read(&mut source, &header, quantised, compressed)?,
    };
    if header.has_words {
        check_words(&mut source, &words, bound)?;
    }
    let sha256 = source.finish()?;
    Ok(builder.finish(Lexicon::Hashed(words), ModelMeta::default(), Some(sha256)))
}

/// Weights, unless they are not numbers.
fn checked(weights: Weights) -> Result<Weights> {
    if weights.prob.is_nan() || !weights.backoff.is_finite() {
        return Err(Error::new(Code::InvalidModel, format!("not the weights of an n-gram: {weights:?}")));
    }
    Ok(weights)
}

/// Checks that the words at the end of the file are those of the vocabulary.
fn check_words(source: &mut Source<impl Read>, words: &HashedWords, bound: u32) -> Result<()> {
    let mut word = Vec::new();
    for id in 0..bound {
        let at = source.offset();
        word.clear();
        let read = Read::take(&mut *source, MAX_WORD).read_until(0, &mut word);
        read.map_err(|e| Error::new(Code::Io, format!("cannot read the words: {e}")))?;
        if word.pop() != Some(0) {
            return Err(source.invalid(format!("the file ends inside its words, at word {id} of {bound}")));
        }
        let matches = match id {
            0 => word == b"<unk>",
            _ => words.get(murmur_hash_64a(&word)) == Some(id),
        };
        if !matches {
            let message = format!("word {id} is not the one that the vocabulary has under this id");
            return Err(source.invalid(message).at_offset(at));
        }
    }
    Ok(())
}
