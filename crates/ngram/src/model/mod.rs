//! Queryable models.
//!
//! A [`Model`] is immutable and shared between threads freely. It holds hashes of n-grams, not the n-grams
//! themselves: a file is written from [`Tables`], not from a model.
//!
//! # Which probability
//!
//! As in KenLM: the longest n-gram of the model that ends in the word gives its probability, and the backoff
//! weights of the longer contexts are added. A [`State`] is as much of the context as can still matter, so
//! two histories with equal states have equal futures. An unknown word is scored as `<unk>`, at
//! -100 where a model has none.
//!
//! # How a lookup works
//!
//! The key of an n-gram is a hash chain from its newest word to its oldest, the same as in KenLM's probing
//! files. It depends on word ids alone, and the key of an n-gram continues that of its suffix. So a text is
//! scored order by order, not word by word: for 128 positions at a time, first all unigrams, then the
//! bigrams of those positions where one can exist, and so on. The lines that the next order needs are
//! prefetched all together, and the memory latency of one hides behind the others. A longer n-gram is tried
//! only where its suffix is known to extend to the left and its context to the right; on most text that
//! spares most of the lookups that would fail.

mod build;
mod lexicon;
mod score;
mod table;

use std::io::Read;
use std::path::Path;

use gristmill_core::{Error, Result, ResultExt};
use serde::{Deserialize, Serialize};

pub(crate) use build::Builder;
pub(crate) use lexicon::{HashedWords, Lexicon};
pub use score::{FullScore, State};

use crate::normalize::NormalizerSpec;
use crate::source::Source;
use crate::tables::{Tables, Trie};
use crate::vocab::{Vocab, WordId};
use crate::{arpa, gml, kenlm};
use table::{LongestLine, MiddleLine, Table};

/// The highest order that a model can have.
pub const MAX_ORDER: usize = 10;

/// The backoff of an n-gram that is the context of no longer one. Equal to zero, told apart by its sign.
pub(crate) const NO_EXTENSION: f32 = -0.0;

/// Whether an n-gram with this backoff is the context of longer ones.
#[inline(always)]
pub(crate) fn has_extension(backoff: f32) -> bool {
    backoff.to_bits() != NO_EXTENSION.to_bits()
}

/// Probability and backoff of an n-gram, log10.
///
/// No probability is above one, so the sign of `prob` is free to tell whether the n-gram is the suffix of
/// longer ones: positive when it is. The probability is `-prob.abs()`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Weights {
    pub(crate) prob: f32,
    pub(crate) backoff: f32,
}

/// The key of an n-gram from that of its suffix and its oldest word.
#[inline(always)]
pub(crate) fn extend_key(suffix: u64, oldest: WordId) -> u64 {
    suffix.wrapping_mul(8_978_948_897_894_561_157)
        ^ (1 + u64::from(oldest)).wrapping_mul(17_894_857_484_156_487_943)
}

/// The key of an n-gram, words oldest first.
pub(crate) fn chain(words: &[WordId]) -> u64 {
    let (newest, older) = words.split_last().expect("an n-gram has a word");
    older.iter().rev().fold(u64::from(*newest), |key, word| extend_key(key, *word))
}

/// What travels with a model besides its n-grams.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModelMeta {
    /// How text was split into the words of the model; absent where the file does not say (ARPA, KenLM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalizer: Option<NormalizerSpec>,
    /// Whatever its maker wants to be read again: options, counts of the corpus, dates.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// An n-gram language model, ready for queries.
pub struct Model {
    order: usize,
    unigrams: Vec<Weights>,
    /// Orders 2 to `order - 1`.
    middle: Vec<Table<MiddleLine>>,
    longest: Table<LongestLine>,
    bos: WordId,
    eos: WordId,
    lexicon: Lexicon,
    meta: ModelMeta,
    sha256: Option<String>,
}

impl Model {
    /// A model of these tables. Word ids are those of their vocabulary.
    ///
    /// # Errors
    /// [`Code::InvalidModel`](gristmill_core::Code::InvalidModel) when a word but `<unk>` has no unigram, an
    /// n-gram comes without its context, or a number is no log probability.
    pub fn from_tables(tables: Tables, meta: ModelMeta) -> Result<Self> {
        Self::build(tables, meta, None)
    }

