//! Documents of features that need not fit into memory: counted as they come, in any order and by several threads,
//! kept in a temporary file, and turned into rows in the order that is asked for.

use std::sync::{Mutex, PoisonError};

use gristmill_core::column::{Column, ColumnWriter, Shelf};
use gristmill_core::{Code, Control, Error, Result};

use super::bags::{TfIdf, pack, whole};
use super::tfidf::{TfIdfRows, Weigher};

/// Documents between two looks at whether to stop.
const STRETCH: usize = 1 << 12;

/// Takes documents of hashed features: what [`Bags`](crate::Bags) is for more than fits into memory.
///
/// ```
/// use gristmill_core::{Control, column::Shelf};
/// use gristmill_mix::{BagSpool, Counter, Rows, TfIdf};
///
/// let spool = BagSpool::new(1 << 20, &Shelf::Disk(std::env::temp_dir().into()));
/// let mut counter = Counter::default();
/// let a = spool.push(counter.count(&[7, 700_000, 7]))?;
/// let b = spool.push(counter.count(&[7, 3]))?;
/// let bags = spool.finish()?;
/// let chosen = [b, a];
/// let tfidf = TfIdf::new(&bags.document_frequencies(&chosen), 2, 1.0, true);
/// let rows = bags.rows(&chosen, &tfidf, &Control::default())?;
/// assert_eq!((rows.len(), tfidf.idf[7]), (2, 1.0));
/// # Ok::<(), gristmill_core::Error>(())
/// ```
pub struct BagSpool {
    features: usize,
    shelf: Shelf,
    written: Mutex<ColumnWriter<[u16; 2]>>,
}

/// Where a document lies in its spool, and how many features it has that occur once and more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spooled {
    start: usize,
    once: u32,
    often: u32,
}

impl Spooled {
    fn length(self) -> usize {
        self.once as usize + 2 * self.often as usize
    }
}

impl BagSpool {
    /// No documents yet, over features numbered below `features`; what is written goes to `shelf`, and so do the
    /// rows later.
    pub fn new(features: usize, shelf: &Shelf) -> Self {
        Self { features, shelf: shelf.clone(), written: Mutex::new(ColumnWriter::new(shelf)) }
    }

    /// Adds a document: its features, each of them once, and how often they occur, as
    /// [`Counter`](crate::Counter) gives them.
    ///
    /// # Errors
    /// [`Code::InvalidValue`] for a number that is no feature; what the system says about the file.
    pub fn push(&self, counts: &[(u32, u32)]) -> Result<Spooled> {
        if let Some((bad, _)) = counts.iter().find(|(feature, _)| *feature as usize >= self.features) {
            let message = format!("feature {bad} of {} features", self.features);
            return Err(Error::new(Code::InvalidValue, message));
        }
        let mut document = Vec::with_capacity(2 * counts.len());
        let (once, often) = pack(counts, &mut document);
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let start = written.len();
        written.extend(&document)?;
        Ok(Spooled { start, once: once as u32, often: often as u32 })
    }

    /// All documents, to be read.
    ///
    /// # Errors
    /// What the system says about the file.
    pub fn finish(self) -> Result<SpooledBags> {
        let written = self.written.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(SpooledBags { features: self.features, data: written.finish()?, shelf: self.shelf })
    }
}

/// The documents of a [`BagSpool`].
pub struct SpooledBags {
    features: usize,
    data: Column<[u16; 2]>,
    shelf: Shelf,
}

impl SpooledBags {
    /// In how many of these documents each feature is.
    pub fn document_frequencies(&self, documents: &[Spooled]) -> Vec<u32> {
        let mut frequencies = vec![0; self.features];
        for stretch in documents.chunks(STRETCH) {
            for document in stretch {
                let features = document.once as usize + document.often as usize;
                let features = &self.data[document.start..][..features];
                features.iter().for_each(|feature| frequencies[whole(*feature) as usize] += 1);
            }
            self.data.release();
        }
        frequencies
    }

