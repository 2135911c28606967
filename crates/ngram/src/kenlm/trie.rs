//! Tries: sorted, bit-packed, from the newest word of an n-gram to its oldest.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | vocabulary: number of words without `<unk>` |
//! | 8 a unigram | hashes of words ascending, ids from 1; one place to spare |
//! | 8 | quantised only: u8 version 2, u8 bits of a probability, u8 bits of a backoff, padding |
//! | | quantised only: for each middle order 2^bits f32 probabilities and 2^bits f32 backoffs, then the probabilities of the highest order |
//! | 16 a unigram | unigrams by id, two more than counted: f32 probability, f32 backoff, u64 first bigram |
//! | | for each middle order: with compressed pointers their table; then the entries |
//! | | the entries of the highest order |
//!
//! The children of an entry, its n-grams with one more word of history, are a range of the next order: from
//! its own pointer to that of the entry after it. A middle entry is its word, its value (31 bits of the
//! probability without its sign and 32 of the backoff, or indices into the quantisation tables, backoff
//! first) and its pointer; one more entry at the end has only the pointer. Each array has 8 bytes to spare.
//!
//! A compressed pointer keeps its low bits in the entry. The table, u8 version 0, u8 bits wished for, then
//! aligned to 8 bytes and 8 further on u64s, holds for each value of the high bits the first entry that
//! has it.

use std::io::Read;

use gristmill_core::{Code, Error, Result};

use super::checked;
use super::header::Header;
use super::packed::{BitReader, required_bits};
use crate::model::{Builder, HashedWords, Weights, extend_key};
use crate::source::Source;

/// The widest integer that the format packs.
const MAX_PACKED: u32 = 57;

pub(super) fn read(
    source: &mut Source<impl Read>,
    header: &Header,
    quantised: bool,
    compressed: bool,
) -> Result<(Builder, HashedWords, u32)> {
    let (words, bound) = vocabulary(source, header)?;
    let order = header.order();
    let values = if quantised { Values::read_bins(source, order)? } else { Values::Floats };
    let mut builder = Builder::new(order, bound as usize)?;
    let mut level = unigrams(source, header, bound, &mut builder)?;
    for n in 2..order {
        let entries = Entries::read(source, header, n, &values, compressed)?;
        level = middle(header, n, &entries, &values, &level, bound, &mut builder)?;
    }
    let entries = Entries::read(source, header, order, &values, false)?;
    longest(header, &entries, &values, &level, bound, &mut builder)?;
    Ok((builder, words, bound))
}

fn vocabulary(source: &mut Source<impl Read>, header: &Header) -> Result<(HashedWords, u32)> {
    let at = source.offset();
    let count = u64::from_le_bytes(source.array("the vocabulary")?);
    if count >= header.counts[0] {
        let message = format!("{count} words and <unk> beside {} unigrams", header.counts[0]);
        return Err(source.invalid(message).at_offset(at));
    }
    source.expect(header.counts[0] * 8, "the vocabulary")?;
    let mut words = HashedWords::with_capacity(count as usize)?;
    let mut previous = None;
    let mut id = 0;
    source.each_block(count * 8, 8, "the vocabulary", |block| {
        for hash in block.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes"))) {
            id += 1;
            if previous.is_some_and(|p| p >= hash) || !words.insert(hash, id) {
                return Err(Error::new(Code::InvalidModel, "the hashes of the vocabulary do not ascend"));
            }
            previous = Some(hash);
        }
        Ok(())
    })?;
    source.skip((header.counts[0] - count) * 8, "the vocabulary")?;
    Ok((words, count as u32 + 1))
}

/// The entries of one order as the children of the next are found from them.
struct Level {
    keys: Vec<u64>,
    /// Where the children of each entry start, and after the last where they end.
    children: Vec<u64>,
}

