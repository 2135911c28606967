//! Documents as rows of TF-IDF weights, laid out for many passes in random order.
//!
//! A pass over the rows costs what its cache misses cost. Half of all entries are of a few hundred features, so
//! features get numbers by how common they are: what is common lies together. The [`HOT`] most common are
//! written with two bytes, the others with four; and since most features occur once in a document, those
//! that occur more often are listed apart, with what their counts weigh. A row is one piece of memory without
//! anything to decode.

use std::cmp::Ordering;
use std::ops::Range;

use gristmill_core::column::Column;

use super::bags::{Bags, Document, TfIdf, halves, term_frequency, whole};
use super::rows::Rows;

/// Features whose numbers fit two bytes.
const HOT: usize = 1 << 16;

/// Numbers of a row in a line of the cache.
const LINE: usize = 16;

/// Counts below this are looked up.
const FEW: u32 = 64;

/// [`Bags`] as TF-IDF rows of Euclidean length one; a document without features is a row of zeros.
///
/// The rows number the features in an order of their own, so weights fitted to them are by that order:
/// [`by_feature`](Self::by_feature) puts them back.
#[derive(Debug, Clone)]
pub struct TfIdfRows {
    /// The number of each feature.
    numbers: Vec<u32>,
    /// The weight of each feature, by number.
    idf: Vec<f32>,
    data: Column<[u16; 2]>,
    rows: Vec<Row>,
    blocks: Vec<Range<usize>>,
}

/// Where a row lies: from `start` the numbers of common features that occur once, of common features that occur
/// more often, of rare ones that occur once and more often, and what the counts weigh, as `f32`.
#[derive(Debug, Clone, Copy)]
struct Row {
    start: usize,
    lengths: [u32; 4],
    scale: f64,
}

/// The parts of a row.
struct Parts<'a> {
    hot: &'a [u16],
    hot_often: &'a [u16],
    cold: &'a [[u16; 2]],
    cold_often: &'a [[u16; 2]],
    hot_terms: &'a [[u16; 2]],
    cold_terms: &'a [[u16; 2]],
}

#[inline]
fn term(halves: [u16; 2]) -> f64 {
    f64::from(f32::from_bits(whole(halves)))
}

/// Numbers that are read together: 64 MiB of them.
const BLOCK: usize = 16 << 20;

/// What turns documents into rows.
pub(super) struct Weigher {
    numbers: Vec<u32>,
    idf: Vec<f32>,
    sublinear: bool,
    /// What the first few counts weigh.
    few: Vec<f32>,
    layout: Layout,
    rows: Vec<Row>,
    end: usize,
}

impl Weigher {
    pub(super) fn new(weights: &TfIdf) -> Self {
        let numbers = number(&weights.idf);
        let mut idf = vec![0.0; numbers.len()];
        numbers.iter().zip(&weights.idf).for_each(|(&number, &value)| idf[number as usize] = value);
        let sublinear = weights.sublinear;
        let few = (0..FEW).map(|count| term_frequency(count.max(1), sublinear) as f32).collect();
        Self { numbers, idf, sublinear, few, layout: Layout::default(), rows: Vec::new(), end: 0 }
    }

    /// The next row, from a document that has `once` features that occur once and `often` others. Where the
    /// document was, the row is put; returns how long it is, which is no longer than the document was.
    pub(super) fn weigh(&mut self, document: &mut [[u16; 2]], once: usize, often: usize) -> usize {
        // Apart from what depends on the numbers, so that these loads do not wait for one another.
        for entry in &mut document[..once + often] {
            *entry = halves(self.numbers[whole(*entry) as usize]);
        }
        let (ones, rest) = document.split_at(once);
        let (others, counts) = rest[..2 * often].split_at(often);
        let mut square = 0.0;
        self.layout.clear();
        for &number in ones {
            square += f64::from(self.idf[whole(number) as usize]).powi(2);
            self.layout.put(number);
        }
        for (&number, &count) in others.iter().zip(counts) {
            let count = whole(count);
            let term = self.few.get(count as usize).copied();
            let term = term.unwrap_or_else(|| term_frequency(count, self.sublinear) as f32);
            square += (f64::from(term) * f64::from(self.idf[whole(number) as usize])).powi(2);
            self.layout.put_often(number, term);
        }
        let length = self.layout.write(document);
        let scale = if square > 0.0 { 1.0 / square.sqrt() } else { 0.0 };
        self.rows.push(Row { start: self.end, lengths: self.layout.lengths(), scale });
        self.end += length;
        length
    }

