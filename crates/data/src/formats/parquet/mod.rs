//! Parquet, one row group after the other, only the columns (and with a page index, the pages) needed.
//!
//! The row filter runs first, over its own columns, and decides which rows of the other columns are
//! decoded at all. The decoder is known to panic on some damaged files: every call of it is guarded, and
//! a decoder that panicked is dropped. Where it would ask for impossible amounts of memory instead, the
//! numbers are checked before it sees them (the modules below). Damage costs the rest of its row group;
//! the next is tried.

mod pages;
mod thrift;

use std::io::BufReader;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_cast::cast::cast;
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use bytes::Bytes;
use gristmill_core::{Code, Error, Result};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowGroups, RowSelection,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::Type as PhysicalType;
use parquet::column::page::PageIterator;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::{SchemaDescriptor, Type};

use super::jsonl::missing_rows;
use super::table;
use crate::column::Roles;
use crate::fault;
use crate::place::{Input, InputReader};
use crate::quarantine::Raw;
use crate::reader::Out;

impl Length for Input {
    fn len(&self) -> u64 {
        Input::len(self)
    }
}

impl ChunkReader for Input {
    type T = BufReader<InputReader>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(self.reader(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.bytes_at(start, length).map_err(|e| ParquetError::External(e.into()))
    }
}

const WHAT: &str = "Parquet";

/// A batch of this many times the size asked for is much too large.
const OVERSIZE: usize = 8;

/// Rows decoded at once for the filter, whose columns are small.
const FILTER_ROWS: usize = 1024;

pub(crate) fn read(out: &mut Out) -> Result<()> {
    let input = super::open(out)?;
    let selective = out.task.options.rows.is_some() || out.task.filter.is_some();
    let table = Table::open(input, selective)?;
    let roles = table::roles(out, table.meta.schema())?;
    out.set_schema(table.meta.schema().clone());
    let mut file = File { table, roles };
    let mut first = 0;
    for group in 0..file.table.groups() {
        out.check()?;
        let count = file.table.check_group(group)?;
        let wanted = match &out.task.options.rows {
            None => None,
            Some(rows) => {
                let from = rows.partition_point(|r| *r < first);
                let to = rows.partition_point(|r| *r < first + count);
                Some(rows[from..to].iter().map(|r| r - first).collect::<Vec<_>>())
            }
        };
        if wanted.as_ref().is_none_or(|w| !w.is_empty()) {
            file.read_group(out, group, first, wanted)?;
        }
        first += count;
    }
    let beyond = out.task.options.rows.as_ref().and_then(|r| r.last().copied());
    missing_rows(beyond.filter(|r| *r >= first), None)
}

/// The metadata of a file; with its page index when rows will be skipped and the index is sound.
fn load_metadata(input: &Input, page_index: bool) -> Result<ArrowReaderMetadata> {
    check_footer(input)?;
    let load = |policy| {
        fault::guard(WHAT, || {
            let options = ArrowReaderOptions::new()
                .with_column_index_policy(PageIndexPolicy::Skip)
                .with_offset_index_policy(policy);
            ArrowReaderMetadata::load(input, options).map_err(fault::parquet)
        })
    };
    let meta = load(PageIndexPolicy::Skip)?;
    if page_index && offset_indexes_are_sound(input, &meta) {
        // An index only saves work: without it the same rows are read.
        return load(PageIndexPolicy::Optional).or(Ok(meta));
    }
    Ok(meta)
}

/// Checks that the footer is there and that nothing in it claims to be longer than it is.
fn check_footer(input: &Input) -> Result<()> {
    let damaged = |what: &str| Error::new(Code::CorruptData, format!("Parquet data is damaged: {what}"));
    let truncated = || damaged("the end is missing; the file is truncated or no Parquet file");
    let read = |at, n| input.bytes_at(at, n).map_err(|e| fault::decompress(WHAT, e));
    let tail_at = input.len().checked_sub(8).ok_or_else(truncated)?;
    let tail = read(tail_at, 8)?;
    if &tail[4..] != b"PAR1" {
        return match &tail[4..] {
            b"PARE" => Err(Error::new(Code::Unsupported, "encrypted Parquet files are not read")),
            _ => Err(truncated()),
        };
    }
    let length = u64::from(u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let at = tail_at.checked_sub(length).ok_or_else(|| damaged("a footer longer than the file"))?;
    let footer = read(at, length as usize)?;
    thrift::walk(&footer, length).map(drop).map_err(|_| damaged("the footer"))
}

fn offset_indexes_are_sound(input: &Input, meta: &ArrowReaderMetadata) -> bool {
    let columns = meta.metadata().row_groups().iter().flat_map(|g| g.columns());
    let mut ranges = columns.filter_map(|c| Some((c.offset_index_offset()?, c.offset_index_length()?)));
    ranges.all(|(at, length)| {
        let (Ok(at), Ok(length)) = (u64::try_from(at), usize::try_from(length)) else { return false };
        input.bytes_at(at, length).is_ok_and(|bytes| thrift::walk(&bytes, length as u64).is_ok())
    })
}

/// One row group as the decoder asks for it.
struct OneGroup<'a> {
    input: &'a Input,
    meta: &'a ParquetMetaData,
    group: usize,
}

impl RowGroups for OneGroup<'_> {
    fn num_rows(&self) -> usize {
        self.meta.row_group(self.group).num_rows() as usize
    }