impl Level {
    fn with_capacity(entries: usize) -> Result<Self> {
        let (mut keys, mut children) = (Vec::new(), Vec::new());
        if keys.try_reserve_exact(entries).is_err() || children.try_reserve_exact(entries + 1).is_err() {
            return Err(Error::new(Code::OutOfMemory, format!("no memory for {entries} n-grams")));
        }
        Ok(Self { keys, children })
    }

    /// The sign of a probability says whether there are children.
    fn sign(&self, entry: usize, prob: f32) -> f32 {
        if self.children[entry] < self.children[entry + 1] { prob.abs() } else { -prob.abs() }
    }

    /// Checks that the children are `count` and their ranges adjoin.
    fn check(&self, count: u64, offset: u64) -> Result<()> {
        let adjoin = self.children.is_sorted() && self.children.first() == Some(&0);
        if !adjoin || self.children.last() != Some(&count) {
            let message = "the pointers of a trie do not cover the n-grams that they lead to";
            return Err(Error::new(Code::InvalidModel, message).at_offset(offset));
        }
        Ok(())
    }

    /// Calls `f` with the index, word and key of each entry that follows from this level.
    fn each_child(
        &self,
        entries: &Entries,
        bound: u32,
        mut f: impl FnMut(usize, u64) -> Result<()>,
    ) -> Result<()> {
        for (parent, key) in self.keys.iter().enumerate() {
            let mut least = 0;
            for entry in self.children[parent]..self.children[parent + 1] {
                let word = entries.word(entry);
                if word < least || word >= u64::from(bound) {
                    let message = format!("word {word} of entry {entry} is out of order or range");
                    return Err(Error::new(Code::InvalidModel, message).at_offset(entries.start));
                }
                least = word + 1;
                f(entry as usize, extend_key(*key, word as u32)).map_err(|e| e.at_offset(entries.start))?;
            }
        }
        Ok(())
    }
}

fn unigrams(
    source: &mut Source<impl Read>,
    header: &Header,
    bound: u32,
    builder: &mut Builder,
) -> Result<Level> {
    let count = header.counts[0] + 2;
    source.expect(count * 16, "the unigrams")?;
    let start = source.offset();
    let mut level = Level::with_capacity(count as usize)?;
    let mut weights = Vec::with_capacity(count as usize);
    source.each_block(count * 16, 16, "the unigrams", |block| {
        for entry in block.chunks_exact(16) {
            let field = |at: usize| f32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
            weights.push(checked(Weights { prob: field(0), backoff: field(4) })?);
            level.children.push(u64::from_le_bytes(entry[8..].try_into().expect("eight bytes")));
        }
        Ok(())
    })?;
    // The pointer after the last counted unigram ends the last range; the entry after that is unused.
    level.children.truncate(count as usize - 1);
    level.check(header.counts[1], start)?;
    level.keys.extend(0..header.counts[0]);
    for id in 0..bound {
        let Weights { prob, backoff } = weights[id as usize];
        builder.set_unigram(id, Weights { prob: level.sign(id as usize, prob), backoff });
    }
    Ok(level)
}

fn middle(
    header: &Header,
    n: usize,
    entries: &Entries,
    values: &Values,
    parents: &Level,
    bound: u32,
    builder: &mut Builder,
) -> Result<Level> {
    let count = header.counts[n - 1];
    let mut level = Level::with_capacity(count as usize)?;
    level.children.extend(Pointers::of(entries, count));
    level.check(header.counts[n], entries.start)?;
    builder.start_order(n, count as usize)?;
    parents.each_child(entries, bound, |entry, key| {
        let Weights { prob, backoff } = checked(values.middle(entries, n, entry as u64))?;
        level.keys.push(key);
        builder.insert_middle(n, key, Weights { prob: level.sign(entry, prob), backoff })
    })?;
    Ok(level)
}

