//! Bags of hashed features: how often each occurs in each document, in about two bytes an entry.

use gristmill_core::{Code, Error, Result};

use super::tfidf::TfIdfRows;

/// Which features each document has and how often, packed: features ascend within a document, so the step to
/// the next one and whether it occurs more than once fit two bytes, mostly. Training passes over them several
/// times; the texts need not stay.
///
/// ```
/// use gristmill_mix::Bags;
///
/// let mut bags = Bags::new(1 << 20);
/// bags.push(&mut vec![700_000, 3, 5, 3])?;
/// let mut seen = Vec::new();
/// bags.for_each_count(0, |feature, count| seen.push((feature, count)));
/// assert_eq!(seen, [(3, 2), (5, 1), (700_000, 1)]);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bags {
    features: usize,
    bytes: Vec<u8>,
    /// `ends[d]` is one past the last byte of document `d`.
    ends: Vec<usize>,
}

impl Bags {
    /// No documents yet, over features numbered below `features`.
    pub fn new(features: usize) -> Self {
        Self { features, ..Self::default() }
    }

    /// Adds a document: its features in any order, each as often as it occurs. Sorts them.
    ///
    /// # Errors
    /// [`Code::InvalidValue`] for a number that is no feature.
    pub fn push(&mut self, features: &mut [u32]) -> Result<()> {
        features.sort_unstable();
        if let Some(&last) = features.last().filter(|&&last| last as usize >= self.features) {
            let message = format!("feature {last} of {} features", self.features);
            return Err(Error::new(Code::InvalidValue, message));
        }
        let mut next = 0;
        for run in features.chunk_by(|a, b| a == b) {
            // A step and a flag, which says whether a count follows.
            let step = u64::from(run[0] - next);
            let count = run.len() as u64;
            put(&mut self.bytes, step << 1 | u64::from(count > 1));
            if count > 1 {
                put(&mut self.bytes, count);
            }
            next = run[0];
        }
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// Appends the documents of another part over the same features.
    pub fn append(&mut self, other: &Self) {
        debug_assert_eq!(self.features, other.features);
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| before + end));
    }

    /// Documents.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Numbers below this are features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Calls `f` with every feature of a document and how often it occurs, ascending.
    #[inline]
    pub fn for_each_count(&self, document: usize, mut f: impl FnMut(usize, u32)) {
        let start = document.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut rest = &self.bytes[start..self.ends[document]];
        let mut feature = 0;
        while !rest.is_empty() {
            let step = take(&mut rest);
            feature += (step >> 1) as usize;
            let count = if step & 1 == 1 { take(&mut rest) as u32 } else { 1 };
            f(feature, count);
        }
    }

    /// In how many documents each feature is.
    pub fn document_frequencies(&self) -> Vec<u32> {
        let mut frequencies = vec![0; self.features];
        (0..self.len()).for_each(|d| self.for_each_count(d, |feature, _| frequencies[feature] += 1));
        frequencies
    }
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
#[inline]
fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[inline]
fn take(bytes: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    while let Some((&byte, rest)) = bytes.split_first() {
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
        shift += 7;
    }
    value
}

/// Weights of features by how rare they are: `idf = ln((n + a) / (df + a)) + 1` for a feature in `df` of `n`
/// documents, with `a` = 1 for scikit-learn's smoothed form.
#[derive(Debug, Clone, PartialEq)]
pub struct TfIdf {
    /// The weight of each feature.
    pub idf: Vec<f32>,
    /// Whether a count `n` weighs `1 + ln(n)` instead of `n`.
    pub sublinear: bool,
}

impl TfIdf {
    /// From document frequencies among `documents`, with `smoothing` added to both counts.
    pub fn new(frequencies: &[u32], documents: usize, smoothing: f64, sublinear: bool) -> Self {
        let n = documents as f64 + smoothing;
        let idf = |&df: &u32| (libm::log(n / (f64::from(df) + smoothing)) + 1.0) as f32;
        Self { idf: frequencies.iter().map(idf).collect(), sublinear }
    }

    /// Documents as rows of length one, in which a feature has its count times its weight.
    pub fn rows(&self, bags: &Bags) -> TfIdfRows {
        TfIdfRows::new(self, bags)
    }
}

/// What a count weighs: itself, or `1 + ln(count)`.
#[inline]
pub fn term_frequency(count: u32, sublinear: bool) -> f64 {
    match count {
        1 => 1.0,
        n if sublinear => 1.0 + libm::log(f64::from(n)),
        n => f64::from(n),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_reads_back(
            documents in prop::collection::vec(prop::collection::vec(0u32..70_000, 0..60), 0..8),
        ) {
            let mut bags = Bags::new(70_000);
            let mut halves = [Bags::new(70_000), Bags::new(70_000)];
            for (i, document) in documents.iter().enumerate() {
                bags.push(&mut document.clone()).unwrap();
                halves[usize::from(i >= documents.len() / 2)].push(&mut document.clone()).unwrap();
            }
            for (i, document) in documents.iter().enumerate() {
                let mut counts = BTreeMap::new();
                document.iter().for_each(|&f| *counts.entry(f as usize).or_insert(0) += 1);
                let mut read = Vec::new();
                bags.for_each_count(i, |feature, count| read.push((feature, count)));
                prop_assert_eq!(read, counts.into_iter().collect::<Vec<_>>());
            }
            let [mut first, second] = halves;
            first.append(&second);
            prop_assert_eq!(first, bags);
        }
    }

    #[test]
    fn refuses_a_number_that_is_no_feature() {
        assert_eq!(Bags::new(4).push(&mut [4]).unwrap_err().code(), Code::InvalidValue);
    }
}