    fn column_chunks(&self, column: usize) -> parquet::errors::Result<Box<dyn PageIterator>> {
        let locations = self.meta.offset_index().and_then(|groups| groups.get(self.group)?.get(column));
        let locations = locations.map(|l| l.page_locations().clone()).filter(|l| !l.is_empty());
        let group = self.meta.row_group(self.group);
        Ok(Box::new(pages::OneChunk::new(self.input, group, column, locations)))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.meta.row_group(self.group)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.meta
    }
}

/// An open file whose footer is sound.
pub(crate) struct Table {
    input: Input,
    meta: ArrowReaderMetadata,
}

impl Table {
    /// Opens a file, with its page index when rows will be skipped.
    pub(crate) fn open(input: Input, page_index: bool) -> Result<Self> {
        let meta = load_metadata(&input, page_index)?;
        Ok(Self { input, meta })
    }

    /// The columns, with the file's key-value metadata.
    pub(crate) fn schema(&self) -> &SchemaRef {
        self.meta.schema()
    }

    pub(crate) fn groups(&self) -> usize {
        self.meta.metadata().num_row_groups()
    }

    pub(crate) fn group(&self, group: usize) -> &RowGroupMetaData {
        self.meta.metadata().row_group(group)
    }

    /// Checks what a footer claims before anything is allocated for it; gives the number of rows.
    pub(crate) fn check_group(&self, group: usize) -> Result<u64> {
        let g = self.group(group);
        let bad = |what: &str| {
            Error::new(Code::CorruptData, format!("Parquet data is damaged: {what}"))
                .at_row_group(group as u64)
        };
        let rows = u64::try_from(g.num_rows()).map_err(|_| bad("a negative number of rows"))?;
        for column in g.columns() {
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let end = start.checked_add(column.compressed_size());
            if start < 0
                || column.compressed_size() < 0
                || end.is_none_or(|end| end as u64 > self.input.len())
            {
                return Err(bad("a column lies outside of the file").at_column(column.column_path().string()));
            }
        }
        Ok(rows)
    }

    /// Decodes all columns of one group.
    pub(crate) fn read_group(&self, group: usize, batch_rows: usize) -> Result<ParquetRecordBatchReader> {
        self.check_group(group)?;
        let roots: Vec<_> = (0..self.schema().fields().len()).collect();
        self.reader(&self.meta, group, &roots, None, batch_rows)
    }

    /// Decodes these columns of the rows `wanted` (relative to the group), or of all.
    fn reader(
        &self,
        meta: &ArrowReaderMetadata,
        group: usize,
        roots: &[usize],
        wanted: Option<&[u64]>,
        batch_rows: usize,
    ) -> Result<ParquetRecordBatchReader> {
        let count = self.group(group).num_rows() as usize;
        let mask = ProjectionMask::roots(meta.parquet_schema(), roots.iter().copied());
        let levels = parquet_to_arrow_field_levels(meta.parquet_schema(), mask, Some(meta.schema().fields()))
            .map_err(fault::parquet)?;
        let selection = wanted.filter(|w| w.len() < count).map(|wanted| {
            let runs = wanted.chunk_by(|a, b| a + 1 == *b);
            let ranges = runs.map(|run| run[0] as usize..run[run.len() - 1] as usize + 1);
            RowSelection::from_consecutive_ranges(ranges, count)
        });
        let pages = OneGroup { input: &self.input, meta: meta.metadata(), group };
        ParquetRecordBatchReader::try_new_with_row_groups(&levels, &pages, batch_rows, selection)
            .map_err(fault::parquet)
    }
}

struct File {
    table: Table,
    roles: Roles,
}