fn longest(
    header: &Header,
    entries: &Entries,
    values: &Values,
    parents: &Level,
    bound: u32,
    builder: &mut Builder,
) -> Result<()> {
    let n = header.order();
    builder.start_order(n, header.counts[n - 1] as usize)?;
    parents.each_child(entries, bound, |entry, key| {
        let prob = checked(Weights { prob: values.longest(entries, n, entry as u64), backoff: 0.0 })?.prob;
        builder.insert_longest(key, -prob.abs())
    })
}

/// How the probabilities and backoffs of entries are kept.
enum Values {
    Floats,
    Bins {
        prob_bits: u32,
        backoff_bits: u32,
        /// Probabilities of each order from 2 on.
        prob: Vec<Vec<f32>>,
        /// Backoffs of each middle order.
        backoff: Vec<Vec<f32>>,
    },
}

impl Values {
    fn read_bins(source: &mut Source<impl Read>, order: usize) -> Result<Self> {
        let at = source.offset();
        let [version, prob_bits, backoff_bits, ..]: [u8; 8] = source.array("the quantisation")?;
        if version != 2 {
            let message = format!("version {version} of the quantisation, expected 2");
            return Err(Error::new(Code::InvalidModel, message).at_offset(at));
        }
        if !(1..=25).contains(&prob_bits) || !(1..=25).contains(&backoff_bits) {
            let message = format!("quantisation to {prob_bits} and {backoff_bits} bits, not in 1..=25");
            return Err(Error::new(Code::InvalidModel, message).at_offset(at + 1));
        }
        let mut bins = |bits: u8| -> Result<Vec<f32>> {
            let bytes = source.bytes(4 << bits, "the quantisation tables")?;
            Ok(bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect())
        };
        let (mut prob, mut backoff) = (Vec::new(), Vec::new());
        for _ in 2..order {
            prob.push(bins(prob_bits)?);
            backoff.push(bins(backoff_bits)?);
        }
        prob.push(bins(prob_bits)?);
        Ok(Self::Bins { prob_bits: prob_bits.into(), backoff_bits: backoff_bits.into(), prob, backoff })
    }

    /// Bits of a value, in a middle order or the highest.
    fn bits(&self, middle: bool) -> u32 {
        match self {
            Self::Floats => 31 + if middle { 32 } else { 0 },
            Self::Bins { prob_bits, backoff_bits, .. } => prob_bits + if middle { *backoff_bits } else { 0 },
        }
    }

    fn middle(&self, entries: &Entries, n: usize, entry: u64) -> Weights {
        match self {
            Self::Floats => Weights {
                prob: f32::from_bits(entries.value(entry, 0, 31) as u32),
                backoff: f32::from_bits(entries.value(entry, 31, 32) as u32),
            },
            Self::Bins { prob_bits, backoff_bits, prob, backoff } => Weights {
                prob: prob[n - 2][entries.value(entry, *backoff_bits, *prob_bits) as usize],
                backoff: backoff[n - 2][entries.value(entry, 0, *backoff_bits) as usize],
            },
        }
    }

    fn longest(&self, entries: &Entries, n: usize, entry: u64) -> f32 {
        match self {
            Self::Floats => f32::from_bits(entries.value(entry, 0, 31) as u32),
            Self::Bins { prob_bits, prob, .. } => prob[n - 2][entries.value(entry, 0, *prob_bits) as usize],
        }
    }
}

/// The packed entries of one order.
struct Entries {
    bytes: Vec<u8>,
    /// Offset in the file.
    start: u64,
    word_bits: u32,
    value_bits: u32,
    pointer_bits: u32,
    /// With compressed pointers, the first entry of each value of the high bits.
    high: Vec<u64>,
}

