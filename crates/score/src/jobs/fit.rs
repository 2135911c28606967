//! Corpus to language model.

use gristmill_core::hash::Xxh3;
use gristmill_core::{Code, Control, Counts, Error, Result, Unit};
use gristmill_data::{Corpus, DocBatch, ReadStats};
use gristmill_ngram::estimate::{Estimate, Estimator, MAX_ORDER, Options};
use gristmill_ngram::model::ModelMeta;
use gristmill_ngram::normalize::{Normalizer, Scratch};
use gristmill_ngram::vocab::{UNK, Vocab};
use gristmill_ngram::{arpa, gml};
use serde_json::json;

use super::aside::Aside;
use super::input::{self, Chain, count_unread, sha256_of};
use super::options::{DiscountFallback, FitOptions};
use super::pipeline::{Lane, Meter, ordered, threads};
use super::summary::{FitSummary, Reason, SUMMARY_SCHEMA, Tally, Timings};
use super::words::LocalWords;

/// Estimates a model of a corpus and writes it to a file, which appears when it is complete.
///
/// Every document is one sentence. The model depends on the documents and their order (that of the files'
/// names, then of the rows), not on threads or on memory.
///
/// # Errors
/// [`Code::EmptyInput`] when there is no text, [`Code::DiscountFailed`] when there is too little of it to
/// estimate discounts from and no fall-back was asked for, and those of reading and writing.
pub fn run(options: FitOptions, control: &Control) -> Result<FitSummary> {
    let form = Form::of(&options.output)?;
    if !(1..=MAX_ORDER).contains(&options.order) {
        let message = format!("{} is not between 1 and {MAX_ORDER}", options.order);
        return Err(Error::invalid_argument("order", message));
    }
    let normalizer = Normalizer::resolve(&options.normalizer)?;
    let corpus = input::open(&options.corpus, "corpus", None, options.on_error, control)?;
    let fit = Fit { options: &options, corpus, normalizer, threads: threads(options.threads)?, control };
    let mut timings = Timings::default();

    let vocab = match options.min_documents {
        0 | 1 => None,
        least => Some(timings.time("vocabulary", || fit.vocabulary(least))?),
    };
    let counted = timings.time("count", || fit.count(vocab))?;
    let estimate = timings.time("estimate", || counted.estimator.finish(control))?;
    let meta = fit.meta(&counted.tally, counted.digest);
    let sha256 = timings.time("write", || form.write(&options.output, &estimate, &meta))?;
    Ok(FitSummary {
        schema: SUMMARY_SCHEMA,
        output: options.output.clone(),
        sha256,
        order: options.order,
        normalizer: fit.normalizer.spec().to_string(),
        vocabulary: estimate.trie.vocab().len() as u64,
        ngrams: (1..=estimate.trie.order()).map(|n| estimate.trie.len(n) as u64).collect(),
        discounts: estimate.orders.iter().map(|o| o.discounts).collect(),
        counts: counted.tally,
        damaged: counted.damaged,
        input_bytes: fit.corpus.bytes(),
        timings: timings.into_phases(),
    })
}

struct Fit<'a> {
    options: &'a FitOptions,
    corpus: Corpus,
    normalizer: Normalizer,
    threads: usize,
    control: &'a Control,
}

struct Counted {
    estimator: Estimator,
    tally: Tally,
    damaged: u64,
    digest: u64,
}

