//! Words and their ids.

use gristmill_core::hash::hash64;

/// The id of a word within one [`Vocab`].
pub type WordId = u32;

/// The unknown word.
pub const UNK: WordId = 0;
/// Start of sentence: a context only, never predicted.
pub const BOS: WordId = 1;
/// End of sentence.
pub const EOS: WordId = 2;

/// An interner: words to dense ids in order of first appearance, after `<unk>`, `<s>` and `</s>`.
///
/// Words live in one arena, so a million words cost two allocations.
#[derive(Clone)]
pub struct Vocab {
    arena: Vec<u8>,
    /// `ends[id]` is one past the last byte of the word `id`.
    ends: Vec<u64>,
    /// Open addressing over ids plus one; 0 is an empty slot. A power of two in length.
    slots: Vec<u32>,
}

impl Default for Vocab {
    fn default() -> Self {
        Self::new()
    }
}

impl Vocab {
    /// A vocabulary of the three special words.
    pub fn new() -> Self {
        let mut v = Self { arena: Vec::new(), ends: Vec::new(), slots: vec![0; 1024] };
        for (word, id) in [("<unk>", UNK), ("<s>", BOS), ("</s>", EOS)] {
            let got = v.intern(word);
            debug_assert_eq!(got, id);
        }
        v
    }

    /// Number of words, the three special ones included.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of memory that the words and their index take.
    pub fn heap_bytes(&self) -> usize {
        self.arena.capacity() + self.ends.capacity() * 8 + self.slots.len() * 4
    }

    /// Never true: the special words are always there.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The word of an id that this vocabulary gave out.
    ///
    /// # Panics
    /// When `id` is not below [`len`](Self::len).
    pub fn word(&self, id: WordId) -> &str {
        std::str::from_utf8(self.bytes(id)).expect("interned from str")
    }

    #[inline]
    fn bytes(&self, id: WordId) -> &[u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] as usize };
        &self.arena[start..self.ends[id] as usize]
    }

    /// The id of a word, if it is known.
    #[inline]
    pub fn get(&self, word: &str) -> Option<WordId> {
        self.find(word).ok()
    }

    /// The id of a word, new if need be.
    ///
    /// # Panics
    /// Past 2^32 - 2 words.
    #[inline]
    pub fn intern(&mut self, word: &str) -> WordId {
        match self.find(word) {
            Ok(id) => id,
            Err(slot) => self.insert(slot, word),
        }
    }

    /// All words in order of id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len() as WordId).map(|id| self.word(id))
    }

    #[inline]
    fn find(&self, word: &str) -> Result<WordId, usize> {
        let mask = self.slots.len() - 1;
        let mut at = hash64(0, word.as_bytes()) as usize & mask;
        loop {
            match self.slots[at] {
                0 => return Err(at),
                id if self.bytes(id - 1) == word.as_bytes() => return Ok(id - 1),
                _ => at = (at + 1) & mask,
            }
        }
    }

    #[cold]
    fn insert(&mut self, slot: usize, word: &str) -> WordId {
        let id = u32::try_from(self.ends.len()).ok().filter(|id| *id < u32::MAX - 1);
        let id = id.expect("more than 2^32 words");
        self.arena.extend_from_slice(word.as_bytes());
        self.ends.push(self.arena.len() as u64);
        self.slots[slot] = id + 1;
        if self.ends.len() * 2 > self.slots.len() {
            self.grow();
        }
        id
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        let mut slots = vec![0u32; mask + 1];
        for (id, word) in self.iter().enumerate() {
            let mut at = hash64(0, word.as_bytes()) as usize & mask;
            while slots[at] != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = id as u32 + 1;
        }
        self.slots = slots;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interns_and_finds_across_growth() {
        let mut v = Vocab::new();
        let ids: Vec<_> = (0..5000).map(|i| v.intern(&format!("w{i}"))).collect();
        assert_eq!(ids[0], 3);
        assert_eq!(v.len(), 5003);
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(v.get(&format!("w{i}")), Some(*id));
            assert_eq!(v.word(*id), format!("w{i}"));
        }
        assert_eq!(v.get("absent"), None);
        assert_eq!(v.get("<s>"), Some(BOS));
    }
}