impl File {
    /// Reads the rows of one group: those `wanted` (relative to the group), or all.
    fn read_group(
        &mut self,
        out: &mut Out,
        group: usize,
        first: u64,
        wanted: Option<Vec<u64>>,
    ) -> Result<()> {
        let count = self.table.check_group(group)?;
        let mut wanted = wanted.unwrap_or_else(|| (0..count).collect());
        if let Some(filter) = out.task.filter.clone() {
            let roots = table::filter_projection(filter.columns(), self.table.meta.schema());
            if roots.is_empty() {
                // A filter over no column, such as `true`, has one value for all.
                if !filter.evaluator().keeps()? {
                    out.stats.read += wanted.len() as u64;
                    out.stats.filtered += wanted.len() as u64;
                    return Ok(());
                }
            } else {
                let mut evaluator = filter.evaluator();
                let mut kept = Vec::new();
                self.decode(out, group, first, &roots, &wanted, FILTER_ROWS, |out, batch, rows| {
                    let mask = table::evaluate(out, &mut evaluator, &batch, &rows, Some(group as u64))?;
                    kept.extend(table::kept(&mask).into_iter().map(|i| rows[i] - first));
                    Ok(())
                })?;
                wanted = kept;
            }
        }
        let roots = table::projection(out, &self.roles, self.table.meta.schema());
        let batch_rows = self.batch_rows(out, group);
        let roles = self.roles.clone();
        self.decode(out, group, first, &roots, &wanted, batch_rows, |out, batch, rows| {
            table::emit(out, &roles, batch, rows)
        })
    }

    /// How many rows to decode at once so that a batch of average documents is about as large as asked.
    fn batch_rows(&self, out: &Out, group: usize) -> usize {
        let g = self.table.group(group);
        let leaf = g.columns().iter().find(|c| c.column_path().parts() == [self.roles.text.as_str()]);
        let bytes =
            leaf.map_or(0, |c| c.unencoded_byte_array_data_bytes().unwrap_or_else(|| c.uncompressed_size()));
        let average = (bytes.max(0) as u64 / (g.num_rows().max(1) as u64)).max(1);
        ((out.task.source.batch_bytes as u64 / average).max(1) as usize).min(out.task.source.batch_rows)
    }

