//! The score files of a pool, read back beside it.

use std::sync::Mutex;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, StringArray, UInt32Array};
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use gristmill_core::{Code, Control, Counts, Error, Result, ResultExt};
use gristmill_data::{Corpus, Job, ReadOptions, Tables, read_tables};
use gristmill_mix::Moments;
use gristmill_select::{Budget, Criteria, Cut, DuplicateFinder, FirstPlaces, Item, Selector, id_hash};

use super::columns::Groups;
use super::pipeline::{Lane, each_shard, lock};
use super::scorer::{GROUP, shard_number};
use super::scoring::sidecar_name;
use super::summary::Percentile;
use crate::sidecar::{Sidecar, spec_of};
use crate::{ScoreSpec, Sums};

/// All score files of a pool.
pub(crate) struct ScoreFiles<'a> {
    pub(crate) pool: &'a Corpus,
    /// Where they are: the job that made them, and its directory for them.
    pub(crate) job: &'a Job,
    pub(crate) folder: &'a str,
    pub(crate) spec: &'a ScoreSpec,
    /// The columns of the quotas.
    pub(crate) groups: &'a Groups,
    pub(crate) threads: usize,
    pub(crate) control: &'a Control,
}

/// Rows of each shard, ascending, that are out of the selection whatever their score.
pub(crate) type Excluded = Vec<Vec<u64>>;

/// One document of a score file.
pub(crate) struct Entry<'a> {
    pub(crate) id: &'a str,
    pub(crate) item: Item<'a>,
}

