//! Columns of the pool that are neither text nor id: ratings, embeddings, and the strata of quotas.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use gristmill_core::{Code, Error, Result};
use gristmill_data::{Columns, DocBatch, JsonLines, ReadOptions, RowColumns};
use serde_json::Value;

/// The columns whose values, together, are the group of a document. With one, the reader fills in the group; with
/// several, each document's values are joined here by a slash.
#[derive(Debug, Clone, Default)]
pub(crate) struct Groups(pub(crate) Vec<String>);

impl Groups {
    /// The column that a reader can take care of.
    pub(crate) fn single(&self) -> Option<&str> {
        match self.0.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    pub(crate) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    fn several(&self) -> bool {
        self.0.len() > 1
    }

    /// What must be read for the groups, besides what is read anyway.
    pub(crate) fn reads(&self, options: ReadOptions) -> ReadOptions {
        if self.several() { ReadOptions { columns: Columns::All, ..options } } else { options }
    }

    /// Fills in the groups of a batch. A document without a value in one of the columns has no group.
    pub(crate) fn apply(&self, batch: &mut DocBatch) -> Result<()> {
        if !self.several() {
            return Ok(());
        }
        let columns = self.0.iter().map(|name| strings(batch, name)).collect::<Result<Vec<_>>>()?;
        let join = |i: usize| {
            columns.iter().map(|c| c[i].as_deref()).collect::<Option<Vec<_>>>().map(|v| v.join("/"))
        };
        batch.group = Some((0..batch.len()).map(join).collect::<StringArray>());
        Ok(())
    }
}

/// A number for each document; none where it is null or absent.
pub(crate) fn numbers(batch: &DocBatch, name: &str) -> Result<Vec<Option<f64>>> {
    match input(batch)? {
        RowColumns::Arrow(table) => {
            let column = arrow_column(table, name)?;
            if !column.data_type().is_numeric() {
                return Err(wrong_type(name, "a number", &column.data_type().to_string()));
            }
            let column = cast(&column, &DataType::Float64)
                .map_err(|e| Error::new(Code::WrongType, e.to_string()).at_column(name))?;
            Ok(column.as_primitive::<Float64Type>().iter().collect())
        }
        RowColumns::Json(lines) => json(batch, lines, name, |value| match value {
            Value::Number(n) => n.as_f64().map(Some).ok_or("a number beyond all numbers"),
            Value::Null => Ok(None),
            other => Err(kind(other)),
        })
        .map_err(|e| e.hint("a rating is a number")),
    }
}

/// A list of numbers for each document; none where it is null or absent.
pub(crate) fn vectors(batch: &DocBatch, name: &str) -> Result<Vec<Option<Vec<f32>>>> {
    match input(batch)? {
        RowColumns::Arrow(table) => {
            let column = arrow_column(table, name)?;
            let row = |list: ArrayRef| -> Result<Vec<f32>> {
                let wrong = || wrong_type(name, "a list of numbers", &column.data_type().to_string());
                if !list.data_type().is_floating() {
                    return Err(wrong());
                }
                let list = cast(&list, &DataType::Float32).map_err(|_| wrong())?;
                // A null among the numbers is no number, and is refused as one.
                Ok(list.as_primitive::<Float32Type>().iter().map(|x| x.unwrap_or(f32::NAN)).collect())
            };
            let value = |i: usize| -> Result<Option<Vec<f32>>> {
                if column.is_null(i) {
                    return Ok(None);
                }
                let list = match column.data_type() {
                    DataType::List(_) => column.as_list::<i32>().value(i),
                    DataType::LargeList(_) => column.as_list::<i64>().value(i),
                    DataType::FixedSizeList(..) => column.as_fixed_size_list().value(i),
                    other => return Err(wrong_type(name, "a list of numbers", &other.to_string())),
                };
                row(list).map(Some)
            };
            (0..column.len()).map(value).collect()
        }
        RowColumns::Json(lines) => json(batch, lines, name, |value| match value {
            Value::Array(list) => {
                let numbers = list.iter().map(|x| x.as_f64().map(|x| x as f32)).collect::<Option<Vec<_>>>();
                numbers.map(Some).ok_or("a list of other things than numbers")
            }
            Value::Null => Ok(None),
            other => Err(kind(other)),
        })
        .map_err(|e| e.hint("an embedding is a list of numbers")),
    }
}

/// Text, or a number as text, for each document.
fn strings(batch: &DocBatch, name: &str) -> Result<Vec<Option<String>>> {
    match input(batch)? {
        RowColumns::Arrow(table) => {
            let column = arrow_column(table, name)?;
            let text = cast(&column, &DataType::Utf8)
                .map_err(|_| wrong_type(name, "text or a number", &column.data_type().to_string()))?;
            Ok(text.as_string::<i32>().iter().map(|s| s.map(str::to_owned)).collect())
        }
        RowColumns::Json(lines) => json(batch, lines, name, |value| match value {
            Value::String(s) => Ok(Some(s.clone())),
            Value::Number(n) => Ok(Some(n.to_string())),
            Value::Null => Ok(None),
            other => Err(kind(other)),
        }),
    }
}

fn input(batch: &DocBatch) -> Result<&RowColumns> {
    batch.columns.as_ref().ok_or_else(|| Error::new(Code::Internal, "a batch was read without its columns"))
}

fn arrow_column(table: &arrow_array::RecordBatch, name: &str) -> Result<ArrayRef> {
    table.column_by_name(name).cloned().ok_or_else(|| {
        let there: Vec<_> = table.schema_ref().fields().iter().map(|f| f.name().clone()).collect();
        Error::new(Code::MissingColumn, format!("no column {name:?} among {}", there.join(", ")))
            .at_column(name)
    })
}

fn wrong_type(name: &str, expected: &str, found: &str) -> Error {
    Error::new(Code::WrongType, format!("expected {expected}, found {found}")).at_column(name)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn json<T>(
    batch: &DocBatch,
    lines: &JsonLines,
    name: &str,
    read: impl Fn(&Value) -> Result<Option<T>, &'static str>,
) -> Result<Vec<Option<T>>> {
    let one = |(i, line): (usize, Option<&str>)| -> Result<Option<T>> {
        let at = |e: Error| e.at_row(batch.rows[i]).at_column(name);
        let line: serde_json::Map<String, Value> = serde_json::from_str(line.unwrap_or("{}"))
            .map_err(|e| at(Error::new(Code::CorruptData, e.to_string())))?;
        match line.get(name) {
            None => Ok(None),
            Some(value) => {
                read(value).map_err(|found| at(Error::new(Code::WrongType, format!("found {found}"))))
            }
        }
    };
    lines.lines.iter().enumerate().map(one).collect()
}