    /// Decodes rows of one group and hands them on with their numbers in the file.
    #[expect(clippy::too_many_arguments, reason = "one loop serves the filter and the documents")]
    fn decode(
        &self,
        out: &mut Out,
        group: usize,
        first: u64,
        roots: &[usize],
        wanted: &[u64],
        batch_rows: usize,
        mut take: impl FnMut(&mut Out, RecordBatch, Vec<u64>) -> Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        let mut reader = None;
        // Rows at once. Fewer after a batch that was much too large, or that could not be decoded: the
        // average of a group says little about documents of 100 MB that stand side by side.
        let mut step = batch_rows;
        while done < wanted.len() {
            out.check()?;
            let next = fault::guard(WHAT, || {
                let reader = match &mut reader {
                    Some(reader) => reader,
                    none => none.insert(self.table.reader(
                        &self.table.meta,
                        group,
                        roots,
                        Some(&wanted[done..]),
                        step,
                    )?),
                };
                reader.next().transpose().map_err(fault::arrow_of_parquet)
            });
            let next = next.and_then(|batch| {
                let batch = batch.filter(|b| b.num_rows() > 0 && b.num_rows() <= wanted.len() - done);
                batch.ok_or_else(|| {
                    Error::new(
                        Code::CorruptData,
                        "Parquet data is damaged: the group has fewer rows than it claims",
                    )
                })
            });
            match next {
                Ok(batch) => {
                    let n = batch.num_rows();
                    let rows = wanted[done..done + n].iter().map(|r| first + r).collect();
                    if step > 1 && batch.get_array_memory_size() > OVERSIZE * out.task.source.batch_bytes {
                        step = (step / OVERSIZE).max(1);
                        reader = None;
                    }
                    take(out, batch, rows)?;
                    done += n;
                }
                Err(e) if matches!(e.code(), Code::Io | Code::Aborted) => return Err(e),
                Err(e) => {
                    // The decoder flattens errors to text, so a failing device is asked for.
                    if let Some(failure) = self.table.input.take_failure() {
                        return Err(failure);
                    }
                    // Text that is no text is the fault of a row, not of the file.
                    let n = step.min(wanted.len() - done);
                    let rows = &wanted[done..done + n];
                    match self.decode_as_bytes(out, group, first, roots, rows) {
                        Some(Salvage { batch, good, bad }) => {
                            reader = None;
                            for (row, column, bytes) in bad {
                                let e = Error::new(Code::InvalidUtf8, "the value is not UTF-8")
                                    .at_row_group(group as u64)
                                    .at_column(column);
                                out.bad_row(e, row, Raw::of(&bytes))?;
                            }
                            if !good.is_empty() {
                                take(out, batch, good)?;
                            }
                            done += n;
                        }
                        None if step > 1 => {
                            step = (step / OVERSIZE).max(1);
                            reader = None;
                        }
                        None => {
                            let rest = &wanted[done..];
                            let e = e.at_row_group(group as u64);
                            return out.bad_rows(e, first + rest[0], rest.len() as u64);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Decodes rows with every string column as bytes, to find those that are not UTF-8. `None` when
    /// the rows cannot be decoded that way either, or when that finds nothing: then it is real damage.
    fn decode_as_bytes(
        &self,
        out: &Out,
        group: usize,
        first: u64,
        roots: &[usize],
        rows: &[u64],
    ) -> Option<Salvage> {
        let salvage = || -> Result<Option<Salvage>> {
            let schema = without_text(self.table.meta.parquet_schema()).map_err(fault::parquet)?;
            let options = ArrowReaderOptions::new()
                .with_skip_arrow_metadata(true)
                .with_parquet_schema(Arc::new(schema));
            let meta = ArrowReaderMetadata::load(&self.table.input, options).map_err(fault::parquet)?;
            let mut batches = Vec::new();
            // A run of rows may be spread over several pages; ask until all came.
            let mut got = 0;
            for batch in self.table.reader(&meta, group, roots, Some(rows), rows.len())? {
                let batch = batch.map_err(fault::arrow_of_parquet)?;
                got += batch.num_rows();
                batches.push(batch);
            }
            let Some(raw) = batches.first().map(|b| b.schema()).filter(|_| got == rows.len()) else {
                return Ok(None);
            };
            let raw = arrow_select::concat::concat_batches(&raw, &batches).map_err(fault::arrow)?;
            let target = Arc::new(self.table.meta.schema().project(roots).map_err(fault::arrow)?);
            sort_out(&raw, &target, &self.roles, rows.iter().map(|r| first + r).collect())
        };
        let found = fault::guard(WHAT, salvage).ok().flatten();
        found.filter(|s| !s.bad.is_empty() && out.check().is_ok())
    }
}

/// The good rows of a batch, and the bad ones with their column and their text as bytes.
struct Salvage {
    batch: RecordBatch,
    good: Vec<u64>,
    bad: Vec<(u64, String, Vec<u8>)>,
}

/// Splits rows by whether all their strings are UTF-8, and gives the good ones their types back.
fn sort_out(raw: &RecordBatch, target: &SchemaRef, roles: &Roles, rows: Vec<u64>) -> Result<Option<Salvage>> {
    let mut faults: Vec<Option<String>> = vec![None; rows.len()];
    for (field, column) in target.fields().iter().zip(raw.columns()) {
        let is_text = crate::column::kind(field.data_type()) == crate::column::Kind::Text;
        let Some(bytes) = column.as_binary_opt::<i32>().filter(|_| is_text) else { continue };
        for (i, value) in bytes.iter().enumerate() {
            if value.is_some_and(|v| std::str::from_utf8(v).is_err()) {
                faults[i].get_or_insert_with(|| field.name().clone());
            }
        }
    }
    let text = raw.column_by_name(&roles.text).and_then(|c| c.as_binary_opt::<i32>());
    let bytes_of = |i: usize| text.filter(|t| t.is_valid(i)).map_or_else(Vec::new, |t| t.value(i).to_vec());
    let bad = faults.iter().enumerate();
    let bad = bad.filter_map(|(i, f)| f.clone().map(|column| (rows[i], column, bytes_of(i)))).collect();
    let keep: BooleanArray = faults.iter().map(|f| Some(f.is_none())).collect();
    let good = table::kept(&keep).into_iter().map(|i| rows[i]).collect();
    let kept = filter_record_batch(raw, &keep).map_err(fault::arrow)?;
    let columns = kept.columns().iter().zip(target.fields());
    let columns = columns.map(|(c, f)| cast(c, f.data_type())).collect::<Result<Vec<_>, _>>();
    let batch = RecordBatch::try_new(target.clone(), columns.map_err(fault::arrow)?).map_err(fault::arrow)?;
    Ok(Some(Salvage { batch, good, bad }))
}

/// The schema with every top-level string a byte array of no meaning.
fn without_text(schema: &SchemaDescriptor) -> parquet::errors::Result<SchemaDescriptor> {
    let fields = schema.root_schema().get_fields().iter().map(|field| {
        let string = field.is_primitive() && field.get_physical_type() == PhysicalType::BYTE_ARRAY;
        if !string {
            return Ok(field.clone());
        }
        let info = field.get_basic_info();
        let plain = Type::primitive_type_builder(field.name(), PhysicalType::BYTE_ARRAY)
            .with_repetition(info.repetition())
            .build()?;
        Ok(Arc::new(plain))
    });
    let fields = fields.collect::<parquet::errors::Result<Vec<_>>>()?;
    let root = Type::group_type_builder(schema.root_schema().name()).with_fields(fields).build()?;
    Ok(SchemaDescriptor::new(Arc::new(root)))
}