impl Entries {
    fn read(
        source: &mut Source<impl Read>,
        header: &Header,
        n: usize,
        values: &Values,
        compressed: bool,
    ) -> Result<Self> {
        let count = header.counts[n - 1];
        let is_middle = n < header.order();
        let mut pointer_bits = 0;
        let mut high = Vec::new();
        if is_middle {
            let next = header.counts[n];
            pointer_bits = required_bits(next);
            if compressed {
                let chopped;
                (high, chopped) = read_high_bits(source, count + 1, next)?;
                pointer_bits -= chopped;
            }
        }
        let word_bits = required_bits(header.counts[0]);
        let value_bits = values.bits(is_middle);
        let total = u64::from(word_bits + value_bits + pointer_bits);
        // Counts are below 2^48 and an entry has less than 2^8 bits, so nothing overflows.
        let bytes = ((1 + count) * total).div_ceil(8) + 8;
        if pointer_bits > MAX_PACKED {
            return Err(source.invalid("pointers of more than 57 bits"));
        }
        let start = source.offset();
        let bytes = source.bytes(bytes, "the entries of a trie")?;
        Ok(Self { bytes, start, word_bits, value_bits, pointer_bits, high })
    }

    fn at(&self, entry: u64) -> u64 {
        entry * u64::from(self.word_bits + self.value_bits + self.pointer_bits)
    }

    fn word(&self, entry: u64) -> u64 {
        BitReader(&self.bytes).bits(self.at(entry), self.word_bits)
    }

    fn value(&self, entry: u64, skip: u32, bits: u32) -> u64 {
        BitReader(&self.bytes).bits(self.at(entry) + u64::from(self.word_bits + skip), bits)
    }

    fn low_pointer(&self, entry: u64) -> u64 {
        let at = self.at(entry) + u64::from(self.word_bits + self.value_bits);
        BitReader(&self.bytes).bits(at, self.pointer_bits)
    }
}

/// Pointers of the entries in turn, and of the one after the last.
struct Pointers<'a> {
    entries: &'a Entries,
    count: u64,
    next: u64,
    high: usize,
}

impl<'a> Pointers<'a> {
    fn of(entries: &'a Entries, count: u64) -> Self {
        Self { entries, count, next: 0, high: 0 }
    }
}

impl Iterator for Pointers<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.next > self.count {
            return None;
        }
        let firsts = &self.entries.high;
        while firsts.get(self.high + 1).is_some_and(|first| *first <= self.next) {
            self.high += 1;
        }
        let low = self.entries.low_pointer(self.next);
        self.next += 1;
        Some(((self.high as u64) << self.entries.pointer_bits) | low)
    }
}

/// The table of high bits of compressed pointers, and how many bits it takes over.
fn read_high_bits(source: &mut Source<impl Read>, entries: u64, next: u64) -> Result<(Vec<u64>, u32)> {
    let start = source.offset();
    let [version, wished] = source.array("a table of pointers")?;
    if version != 0 {
        let message = format!("version {version} of the compressed pointers, expected 0");
        return Err(Error::new(Code::InvalidModel, message).at_offset(start));
    }
    let required = required_bits(next);
    let chopped = chopped_bits(entries, next, required.min(wished.into()));
    let count = shift_right(next, required - chopped) + 1;
    let padding = start.next_multiple_of(8) - start;
    source.skip(padding + 8 - 2, "a table of pointers")?;
    let bytes =
        count.checked_mul(8).ok_or_else(|| source.invalid("a table of pointers cannot be so long"))?;
    let table = source.bytes(bytes, "a table of pointers")?;
    source.skip(7 - padding, "a table of pointers")?;
    let high =
        table.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes"))).collect();
    Ok((high, chopped))
}

/// How many bits to keep in the table, of at most `most`: the fewest that minimise the size of the file.
fn chopped_bits(entries: u64, next: u64, most: u32) -> u32 {
    let required = required_bits(next);
    let change = |chopped: &u32| {
        i128::from(shift_right(next, required - chopped)) * 64 - i128::from(entries) * i128::from(*chopped)
    };
    (0..=most).min_by_key(change).unwrap_or(0)
}

fn shift_right(value: u64, bits: u32) -> u64 {
    value.checked_shr(bits).unwrap_or(0)
}
