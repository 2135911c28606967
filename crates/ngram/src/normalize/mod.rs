//! Named, versioned ways to split text into words.
//!
//! A language model is only as portable as the way its text was cut up: the same ARPA file gives three
//! different perplexities under three tokenisers that all call themselves "CCNet". So every model records
//! the [`NormalizerSpec`] that made its words, and a definition never changes under its name: a change of
//! behaviour is a new version.
//!
//! | name | words |
//! |---|---|
//! | `unicode-words/1` | NFC, cut at white space and control characters, then at UAX #29 word boundaries; lower-cased; a run of punctuation marks is a word. The default. |
//! | `wordpunct/1` | lower-cased runs of `\w` or of neither `\w` nor `\s`: what DSIR counts (NLTK's `WordPunctTokenizer`), with Python's meaning of both classes |
//! | `whitespace/1` | cut at white space, nothing else: for text that is tokenised already, and for parity with `lmplz` and `query` |
//! | `ccnet/1` | CCNet's normalisation, cut at white space: lower case, accents stripped, digits to 0, its punctuation map, control characters (line ends too) deleted |
//! | `sentencepiece/1` | pieces of a SentencePiece `.model` file |
//! | `ccnet/1+sentencepiece/1` | CCNet's normalisation, then SentencePiece: what CCNet's published models need |
//! | `tokenizers/1` | tokens of a `tokenizer.json` file |
//!
//! A document is one sentence: line ends are white space to every one of them (but CCNet, which deletes
//! them). No normaliser ever yields an empty word, a word with white space in it, or one of the markers
//! `<s>` and `</s>`, which mean something else to a model.
//!
//! ```
//! use gristmill_ngram::normalize::{Normalizer, Scratch};
//!
//! let words = Normalizer::default();
//! let mut scratch = Scratch::default();
//! let mut seen = Vec::new();
//! words.for_each_token("It isn't 3.5 %, Ms\u{a0}Ōe!", &mut scratch, |w| seen.push(w.to_owned()))?;
//! assert_eq!(seen, ["it", "isn't", "3.5", "%,", "ms", "ōe", "!"]);
//! assert_eq!(words.spec().name, "unicode-words/1");
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod ccnet;
mod chars;
mod json;
mod sentencepiece;
mod unicode_words;
mod wordpunct;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gristmill_core::{Error, Result, ResultExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::json::JsonTokenizer;
use self::sentencepiece::SentencePiece;

/// What a model records about the normaliser that its words came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NormalizerSpec {
    /// Name and version, such as `unicode-words/1`.
    pub name: String,
    /// SHA-256 of the tokenizer file in lower-case hexadecimal, where the normaliser has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl std::fmt::Display for NormalizerSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        match &self.sha256 {
            Some(sha256) => write!(f, " (file {}...)", &sha256[..sha256.len().min(12)]),
            None => Ok(()),
        }
    }
}

/// Buffers that [`Normalizer::for_each_token`] works in; one a thread, kept between documents.
#[derive(Default)]
pub struct Scratch {
    text: String,
    pieces: sentencepiece::Scratch,
}

/// A way to split text into words. Cheap to clone, shared between threads.
#[derive(Clone)]
pub struct Normalizer {
    spec: Arc<NormalizerSpec>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    UnicodeWords,
    WordPunct,
    Whitespace,
    CcNet,
    CcNetPieces(Arc<SentencePiece>),
    Pieces(Arc<SentencePiece>),
    Tokenizers(Arc<JsonTokenizer>),
}

/// Stands before the path of a SentencePiece model.
const CCNET_PLUS: &str = "ccnet/1+";

/// The normalisers that need no file.
const NAMED: [(&str, Kind); 4] = [
    (Normalizer::UNICODE_WORDS, Kind::UnicodeWords),
    (Normalizer::WORDPUNCT, Kind::WordPunct),
    (Normalizer::WHITESPACE, Kind::Whitespace),
    (Normalizer::CCNET, Kind::CcNet),
];

