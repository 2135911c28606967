//! Probing files: open-addressing tables, in file as in memory.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | u32 version 0, u32 number of words |
//! | 12 a slot | vocabulary: u64 hash of a word, u32 id |
//! | 8 a word | unigrams by id, one more than counted: f32 probability, f32 backoff |
//! | 16 a slot | for each middle order: u64 key, f32 probability, f32 backoff |
//! | 12 a slot | highest order: u64 key, f32 probability |
//!
//! With rest costs a third f32 follows probability and backoff. A table for c entries has
//! max(c + 1, ⌊m·c⌋) slots, in f32 arithmetic; key 0 is an empty slot. A positive sign of a probability says
//! that the n-gram extends to the left, a backoff of −0 that it does not extend to the right: the same as in
//! our own tables, so values are taken over as they are.

use std::io::Read;

use gristmill_core::{Code, Error, Result};

use super::checked;
use super::header::Header;
use crate::model::{Builder, HashedWords, Weights};
use crate::source::Source;

pub(super) fn read(
    source: &mut Source<impl Read>,
    header: &Header,
    rest: bool,
) -> Result<(Builder, HashedWords, u32)> {
    let (words, bound) = vocabulary(source, header)?;
    let order = header.order();
    let weights_bytes = if rest { 12 } else { 8 };

    let unigrams = header.counts[0] + 1;
    source.expect(unigrams * weights_bytes, "the unigrams")?;
    let mut builder = Builder::new(order, bound as usize)?;
    let mut id = 0;
    source.each_block(unigrams * weights_bytes, weights_bytes as usize, "the unigrams", |block| {
        for entry in block.chunks_exact(weights_bytes as usize) {
            if id < bound {
                builder.set_unigram(id, weights(entry)?);
            }
            id += 1;
        }
        Ok(())
    })?;

    for n in 2..order {
        let entry_bytes = 8 + weights_bytes;
        let slots = slots(header, n);
        source.expect(slots * entry_bytes, "a table of n-grams")?;
        builder.start_order(n, header.counts[n - 1].min(slots) as usize)?;
        source.each_block(slots * entry_bytes, entry_bytes as usize, "a table of n-grams", |block| {
            for entry in block.chunks_exact(entry_bytes as usize) {
                let (key, entry) = key(entry);
                if key != 0 {
                    builder.insert_middle(n, key, weights(entry)?)?;
                }
            }
            Ok(())
        })?;
    }

    let slots = slots(header, order);
    source.expect(slots * 12, "the table of the highest order")?;
    builder.start_order(order, header.counts[order - 1].min(slots) as usize)?;
    source.each_block(slots * 12, 12, "the table of the highest order", |block| {
        for entry in block.chunks_exact(12) {
            let (key, prob) = key(entry);
            if key != 0 {
                let prob = checked(Weights { prob: float(prob, 0), backoff: 0.0 })?.prob;
                builder.insert_longest(key, -prob.abs())?;
            }
        }
        Ok(())
    })?;
    Ok((builder, words, bound))
}

fn vocabulary(source: &mut Source<impl Read>, header: &Header) -> Result<(HashedWords, u32)> {
    let at = source.offset();
    let version = u32::from_le_bytes(source.array("the vocabulary")?);
    let bound = u32::from_le_bytes(source.array("the vocabulary")?);
    if version != 0 {
        let message = format!("version {version} of the vocabulary, expected 0");
        return Err(source.invalid(message).at_offset(at));
    }
    // `<unk>` is counted among the unigrams only when the ARPA file had it.
    if bound == 0 || u64::from(bound) > header.counts[0] + 1 {
        let message = format!("{bound} words beside {} unigrams", header.counts[0]);
        return Err(Error::new(Code::InvalidModel, message).at_offset(at + 4));
    }
    let slots = slots(header, 1);
    source.expect(slots * 12, "the vocabulary")?;
    let mut words = HashedWords::with_capacity(bound as usize)?;
    source.each_block(slots * 12, 12, "the vocabulary", |block| {
        for entry in block.chunks_exact(12) {
            let (hash, id) = key(entry);
            let id = u32::from_le_bytes(id.try_into().expect("four bytes"));
            if hash != 0 && (id == 0 || id >= bound || !words.insert(hash, id)) {
                let message = format!("word id {id} is out of range, or two words share a hash");
                return Err(Error::new(Code::InvalidModel, message));
            }
        }
        Ok(())
    })?;
    Ok((words, bound))
}

/// Slots of the table of an order, or so many that no file holds them.
fn slots(header: &Header, n: usize) -> u64 {
    let count = header.counts[n - 1];
    (count + 1).max((header.multiplier * count as f32) as u64).min(1 << 52)
}

fn key(entry: &[u8]) -> (u64, &[u8]) {
    let (key, rest) = entry.split_at(8);
    (u64::from_le_bytes(key.try_into().expect("eight bytes")), rest)
}

fn float(bytes: &[u8], index: usize) -> f32 {
    f32::from_le_bytes(bytes[4 * index..][..4].try_into().expect("four bytes"))
}

fn weights(entry: &[u8]) -> Result<Weights> {
    checked(Weights { prob: float(entry, 0), backoff: float(entry, 1) })
}