    /// The rows, which lie in `data` one after the other.
    pub(super) fn finish(self, data: Column<[u16; 2]>) -> TfIdfRows {
        let blocks = blocks(&self.rows, BLOCK);
        TfIdfRows { numbers: self.numbers, idf: self.idf, data, rows: self.rows, blocks }
    }
}

/// Cuts rows into blocks of about so many numbers.
fn blocks(rows: &[Row], size: usize) -> Vec<Range<usize>> {
    let parts = rows.chunk_by(|a, b| a.start / size == b.start / size);
    let mut end = 0;
    parts
        .map(|part| {
            end += part.len();
            end - part.len()..end
        })
        .collect()
}

impl TfIdfRows {
    pub(super) fn new(weights: &TfIdf, bags: Bags) -> Self {
        let mut weigher = Weigher::new(weights);
        let Bags { mut data, documents, .. } = bags;
        let mut end = 0;
        for Document { start, once, often } in documents {
            let length = weigher.weigh(&mut data[start..], once, often);
            data.copy_within(start..start + length, end);
            end += length;
        }
        data.truncate(end);
        data.shrink_to_fit();
        weigher.finish(data.into())
    }

    /// Weights by feature, from weights by the numbers of these rows.
    pub fn by_feature(&self, weights: &[f64]) -> Vec<f64> {
        self.numbers.iter().map(|&number| weights[number as usize]).collect()
    }

    #[cfg(test)]
    pub(super) fn with_blocks_of(self, size: usize) -> Self {
        Self { blocks: blocks(&self.rows, size), ..self }
    }

    #[inline]
    fn parts(&self, row: usize) -> (Parts<'_>, f64) {
        let Row { start, lengths, scale } = self.rows[row];
        let [hot, hot_often, cold, cold_often] = lengths.map(|n| n as usize);
        let mut rest = self.data[start..].as_flattened();
        let mut take = |n: usize| {
            let (part, after) = rest.split_at(n);
            rest = after;
            part
        };
        let (hot, hot_often) = (take(hot), take(hot_often));
        let mut pairs = |n: usize| take(2 * n).as_chunks::<2>().0;
        let parts = Parts {
            cold: pairs(cold),
            cold_often: pairs(cold_often),
            hot_terms: pairs(hot_often.len()),
            cold_terms: pairs(cold_often),
            hot,
            hot_often,
        };
        (parts, scale)
    }
}

/// A row that is being laid out.
#[derive(Default)]
struct Layout {
    hot: Vec<u16>,
    hot_often: Vec<u16>,
    cold: Vec<[u16; 2]>,
    cold_often: Vec<[u16; 2]>,
    hot_terms: Vec<[u16; 2]>,
    cold_terms: Vec<[u16; 2]>,
}

impl Layout {
    fn clear(&mut self) {
        self.hot.clear();
        self.hot_often.clear();
        for part in [&mut self.cold, &mut self.cold_often, &mut self.hot_terms, &mut self.cold_terms] {
            part.clear();
        }
    }

    #[inline]
    fn put(&mut self, number: [u16; 2]) {
        match number {
            [number, 0] => self.hot.push(number),
            _ => self.cold.push(number),
        }
    }

    #[inline]
    fn put_often(&mut self, number: [u16; 2], term: f32) {
        let term = halves(term.to_bits());
        match number {
            [number, 0] => {
                self.hot_often.push(number);
                self.hot_terms.push(term);
            }
            _ => {
                self.cold_often.push(number);
                self.cold_terms.push(term);
            }
        }
    }

    fn lengths(&self) -> [u32; 4] {
        [self.hot.len(), self.hot_often.len(), self.cold.len(), self.cold_often.len()].map(|n| n as u32)
    }

