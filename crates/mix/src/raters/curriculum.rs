//! An order to train in: easy to hard within a mixture of topics, for more documents than fit in memory.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use gristmill_core::hash::{hash64, unit_open};
use gristmill_core::{Code, Control, Error, Result};
use serde::{Deserialize, Serialize};

/// Which end of the scores comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The lowest score first: easy to hard, where the score is a perplexity.
    #[default]
    Ascending,
    /// The highest score first.
    Descending,
}

/// How a [`Curriculum`] orders.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CurriculumOptions {
    /// Which end comes first; default `ascending`.
    pub direction: Direction,
    /// Adds Gumbel noise to `score / temperature`, so that the order is a random one in which the scores decide
    /// how probable each is (QuRating's curriculum). None when not given.
    pub temperature: Option<f64>,
    /// Seed of the noise and of the order of equal scores; default 0.
    pub seed: u64,
    /// Memory for sorting before it spills to disk, in bytes; default 256 MiB.
    pub memory: Option<usize>,
    /// Where it spills to; the temporary directory of the system when not given.
    pub temp_dir: Option<PathBuf>,
}

/// One document, by its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurriculumItem {
    /// Which file.
    pub shard: u32,
    /// Which row of it.
    pub row: u64,
    /// What it is ordered by.
    pub score: f64,
    /// How much of its topic it is: tokens, usually. 0 counts as 1.
    pub tokens: u64,
    /// Which topic; documents of one curriculum without topics have 0.
    pub topic: u32,
    /// A hash of its id.
    pub id_hash: u64,
}

/// Sorts documents by topic and score, and then deals the topics out evenly.
///
/// Within a topic documents are ordered by score. A document whose middle lies at a share `f` of its topic's
/// tokens is then placed at `f` of the whole: every stretch of the order has the topics in the proportion that
/// they have altogether (as Llama-3-SynE keeps its topic mixture while perplexity rises), and each topic goes
/// from one end of its scores to the other. With one topic it is the order by score.
///
/// Two sorts of 64 bytes a document, in the memory given and on disk beyond that. Ties are settled by a hash of
/// seed and id, then by place.
///
/// ```
/// use gristmill_core::Control;
/// use gristmill_mix::{Curriculum, CurriculumItem, CurriculumOptions};
///
/// let mut curriculum = Curriculum::new(CurriculumOptions::default())?;
/// for (row, (topic, score)) in [(0, 9.0), (0, 1.0), (1, 50.0), (0, 5.0), (1, 40.0), (0, 3.0)].into_iter().enumerate() {
///     let row = row as u64;
///     curriculum.push(CurriculumItem { shard: 0, row, score, tokens: 10, topic, id_hash: row })?;
/// }
/// let mut order = Vec::new();
/// curriculum.finish(&Control::default(), |item| Ok(order.push((item.topic, item.score))))?;
/// assert_eq!(order, [(0, 1.0), (1, 40.0), (0, 3.0), (0, 5.0), (1, 50.0), (0, 9.0)]);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Curriculum {
    options: CurriculumOptions,
    sort: Sort,
    /// Tokens of each topic.
    totals: Vec<u64>,
}

/// Keys and noise must not depend on each other.
const NOISE_STREAM: u64 = 0x6F72_6465_7221_0001;

impl Curriculum {
    /// An empty curriculum.
    ///
    /// # Errors
    /// A temperature that is not positive and finite.
    pub fn new(options: CurriculumOptions) -> Result<Self> {
        if options.temperature.is_some_and(|t| !(t.is_finite() && t > 0.0)) {
            return Err(Error::invalid_argument("temperature", "must be a finite number above 0"));
        }
        let sort = Sort::new(&options);
        Ok(Self { options, sort, totals: Vec::new() })
    }

    /// Adds a document.
    ///
    /// # Errors
    /// [`Code::InvalidValue`] for a score that is NaN; those of the disk.
    pub fn push(&mut self, item: CurriculumItem) -> Result<()> {
        if item.score.is_nan() {
            return Err(
                Error::new(Code::InvalidValue, "a score of NaN has no place in an order").at_row(item.row)
            );
        }
        let topic = item.topic as usize;
        if self.totals.len() <= topic {
            self.totals.resize(topic + 1, 0);
        }
        self.totals[topic] += item.tokens.max(1);
        let CurriculumOptions { direction, temperature, seed, .. } = self.options;
        let rank = match temperature {
            None => item.score,
            Some(t) => {
                let uniform = unit_open(hash64(seed ^ NOISE_STREAM, &item.id_hash.to_le_bytes()));
                let noise = -libm::log(-libm::log(uniform));
                // The noise favours the end that comes first.
                item.score / t + if direction == Direction::Ascending { -noise } else { noise }
            }
        };
        let rank = if direction == Direction::Ascending { ordered(rank) } else { !ordered(rank) };
        let tie = hash64(seed, &item.id_hash.to_le_bytes());
        self.sort.push(Record { key: [u64::from(item.topic), rank, tie], item })
    }

