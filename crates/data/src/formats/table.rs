//! What Parquet and Arrow share: from record batches to batches of documents.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_cast::cast::cast;
use arrow_schema::{DataType, Schema};
use arrow_select::filter::{filter_record_batch, prep_null_mask_filter};
use gristmill_core::{Code, Error, Result};

use crate::batch::{DocBatch, RowColumns};
use crate::column::{self, Roles, fill_ids, rows_that_fit, to_strings};
use crate::fault;
use crate::filter::{Evaluator, arrow_value};
use crate::quarantine::Raw;
use crate::reader::Out;

/// The roots of the schema that a read needs, ascending: all of them, or those with a role.
pub(crate) fn projection(out: &Out, roles: &Roles, schema: &Schema) -> Vec<usize> {
    let all = out.task.all_columns();
    let has_role = |name: &String| {
        *name == roles.text || Some(name) == roles.id.as_ref() || Some(name) == roles.group.as_ref()
    };
    (0..schema.fields().len()).filter(|&i| all || has_role(schema.field(i).name())).collect()
}

/// The roots that the filter names.
pub(crate) fn filter_projection(columns: &[String], schema: &Schema) -> Vec<usize> {
    (0..schema.fields().len()).filter(|&i| columns.contains(schema.field(i).name())).collect()
}

/// Evaluates the filter for every row of `batch`; rows for which it has no value are put aside.
/// Counts what it rejects.
pub(crate) fn evaluate(
    out: &mut Out,
    evaluator: &mut Evaluator,
    batch: &RecordBatch,
    rows: &[u64],
    row_group: Option<u64>,
) -> Result<BooleanArray> {
    let schema = batch.schema();
    let mut keep = Vec::with_capacity(rows.len());
    for (i, &row) in rows.iter().enumerate() {
        let mut value = || {
            for (field, column) in schema.fields().iter().zip(batch.columns()) {
                evaluator.set(field.name(), arrow_value(column, i)?);
            }
            evaluator.keeps()
        };
        keep.push(match value() {
            Ok(keep) => {
                out.stats.read += u64::from(!keep);
                out.stats.filtered += u64::from(!keep);
                keep
            }
            Err(e) => {
                let e = row_group.into_iter().fold(e, Error::at_row_group);
                out.bad_row(e, row, Raw::Absent)?;
                false
            }
        });
    }
    Ok(keep.into())
}

/// Delivers a record batch with the rows that it holds, cut to the sizes asked for.
pub(crate) fn emit(out: &mut Out, roles: &Roles, batch: RecordBatch, mut rows: Vec<u64>) -> Result<()> {
    let mut batch = batch;
    if let Some(keep) = within_limit(out, roles, &batch, &rows)? {
        rows = rows.iter().zip(keep.values()).filter(|(_, keep)| *keep).map(|(r, _)| *r).collect();
        batch = filter_record_batch(&batch, &keep).map_err(fault::arrow)?;
    }
    let (max_rows, max_bytes) = (out.task.source.batch_rows, out.task.source.batch_bytes);
    let text = text_column(&batch, roles)?;
    let mut from = 0;
    while from < batch.num_rows() {
        let most = max_rows.min(batch.num_rows() - from);
        let n = rows_that_fit(&text.slice(from, most), max_bytes);
        deliver(out, roles, batch.slice(from, n), &text.slice(from, n), rows[from..from + n].to_vec())?;
        from += n;
    }
    Ok(())
}

fn deliver(out: &mut Out, roles: &Roles, part: RecordBatch, text: &ArrayRef, rows: Vec<u64>) -> Result<()> {
    let strings = |name: &Option<String>| -> Result<Option<StringArray>> {
        name.as_ref().and_then(|n| part.column_by_name(n)).map(to_strings).transpose()
    };
    let ids = fill_ids(strings(&roles.id)?, &rows, |row| out.task.made_id(row));
    let group = strings(&roles.group)?;
    let text = to_strings(text)?;
    let columns = out.task.all_columns().then_some(RowColumns::Arrow(part));
    let shard = out.task.shard.index;
    out.deliver(DocBatch { shard, rows, ids, text, group, columns, quarantined: Vec::new() })
}

/// The text column as one of the plain string types.
fn text_column(batch: &RecordBatch, roles: &Roles) -> Result<ArrayRef> {
    let text = batch.column_by_name(&roles.text);
    let text = text.ok_or_else(|| Error::new(Code::Internal, "the text column was not read"))?;
    match text.data_type() {
        DataType::Dictionary(_, value) => cast(text, value).map_err(fault::arrow),
        _ => Ok(Arc::clone(text)),
    }
}

/// Puts documents over the limit aside; `None` when there are none.
fn within_limit(
    out: &mut Out,
    roles: &Roles,
    batch: &RecordBatch,
    rows: &[u64],
) -> Result<Option<BooleanArray>> {
    let limit = out.task.source.max_document_bytes;
    let text = text_column(batch, roles)?;
    let length = |i: usize| match text.data_type() {
        DataType::Utf8 => text.as_string::<i32>().value_length(i) as usize,
        DataType::LargeUtf8 => text.as_string::<i64>().value_length(i) as usize,
        DataType::Utf8View => text.as_string_view().views()[i] as u32 as usize,
        _ => 0,
    };
    let long: Vec<usize> = (0..text.len()).filter(|&i| length(i) > limit).collect();
    for &i in &long {
        let e = Error::new(
            Code::InvalidValue,
            format!("a document of {} bytes, over the limit of {limit}", length(i)),
        );
        out.bad_row(e.at_column(&roles.text), rows[i], Raw::Absent)?;
    }
    let keep = (0..text.len()).map(|i| Some(long.binary_search(&i).is_err())).collect::<BooleanArray>();
    Ok((!long.is_empty()).then_some(keep))
}

/// The kept positions of a mask without nulls.
pub(crate) fn kept(mask: &BooleanArray) -> Vec<usize> {
    let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
    mask.values().set_indices().collect()
}

/// The roles of this table.
pub(crate) fn roles(out: &Out, schema: &Schema) -> Result<Roles> {
    column::choose_in(&out.task.source, out.task.filter.as_ref(), schema)
}