    /// Writes the row to the front of `data`, and returns how much it took: at most what its bag had.
    fn write(&self, data: &mut [[u16; 2]]) -> usize {
        let parts: [&[u16]; 6] = [
            &self.hot,
            &self.hot_often,
            self.cold.as_flattened(),
            self.cold_often.as_flattened(),
            self.hot_terms.as_flattened(),
            self.cold_terms.as_flattened(),
        ];
        let data = data.as_flattened_mut();
        let mut end = 0;
        for part in parts {
            data[end..][..part.len()].copy_from_slice(part);
            end += part.len();
        }
        end.div_ceil(2)
    }
}

/// Numbers the features: the [`HOT`] of least weight, which are the most common, ascending by weight, and after
/// them all others as they come.
fn number(idf: &[f32]) -> Vec<u32> {
    let by_weight =
        |a: &u32, b: &u32| -> Ordering { idf[*a as usize].total_cmp(&idf[*b as usize]).then(a.cmp(b)) };
    let mut features: Vec<u32> = (0..idf.len() as u32).collect();
    if idf.len() > HOT {
        features.select_nth_unstable_by(HOT, by_weight);
        features.truncate(HOT);
    }
    features.sort_unstable_by(by_weight);
    let mut numbers = vec![u32::MAX; idf.len()];
    features.iter().zip(0..).for_each(|(&feature, number)| numbers[feature as usize] = number);
    let others = numbers.iter_mut().filter(|number| **number == u32::MAX);
    others.zip(features.len() as u32..).for_each(|(number, next)| *number = next);
    numbers
}

/// Asks for a line of memory that will be read soon.
#[inline]
fn prefetch(line: &[[u16; 2]]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction, and it reads nothing that the program can see.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// The sum of `value(0)` to `value(n - 1)`, four at a time, which do not wait for one another.
#[inline(always)]
fn sum(n: usize, value: impl Fn(usize) -> f64) -> f64 {
    let mut lanes = [0.0; 4];
    let even = n - n % 4;
    for at in (0..even).step_by(4) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += value(at + lane);
        }
    }
    let rest: f64 = (even..n).map(value).sum();
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]) + rest
}

impl Rows for TfIdfRows {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn features(&self) -> usize {
        self.numbers.len()
    }

    #[inline]
    fn for_each(&self, row: usize, mut f: impl FnMut(usize, f64)) {
        let (parts, scale) = self.parts(row);
        let mut give = |number: usize, term: f64| f(number, term * f64::from(self.idf[number]) * scale);
        parts.hot.iter().for_each(|&n| give(n.into(), 1.0));
        parts.hot_often.iter().zip(parts.hot_terms).for_each(|(&n, &t)| give(n.into(), term(t)));
        parts.cold.iter().for_each(|&n| give(whole(n) as usize, 1.0));
        parts.cold_often.iter().zip(parts.cold_terms).for_each(|(&n, &t)| give(whole(n) as usize, term(t)));
    }

    fn square_norm(&self, row: usize) -> f64 {
        if self.rows[row].scale > 0.0 { 1.0 } else { 0.0 }
    }

    #[inline]
    fn dot(&self, row: usize, weights: &[f64]) -> f64 {
        let (p, scale) = self.parts(row);
        let value = |number: usize| weights[number] * f64::from(self.idf[number]);
        let hot = sum(p.hot.len(), |k| value(p.hot[k].into()));
        let hot_often = sum(p.hot_often.len(), |k| value(p.hot_often[k].into()) * term(p.hot_terms[k]));
        let cold = sum(p.cold.len(), |k| value(whole(p.cold[k]) as usize));
        let cold_often =
            sum(p.cold_often.len(), |k| value(whole(p.cold_often[k]) as usize) * term(p.cold_terms[k]));
        (hot + hot_often + cold + cold_often) * scale
    }

    fn blocks(&self) -> Vec<Range<usize>> {
        self.blocks.clone()
    }

    fn leave_block(&self) {
        self.data.release();
    }

