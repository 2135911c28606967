//! SentencePiece models: pieces of text as the `sentencepiece` library cuts them, unigram and BPE.
//!
//! Read here and not through a tokenizer library, because parity is the point: the normalisation map is
//! applied by longest match over bytes (not by grapheme), the document is one lattice from end to end, and
//! scores are added in single precision, all as in the original. Files are not trusted: every offset of the
//! map is checked when it is followed, and sizes come from the file's own length.

mod bpe;
mod charsmap;
mod proto;
mod trie;
mod unigram;

use gristmill_core::{Code, Error, Result};

use self::charsmap::CharsMap;
use self::proto::{Kind, ModelType, Proto};
use self::trie::Trie;

/// U+2581, which stands for a space inside of pieces.
const SPACE: &str = "\u{2581}";

/// A SentencePiece model.
pub(super) struct SentencePiece {
    pieces: Pieces,
    model_type: ModelType,
    charsmap: Option<CharsMap>,
    /// Symbols that are never normalised nor cut.
    user_defined: Option<Trie>,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    escape_whitespaces: bool,
    whitespace_as_suffix: bool,
    byte_fallback: bool,
}

/// What both algorithms look pieces up in.
struct Pieces {
    trie: Trie,
    scores: Vec<f32>,
    kinds: Vec<Kind>,
    lowest: f32,
    highest: f32,
}

/// The id of what no piece covers.
const UNKNOWN: u32 = u32::MAX;

/// Buffers, kept between documents.
#[derive(Default)]
pub(super) struct Scratch {
    normalized: String,
    unknown: String,
    lattice: unigram::Lattice,
    merges: bpe::Merges,
}

impl SentencePiece {
    /// Reads a `.model` file.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let proto = Proto::parse(bytes)?;
        let invalid = |message: &str| Error::new(Code::InvalidModel, message);
        if !matches!(proto.model_type, ModelType::Unigram | ModelType::Bpe) {
            return Err(Error::new(
                Code::Unsupported,
                "a SentencePiece model of words or characters, not of unigram or BPE pieces",
            ));
        }
        let (mut lowest, mut highest) = (f32::MAX, f32::MIN);
        let mut cut = Vec::new();
        let mut user_defined = Vec::new();
        for (id, piece) in (0u32..).zip(&proto.pieces) {
            if piece.text.is_empty() || !piece.score.is_finite() {
                return Err(invalid("a piece without text or with a score that is no number"));
            }
            match piece.kind {
                Kind::Normal | Kind::UserDefined | Kind::Unused => cut.push((piece.text.as_bytes(), id)),
                Kind::Unknown | Kind::Control | Kind::Byte => {}
            }
            if piece.kind == Kind::Normal {
                lowest = lowest.min(piece.score);
                highest = highest.max(piece.score);
            }
            if piece.kind == Kind::UserDefined {
                user_defined.push((piece.text.as_bytes(), id));
            }
        }
        if lowest > highest {
            return Err(invalid("a SentencePiece model without ordinary pieces"));
        }
        let twice = || invalid("a piece occurs twice in the SentencePiece model");
        let pieces = Pieces {
            trie: Trie::new(cut).ok_or_else(twice)?,
            scores: proto.pieces.iter().map(|p| p.score).collect(),
            kinds: proto.pieces.iter().map(|p| p.kind).collect(),
            lowest,
            highest,
        };
        let user_defined = match user_defined.is_empty() {
            true => None,
            false => Some(Trie::new(user_defined).ok_or_else(twice)?),
        };
        Ok(Self {
            pieces,
            model_type: proto.model_type,
            charsmap: CharsMap::parse(proto.charsmap)?,
            user_defined,
            add_dummy_prefix: proto.add_dummy_prefix,
            remove_extra_whitespaces: proto.remove_extra_whitespaces,
            escape_whitespaces: proto.escape_whitespaces,
            whitespace_as_suffix: proto.whitespace_as_suffix,
            byte_fallback: proto.byte_fallback,
        })
    }

    /// Calls `f` with every piece of `text`. What no piece covers comes as it is, neighbours together, or as
    /// bytes (`<0xE2>`) where the model says so.
    pub(super) fn for_each(&self, text: &str, scratch: &mut Scratch, mut f: impl FnMut(&str)) {
        let Scratch { normalized, unknown, lattice, merges } = scratch;
        self.normalize(text, normalized);
        unknown.clear();
        let mut emit = |piece: &str, id: u32| {
            if id == UNKNOWN && self.byte_fallback {
                for byte in piece.bytes() {
                    unknown.clear();
                    std::fmt::Write::write_fmt(unknown, format_args!("<0x{byte:02X}>"))
                        .expect("a string has room");
                    f(unknown);
                }
                unknown.clear();
            } else if id == UNKNOWN {
                unknown.push_str(piece);
            } else {
                if !unknown.is_empty() {
                    f(unknown);
                    unknown.clear();
                }
                f(piece);
            }
        };
        match self.model_type {
            ModelType::Bpe => merges.cut(normalized, &self.pieces, self.user_defined.as_ref(), &mut emit),
            _ => lattice.cut(normalized, &self.pieces, &mut emit),
        }
        if !unknown.is_empty() {
            f(unknown);
        }
    }

    fn normalize(&self, text: &str, out: &mut String) {
        out.clear();
        let space = if self.escape_whitespaces { SPACE } else { " " };
        let mut rest = text;
        if self.remove_extra_whitespaces {
            while !rest.is_empty() {
                let (replaced, length) = self.prefix(rest);
                if replaced != " " {
                    break;
                }
                rest = &rest[length..];
            }
        }
        if rest.is_empty() {
            return;
        }
        if self.add_dummy_prefix && !self.whitespace_as_suffix {
            out.push_str(space);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while !rest.is_empty() {
            let (mut replaced, length) = self.prefix(rest);
            rest = &rest[length..];
            while after_space && replaced.starts_with(' ') {
                replaced = &replaced[1..];
            }
            if !replaced.is_empty() {
                for part in replaced.split_inclusive(' ') {
                    match part.strip_suffix(' ') {
                        Some(word) => {
                            out.push_str(word);
                            out.push_str(space);
                        }
                        None => out.push_str(part),
                    }
                }
                after_space = replaced.ends_with(' ');
            }
            after_space &= self.remove_extra_whitespaces;
        }
        if self.remove_extra_whitespaces {
            while out.ends_with(space) {
                out.truncate(out.len() - space.len());
            }
        }
        if self.add_dummy_prefix && self.whitespace_as_suffix {
            out.push_str(space);
        }
    }

    /// What the start of a text becomes, and how many bytes of it that takes.
    #[inline]
    fn prefix<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        if let Some(length) = self.user_defined.as_ref().and_then(|trie| trie.longest(text.as_bytes())) {
            return (&text[..length], length);
        }
        if let Some(found) = self.charsmap.as_ref().and_then(|map| map.longest(text)) {
            return found;
        }
        let length = char_length(text.as_bytes()[0]);
        (&text[..length], length)
    }
}

/// Bytes of the character that begins with this byte.
#[inline]
fn char_length(first: u8) -> usize {
    match first {
        0..0x80 => 1,
        0x80..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    }
}