    /// Calls `f` with every document, in order.
    ///
    /// # Errors
    /// Those of the disk, of the control, and of `f`.
    pub fn finish(self, control: &Control, mut f: impl FnMut(&CurriculumItem) -> Result<()>) -> Result<()> {
        let mut dealt = Sort::new(&self.options);
        let mut before = vec![0u64; self.totals.len()];
        self.sort.finish(control, |record| {
            let topic = record.item.topic as usize;
            let tokens = record.item.tokens.max(1);
            let middle = before[topic] as f64 + tokens as f64 / 2.0;
            before[topic] += tokens;
            let at = ordered(middle / self.totals[topic] as f64);
            dealt.push(Record { key: [at, record.key[0], record.key[1]], item: record.item })
        })?;
        dealt.finish(control, |record| f(&record.item))
    }
}

/// Maps numbers to integers of the same order.
fn ordered(value: f64) -> u64 {
    // -0.0 + 0.0 is +0.0, and nothing else changes.
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

#[derive(Debug, Clone, Copy)]
struct Record {
    key: [u64; 3],
    item: CurriculumItem,
}

/// Bytes of a record on disk.
const RECORD: usize = 64;
/// Bytes of each reader and writer of a run.
const BUFFER: usize = 1 << 16;

impl Record {
    fn rank(&self) -> ([u64; 3], u32, u64) {
        (self.key, self.item.shard, self.item.row)
    }

    fn encode(&self) -> [u8; RECORD] {
        let CurriculumItem { shard, row, score, tokens, topic, id_hash } = self.item;
        let places = u64::from(shard) << 32 | u64::from(topic);
        let words = [self.key[0], self.key[1], self.key[2], places, row, score.to_bits(), tokens, id_hash];
        let mut bytes = [0; RECORD];
        bytes.chunks_exact_mut(8).zip(words).for_each(|(b, w)| b.copy_from_slice(&w.to_le_bytes()));
        bytes
    }

    fn decode(bytes: &[u8; RECORD]) -> Self {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("chunks of 8"));
        }
        let [a, b, c, places, row, score, tokens, id_hash] = words;
        let (shard, topic) = ((places >> 32) as u32, places as u32);
        let item = CurriculumItem { shard, row, score: f64::from_bits(score), tokens, topic, id_hash };
        Self { key: [a, b, c], item }
    }
}

/// An external merge sort of records.
#[derive(Debug)]
struct Sort {
    room: usize,
    temp_dir: Option<PathBuf>,
    waiting: Vec<Record>,
    runs: Vec<File>,
}

impl Sort {
    fn new(options: &CurriculumOptions) -> Self {
        let memory = options.memory.unwrap_or(256 << 20);
        // Two sorts are there at one time.
        let room = (memory / 2 / size_of::<Record>()).max(2);
        Self { room, temp_dir: options.temp_dir.clone(), waiting: Vec::new(), runs: Vec::new() }
    }

    fn push(&mut self, record: Record) -> Result<()> {
        self.waiting.push(record);
        if self.waiting.len() < self.room { Ok(()) } else { self.spill() }
    }

    fn fault(&self) -> impl Fn(std::io::Error) -> Error + use<> {
        let place = self.temp_dir.clone().unwrap_or_else(std::env::temp_dir).display().to_string();
        move |e| Error::io(place.clone(), "sort on disk", e)
    }