impl Default for Normalizer {
    /// [`Normalizer::UNICODE_WORDS`].
    fn default() -> Self {
        Self::without_file(Self::UNICODE_WORDS, Kind::UnicodeWords)
    }
}

impl std::fmt::Debug for Normalizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Normalizer({})", self.spec)
    }
}

impl Normalizer {
    /// Lower-cased UAX #29 words and runs of punctuation marks.
    pub const UNICODE_WORDS: &str = "unicode-words/1";
    /// DSIR's words.
    pub const WORDPUNCT: &str = "wordpunct/1";
    /// Words between white space, as they are.
    pub const WHITESPACE: &str = "whitespace/1";
    /// CCNet's normalisation.
    pub const CCNET: &str = "ccnet/1";
    /// Pieces of a SentencePiece model.
    pub const SENTENCEPIECE: &str = "sentencepiece/1";
    /// CCNet's normalisation, then SentencePiece.
    pub const CCNET_SENTENCEPIECE: &str = "ccnet/1+sentencepiece/1";
    /// Tokens of a `tokenizer.json`.
    pub const TOKENIZERS: &str = "tokenizers/1";

    fn without_file(name: &str, kind: Kind) -> Self {
        Self { spec: Arc::new(NormalizerSpec { name: name.to_owned(), sha256: None }), kind }
    }

    /// The normaliser of this name, one of those that need no file.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](gristmill_core::Code::InvalidArgument) for any other name.
    pub fn named(name: &str) -> Result<Self> {
        let found = NAMED.into_iter().find(|(known, _)| *known == name);
        let (name, kind) = found.ok_or_else(|| {
            let known = NAMED.map(|(name, _)| name).join(", ");
            Error::invalid_argument("normalizer", format!("there is no normaliser named {name:?}"))
                .hint(format!("{known}, or a tokenizer file"))
        })?;
        Ok(Self::without_file(name, kind))
    }

    /// What the user wrote: a name, a path, or `ccnet/1+` and the path of a SentencePiece model.
    ///
    /// # Errors
    /// As [`named`](Self::named) and [`from_file`](Self::from_file);
    /// [`Code::InvalidArgument`](gristmill_core::Code::InvalidArgument) when it is neither a known name nor a
    /// file.
    pub fn resolve(name_or_path: &str) -> Result<Self> {
        if let Some(path) = name_or_path.strip_prefix(CCNET_PLUS) {
            return Self::from_file(path)?.behind_ccnet();
        }
        match Self::named(name_or_path) {
            Err(_) if Path::new(name_or_path).exists() => Self::from_file(name_or_path),
            named_or_error => named_or_error,
        }
    }