impl ScoreFiles<'_> {
    pub(crate) fn shards(&self) -> Vec<usize> {
        (0..self.pool.shards().len()).collect()
    }

    fn open(&self, shard: usize) -> Result<Tables> {
        let path = self.job.path_of(&sidecar_name(self.folder, &self.pool.shards()[shard]));
        let tables = read_tables(&path)?;
        let spec = spec_of(tables.schema()).at_path(&path)?;
        if spec != *self.spec {
            return Err(Error::new(
                Code::JobMismatch,
                "this score file was made under another specification",
            )
            .at_path(path));
        }
        Ok(tables)
    }

    /// Shows every document of a shard's score file.
    pub(crate) fn each(
        &self,
        shard: usize,
        lane: Lane<'_>,
        mut show: impl FnMut(&Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        let tables = self.open(shard)?;
        let grouped = self.groups.any();
        if grouped && tables.schema().column_with_name(GROUP).is_none() {
            return self.each_with_pool_groups(shard, lane, tables, show);
        }
        for batch in tables {
            lane.check()?;
            let batch = batch?;
            let groups =
                grouped.then(|| batch.column_by_name(GROUP).and_then(|g| g.as_string_opt())).flatten();
            self.show(shard, &batch, groups, &mut show)?;
        }
        Ok(())
    }

    /// The score files do not hold the column of the quotas: it is read from the pool, in step with them.
    fn each_with_pool_groups(
        &self,
        shard: usize,
        lane: Lane<'_>,
        tables: Tables,
        mut show: impl FnMut(&Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut cursor = Cursor::new(tables, &self.pool.shards()[shard].url);
        for batch in self.pool.read(shard, self.groups.reads(ReadOptions::default()), self.control)? {
            lane.check()?;
            let mut batch = batch?;
            self.groups.apply(&mut batch)?;
            if batch.is_empty() {
                continue;
            }
            let scores = cursor.take(&batch.rows)?;
            self.show(shard, &scores, batch.group.as_ref(), &mut show)?;
        }
        Ok(())
    }

    fn show(
        &self,
        shard: usize,
        batch: &RecordBatch,
        groups: Option<&StringArray>,
        show: &mut impl FnMut(&Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        let sidecar = Sidecar::new(self.spec, batch)?;
        let shard = shard_number(shard)?;
        for i in 0..sidecar.len() {
            let Sums { n_tokens, n_bytes, .. } = sidecar.sums(i);
            let id = sidecar.id(i);
            let item = Item {
                score: sidecar.score(i),
                id_hash: id_hash(id),
                shard,
                row: sidecar.row(i),
                counts: Counts::one(n_tokens.into(), n_bytes.into()),
                group: groups.filter(|g| g.is_valid(i)).map(|g| g.value(i)),
            };
            show(&Entry { id, item })?;
        }
        Ok(())
    }

    /// The rows of a shard's score file, to be taken in step with its documents.
    pub(crate) fn cursor(&self, shard: usize) -> Result<Cursor> {
        Ok(Cursor::new(self.open(shard)?, &self.pool.shards()[shard].url))
    }

    fn each_shard(&self, work: impl Fn(usize, Lane<'_>) -> Result<()> + Sync) -> Result<()> {
        each_shard(&self.shards(), self.threads, self.control, work)
    }

    /// Finds all documents but the first of each id, in about `memory` bytes.
    ///
    /// # Errors
    /// With `fail`, [`Code::DuplicateId`] for the first such document, naming both places.
    pub(crate) fn duplicates(&self, fail: bool, memory: usize) -> Result<Excluded> {
        let mut finder = DuplicateFinder::new(memory / self.threads.max(1));
        let later = Mutex::new(vec![Vec::new(); self.pool.shards().len()]);
        let earliest: Mutex<Option<Found>> = Mutex::new(None);
        while let Some(pass) = finder.next_pass() {
            let all = Mutex::new(pass.clone());
            self.each_shard(|shard, lane| {
                let mut one = pass.clone();
                self.each(shard, lane, |e| {
                    one.add(e.item.id_hash);
                    Ok(())
                })?;
                lock(&all).merge(one)
            })?;
            let repeated = finder.advance(all.into_inner().unwrap_or_else(|e| e.into_inner()))?;
            if repeated.is_empty() {
                continue;
            }
            let places = Mutex::new(FirstPlaces::default());
            self.each_shard(|shard, lane| {
                self.each(shard, lane, |e| {
                    if repeated.contains(e.item.id_hash) {
                        lock(&places).add(e.id, e.item.shard, e.item.row);
                    }
                    Ok(())
                })
            })?;
            let places = places.into_inner().unwrap_or_else(|e| e.into_inner());
            self.each_shard(|shard, lane| {
                self.each(shard, lane, |e| {
                    let Item { shard: number, row, .. } = e.item;
                    if !repeated.contains(e.item.id_hash) || !places.is_later(e.id, number, row) {
                        return Ok(());
                    }
                    if fail {
                        let found =
                            Found { place: (number, row), first: places.first(e.id), id: e.id.to_owned() };
                        let mut earliest = lock(&earliest);
                        if earliest.as_ref().is_none_or(|other| found.place < other.place) {
                            *earliest = Some(found);
                        }
                    } else {
                        lock(&later)[shard].push(row);
                    }
                    Ok(())
                })
            })?;
        }
        if let Some(found) = earliest.into_inner().unwrap_or_else(|e| e.into_inner()) {
            return Err(self.duplicate(&found));
        }
        let mut later = later.into_inner().unwrap_or_else(|e| e.into_inner());
        later.iter_mut().for_each(|rows| rows.sort_unstable());
        Ok(later)
    }

    fn duplicate(&self, found: &Found) -> Error {
        let url = |shard: u32| self.pool.shards()[shard as usize].url.as_str();
        let first = found.first.map_or_else(String::new, |(shard, row)| format!("{}, row {row}", url(shard)));
        Error::new(Code::DuplicateId, format!("the id {:?} is also that of {first}", found.id))
            .at_path(url(found.place.0))
            .at_row(found.place.1)
            .hint("drop all but the first with --duplicate-ids drop, or keep them with --duplicate-ids keep")
    }

    /// Mean and spread of the scores that can be selected.
    pub(crate) fn moments(&self, excluded: &Excluded) -> Result<Moments> {
        let by_shard = Mutex::new(vec![Moments::default(); self.pool.shards().len()]);
        self.each_shard(|shard, lane| {
            let mut moments = Moments::default();
            self.each(shard, lane, |e| {
                let Item { score, counts, row, .. } = e.item;
                if counts.tokens > 0 && score.is_finite() && !is_in(&excluded[shard], row) {
                    moments.add(score);
                }
                Ok(())
            })?;
            lock(&by_shard)[shard] = moments;
            Ok(())
        })?;
        // In the order of the shards, whatever the threads.
        let mut all = Moments::default();
        by_shard.into_inner().unwrap_or_else(|e| e.into_inner()).iter().for_each(|one| all.merge(one));
        Ok(all)
    }

    /// Finds the exact cut.
    pub(crate) fn cut(&self, criteria: Criteria, excluded: &Excluded) -> Result<Cut> {
        let mut selector = Selector::new(criteria)?;
        while let Some(pass) = selector.next_pass() {
            let all = Mutex::new(pass.clone());
            self.each_shard(|shard, lane| {
                let mut one = pass.clone();
                self.each(shard, lane, |e| match is_in(&excluded[shard], e.item.row) {
                    true => Ok(()),
                    false => one.add(&e.item),
                })?;
                lock(&all).merge(&one)
            })?;
            selector.advance(all.into_inner().unwrap_or_else(|e| e.into_inner()))?;
        }
        selector.finish()
    }

    /// The scores at these percentiles: the smallest with at least that many percent of all `scored` at or below
    /// them (nearest rank). Exact, with the memory of a selection.
    pub(crate) fn percentiles(&self, percents: &[u8], scored: u64) -> Result<Vec<Percentile>> {
        if scored == 0 {
            return Ok(Vec::new());
        }
        let at = |percent: u8| {
            let rank = (u128::from(scored) * u128::from(percent)).div_ceil(100).max(1) as u64;
            Ok(Percentile { percent, score: self.score_of_rank(rank)? })
        };
        percents.iter().map(|percent| at(*percent)).collect()
    }

    /// The score of a rank, from 1 for the lowest: the greatest among the documents of a selection of that many
    /// with the lowest scores.
    fn score_of_rank(&self, rank: u64) -> Result<f64> {
        let budget = Some(Budget::parse(&format!("{rank}docs"))?);
        let criteria = Criteria { budget, lowest: true, ..Criteria::default() };
        let cut = self.cut(criteria, &vec![Vec::new(); self.pool.shards().len()])?;
        let greatest = Mutex::new(f64::NEG_INFINITY);
        self.each_shard(|shard, lane| {
            let mut own = f64::NEG_INFINITY;
            self.each(shard, lane, |e| {
                if cut.keeps(&e.item) {
                    own = own.max(e.item.score);
                }
                Ok(())
            })?;
            let mut greatest = lock(&greatest);
            *greatest = greatest.max(own);
            Ok(())
        })?;
        Ok(greatest.into_inner().unwrap_or_else(|e| e.into_inner()))
    }
}

/// Whether a sorted list has this row.
pub(crate) fn is_in(rows: &[u64], row: u64) -> bool {
    rows.binary_search(&row).is_ok()
}

struct Found {
    place: (u32, u64),
    first: Option<(u32, u64)>,
    id: String,
}

/// The rows of a score file, handed out in step with the documents that they belong to.
pub(crate) struct Cursor {
    tables: Tables,
    url: String,
    batch: Option<RecordBatch>,
    at: usize,
}

impl Cursor {
    fn new(tables: Tables, url: &str) -> Self {
        Self { tables, url: url.to_owned(), batch: None, at: 0 }
    }

    /// The scores of these rows, which ascend from call to call; rows between them are passed over.
    pub(crate) fn take(&mut self, rows: &[u64]) -> Result<RecordBatch> {
        let mut parts = Vec::new();
        let mut rows = rows.iter().peekable();
        while rows.peek().is_some() {
            let batch = match &self.batch {
                Some(batch) => batch,
                None => match self.tables.next() {
                    Some(batch) => {
                        self.at = 0;
                        self.batch.insert(batch?)
                    }
                    None => return Err(self.missing(rows.peek().copied())),
                },
            };
            let numbers = row_numbers(batch)?;
            let mut taken = Vec::new();
            while self.at < numbers.len() {
                let Some(&&row) = rows.peek() else { break };
                let number = numbers[self.at];
                if number > row {
                    return Err(self.missing(Some(&row)));
                }
                if number == row {
                    taken.push(self.at as u32);
                    rows.next();
                }
                self.at += 1;
            }
            let done = self.at == numbers.len();
            if !taken.is_empty() {
                let part = take_record_batch(batch, &UInt32Array::from(taken));
                parts.push(part.map_err(|e| Error::new(Code::Internal, format!("cannot pick rows: {e}")))?);
            }
            if done {
                self.batch = None;
            }
        }
        match parts.as_slice() {
            [one] => Ok(one.clone()),
            _ => concat_batches(self.tables.schema(), &parts)
                .map_err(|e| Error::new(Code::Internal, format!("cannot join batches: {e}"))),
        }
    }

    fn missing(&self, row: Option<&u64>) -> Error {
        let e = Error::new(
            Code::JobMismatch,
            "a document of the pool has no score: the pool is not what was scored",
        );
        match row {
            Some(&row) => e.at_path(&self.url).at_row(row),
            None => e.at_path(&self.url),
        }
    }
}

fn row_numbers(batch: &RecordBatch) -> Result<&[u64]> {
    let column =
        batch.column_by_name("row").and_then(|c| c.as_primitive_opt::<arrow_array::types::UInt64Type>());
    let column = column
        .ok_or_else(|| Error::new(Code::CorruptData, "the score file has no row numbers").at_column("row"))?;
    Ok(column.values())
}
