//! The text of a search: domains and targets as word ids of one vocabulary.

use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

use gristmill_core::hash::hash64;
use gristmill_core::{Code, Control, Error, Result, Unit};
use gristmill_data::{Corpus, ReadOptions, Shard};
use gristmill_ngram::normalize::{Normalizer, Scratch};
use gristmill_ngram::vocab::{UNK, Vocab, WordId};
use rayon::prelude::*;

use crate::jobs::pipeline::{Meter, each_shard, lock};
use crate::jobs::sample::{Drawn, Sample};
use crate::jobs::scorer::shard_number;
use crate::jobs::words::LocalWords;

/// Text of one target that is looked at, at most.
const TARGET_BYTES: u64 = 16 << 20;
/// Words in fewer documents of the pool than this are the unknown word.
const MIN_DOCUMENTS: u32 = 2;
/// Documents that a thread splits at a time.
const CHUNK: usize = 128;

/// Documents as word ids, one after the other.
#[derive(Default)]
pub(super) struct Docs {
    ids: Vec<WordId>,
    ends: Vec<usize>,
}

impl Docs {
    pub(super) fn push(&mut self, words: &[WordId]) {
        self.ids.extend_from_slice(words);
        self.ends.push(self.ids.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn tokens(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn get(&self, at: usize) -> &[WordId] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.ids[start..self.ends[at]]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[WordId]> {
        (0..self.len()).map(|at| self.get(at))
    }
}

/// A domain of the pool.
pub(super) struct Domain {
    pub(super) name: String,
    /// Documents in the pool.
    pub(super) documents: u64,
    /// Tokens in the pool; by its bytes where not all of it was drawn.
    pub(super) tokens: f64,
    /// What proxies are trained on.
    pub(super) drawn: Docs,
}

/// A target in two halves.
pub(super) struct Target {
    pub(super) name: String,
    /// What the search looks at.
    pub(super) search: Docs,
    /// What the check looks at.
    pub(super) held_out: Docs,
}

/// All text of a search.
pub(super) struct Text {
    pub(super) vocab: Vocab,
    pub(super) domains: Vec<Domain>,
    pub(super) targets: Vec<Target>,
    /// Documents of the pool that equal one of a target, and are used for nothing.
    pub(super) in_target: u64,
    /// Documents of the pool without a domain.
    pub(super) without_domain: u64,
    /// Rows of pool and targets that cannot be read.
    pub(super) quarantined: u64,
}

/// What is to be read.
pub(super) struct Reading<'a> {
    pub(super) pool: &'a Corpus,
    /// Whether the domain is a column.
    pub(super) by_column: bool,
    pub(super) targets: Vec<(&'a str, Corpus)>,
    pub(super) normalizer: &'a Normalizer,
    pub(super) domain_bytes: u64,
    pub(super) seed: u64,
    pub(super) threads: usize,
    pub(super) control: &'a Control,
}

/// The pool while it is read.
#[derive(Default)]
struct Pool {
    domains: BTreeMap<String, Found>,
    in_target: u64,
    without_domain: u64,
    quarantined: u64,
}

/// Documents of one domain while the pool is read.
struct Found {
    sample: Sample,
    documents: u64,
    bytes: u64,
}

impl Reading<'_> {
    pub(super) fn run(&self) -> Result<Text> {
        let mut samples = Vec::new();
        let mut quarantined = 0;
        for (name, corpus) in &self.targets {
            let (drawn, aside) = self.target(name, corpus)?;
            samples.push((*name, drawn));
            quarantined += aside;
        }
        let known: HashSet<u64> =
            samples.iter().flat_map(|(_, docs)| docs).map(|d| hash64(0, d.text.as_bytes())).collect();
        let pool = self.pool(&known)?;
        let found: Vec<(String, u64, u64, Vec<Drawn>)> = pool
            .domains
            .into_iter()
            .map(|(name, f)| (name, f.documents, f.bytes, f.sample.into_documents()))
            .collect();
        if found.is_empty() {
            return Err(Error::new(Code::EmptyInput, "no document of the pool has a text and a domain")
                .at_column("pool"));
        }

        let mut vocab = Vocab::new();
        let mut frequency = Vec::new();
        let mut split = Vec::new();
        for (.., drawn) in &found {
            let words = self.split(drawn)?;
            words.iter().for_each(|w| w.count_documents(&mut vocab, &mut frequency));
            split.push(words);
        }
        let vocab = frequent(&vocab, &frequency);
        let mut domains = Vec::new();
        for ((name, documents, bytes, drawn), words) in found.into_iter().zip(split) {
            let docs = numbered(&words, &vocab)?;
            let drawn_bytes: u64 = drawn.iter().map(|d| d.text.len() as u64).sum();
            if docs.tokens() == 0 {
                return Err(
                    Error::new(Code::EmptyInput, "no document of this domain has a word").at_column(name)
                );
            }
            let tokens = docs.tokens() as f64 * (bytes as f64 / drawn_bytes as f64);
            domains.push(Domain { name, documents, tokens, drawn: docs });
        }
        let mut targets = Vec::new();
        for (name, drawn) in samples {
            targets.push(halves(name, &numbered(&self.split(&drawn)?, &vocab)?)?);
        }
        let Pool { in_target, without_domain, .. } = pool;
        quarantined += pool.quarantined;
        Ok(Text { vocab, domains, targets, in_target, without_domain, quarantined })
    }

    /// The documents of a target, and how many rows cannot be read.
    fn target(&self, name: &str, corpus: &Corpus) -> Result<(Vec<Drawn>, u64)> {
        let mut sample = Sample::new(self.seed, TARGET_BYTES);
        let mut quarantined = 0;
        for shard in corpus.shards() {
            for batch in corpus.read(shard.index, ReadOptions::default(), self.control)? {
                let batch = batch?;
                quarantined += batch.quarantined.len() as u64;
                for i in 0..batch.len() {
                    if let Some(text) = batch.text(i).filter(|text| !text.trim_ascii().is_empty()) {
                        sample.offer_text(shard_number(shard.index)?, batch.rows[i], text);
                    }
                }
            }
        }
        let drawn = sample.into_documents();
        match drawn.len() {
            0 => Err(Error::new(Code::EmptyInput, "no document of the target has text").at_column(name)),
            _ => Ok((drawn, quarantined)),
        }
    }

    fn pool(&self, known: &HashSet<u64>) -> Result<Pool> {
        let shards: Vec<usize> = (0..self.pool.shards().len()).collect();
        let names = shard_domains(self.pool.shards());
        let meter = Meter::start(self.control, "sample", Unit::Bytes, Some(self.pool.bytes()));
        let all = Mutex::new(Pool::default());
        each_shard(&shards, self.threads, self.control, |index, lane| {
            let mut part = Pool::default();
            for batch in self.pool.read(index, ReadOptions::default(), self.control)? {
                lane.check()?;
                let batch = batch?;
                part.quarantined += batch.quarantined.len() as u64;
                for i in 0..batch.len() {
                    let column = batch.group.as_ref().filter(|g| arrow_array::Array::is_valid(*g, i));
                    let name = match self.by_column {
                        true => column.map(|g| g.value(i)),
                        false => Some(names[index].as_str()),
                    };
                    if let Some(text) = batch.text(i).filter(|text| !text.trim_ascii().is_empty()) {
                        self.take(&mut part, known, name, (shard_number(index)?, batch.rows[i]), text);
                    }
                }
                meter.add(0, batch.len() as u64, 0);
            }
            meter.add(self.pool.shards()[index].bytes, 0, 0);
            let mut all = lock(&all);
            for (name, found) in part.domains {
                let whole = all.domains.entry(name).or_insert_with(|| self.found());
                whole.documents += found.documents;
                whole.bytes += found.bytes;
                whole.sample.merge(found.sample);
            }
            all.in_target += part.in_target;
            all.without_domain += part.without_domain;
            all.quarantined += part.quarantined;
            Ok(())
        })?;
        meter.finish();
        Ok(all.into_inner().unwrap_or_else(|e| e.into_inner()))
    }

    /// Puts a document where it belongs.
    fn take(
        &self,
        pool: &mut Pool,
        known: &HashSet<u64>,
        name: Option<&str>,
        (shard, row): (u32, u64),
        text: &str,
    ) {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            pool.without_domain += 1;
            return;
        };
        if known.contains(&hash64(0, text.as_bytes())) {
            pool.in_target += 1;
            return;
        }
        if !pool.domains.contains_key(name) {
            pool.domains.insert(name.to_owned(), self.found());
        }
        if let Some(domain) = pool.domains.get_mut(name) {
            domain.documents += 1;
            domain.bytes += text.len() as u64;
            domain.sample.offer_text(shard, row, text);
        }
    }

    fn found(&self) -> Found {
        Found { sample: Sample::new(self.seed, self.domain_bytes), documents: 0, bytes: 0 }
    }

    fn split(&self, documents: &[Drawn]) -> Result<Vec<LocalWords>> {
        let words = |scratch: &mut Scratch, chunk: &[Drawn]| {
            self.control.check()?;
            LocalWords::of_texts(chunk.iter().map(|d| d.text.as_str()), self.normalizer, scratch)
        };
        documents.par_chunks(CHUNK).map_init(Scratch::default, words).collect()
    }
}

/// The words of enough documents, in the order in which they first came.
fn frequent(all: &Vocab, frequency: &[u32]) -> Vocab {
    let mut kept = Vocab::new();
    let special = kept.len();
    for (word, _) in all.iter().zip(frequency).skip(special).filter(|(_, n)| **n >= MIN_DOCUMENTS) {
        kept.intern(word);
    }
    kept
}

/// All documents that have a word, in the ids of `vocab`.
fn numbered(words: &[LocalWords], vocab: &Vocab) -> Result<Docs> {
    let mut docs = Docs::default();
    for part in words {
        let ids = part.ids_in(|word| vocab.get(word).unwrap_or(UNK));
        part.sentences(&ids, |sentence| {
            if !sentence.is_empty() {
                docs.push(sentence);
            }
            Ok(())
        })?;
    }
    Ok(docs)
}

/// Every second document (they are in the order of their hashes, which is random) for the search, the others for
/// the check.
fn halves(name: &str, docs: &Docs) -> Result<Target> {
    if docs.len() < 2 {
        let message =
            format!("{} document with words cannot be both searched for and checked on", docs.len());
        return Err(Error::new(Code::TargetTooSmall, message)
            .at_column(name)
            .hint("a hundred documents make a good sample"));
    }
    let (mut search, mut held_out) = (Docs::default(), Docs::default());
    for (i, words) in docs.iter().enumerate() {
        if i % 2 == 0 { search.push(words) } else { held_out.push(words) }
    }
    Ok(Target { name: name.to_owned(), search, held_out })
}

/// The domain of each shard by its name: the first directory below what all have in common, or the file itself.
fn shard_domains(shards: &[Shard]) -> Vec<String> {
    let first = |shard: &Shard| shard.name.split('/').next().unwrap_or(&shard.name).to_owned();
    shards.iter().map(first).collect()
}