    /// A model of what was estimated. Word ids are those of its vocabulary.
    ///
    /// # Errors
    /// Those of [`from_tables`](Self::from_tables).
    pub fn from_trie(trie: &Trie, meta: ModelMeta) -> Result<Self> {
        let mut builder = Builder::new(trie.order(), trie.vocab().len())?;
        let mut shorter = None;
        for n in 1..=trie.order() {
            let rows = trie.spell(n, shorter.as_ref());
            builder.add_order(n, &rows)?;
            shorter = Some(rows);
        }
        Ok(builder.finish(Lexicon::Text(trie.vocab().clone()), meta, None))
    }

    pub(crate) fn build(tables: Tables, meta: ModelMeta, sha256: Option<String>) -> Result<Self> {
        let Tables { vocab, orders } = tables;
        let mut builder = Builder::new(orders.len(), vocab.len())?;
        for (i, rows) in orders.into_iter().enumerate() {
            builder.add_order(i + 1, &rows)?;
        }
        Ok(builder.finish(Lexicon::Text(vocab), meta, sha256))
    }

    /// Reads a model file: `.gml`, ARPA (plain or gzip) or a KenLM binary. The first bytes tell which, the
    /// name does not matter.
    ///
    /// # Errors
    /// [`Code::InvalidModel`](gristmill_core::Code::InvalidModel) with the offset or row where the file is
    /// truncated, damaged or of no known kind; those of the file system.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        let file = std::fs::File::open(path).map_err(|e| Error::io(&shown, "open the model", e))?;
        let length = file.metadata().map_err(|e| Error::io(&shown, "inspect the model", e))?.len();
        Self::read(file, length).at_path(shown)
    }

    /// Reads a model file that is in memory. See [`load`](Self::load).
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes, bytes.len() as u64)
    }

    fn read(input: impl Read, length: u64) -> Result<Self> {
        let mut source = Source::new(input, length);
        let head = source.peek()?;
        if gml::recognises(head) {
            gml::read_model(source)
        } else if kenlm::recognises(head) {
            kenlm::read_model(source)
        } else {
            let (tables, sha256) = arpa::read_source(source)?;
            Self::build(tables, ModelMeta::default(), Some(sha256))
        }
    }

    /// The length of the longest n-grams.
    pub fn order(&self) -> usize {
        self.order
    }

    /// Number of n-grams of each order, unigrams first, blanks that were put back included.
    pub fn counts(&self) -> Vec<u64> {
        let mut counts = vec![self.unigrams.len() as u64];
        counts.extend(self.middle.iter().map(|t| t.len() as u64));
        if self.order > 1 {
            counts.push(self.longest.len() as u64);
        }
        counts
    }

    /// The words, where the model knows them by more than a hash; a KenLM binary does not.
    pub fn vocab(&self) -> Option<&Vocab> {
        match &self.lexicon {
            Lexicon::Text(vocab) => Some(vocab),
            Lexicon::Hashed(_) => None,
        }
    }

    /// Number of words, `<unk>` included. Ids are below it.
    pub fn words(&self) -> usize {
        self.unigrams.len()
    }

    /// The id of a word; that of `<unk>`, 0, when the model does not know it.
    #[inline]
    pub fn encode(&self, word: &str) -> WordId {
        self.lexicon.id(word)
    }

    /// The id of `<s>`.
    pub fn bos(&self) -> WordId {
        self.bos
    }

    /// The id of `</s>`.
    pub fn eos(&self) -> WordId {
        self.eos
    }

    /// The normaliser and whatever else the file carries.
    pub fn meta(&self) -> &ModelMeta {
        &self.meta
    }

    /// SHA-256 of the file that the model was read from, in lower-case hexadecimal.
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// Bytes of memory that the tables occupy, words aside.
    pub fn table_bytes(&self) -> usize {
        self.unigrams.len() * size_of::<Weights>()
            + self.middle.iter().map(Table::bytes).sum::<usize>()
            + self.longest.bytes()
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("order", &self.order)
            .field("counts", &self.counts())
            .field("sha256", &self.sha256)
            .finish_non_exhaustive()
    }
}
