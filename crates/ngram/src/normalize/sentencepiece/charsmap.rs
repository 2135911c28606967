//! The compiled normalisation map: a double array (Darts) from byte strings to places in a text of
//! NUL-terminated replacements.

use gristmill_core::{Code, Error, Result};

pub(super) struct CharsMap {
    units: Vec<u32>,
    replacements: String,
}

impl CharsMap {
    /// `None` for a model that does not normalise.
    pub(super) fn parse(blob: &[u8]) -> Result<Option<Self>> {
        if blob.is_empty() {
            return Ok(None);
        }
        let parts = || {
            let (size, rest) = blob.split_first_chunk::<4>()?;
            let (trie, text) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
            let (units, odd) = trie.as_chunks::<4>();
            let replacements = std::str::from_utf8(text).ok()?;
            (odd.is_empty() && !units.is_empty() && replacements.ends_with('\0')).then(|| Self {
                units: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(),
                replacements: replacements.to_owned(),
            })
        };
        let damaged =
            || Error::new(Code::InvalidModel, "the normalisation map of the SentencePiece model is damaged");
        parts().ok_or_else(damaged).map(Some)
    }

    /// The replacement of the longest prefix that has one, and the length of that prefix.
    #[inline]
    pub(super) fn longest(&self, text: &str) -> Option<(&str, usize)> {
        let unit = |at: usize| self.units.get(at).copied();
        let mut at = offset(unit(0)?);
        let mut found = None;
        for (length, byte) in (1..).zip(text.bytes()) {
            at ^= usize::from(byte);
            let Some(here) = unit(at).filter(|u| u & 0x8000_00FF == u32::from(byte)) else { break };
            at ^= offset(here);
            if here >> 8 & 1 == 1 {
                found = unit(at).map(|leaf| ((leaf & 0x7FFF_FFFF) as usize, length));
            }
        }
        let (start, length) = found.filter(|(_, length)| text.is_char_boundary(*length))?;
        let tail = self.replacements.get(start..)?;
        Some((&tail[..tail.find('\0')?], length))
    }
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}
