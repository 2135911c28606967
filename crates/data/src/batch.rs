//! A batch of documents, and the builders that fill one.

use std::sync::Arc;

use arrow_array::{Array, RecordBatch, StringArray};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use crate::quarantine::Quarantined;

/// Some documents of one shard, in the order of their rows.
///
/// A batch may hold no document at all when it only carries what was put aside.
#[derive(Debug, Clone)]
pub struct DocBatch {
    /// The shard that they come from.
    pub shard: usize,
    /// Their rows in it, from 0, ascending: the row of a table, the line of a line format.
    pub rows: Vec<u64>,
    /// Their ids, never null: made of shard name and row where the input has none.
    pub ids: StringArray,
    /// Their texts; null where the input is null or, in a JSON line, absent.
    pub text: StringArray,
    /// The values of the group column, when one was asked for.
    pub group: Option<StringArray>,
    /// Every input column, when [`Columns::All`](crate::Columns::All) was asked for.
    pub columns: Option<RowColumns>,
    /// Rows met since the last batch that cannot be read, under
    /// [`OnError::Quarantine`](crate::OnError::Quarantine).
    pub quarantined: Vec<Quarantined>,
}

impl DocBatch {
    /// The number of documents.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text of a document, if it is not null.
    pub fn text(&self, i: usize) -> Option<&str> {
        self.text.is_valid(i).then(|| self.text.value(i))
    }

    /// Bytes of memory that the queue counts for this batch.
    pub(crate) fn weight(&self) -> usize {
        let strings = |a: &StringArray| match a.offsets().last() {
            Some(end) => (end - a.offsets()[0]) as usize + 8 * a.len(),
            None => 0,
        };
        let columns = match &self.columns {
            None => 0,
            Some(RowColumns::Json(lines)) => strings(&lines.lines),
            Some(RowColumns::Arrow(batch)) => batch
                .columns()
                .iter()
                .map(|c| c.to_data().get_slice_memory_size().unwrap_or_else(|_| c.get_array_memory_size()))
                .sum(),
        };
        strings(&self.ids)
            + strings(&self.text)
            + self.group.as_ref().map_or(0, strings)
            + columns
            + self.quarantined.iter().map(Quarantined::weight).sum::<usize>()
    }

    /// The documents for which `keep` is true; what was put aside stays.
    pub fn filter(&self, keep: &arrow_array::BooleanArray) -> gristmill_core::Result<DocBatch> {
        use arrow_array::cast::AsArray;
        let pick = |a: &StringArray| {
            arrow_select::filter::filter(a, keep)
                .map(|a| a.as_string::<i32>().clone())
                .map_err(crate::fault::arrow)
        };
        let columns = match &self.columns {
            None => None,
            Some(RowColumns::Arrow(b)) => Some(RowColumns::Arrow(
                arrow_select::filter::filter_record_batch(b, keep).map_err(crate::fault::arrow)?,
            )),
            Some(RowColumns::Json(j)) => {
                Some(RowColumns::Json(JsonLines { lines: pick(&j.lines)?, keys: j.keys.clone() }))
            }
        };
        let kept = |i: usize| keep.is_valid(i) && keep.value(i);
        Ok(DocBatch {
            shard: self.shard,
            rows: (0..self.len()).filter(|&i| kept(i)).map(|i| self.rows[i]).collect(),
            ids: pick(&self.ids)?,
            text: pick(&self.text)?,
            group: self.group.as_ref().map(pick).transpose()?,
            columns,
            quarantined: self.quarantined.clone(),
        })
    }
}

/// All input columns of a batch, as the format holds them.
#[derive(Debug, Clone)]
pub enum RowColumns {
    /// Of Parquet, Arrow and plain text.
    Arrow(RecordBatch),
    /// Of JSONL: the lines themselves, so that writing them again loses nothing.
    Json(JsonLines),
}

/// Lines of JSON, each known to be one valid object.
#[derive(Debug, Clone)]
pub struct JsonLines {
    /// The lines, without their ends.
    pub lines: StringArray,
    /// The distinct top-level keys of these lines (at least), in the order in which they first came.
    pub keys: Arc<[String]>,
}

/// A string column under construction that can take back its last value.
#[derive(Debug)]
pub(crate) struct Texts {
    data: String,
    offsets: Vec<i32>,
    valid: Vec<bool>,
    nulls: usize,
}

impl Texts {
    pub(crate) fn new() -> Self {
        Self { data: String::new(), offsets: vec![0], valid: Vec::new(), nulls: 0 }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.data.len()
    }

    /// Appends to the value that [`Texts::close`] ends.
    pub(crate) fn push_part(&mut self, text: &str) {
        self.data.push_str(text);
    }

    /// Forgets the value under construction.
    pub(crate) fn reset(&mut self) {
        self.data.truncate(self.offsets[self.offsets.len() - 1] as usize);
    }

    /// Ends the value under construction.
    pub(crate) fn close(&mut self, valid: bool) {
        // A batch holds at most `batch_bytes + max_document_bytes`, which `Corpus::open` keeps below 2 GiB.
        let end = i32::try_from(self.data.len()).expect("a batch stays below 2 GiB");
        self.offsets.push(end);
        self.valid.push(valid);
        self.nulls += usize::from(!valid);
    }

    pub(crate) fn push(&mut self, text: Option<&str>) {
        self.push_part(text.unwrap_or_default());
        self.close(text.is_some());
    }

    /// The column so far; starts a new one of about the same size.
    pub(crate) fn finish(&mut self) -> StringArray {
        let room = self.data.len().min(8 << 20);
        let rows = self.valid.len();
        let data = std::mem::replace(&mut self.data, String::with_capacity(room));
        let offsets = std::mem::replace(&mut self.offsets, Vec::with_capacity(rows + 1));
        self.offsets.push(0);
        let valid = std::mem::take(&mut self.valid);
        let nulls = (std::mem::take(&mut self.nulls) > 0)
            .then(|| NullBuffer::new(BooleanBuffer::from_iter(valid.iter().copied())));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        // SAFETY: the values are slices of a `String` cut only where one `str` ended and the next began, so
        // each is UTF-8; the offsets start at 0, ascend and end at its length; there is one validity bit
        // for each value.
        unsafe { StringArray::new_unchecked(offsets, Buffer::from_vec(data.into_bytes()), nulls) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_take_back_and_start_over() {
        let mut t = Texts::new();
        t.push(Some("caf\u{e9}"));
        t.push_part("gone");
        t.reset();
        t.push(None);
        t.push(Some(""));
        let a = t.finish();
        assert_eq!((a.len(), a.value(0), a.is_null(1), a.value(2)), (3, "caf\u{e9}", true, ""));
        a.to_data().validate_full().unwrap();
        t.push(Some("next"));
        assert_eq!(t.finish().value(0), "next");
        assert_eq!(t.finish().len(), 0);
    }
}
