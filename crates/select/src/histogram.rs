use serde::{Deserialize, Serialize};

use gristmill_core::{Code, Error, Result};

const PAGE: usize = 256;

/// Documents in a bucket, as far as the search must know.
const MANY: u8 = 2;

/// Weight and presence of documents per 16-bit digit.
///
/// Merging adds weights and saturates marks, so it is associative and commutative: shards, threads and
/// machines may meet in any order. Pages of 256 buckets come to exist when something falls into them; a
/// full histogram holds 0.5 MiB of weights and 64 KiB of marks.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Histogram {
    pages: Vec<Option<Box<Page>>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Page {
    weight: [u64; PAGE],
    documents: [u8; PAGE],
}

/// A bucket that holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) digit: u16,
    /// Whether exactly one document lies here.
    pub(crate) single: bool,
    pub(crate) weight: u64,
}

impl Histogram {
    /// Adds documents to a bucket. The caller sees to it that the weights of a whole histogram fit in 64
    /// bits; that also holds for each bucket then.
    #[inline]
    pub(crate) fn add(&mut self, digit: u16, weight: u64, single: bool) {
        if self.pages.is_empty() {
            self.pages.resize(PAGE, None);
        }
        let page = self.pages[usize::from(digit >> 8)]
            .get_or_insert_with(|| Box::new(Page { weight: [0; PAGE], documents: [0; PAGE] }));
        let at = usize::from(digit & 0xFF);
        page.weight[at] += weight;
        page.documents[at] = (page.documents[at] + if single { 1 } else { MANY }).min(MANY);
    }

    /// Adds everything of another histogram.
    pub(crate) fn merge(&mut self, other: &Self) {
        for bucket in other.descending() {
            self.add(bucket.digit, bucket.weight, bucket.single);
        }
    }

    /// The buckets that hold documents, highest digit first.
    pub(crate) fn descending(&self) -> impl Iterator<Item = Bucket> {
        self.pages.iter().enumerate().rev().flat_map(|(high, page)| {
            page.iter().flat_map(move |page| {
                (0..PAGE).rev().filter(|&low| page.documents[low] > 0).map(move |low| Bucket {
                    digit: (high << 8 | low) as u16,
                    single: page.documents[low] == 1,
                    weight: page.weight[low],
                })
            })
        })
    }

    /// Rebuilds a histogram, refusing weights whose sum is not `total`.
    pub(crate) fn from_buckets(buckets: &[Bucket], total: u64) -> Result<Self> {
        let sum = buckets.iter().try_fold(0u64, |sum, b| sum.checked_add(b.weight));
        if sum != Some(total) {
            return Err(Error::new(Code::CorruptData, "a saved selection pass does not add up"));
        }
        let mut histogram = Self::default();
        for bucket in buckets {
            histogram.add(bucket.digit, bucket.weight, bucket.single);
        }
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(u16, u64)]) -> Histogram {
        let mut h = Histogram::default();
        entries.iter().for_each(|&(digit, weight)| h.add(digit, weight, true));
        h
    }

    #[test]
    fn buckets_come_highest_first_with_weight_and_mark() {
        let h = of(&[(3, 5), (65_535, 1), (256, 0), (3, 2), (255, 9)]);
        let got: Vec<_> = h.descending().map(|b| (b.digit, b.weight, b.single)).collect();
        assert_eq!(got, [(65_535, 1, true), (256, 0, true), (255, 9, true), (3, 7, false)]);
    }

    #[test]
    fn merging_is_commutative_and_associative() {
        let parts = [of(&[(1, 1), (2, 2)]), of(&[(2, 0)]), of(&[(2, 7), (1, 1), (65_000, 3)]), of(&[])];
        let whole = of(&[(1, 1), (2, 2), (2, 0), (2, 7), (1, 1), (65_000, 3)]);
        let merge = |a: &Histogram, b: &Histogram| {
            let mut a = a.clone();
            a.merge(b);
            a
        };
        let [a, b, c, d] = &parts;
        let left = merge(&merge(&merge(a, b), c), d);
        let right = merge(d, &merge(c, &merge(b, a)));
        for h in [left, right] {
            assert!(h.descending().eq(whole.descending()));
        }
    }
}
