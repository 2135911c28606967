//! Pages that keep their word.
//!
//! The decoders of the `parquet` crate trust some numbers in a page: they skip by lengths that may lead
//! out of it and reserve memory by counts that no page can hold. What they would trust is checked here,
//! between reading a page and decoding it.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::thrift::{Fault, walk};
use crate::place::Input;

/// More values than any writer puts into one page.
const MAX_PAGE_VALUES: u64 = 1 << 27;
/// A page header may carry statistics, which may be long strings, but not without end.
const FIRST_HEADER: usize = 1 << 10;
const MAX_HEADER: usize = 16 << 20;

fn damaged(what: &str) -> ParquetError {
    ParquetError::General(format!("a page is damaged: {what}"))
}

/// The pages of one column of one row group.
pub(super) struct OneChunk(Option<Result<Box<dyn PageReader>>>);

impl OneChunk {
    pub(super) fn new(
        input: &Input,
        group: &RowGroupMetaData,
        column: usize,
        locations: Option<Vec<PageLocation>>,
    ) -> Self {
        Self(Some(CheckedPages::open(input, group, column, locations).map(|p| Box::new(p) as _)))
    }
}

impl Iterator for OneChunk {
    type Item = Result<Box<dyn PageReader>>;
    fn next(&mut self) -> Option<Self::Item> {
        self.0.take()
    }
}

impl PageIterator for OneChunk {}

/// The bytes of one column, with every page header checked before it is parsed.
struct ChunkInput {
    input: Input,
    /// What the footer says that all pages of the column make together.
    uncompressed: u64,
    /// With an index, a page is fetched together with its header.
    with_headers: bool,
}

impl ChunkInput {
    /// Field 2 of a page header is the size of the page after decompression, for which memory is given.
    fn check_header(&self, bytes: &[u8], available: u64) -> std::result::Result<(), Fault> {
        let walked = walk(bytes, available)?;
        let size = walked.integers.iter().find(|(id, _)| *id == 2).map_or(0, |(_, n)| *n);
        let fits = u64::try_from(size).is_ok_and(|size| size <= self.uncompressed);
        if fits { Ok(()) } else { Err(Fault::Bad) }
    }
}

impl Length for ChunkInput {
    fn len(&self) -> u64 {
        self.input.len()
    }
}

impl ChunkReader for ChunkInput {
    type T = Cursor<Bytes>;

    /// Only page headers are read this way.
    fn get_read(&self, start: u64) -> Result<Self::T> {
        let available = self.input.len().saturating_sub(start);
        let mut want = FIRST_HEADER;
        loop {
            let n = (want as u64).min(available) as usize;
            let bytes = self.input.bytes_at(start, n).map_err(|e| ParquetError::External(e.into()))?;
            match self.check_header(&bytes, available.min(MAX_HEADER as u64)) {
                Ok(()) => return Ok(Cursor::new(bytes)),
                Err(Fault::Cut) if (n as u64) < available && want < MAX_HEADER => want *= 4,
                Err(_) => return Err(damaged("its header")),
            }
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let bytes = self.input.bytes_at(start, length).map_err(|e| ParquetError::External(e.into()))?;
        if self.with_headers && self.check_header(&bytes, bytes.len() as u64).is_err() {
            return Err(damaged("its header"));
        }
        Ok(bytes)
    }
}

/// Checks each page on its way to the decoder.
struct CheckedPages {
    inner: SerializedPageReader<ChunkInput>,
    kind: Type,
    levels: [bool; 2],
    max_values: u64,
}

impl CheckedPages {
    fn open(
        input: &Input,
        group: &RowGroupMetaData,
        column: usize,
        locations: Option<Vec<PageLocation>>,
    ) -> Result<Self> {
        let chunk: &ColumnChunkMetaData = group.column(column);
        let reader = ChunkInput {
            input: input.clone(),
            uncompressed: chunk.uncompressed_size().max(0) as u64,
            with_headers: locations.is_some(),
        };
        let descriptor = chunk.column_descr();
        let (repeated, nullable) = (descriptor.max_rep_level() > 0, descriptor.max_def_level() > 0);
        let mut max_values = chunk.num_values().max(0) as u64;
        if !repeated {
            max_values = max_values.min(group.num_rows().max(0) as u64);
        }
        let rows = group.num_rows() as usize;
        Ok(Self {
            inner: SerializedPageReader::new(Arc::new(reader), chunk, rows, locations)?,
            kind: chunk.column_type(),
            levels: [repeated, nullable],
            max_values: max_values.min(MAX_PAGE_VALUES),
        })
    }

