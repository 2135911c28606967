use std::io::Read;

use gristmill_core::{Code, Error, Result};

use crate::model::MAX_ORDER;
use crate::source::Source;

const MAGIC: &[u8] = b"mmap lm http://kheafield.com/code format version 5\n\0";
pub(super) const MAGIC_ANY_VERSION: &[u8] = b"mmap lm http://kheafield.com/code format version";
pub(super) const MAGIC_INCOMPLETE: &[u8] = b"mmap lm http://kheafield.com/code incomplete";

/// The data structure of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Probing { rest: bool },
    Trie { quantised: bool, compressed: bool },
}

/// What comes before the vocabulary.
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) multiplier: f32,
    pub(super) has_words: bool,
    /// N-grams of each order.
    pub(super) counts: Vec<u64>,
}

impl Header {
    pub(super) fn read(source: &mut Source<impl Read>) -> Result<Self> {
        sanity(source)?;
        let at = source.offset();
        let fixed: [u8; 20] = source.array("the header")?;
        let invalid =
            |offset, message: String| Err(Error::new(Code::InvalidModel, message).at_offset(offset));
        let u32_at = |i: usize| u32::from_le_bytes(fixed[i..i + 4].try_into().expect("four bytes"));
        let order = usize::from(fixed[0]);
        let multiplier = f32::from_bits(u32_at(4));
        let (kind, kind_version) = match u32_at(8) {
            0 => (Kind::Probing { rest: false }, 0),
            1 => (Kind::Probing { rest: true }, 0),
            2 => (Kind::Trie { quantised: false, compressed: false }, 1),
            3 => (Kind::Trie { quantised: true, compressed: false }, 1),
            4 => (Kind::Trie { quantised: false, compressed: true }, 1),
            5 => (Kind::Trie { quantised: true, compressed: true }, 1),
            kind => return invalid(at + 8, format!("kind {kind} of KenLM binary is not known")),
        };
        // KenLM itself has no unigram models.
        if !(2..=MAX_ORDER).contains(&order) {
            return invalid(at, format!("order {order} is not in 2..={MAX_ORDER}"));
        }
        if !(multiplier >= 1.0 && multiplier.is_finite()) {
            return invalid(at + 4, format!("the probing multiplier {multiplier} is below 1"));
        }
        if fixed[12] > 1 {
            return invalid(at + 12, "the flag for words is neither 0 nor 1".into());
        }
        if u32_at(16) != kind_version {
            let message = format!("version {} of the search structure, expected {kind_version}", u32_at(16));
            return invalid(at + 16, message);
        }
        let mut counts = Vec::with_capacity(order);
        for n in 1..=order {
            let at = source.offset();
            let count = u64::from_le_bytes(source.array("the counts")?);
            // A bound on all arithmetic that follows; the sizes themselves are held against the file's.
            if count >= 1 << 48 || (n == 1 && count >= u64::from(u32::MAX) - 1) {
                return invalid(at, format!("{count} {n}-grams cannot be"));
            }
            counts.push(count);
        }
        let padding = source.offset().next_multiple_of(8) - source.offset();
        source.skip(padding, "the header")?;
        Ok(Self { kind, multiplier, has_words: fixed[12] == 1, counts })
    }

    pub(super) fn order(&self) -> usize {
        self.counts.len()
    }
}

fn sanity(source: &mut Source<impl Read>) -> Result<()> {
    let head: [u8; 88] = source.array("the header")?;
    let invalid = |message: &str, hint: &str| {
        Err(Error::new(Code::InvalidModel, message.to_owned()).at_offset(0).hint(hint))
    };
    if head.starts_with(MAGIC_INCOMPLETE) {
        return invalid("a KenLM binary that was not finished", "run build_binary again");
    }
    if !head.starts_with(MAGIC) {
        return invalid("not version 5 of KenLM's binary format", "rebuild the file from its ARPA form");
    }
    let mut expected = [0; 88];
    expected[..MAGIC.len()].copy_from_slice(MAGIC);
    for (i, word) in [0, 1f32.to_bits(), (-0.5f32).to_bits(), 1, u32::MAX, 0, 1, 0].iter().enumerate() {
        expected[56 + 4 * i..][..4].copy_from_slice(&word.to_le_bytes());
    }
    if head != expected {
        return invalid(
            "a KenLM binary of another architecture",
            "rebuild the file from its ARPA form on a 64-bit little-endian machine",
        );
    }
    Ok(())
}
