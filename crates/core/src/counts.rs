use std::ops::{Add, AddAssign};

/// How much text: the three measures that every summary gives, and that must add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Documents.
    pub documents: u64,
    /// Tokens of the normaliser named in the score specification.
    pub tokens: u64,
    /// Bytes of UTF-8 text.
    pub bytes: u64,
}

impl Counts {
    /// The counts of one document.
    pub fn one(tokens: u64, bytes: u64) -> Self {
        Self { documents: 1, tokens, bytes }
    }
}

impl Add for Counts {
    type Output = Self;
    fn add(mut self, rhs: Self) -> Self {
        self += rhs;
        self
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, rhs: Self) {
        self.documents += rhs.documents;
        self.tokens += rhs.tokens;
        self.bytes += rhs.bytes;
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), Add::add)
    }
}
