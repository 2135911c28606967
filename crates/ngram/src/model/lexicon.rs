//! From the text of a word to its id.

use gristmill_core::{Code, Error, Result};

use crate::kenlm::murmur_hash_64a;
use crate::vocab::{BOS, EOS, UNK, Vocab, WordId};

/// The words of a model.
pub(crate) enum Lexicon {
    /// Words as text, with the ids of [`Vocab`].
    Text(Vocab),
    /// Hashes of words, with the ids of a KenLM file.
    Hashed(HashedWords),
}

impl Lexicon {
    #[inline]
    pub(super) fn id(&self, word: &str) -> WordId {
        match self {
            Self::Text(vocab) => vocab.get(word).unwrap_or(UNK),
            Self::Hashed(words) => words.get(murmur_hash_64a(word.as_bytes())).unwrap_or(UNK),
        }
    }

    /// Ids of `<s>` and `</s>`; like any word, they are unknown in a file that lacks them.
    pub(super) fn sentence_markers(&self) -> (WordId, WordId) {
        match self {
            Self::Text(_) => (BOS, EOS),
            Self::Hashed(_) => (self.id("<s>"), self.id("</s>")),
        }
    }
}

/// A map from MurmurHash64A of a word to its id, by open addressing. `<unk>` is not in it.
pub(crate) struct HashedWords {
    /// Hash and id plus one; 0 is an empty slot. A power of two in length, half full at most.
    slots: Vec<(u64, u32)>,
    words: usize,
}

impl HashedWords {
    /// An empty map for this many words.
    pub(crate) fn with_capacity(words: usize) -> Result<Self> {
        let slots_needed = words.checked_mul(2).map(|n| n.max(2)).and_then(usize::checked_next_power_of_two);
        let mut slots = Vec::new();
        slots_needed
            .and_then(|n| slots.try_reserve_exact(n).ok().map(|()| slots.resize(n, (0, 0))))
            .ok_or_else(|| Error::new(Code::OutOfMemory, format!("no memory for {words} words")))?;
        Ok(Self { slots, words: 0 })
    }

    /// Adds a word; `false` when its hash is there already or the map holds all it was made for.
    pub(crate) fn insert(&mut self, hash: u64, id: WordId) -> bool {
        match self.find(hash) {
            Err(slot) if (self.words + 1) * 2 <= self.slots.len() => {
                self.slots[slot] = (hash, id + 1);
                self.words += 1;
                true
            }
            _ => false,
        }
    }

    /// The id of the word with this hash.
    #[inline]
    pub(crate) fn get(&self, hash: u64) -> Option<WordId> {
        self.find(hash).ok().map(|slot| self.slots[slot].1 - 1)
    }

    #[inline]
    fn find(&self, hash: u64) -> Result<usize, usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                (_, 0) => return Err(at),
                (h, _) if h == hash => return Ok(at),
                _ => at = (at + 1) & mask,
            }
        }
    }
}