    /// The normaliser of a tokenizer file: Hugging Face's `tokenizer.json` or a SentencePiece `.model`. The
    /// first byte tells which, the name does not matter.
    ///
    /// # Errors
    /// [`Code::InvalidModel`](gristmill_core::Code::InvalidModel) when the file is damaged or of another kind;
    /// those of reading it.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let shown = path.display().to_string();
        let bytes = std::fs::read(&path).map_err(|e| Error::io(shown.as_str(), "read the tokenizer", e))?;
        Self::from_bytes(&bytes).at_path(shown)
    }

    /// [`from_file`](Self::from_file) of a file that is in memory.
    ///
    /// # Errors
    /// [`Code::InvalidModel`](gristmill_core::Code::InvalidModel) when it is damaged or of another kind.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (name, kind) = if bytes.trim_ascii_start().starts_with(b"{") {
            (Self::TOKENIZERS, Kind::Tokenizers(Arc::new(JsonTokenizer::parse(bytes)?)))
        } else {
            (Self::SENTENCEPIECE, Kind::Pieces(Arc::new(SentencePiece::parse(bytes)?)))
        };
        let sha256 = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { spec: Arc::new(NormalizerSpec { name: name.to_owned(), sha256: Some(sha256) }), kind })
    }

    /// Puts CCNet's normalisation before the pieces of a SentencePiece model.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](gristmill_core::Code::InvalidArgument) when this is no SentencePiece model.
    pub fn behind_ccnet(self) -> Result<Self> {
        let Kind::Pieces(pieces) = self.kind else {
            let message = format!("{CCNET_PLUS} takes a SentencePiece model, not {}", self.spec);
            return Err(Error::invalid_argument("normalizer", message));
        };
        let spec = NormalizerSpec { name: Self::CCNET_SENTENCEPIECE.to_owned(), ..(*self.spec).clone() };
        Ok(Self { spec: Arc::new(spec), kind: Kind::CcNetPieces(pieces) })
    }

    /// The normaliser that a model names, from its own name or, where it needs one, from `file`.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`](gristmill_core::Code::InvalidArgument) when a file is needed and missing, or is
    /// not the one that was recorded.
    pub fn of_spec(spec: &NormalizerSpec, file: Option<&str>) -> Result<Self> {
        if spec.sha256.is_none() {
            return Self::named(&spec.name);
        }
        let file = file.ok_or_else(|| {
            Error::invalid_argument("normalizer", format!("the model needs the tokenizer file of {spec}"))
                .hint("name the tokenizer file that the model was fitted with")
        })?;
        let mut found = Self::resolve(file)?;
        if spec.name == Self::CCNET_SENTENCEPIECE && found.spec.name == Self::SENTENCEPIECE {
            found = found.behind_ccnet()?;
        }
        if *found.spec != *spec {
            let message = format!("the model was made with {spec}, not with {}", found.spec);
            return Err(Error::invalid_argument("normalizer", message).at_path(file));
        }
        Ok(found)
    }

    /// What to record in a model.
    pub fn spec(&self) -> &NormalizerSpec {
        &self.spec
    }

    /// Calls `f` with every word of `text`, in order.
    ///
    /// # Errors
    /// [`Code::InvalidModel`](gristmill_core::Code::InvalidModel) when a tokenizer file refuses the text (it has
    /// no unknown token, say) or breaks on it. The normalisers without a file never fail.
    #[inline]
    pub fn for_each_token(&self, text: &str, scratch: &mut Scratch, mut f: impl FnMut(&str)) -> Result<()> {
        match &self.kind {
            Kind::UnicodeWords => unicode_words::for_each(text, &mut scratch.text, f),
            Kind::WordPunct => wordpunct::for_each(text, &mut scratch.text, f),
            Kind::Whitespace => whitespace(text, f),
            Kind::CcNet => whitespace(ccnet::normalize(text, &mut scratch.text), f),
            Kind::CcNetPieces(model) => {
                let text = ccnet::normalize(text, &mut scratch.text);
                model.for_each(text, &mut scratch.pieces, |piece| unless_marker(piece, &mut f));
            }
            Kind::Pieces(model) => {
                model.for_each(text, &mut scratch.pieces, |piece| unless_marker(piece, &mut f));
            }
            Kind::Tokenizers(tokenizer) => tokenizer.for_each(text, |token| unless_marker(token, &mut f))?,
        }
        Ok(())
    }

    /// The words of `text`, for callers to whom convenience matters more than speed.
    ///
    /// # Errors
    /// As [`for_each_token`](Self::for_each_token).
    pub fn tokens(&self, text: &str) -> Result<Vec<String>> {
        let mut out = Vec::new();
        self.for_each_token(text, &mut Scratch::default(), |w| out.push(w.to_owned()))?;
        Ok(out)
    }
}

/// Words that stand for the two ends of a sentence and so can never come from text. (`lmplz` stops at
/// them, or takes them for white space with `--skip_symbols`; so do we.)
fn is_marker(word: &str) -> bool {
    matches!(word, "" | "<s>" | "</s>")
}

fn unless_marker(word: &str, f: &mut impl FnMut(&str)) {
    if !is_marker(word) {
        f(word);
    }
}

fn whitespace(text: &str, f: impl FnMut(&str)) {
    // KenLM's own set of delimiters: "\0\t\n\v\f\r ". Wider white space stays inside of words.
    let delimiter = |c: char| matches!(c, '\0' | '\t'..='\r' | ' ');
    text.split(delimiter).filter(|w| !is_marker(w)).for_each(f);
}
