//! Columns of a batch, by name and type.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use gristmill_core::{Code, Error, Result};

use super::lists::wrong_type;

pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let there: Vec<_> = batch.schema_ref().fields().iter().map(|f| f.name().clone()).collect();
        Error::new(Code::MissingColumn, format!("no column {name:?}"))
            .at_column(name)
            .hint(format!("the table has: {}", there.join(", ")))
    })
}

/// The texts of a column; `None` when it holds no text.
pub(super) fn texts(column: &ArrayRef) -> Option<Vec<Option<&str>>> {
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().iter().collect(),
        DataType::LargeUtf8 => column.as_string::<i64>().iter().collect(),
        DataType::Utf8View => column.as_string_view().iter().collect(),
        // What JavaScript's Arrow makes of strings unless it is told otherwise.
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let values = texts(dictionary.values())?;
            if values.is_empty() {
                return Some(vec![None; column.len()]);
            }
            let keys = dictionary.normalized_keys();
            (0..column.len()).map(|row| if column.is_valid(row) { values[keys[row]] } else { None }).collect()
        }
        _ => return None,
    })
}

pub(super) fn bytes_of(n: usize, name: &str, row: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| {
        Error::new(Code::InvalidValue, format!("{n} bytes in one row")).at_column(name).at_row(row as u64)
    })
}

/// Bytes by row, from text or from numbers; 0 for nulls.
pub(super) fn byte_counts(column: &ArrayRef, name: &str) -> Result<Vec<u32>> {
    if let Some(texts) = texts(column) {
        return texts
            .iter()
            .enumerate()
            .map(|(row, text)| bytes_of(text.map_or(0, str::len), name, row))
            .collect();
    }
    if !column.data_type().is_integer() {
        return Err(wrong_type(column, name, "text, or whole numbers of bytes"));
    }
    let as_u32 = arrow_cast::cast(column, &DataType::UInt32)
        .map_err(|e| Error::new(Code::WrongType, e.to_string()).at_column(name))?;
    // The cast makes nulls of what does not fit.
    if let Some(row) = (0..column.len()).find(|&row| column.is_valid(row) && as_u32.is_null(row)) {
        return Err(Error::new(Code::InvalidValue, "no number of bytes below 2^32")
            .at_column(name)
            .at_row(row as u64));
    }
    Ok(as_u32.as_primitive::<arrow_array::types::UInt32Type>().iter().map(|n| n.unwrap_or(0)).collect())
}