    #[inline]
    fn expect(&self, row: usize) {
        let start = self.rows[row].start;
        // The lines that follow are fetched by the processor, once it sees where this goes.
        for line in self.data[start..].chunks(LINE).take(4) {
            prefetch(line);
        }
    }

    #[inline]
    fn add(&self, row: usize, by: f64, weights: &mut [f64]) {
        self.for_each(row, |number, value| weights[number] += by * value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Against the definition, over more features than have short numbers.
        #[test]
        fn rows_are_those_of_the_definition(
            documents in prop::collection::vec(prop::collection::vec((0u32..70_000, 1usize..5), 0..40), 1..6),
            seed in 0u32..1000,
        ) {
            let mut bags = Bags::new(70_000);
            for document in &documents {
                let repeat = |&(feature, n)| std::iter::repeat_n(feature, n);
                bags.push(&document.iter().flat_map(repeat).collect::<Vec<_>>()).unwrap();
            }
            // Weights that put the features into another order.
            let idf = (0..70_000u32).map(|f| 1.0 + (f.wrapping_mul(40_503) ^ seed) as u16 as f32 / 9.0);
            let tfidf = TfIdf { idf: idf.collect(), sublinear: true };
            let rows = tfidf.rows(bags.clone());
            let by_number: Vec<f64> = (0..70_000).map(|n| f64::from(n % 97) - 48.0).collect();
            let by_feature = rows.by_feature(&by_number);
            for document in 0..bags.len() {
                let mut expected = Vec::new();
                bags.for_each_count(document, |feature, count| {
                    let value = (1.0 + f64::from(count).ln()) * f64::from(tfidf.idf[feature]);
                    expected.push((feature, value));
                });
                let length = expected.iter().map(|(_, value)| value * value).sum::<f64>().sqrt();
                let mut row = vec![0.0; 70_000];
                rows.for_each(document, |number, value| row[number] += value);
                let row = rows.by_feature(&row);
                prop_assert_eq!(row.iter().filter(|value| **value != 0.0).count(), expected.len());
                for (feature, value) in &expected {
                    prop_assert!((row[*feature] - value / length).abs() < 1e-6);
                }
                let dot: f64 = expected.iter().map(|(feature, value)| by_feature[*feature] * value / length).sum();
                prop_assert!((rows.dot(document, &by_number) - dot).abs() < 1e-5 * (1.0 + dot.abs()));
                let mut sum = vec![0.0; 70_000];
                rows.add(document, -2.0, &mut sum);
                let sum = rows.by_feature(&sum);
                prop_assert!(sum.iter().zip(&row).all(|(s, r)| (s + 2.0 * r).abs() < 1e-12));
            }
        }
    }

    /// `TfidfTransformer(sublinear_tf=...).fit_transform([[2, 1, 0], [0, 1, 0], [0, 1, 3]])` of scikit-learn 1.9.
    #[test]
    fn tf_idf_is_that_of_scikit_learn() {
        let plain = [[0.959_055_88, 0.283_216_92, 0.0], [0.0, 1.0, 0.0], [0.0, 0.193_164_23, 0.981_166_44]];
        let sublinear =
            [[0.944_203_065, 0.329_363_889, 0.0], [0.0, 1.0, 0.0], [0.0, 0.270_907_694, 0.962_605_330]];
        for (expected, sublinear) in [(plain, false), (sublinear, true)] {
            tf_idf(expected, sublinear);
        }
    }

    fn tf_idf(expected: [[f64; 3]; 3], sublinear: bool) {
        let mut bags = Bags::new(3);
        for document in [vec![0, 0, 1], vec![1], vec![1, 2, 2, 2], vec![]] {
            bags.push(&document).unwrap();
        }
        let tfidf = TfIdf::new(bags.document_frequencies(), 3, 1.0, sublinear);
        let rows = tfidf.rows(bags);
        let row = |i| {
            let mut row = [0.0; 3];
            rows.for_each(i, |number, value| row[number] = value);
            rows.by_feature(&row)
        };
        for (i, expected) in expected.into_iter().enumerate() {
            assert!(row(i).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7), "{:?}", row(i));
        }
        assert_eq!((row(3), rows.square_norm(3)), (vec![0.0; 3], 0.0));
    }
}