    fn check(&self, page: &Page) -> Result<()> {
        let count = u64::from(page.num_values());
        let (values, encoding) = match page {
            Page::DictionaryPage { buf, .. } => {
                // Plain, under one of two names. Entries are stored one by one: a byte each, at least.
                let strings = self.kind == Type::BYTE_ARRAY;
                let fits =
                    self.kind == Type::BOOLEAN || count <= buf.len() as u64 / if strings { 4 } else { 1 };
                return match fits && (!strings || strings_fit(buf, count)) {
                    true => Ok(()),
                    false => Err(damaged("its dictionary")),
                };
            }
            Page::DataPage { buf, encoding, def_level_encoding, rep_level_encoding, .. } => {
                let mut from = 0;
                for (there, encoding) in self.levels.iter().zip([rep_level_encoding, def_level_encoding]) {
                    if *there && *encoding == Encoding::RLE {
                        let length = read_u32(buf, from).ok_or_else(|| damaged("no levels"))?;
                        from += 4 + length as usize;
                    } else if *there {
                        // The deprecated packing of levels is not followed by plain text in any file
                        // that is still about; the decoder is left to it.
                        return self.check_count(count);
                    }
                }
                (buf.get(from..).ok_or_else(|| damaged("levels longer than the page"))?, encoding)
            }
            Page::DataPageV2 { buf, encoding, def_levels_byte_len, rep_levels_byte_len, .. } => {
                let from = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
                let values = usize::try_from(from).ok().and_then(|from| buf.get(from..));
                (values.ok_or_else(|| damaged("levels longer than the page"))?, encoding)
            }
        };
        self.check_count(count)?;
        self.check_values(values, *encoding, count)
    }

    fn check_count(&self, count: u64) -> Result<()> {
        if count > self.max_values { Err(damaged("more values than rows")) } else { Ok(()) }
    }

    fn check_values(&self, values: &[u8], encoding: Encoding, count: u64) -> Result<()> {
        let sound = match encoding {
            Encoding::PLAIN if self.kind == Type::BYTE_ARRAY => strings_fit(values, count),
            Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_LENGTH_BYTE_ARRAY => {
                values.is_empty() || delta_length(values, count).is_some()
            }
            Encoding::DELTA_BYTE_ARRAY => {
                // The lengths of suffixes follow those of prefixes.
                let suffixes = delta_length(values, count).and_then(|n| values.get(n..));
                values.is_empty() || suffixes.is_some_and(|s| delta_length(s, count).is_some())
            }
            _ => true,
        };
        if sound { Ok(()) } else { Err(damaged("its values")) }
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

/// Whether up to `count` strings, each after its length, end where the page does or before.
fn strings_fit(values: &[u8], count: u64) -> bool {
    let (mut at, mut n) = (0, 0);
    while at < values.len() && n < count {
        let Some(length) = read_u32(values, at) else { return false };
        at += 4 + length as usize;
        n += 1;
    }
    at <= values.len()
}

/// The length of a run of delta-packed integers, if there are no more of them than `count`.
fn delta_length(bytes: &[u8], count: u64) -> Option<usize> {
    let mut at = 0;
    let block = varint(bytes, &mut at)?;
    let minis = varint(bytes, &mut at)?;
    let total = varint(bytes, &mut at)?;
    varint(bytes, &mut at)?;
    let sane = block % 128 == 0 && (1..=1 << 20).contains(&block) && (1..=block / 32).contains(&minis);
    if !sane || block % minis != 0 || total > count {
        return None;
    }
    let per_mini = block / minis;
    let mut left = total.saturating_sub(1);
    while left > 0 {
        varint(bytes, &mut at)?;
        let widths = bytes.get(at..at + minis as usize)?;
        at += minis as usize;
        for width in widths {
            if left == 0 {
                break;
            }
            at = at.checked_add(usize::try_from(per_mini * u64::from(*width) / 8).ok()?)?;
            left = left.saturating_sub(per_mini);
        }
    }
    // The last miniblock may be cut short by writers that do not pad it.
    Some(at.min(bytes.len()))
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

impl Iterator for CheckedPages {
    type Item = Result<Page>;
    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        page.iter().try_for_each(|page| self.check(page))?;
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_must_fit() {
        let page = [1, 0, 0, 0, b'a', 2, 0, 0, 0, b'b', b'c'];
        assert!(strings_fit(&page, 2) && strings_fit(&page, 9) && strings_fit(&page[..5], 1));
        assert!(strings_fit(&[], 5), "all null");
        assert!(!strings_fit(&page[..10], 2) && !strings_fit(&page[..7], 2));
    }

    #[test]
    fn delta_runs_have_a_length() {
        // Blocks of 128 in 4 miniblocks, 3 values, first 7; one block: minimum 1, widths 1 0 0 0.
        let run = [0x80, 1, 4, 3, 14, 2, 1, 0, 0, 0, 0b11, 0, 0, 0, 99];
        assert_eq!(delta_length(&run, 3), Some(14));
        assert_eq!(delta_length(&run, 2), None, "more values than the page has");
        assert_eq!(delta_length(&run[..3], 3), None);
        assert_eq!(delta_length(&[0x80, 1, 0, 3, 14], 3), None, "no miniblocks");
        assert_eq!(delta_length(&[0x80, 1, 4, 0, 0], 3), Some(5), "no values");
    }
}