    fn spill(&mut self) -> Result<()> {
        let fault = self.fault();
        self.waiting.sort_unstable_by_key(Record::rank);
        let file = match &self.temp_dir {
            Some(dir) => tempfile::tempfile_in(dir),
            None => tempfile::tempfile(),
        };
        let mut writer = BufWriter::with_capacity(BUFFER, file.map_err(&fault)?);
        for record in self.waiting.drain(..) {
            writer.write_all(&record.encode()).map_err(&fault)?;
        }
        let mut file = writer.into_inner().map_err(|e| fault(e.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(&fault)?;
        self.runs.push(file);
        Ok(())
    }

    fn finish(mut self, control: &Control, mut f: impl FnMut(Record) -> Result<()>) -> Result<()> {
        let fault = self.fault();
        if self.runs.is_empty() {
            self.waiting.sort_unstable_by_key(Record::rank);
            return self.waiting.into_iter().try_for_each(f);
        }
        if !self.waiting.is_empty() {
            self.spill()?;
        }
        self.waiting = Vec::new();
        let runs = self.runs.len();
        let mut readers: Vec<_> =
            self.runs.into_iter().map(|file| BufReader::with_capacity(BUFFER, file)).collect();
        let mut next = |run: usize| -> Result<Option<Record>> {
            let mut bytes = [0; RECORD];
            match readers[run].read_exact(&mut bytes) {
                Ok(()) => Ok(Some(Record::decode(&bytes))),
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
                Err(e) => Err(fault(e)),
            }
        };
        let mut heads = BinaryHeap::new();
        for run in 0..runs {
            heads.extend(next(run)?.map(|record| Reverse(Head { record, run })));
        }
        for count in 0u64.. {
            if count.is_multiple_of(1 << 16) {
                control.check()?;
            }
            let Some(Reverse(Head { record, run })) = heads.pop() else { break };
            f(record)?;
            heads.extend(next(run)?.map(|record| Reverse(Head { record, run })));
        }
        Ok(())
    }
}

/// The next record of a run.
struct Head {
    record: Record,
    run: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.record.rank(), self.run).cmp(&(other.record.rank(), other.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(row: u64, topics: u32) -> CurriculumItem {
        let hash = hash64(1, &row.to_le_bytes());
        // Few scores, so that there are ties.
        let score = (hash % 97) as f64 - 40.0;
        let topic = (hash >> 20) as u32 % topics;
        CurriculumItem {
            shard: (row % 3) as u32,
            row,
            score,
            tokens: hash >> 32 & 0xff,
            topic,
            id_hash: hash,
        }
    }

    fn order(items: &[CurriculumItem], options: CurriculumOptions) -> Vec<CurriculumItem> {
        let mut curriculum = Curriculum::new(options).unwrap();
        items.iter().for_each(|i| curriculum.push(*i).unwrap());
        let mut out = Vec::new();
        curriculum
            .finish(&Control::default(), |i| {
                out.push(*i);
                Ok(())
            })
            .unwrap();
        out
    }

    #[test]
    fn the_order_on_disk_is_that_in_memory_whatever_came_first() {
        let mut items: Vec<_> = (0..5000).map(|row| item(row, 4)).collect();
        for direction in [Direction::Ascending, Direction::Descending] {
            for temperature in [None, Some(3.0)] {
                let options = |memory| CurriculumOptions {
                    direction,
                    temperature,
                    seed: 5,
                    memory,
                    ..Default::default()
                };
                let expected = order(&items, options(None));
                items.reverse();
                assert_eq!(order(&items, options(Some(20_000))), expected);
                assert_eq!(expected.len(), 5000);
            }
        }
    }

    #[test]
    fn every_topic_ascends_and_every_stretch_has_the_mixture() {
        let items: Vec<_> = (0..20_000).map(|row| item(row, 3)).collect();
        let out = order(&items, CurriculumOptions::default());
        let share = |part: &[CurriculumItem], topic| {
            let of = |t: Option<u32>| {
                let chosen = part.iter().filter(|i| t.is_none_or(|t| i.topic == t));
                chosen.map(|i| i.tokens.max(1)).sum::<u64>() as f64
            };
            of(Some(topic)) / of(None)
        };
        for topic in 0..3 {
            let scores: Vec<f64> = out.iter().filter(|i| i.topic == topic).map(|i| i.score).collect();
            assert!(scores.windows(2).all(|w| w[0] <= w[1]));
            for stretch in out.chunks(2000) {
                assert!((share(stretch, topic) - share(&out, topic)).abs() < 0.01);
            }
        }
    }

    /// Among two documents, the better one comes first with odds of `exp(difference / temperature)`.
    #[test]
    fn noise_puts_documents_first_as_often_as_their_scores_say() {
        for direction in [Direction::Ascending, Direction::Descending] {
            let mut first = 0;
            let n = 20_000;
            for seed in 0..n {
                let items =
                    [0.0, 1.0].map(|score| CurriculumItem { score, id_hash: score as u64, ..item(0, 1) });
                let options =
                    CurriculumOptions { direction, temperature: Some(2.0), seed, ..Default::default() };
                first += u64::from(order(&items, options)[0].score == 1.0);
            }
            let odds = if direction == Direction::Ascending { -0.5f64 } else { 0.5 };
            let expected = 1.0 / (1.0 + (-odds).exp());
            let found = first as f64 / n as f64;
            assert!(
                (found - expected).abs() < 4.0 * (0.25 / n as f64).sqrt(),
                "{direction:?} {found} {expected}"
            );
        }
    }

    #[test]
    fn refuses_what_has_no_place() {
        let options = CurriculumOptions { temperature: Some(0.0), ..Default::default() };
        assert_eq!(Curriculum::new(options).unwrap_err().code(), Code::InvalidArgument);
        let mut c = Curriculum::new(CurriculumOptions::default()).unwrap();
        let e = c.push(CurriculumItem { score: f64::NAN, ..item(7, 1) }).unwrap_err();
        assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(7)));
        let nowhere = CurriculumOptions {
            memory: Some(0),
            temp_dir: Some("/no/such/place".into()),
            ..Default::default()
        };
        let mut c = Curriculum::new(nowhere).unwrap();
        let e = (0..10).find_map(|row| c.push(item(row, 1)).err()).unwrap();
        assert_eq!(e.code(), Code::NotFound);
    }
}