    /// These documents as rows, in this order; the rows lie where the documents do, in memory or in a file.
    ///
    /// # Errors
    /// What the system says about the file; an abort.
    pub fn rows(&self, documents: &[Spooled], weights: &TfIdf, control: &Control) -> Result<TfIdfRows> {
        let mut weigher = Weigher::new(weights);
        let mut written = ColumnWriter::new(&self.shelf);
        let mut buffer = Vec::new();
        for stretch in documents.chunks(STRETCH) {
            control.check()?;
            for document in stretch {
                buffer.clear();
                buffer.extend_from_slice(&self.data[document.start..][..document.length()]);
                let length = weigher.weigh(&mut buffer, document.once as usize, document.often as usize);
                written.extend(&buffer[..length])?;
            }
            self.data.release();
        }
        Ok(weigher.finish(written.finish()?))
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::raters::{
        Bags, Counter, Linear, LogisticOptions, Rows, Targets, fit_logistic, held_out_margins,
    };
    use crate::rng;

    const FEATURES: usize = 5000;

    fn disk() -> Shelf {
        Shelf::Disk(std::env::temp_dir().into())
    }

    /// Documents by Zipf's law, of which some have words that others seldom have, and which they are.
    fn documents(n: usize) -> (Vec<Vec<u32>>, Vec<bool>) {
        let mut rng = rng::stream(4, "test", 0);
        let wanted: Vec<bool> = (0..n).map(|i| i % 20 == 0).collect();
        let documents = wanted.iter().map(|&wanted| {
            let word = |_| (5000f64.powf(rng.random_range(0.0..1.0f64)) as u32 - 1) ^ u32::from(wanted);
            (0..80).map(word).collect()
        });
        (documents.collect(), wanted)
    }

    fn in_memory(documents: &[Vec<u32>]) -> TfIdfRows {
        let mut bags = Bags::new(FEATURES);
        documents.iter().for_each(|d| bags.push(d).unwrap());
        TfIdf::new(bags.document_frequencies(), documents.len(), 1.0, true).rows(bags)
    }

    /// The documents came in another order, with others among them.
    fn spooled(documents: &[Vec<u32>], shelf: &Shelf) -> TfIdfRows {
        let spool = BagSpool::new(FEATURES, shelf);
        let mut counter = Counter::default();
        let mut places: Vec<_> = documents
            .iter()
            .rev()
            .map(|document| {
                spool.push(counter.count(&[1, 2, 3, 3])).unwrap();
                spool.push(counter.count(document)).unwrap()
            })
            .collect();
        places.reverse();
        let bags = spool.finish().unwrap();
        let tfidf = TfIdf::new(&bags.document_frequencies(&places), places.len(), 1.0, true);
        bags.rows(&places, &tfidf, &Control::default()).unwrap()
    }

    fn fit(rows: &TfIdfRows, targets: &Targets, tolerance: f64) -> (Linear, Vec<f64>) {
        let options = LogisticOptions { tolerance, epochs: 1000, ..Default::default() };
        let control = Control::default();
        let whole = fit_logistic(rows, targets, &options, &control).unwrap();
        let folds: Vec<usize> = (0..rows.len()).map(|i| i % 3).collect();
        let margins = held_out_margins(rows, targets, &folds, &whole, &options, &control).unwrap();
        (whole, margins)
    }

    #[test]
    fn what_is_learnt_is_the_same_wherever_the_documents_lie() {
        let (documents, wanted) = documents(2000);
        let targets = Targets::balanced(&wanted).unwrap();
        let expected = fit(&in_memory(&documents), &targets, 1e-3);
        for shelf in [Shelf::Memory, disk()] {
            assert_eq!(fit(&spooled(&documents, &shelf), &targets, 1e-3), expected);
        }
    }

    #[test]
    fn blocks_lead_to_the_same_optimum() {
        let (documents, wanted) = documents(2000);
        let targets = Targets::balanced(&wanted).unwrap();
        let whole = in_memory(&documents);
        let blocks = spooled(&documents, &disk()).with_blocks_of(5_000);
        assert!(blocks.blocks().len() > 10 && blocks.blocks().last().unwrap().end == 2000);
        let (expected, margins) = fit(&whole, &targets, 1e-12);
        let (found, held_out) = fit(&blocks, &targets, 1e-12);
        assert!(expected.converged && found.converged);
        let far = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far(&expected.weights, &found.weights) < 1e-4);
        assert!(far(&margins, &held_out) < 1e-4);
        let few = |rows| fit(rows, &targets, 1e-3).0.epochs;
        assert!(few(&blocks) <= 2 * few(&whole), "{} passes, {} in one block", few(&blocks), few(&whole));
    }

    #[test]
    fn refuses_a_number_that_is_no_feature_and_a_place_that_is_none() {
        let spool = BagSpool::new(4, &Shelf::Memory);
        assert_eq!(spool.push(&[(4, 1)]).unwrap_err().code(), Code::InvalidValue);
        let nowhere = BagSpool::new(FEATURES, &Shelf::Disk(std::path::Path::new("/no/such/place").into()));
        let many: Vec<(u32, u32)> = (0..FEATURES as u32).map(|f| (f, 2)).collect();
        let e = (0..10).try_for_each(|_| nowhere.push(&many).map(drop)).unwrap_err();
        assert_eq!(e.code(), Code::NotFound);
        assert!(e.to_string().contains("/no/such/place"), "{e}");
    }
}