impl Fit<'_> {
    /// Splits all batches on all threads and hands them on in order, each with its words.
    fn each_batch(
        &self,
        phase: &'static str,
        mut sink: impl FnMut(DocBatch, LocalWords) -> Result<()>,
    ) -> Result<ReadStats> {
        let meter = Meter::start(self.control, phase, Unit::Documents, None);
        let mut chain = Chain::new(&self.corpus, 0..self.corpus.shards().len(), self.control);
        let work = |scratch: &mut Scratch, batch: DocBatch| {
            let words = LocalWords::of_batch(&batch, &self.normalizer, scratch)?;
            Ok((batch, words))
        };
        let mut sink = |(batch, words): (DocBatch, LocalWords)| {
            let documents = batch.len() as u64;
            meter.add(documents, documents, words.len() as u64);
            sink(batch, words)
        };
        ordered(&mut chain, Lane::whole(self.threads, self.control), Scratch::default, work, &mut sink)?;
        meter.finish();
        Ok(chain.stats())
    }

    /// The words that are in enough documents.
    fn vocabulary(&self, least: u32) -> Result<Vocab> {
        let mut all = Vocab::new();
        let mut frequency = Vec::new();
        self.each_batch("vocabulary", |_, words| {
            words.count_documents(&mut all, &mut frequency);
            Ok(())
        })?;
        let mut kept = Vocab::new();
        for (word, _) in
            all.iter().zip(&frequency).skip(kept.len()).filter(|(_, documents)| **documents >= least)
        {
            kept.intern(word);
        }
        Ok(kept)
    }

    /// Counts all documents: over a given vocabulary, or over the words as they come.
    fn count(&self, vocab: Option<Vocab>) -> Result<Counted> {
        let options = Options {
            order: self.options.order,
            memory_limit: usize::try_from(self.options.memory.0).unwrap_or(usize::MAX),
            temp_dir: self.options.temp_dir.as_ref().map(Into::into),
            threads: self.threads,
            prune: self.options.prune.clone(),
            discount_fallback: self.options.discount_fallback.and_then(DiscountFallback::discounts),
            vocab_pad: None,
        };
        let closed = vocab.is_some();
        let mut estimator = match vocab {
            Some(vocab) => Estimator::with_vocab(options, vocab)?,
            None => Estimator::new(options)?,
        };
        let mut tally = Tally::default();
        let mut aside = Aside::beside(&self.options.output);
        let mut digest = Xxh3::new();
        let stats = self.each_batch("count", |batch, words| {
            aside.write(&batch)?;
            let mut next = (0..batch.len()).filter_map(|i| batch.text(i)).map(|text| {
                digest.update(&(text.len() as u64).to_le_bytes());
                digest.update(text.as_bytes());
                text.len() as u64
            });
            let ids = words.ids_in(|word| match closed {
                true => estimator.vocab().get(word).unwrap_or(UNK),
                false => estimator.vocab_mut().intern(word),
            });
            words.sentences(&ids, |sentence| {
                let counts = Counts::one(sentence.len() as u64, next.next().unwrap_or_default());
                tally.read += counts;
                if sentence.is_empty() {
                    tally.drop(Reason::EmptyText, counts);
                    return Ok(());
                }
                tally.scored += counts;
                estimator.add_sentence(sentence)
            })
        })?;
        aside.finish()?;
        count_unread(&mut tally, &stats);
        tally.check()?;
        if tally.scored.documents == 0 {
            return Err(
                Error::new(Code::EmptyInput, "no document of the corpus has text").at_column("corpus")
            );
        }
        Ok(Counted { estimator, tally, damaged: stats.damaged, digest: digest.digest() })
    }

    /// What the model says about where it comes from. Nothing here differs between two runs.
    fn meta(&self, tally: &Tally, digest: u64) -> ModelMeta {
        let o = self.options;
        let metadata = json!({
            "options": {
                "order": o.order,
                "prune": o.prune,
                "discountFallback": o.discount_fallback,
                "minDocuments": o.min_documents,
                "where": o.corpus.filter,
            },
            "corpus": {
                "files": self.corpus.shards().len(),
                "counts": tally.scored,
                "textXxh3": format!("{digest:016x}"),
            },
        });
        let serde_json::Value::Object(metadata) = metadata else { unreachable!("an object literal") };
        ModelMeta { normalizer: Some(self.normalizer.spec().clone()), metadata }
    }
}

/// The form of a model file.
enum Form {
    Gml,
    Arpa,
}

impl Form {
    fn of(output: &str) -> Result<Self> {
        if output.contains("://") {
            return Err(Error::new(Code::Unsupported, "a model is written to a local file")
                .at_path(output)
                .at_column("output"));
        }
        let name = output.to_ascii_lowercase();
        match name.ends_with(".arpa") || name.ends_with(".arpa.gz") {
            true => Ok(Self::Arpa),
            false => Ok(Self::Gml),
        }
    }

    /// Writes the file and returns its SHA-256.
    fn write(self, path: &str, estimate: &Estimate, meta: &ModelMeta) -> Result<String> {
        match self {
            Self::Gml => gml::save(&estimate.trie, meta, path),
            Self::Arpa => {
                arpa::save(&estimate.trie, path)?;
                sha256_of(path)
            }
        }
    }
}
