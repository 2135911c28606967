//! Bags of hashed features: how often each occurs in each document.

use gristmill_core::{Code, Error, Result};

use super::tfidf::TfIdfRows;

/// Which features each document has and how often: four bytes for each, and four more for one that occurs more
/// than once. The texts need not stay.
///
/// ```
/// use gristmill_mix::Bags;
///
/// let mut bags = Bags::new(1 << 20);
/// bags.push(&[700_000, 3, 5, 3])?;
/// let mut seen = Vec::new();
/// bags.for_each_count(0, |feature, count| seen.push((feature, count)));
/// assert_eq!(seen, [(700_000, 1), (5, 1), (3, 2)]);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Bags {
    /// For each document the features that occur once, those that occur more often, and how often these do; each
    /// as the two halves of a number, so that rows of shorter numbers can take the place.
    pub(super) data: Vec<[u16; 2]>,
    pub(super) documents: Vec<Document>,
    frequencies: Vec<u32>,
    /// For counting a document.
    counter: Counter,
}

/// Where the features of a document begin, and how many there are of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) start: usize,
    pub(super) once: usize,
    pub(super) often: usize,
}

/// The two halves of a number, the lower one first.
#[inline]
pub(super) fn halves(number: u32) -> [u16; 2] {
    [number as u16, (number >> 16) as u16]
}

/// The number of two halves.
#[inline]
pub(super) fn whole([low, high]: [u16; 2]) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

/// Appends a document to `data`: its features that occur once, those that occur more often, and how often these do.
/// Returns how many there are of either kind.
pub(super) fn pack(counts: &[(u32, u32)], data: &mut Vec<[u16; 2]>) -> (usize, usize) {
    let often = || counts.iter().filter(|(_, n)| *n > 1);
    let before = data.len();
    data.extend(counts.iter().filter(|(_, n)| *n == 1).map(|(feature, _)| halves(*feature)));
    let once = data.len() - before;
    data.extend(often().map(|(feature, _)| halves(*feature)));
    data.extend(often().map(|(_, n)| halves(*n)));
    (once, counts.len() - once)
}

impl Bags {
    /// No documents yet, over features numbered below `features`.
    pub fn new(features: usize) -> Self {
        Self { frequencies: vec![0; features], ..Self::default() }
    }

    /// Adds a document: its features in any order, each as often as it occurs.
    ///
    /// # Errors
    /// [`Code::InvalidValue`] for a number that is no feature.
    pub fn push(&mut self, features: &[u32]) -> Result<()> {
        if let Some(bad) = features.iter().find(|&&feature| feature as usize >= self.features()) {
            let message = format!("feature {bad} of {} features", self.features());
            return Err(Error::new(Code::InvalidValue, message));
        }
        let start = self.data.len();
        let counts = self.counter.count(features);
        counts.iter().for_each(|(feature, _)| self.frequencies[*feature as usize] += 1);
        let (once, often) = pack(counts, &mut self.data);
        self.documents.push(Document { start, once, often });
        Ok(())
    }

    /// Documents.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Numbers below this are features.
    pub fn features(&self) -> usize {
        self.frequencies.len()
    }

    /// Calls `f` with every feature of a document and how often it occurs: those that occur once, then the
    /// others, both as they came first.
    pub fn for_each_count(&self, document: usize, mut f: impl FnMut(usize, u32)) {
        let Document { start, once, often } = self.documents[document];
        let (ones, rest) = self.data[start..].split_at(once);
        ones.iter().for_each(|feature| f(whole(*feature) as usize, 1));
        let (features, counts) = rest.split_at(often);
        features.iter().zip(counts).for_each(|(feature, n)| f(whole(*feature) as usize, whole(*n)));
    }

    /// In how many documents each feature is.
    pub fn document_frequencies(&self) -> &[u32] {
        &self.frequencies
    }
}

/// Counts how often each number comes, without sorting: one pass over a table that stays in the cache.
///
/// ```
/// use gristmill_mix::Counter;
///
/// assert_eq!(Counter::default().count(&[7, 3, 7]), [(7, 2), (3, 1)]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Counter {
    /// One more than the place of a number in `counts`, where its hash says or in the next free slot; 0 is free.
    slots: Vec<u32>,
    counts: Vec<(u32, u32)>,
}

impl Counter {
    /// Every number and how often it is among `numbers`, in the order in which they come first.
    pub fn count(&mut self, numbers: &[u32]) -> &[(u32, u32)] {
        let size = (2 * numbers.len()).next_power_of_two().max(2);
        self.slots.clear();
        self.slots.resize(size, 0);
        self.counts.clear();
        let shift = 32 - size.trailing_zeros().min(32);
        for &number in numbers {
            // The upper bits of the product with 2^32 over the golden ratio.
            let mut slot = (number.wrapping_mul(0x9E37_79B9) >> shift) as usize;
            loop {
                match self.slots[slot] {
                    0 => {
                        self.counts.push((number, 1));
                        self.slots[slot] = self.counts.len() as u32;
                        break;
                    }
                    place if self.counts[place as usize - 1].0 == number => {
                        self.counts[place as usize - 1].1 += 1;
                        break;
                    }
                    _ => slot = (slot + 1) % size,
                }
            }
        }
        &self.counts
    }
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
    pub fn rows(&self, bags: Bags) -> TfIdfRows {
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
            documents.iter().for_each(|document| bags.push(document).unwrap());
            for (i, document) in documents.iter().enumerate() {
                let mut counts = BTreeMap::new();
                document.iter().for_each(|&f| *counts.entry(f as usize).or_insert(0) += 1);
                let mut read = Vec::new();
                bags.for_each_count(i, |feature, count| read.push((feature, count)));
                read.sort_unstable();
                prop_assert_eq!(read, counts.into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn refuses_a_number_that_is_no_feature() {
        assert_eq!(Bags::new(4).push(&[4]).unwrap_err().code(), Code::InvalidValue);
    }
}
