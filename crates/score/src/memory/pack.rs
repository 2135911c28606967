//! Rows of a fixed number of tokens.

use std::sync::Arc;

use arrow_array::builder::{FixedSizeListBuilder, UInt32Builder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gristmill_core::{Code, Error, Result};

/// Cuts the tokens of many documents, as one stream, into rows of a fixed number of tokens: what
/// [`Windows::Packed`](crate::Windows::Packed) scores. Document boundaries leave no trace in a row.
///
/// The rows come as batches with the columns `document` and `token`, where the row's first token lies, and
/// `tokens`. What is left at the end and fills no row is not scored; [`Packer::pending`] says how much.
///
/// ```
/// use gristmill_score::memory::Packer;
///
/// let mut packer = Packer::new(4)?;
/// packer.push(&[1, 2, 3]);
/// packer.push(&[4, 5, 6, 7, 8, 9]);
/// let rows = packer.take()?;
/// assert_eq!(rows.num_rows(), 2); // 1 2 3 4, then 5 6 7 8
/// assert_eq!(packer.pending(), 1);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Packer {
    schema: SchemaRef,
    length: usize,
    documents: u64,
    pending: Vec<u32>,
    /// Where the first pending token lies.
    start: (u64, u64),
    document: UInt64Builder,
    token: UInt64Builder,
    tokens: FixedSizeListBuilder<UInt32Builder>,
}

impl Packer {
    /// A packer of rows of this length.
    pub fn new(length: u32) -> Result<Self> {
        let width = i32::try_from(length).ok().filter(|&n| n >= 2).ok_or_else(|| {
            Error::invalid_argument(
                "length",
                format!("{length} tokens make no row with something to predict"),
            )
        })?;
        let item = Arc::new(Field::new("item", DataType::UInt32, false));
        let tokens = FixedSizeListBuilder::new(UInt32Builder::new(), width).with_field(item.clone());
        let schema = Schema::new(vec![
            Field::new("document", DataType::UInt64, false),
            Field::new("token", DataType::UInt64, false),
            Field::new("tokens", DataType::FixedSizeList(item, width), false),
        ]);
        Ok(Self {
            schema: Arc::new(schema),
            length: length as usize,
            documents: 0,
            pending: Vec::new(),
            start: (0, 0),
            document: UInt64Builder::new(),
            token: UInt64Builder::new(),
            tokens,
        })
    }

    /// Adds the next document.
    pub fn push(&mut self, ids: &[u32]) {
        let document = self.documents;
        self.documents += 1;
        let mut at = 0;
        while at < ids.len() {
            if self.pending.is_empty() {
                self.start = (document, at as u64);
            }
            let take = (self.length - self.pending.len()).min(ids.len() - at);
            self.pending.extend_from_slice(&ids[at..at + take]);
            at += take;
            if self.pending.len() == self.length {
                self.document.append_value(self.start.0);
                self.token.append_value(self.start.1);
                self.tokens.values().append_slice(&self.pending);
                self.tokens.append(true);
                self.pending.clear();
            }
        }
    }

    /// The rows that are full since the last time.
    pub fn take(&mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.document.finish()),
            Arc::new(self.token.finish()),
            Arc::new(self.tokens.finish()),
        ];
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|e| Error::new(Code::Internal, format!("packed rows do not fit their schema: {e}")))
    }

    /// Tokens that fill no row yet.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }
}
