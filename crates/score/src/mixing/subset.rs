//! A file of embeddings to a table of the rows that were chosen.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use gristmill_core::{Code, Control, Error, Result, Unit};
use gristmill_data::{Corpus, ID_NAMES, SidecarWriter, Source, read_tables};
use gristmill_mix::{Points, Subset, SubsetMethod, SubsetOptions, choose_subset};
use serde::{Deserialize, Serialize};

use super::write_whole;
use crate::jobs::pipeline::Meter;
use crate::jobs::{OpenDevice, SUMMARY_SCHEMA, processor};

/// Names that a column of embeddings goes by.
const NAMES: [&str; 5] = ["embedding", "embeddings", "vector", "features", "emb"];

/// Choose a subset of the rows of a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubsetFileOptions {
    /// A Parquet, Arrow or JSONL file, directory, glob or URL with a column of lists of numbers.
    pub embeddings: String,
    /// That column; detected when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The column with the ids, which must be distinct; detected when not given, else the number of the row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A column of numbers that masks weigh against diversity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<String>,
    /// The table of the chosen rows: Parquet, or JSON Lines when it ends in `.jsonl`.
    pub output: String,
    /// How to choose.
    #[serde(default)]
    pub choose: SubsetOptions,
    /// The device that computes the products that similarities are made of, such as `auto` or `cuda:0`; all threads of
    /// the processor when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubsetFileSummary {
    /// The version of this form.
    pub schema: u32,
    /// The table: `id`, `file`, `row`, `rank`, and `gain` where the method has one.
    pub output: String,
    /// How it was chosen.
    pub method: SubsetMethod,
    /// Rows there were.
    pub rows: usize,
    /// Numbers of an embedding.
    pub dimension: usize,
    /// How many were chosen.
    pub chosen: usize,
    /// The ids of the first ten.
    pub first: Vec<String>,
    /// The value of the function that was maximised, or the squared error of k-means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// How many gains were computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluations: Option<u64>,
    /// Of masks: greedy's result beside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<gristmill_mix::MaskComparison>,
}

/// Chooses a subset of the rows of a file and writes a table of them.
///
/// # Errors
/// No such column, one of another type, embeddings that are null, of different lengths or not finite (with file
/// and row), [`Code::DuplicateId`], and those of [`choose_subset`]; [`Code::DeviceUnavailable`] for another device than
/// the processor, which [`subset_on`] opens.
pub fn subset(options: SubsetFileOptions, control: &Control) -> Result<SubsetFileSummary> {
    subset_on(options, processor, control)
}

/// [`subset`] with devices that `open` knows.
///
/// # Errors
/// As there, and those of `open`.
pub fn subset_on(
    options: SubsetFileOptions,
    open: OpenDevice,
    control: &Control,
) -> Result<SubsetFileSummary> {
    let form = Form::of(&options.output)?;
    let device = options.device.as_deref().map(open).transpose()?;
    let mut table = Rows::default();
    table.read(&options, control)?;
    let points = Points::new(&table.numbers, table.dimension)?;
    let points = device.as_ref().map_or(points, |device| points.on(device));
    let quality = options.quality.as_ref().map(|_| &table.quality[..]);
    let subset = choose_subset(points, quality, &options.choose, control)?;
    form.write(&options.output, &table, &subset)?;
    Ok(SubsetFileSummary {
        schema: SUMMARY_SCHEMA,
        output: options.output,
        method: options.choose.method,
        rows: points.len(),
        dimension: table.dimension,
        chosen: subset.indices.len(),
        first: subset.indices.iter().take(10).map(|&i| table.ids[i].clone()).collect(),
        value: subset.value,
        evaluations: subset.evaluations,
        comparison: subset.comparison,
    })
}

/// All rows of all files.
#[derive(Default)]
struct Rows {
    files: Vec<String>,
    /// For each row its file, and its number there.
    place: Vec<(usize, u64)>,
    ids: Vec<String>,
    numbers: Vec<f32>,
    quality: Vec<f64>,
    dimension: usize,
}

impl Rows {
    fn read(&mut self, options: &SubsetFileOptions, control: &Control) -> Result<()> {
        let corpus = Corpus::open(Source::new([options.embeddings.clone()]), control)?;
        if corpus.shards().is_empty() {
            return Err(Error::new(Code::NotFound, "no file matches").at_path(&options.embeddings));
        }
        let meter = Meter::start(control, "read", Unit::Bytes, Some(corpus.bytes()));
        for shard in corpus.shards() {
            let mut row = 0;
            self.files.push(shard.url.clone());
            for batch in read_tables(&shard.url)? {
                control.check()?;
                let batch = batch?;
                self.take(&batch, row, options).map_err(|e| e.at_path(&shard.url))?;
                row += batch.num_rows() as u64;
                meter.add(0, batch.num_rows() as u64, 0);
            }
            meter.add(shard.bytes, 0, 0);
        }
        meter.finish();
        if self.ids.is_empty() {
            return Err(Error::new(Code::EmptyInput, "there are no rows").at_path(&options.embeddings));
        }
        let mut seen = HashMap::new();
        for (i, id) in self.ids.iter().enumerate() {
            if let Some(first) = seen.insert(id, i) {
                let (file, row) = self.place[i];
                let (other, before) = self.place[first];
                let message = format!("id {id:?} is also that of row {before} of {}", self.files[other]);
                return Err(Error::new(Code::DuplicateId, message).at_path(&self.files[file]).at_row(row));
            }
        }
        Ok(())
    }

    fn take(&mut self, batch: &RecordBatch, first: u64, options: &SubsetFileOptions) -> Result<()> {
        let schema = batch.schema();
        let name = embedding_column(&schema, options.column.as_deref())?;
        let column = batch.column_by_name(&name).ok_or_else(|| missing(&schema, &name))?;
        let at = |row: usize, e: Error| e.at_row(first + row as u64).at_column(&name);
        for row in 0..batch.num_rows() {
            let numbers = vector(column, row).map_err(|e| at(row, e))?;
            if self.dimension == 0 {
                self.dimension = numbers.len();
            }
            if numbers.len() != self.dimension || numbers.is_empty() {
                let message = format!("{} numbers, {} in the first row", numbers.len(), self.dimension);
                return Err(at(row, Error::new(Code::InvalidValue, message)));
            }
            if let Some(bad) = numbers.iter().find(|x| !x.is_finite()) {
                return Err(at(row, Error::new(Code::InvalidValue, format!("a component of {bad}"))));
            }
            self.numbers.extend(numbers);
            self.place.push((self.files.len() - 1, first + row as u64));
        }
        self.take_ids(batch, first, options)?;
        if let Some(name) = &options.quality {
            let column = batch.column_by_name(name).ok_or_else(|| missing(&schema, name))?;
            let numbers =
                arrow_cast::cast(column, &DataType::Float64).map_err(|_| wrong(name, column, "numbers"))?;
            for (row, value) in numbers.as_primitive::<Float64Type>().iter().enumerate() {
                let value = value.filter(|v| v.is_finite()).ok_or_else(|| {
                    Error::new(Code::InvalidValue, "a quality that is missing or not finite")
                        .at_row(first + row as u64)
                        .at_column(name)
                })?;
                self.quality.push(value);
            }
        }
        Ok(())
    }

    fn take_ids(&mut self, batch: &RecordBatch, first: u64, options: &SubsetFileOptions) -> Result<()> {
        let schema = batch.schema();
        let named = match &options.id {
            Some(name) => Some(batch.column_by_name(name).ok_or_else(|| missing(&schema, name))?),
            None => ID_NAMES.iter().find_map(|name| batch.column_by_name(name)),
        };
        let Some(column) = named else {
            let rows = first..first + batch.num_rows() as u64;
            let file = self.files.len() - 1;
            self.ids
                .extend(rows.map(|row| if file == 0 { row.to_string() } else { format!("{file}#{row}") }));
            return Ok(());
        };
        let text =
            arrow_cast::cast(column, &DataType::Utf8).map_err(|_| wrong("id", column, "text or numbers"))?;
        for (row, id) in text.as_string::<i32>().iter().enumerate() {
            let id = id.ok_or_else(|| {
                Error::new(Code::InvalidValue, "a row without an id")
                    .at_row(first + row as u64)
                    .at_column("id")
            })?;
            self.ids.push(id.to_owned());
        }
        Ok(())
    }
}

/// The column with the embeddings: the one that is named, one of a usual name, or the only one of lists of numbers.
fn embedding_column(schema: &Schema, named: Option<&str>) -> Result<String> {
    let is_vector = |f: &&Arc<Field>| match f.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type().is_numeric()
        }
        _ => false,
    };
    if let Some(name) = named {
        return match schema.fields().iter().find(|f| f.name() == name) {
            None => Err(missing(schema, name)),
            Some(field) if is_vector(&field) => Ok(name.to_owned()),
            Some(field) => {
                let message = format!("a column of {}, not of lists of numbers", field.data_type());
                Err(Error::new(Code::WrongType, message).at_column(name))
            }
        };
    }
    let vectors: Vec<&str> = schema.fields().iter().filter(is_vector).map(|f| f.name().as_str()).collect();
    match (NAMES.iter().find(|name| vectors.contains(name)), &vectors[..]) {
        (Some(name), _) => Ok((*name).to_owned()),
        (None, [only]) => Ok((*only).to_owned()),
        (None, _) => {
            let all: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            Err(Error::new(Code::MissingColumn, format!("{} columns of lists of numbers", vectors.len()))
                .hint(format!("name the column of the embeddings; the file has: {}", all.join(", "))))
        }
    }
}

fn missing(schema: &Schema, name: &str) -> Error {
    let all: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    Error::new(Code::MissingColumn, format!("no column {name:?}"))
        .at_column(name)
        .hint(format!("the file has: {}", all.join(", ")))
}

fn wrong(name: &str, column: &ArrayRef, wanted: &str) -> Error {
    Error::new(Code::WrongType, format!("a column of {}, not of {wanted}", column.data_type()))
        .at_column(name)
}

/// The numbers of one row.
fn vector(column: &ArrayRef, row: usize) -> Result<Vec<f32>> {
    if column.is_null(row) {
        return Err(Error::new(Code::InvalidValue, "no embedding"));
    }
    let values = match column.data_type() {
        DataType::LargeList(_) => column.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => {
            let lists: &FixedSizeListArray = column.as_fixed_size_list();
            lists.value(row)
        }
        _ => column.as_list::<i32>().value(row),
    };
    if values.null_count() > 0 {
        return Err(Error::new(Code::InvalidValue, "a component is null"));
    }
    let values = arrow_cast::cast(&values, &DataType::Float32)
        .map_err(|e| Error::new(Code::WrongType, format!("no numbers: {e}")))?;
    Ok(values.as_primitive::<Float32Type>().values().to_vec())
}

/// The form of the table.
#[derive(Clone, Copy)]
enum Form {
    Parquet,
    Jsonl,
}

impl Form {
    fn of(output: &str) -> Result<Self> {
        match output {
            url if url.contains("://") => {
                Err(Error::new(Code::Unsupported, "a subset is written to a local file").at_path(url))
            }
            name if name.ends_with(".jsonl") => Ok(Self::Jsonl),
            name if name.ends_with(".parquet") => Ok(Self::Parquet),
            name => Err(Error::invalid_argument(
                "output",
                format!("{name:?} ends in neither .parquet nor .jsonl"),
            )),
        }
    }

    fn write(self, output: &str, table: &Rows, subset: &Subset) -> Result<()> {
        let bytes = match self {
            Self::Parquet => parquet(output, table, subset)?,
            Self::Jsonl => jsonl(table, subset)?,
        };
        write_whole(output, &bytes)
    }
}

fn parquet(output: &str, table: &Rows, subset: &Subset) -> Result<Vec<u8>> {
    let all = || subset.indices.iter();
    let file = |&i: &usize| table.files[table.place[i].0].as_str();
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(StringArray::from_iter_values(all().map(|&i| &table.ids[i])))),
        ("file", Arc::new(StringArray::from_iter_values(all().map(file)))),
        ("row", Arc::new(UInt64Array::from_iter_values(all().map(|&i| table.place[i].1)))),
        ("rank", Arc::new(UInt64Array::from_iter_values(0..subset.indices.len() as u64))),
    ];
    if !subset.gains.is_empty() {
        columns.push(("gain", Arc::new(Float64Array::from(subset.gains.clone()))));
    }
    let batch = RecordBatch::try_from_iter(columns)
        .map_err(|e| Error::new(Code::Internal, format!("the columns do not fit: {e}")))?;
    let mut writer = SidecarWriter::create(Vec::new(), output, &batch.schema(), &BTreeMap::new())?;
    writer.write(&batch)?;
    writer.finish()
}

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    file: &'a str,
    row: u64,
    rank: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    gain: Option<f64>,
}

fn jsonl(table: &Rows, subset: &Subset) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for (rank, &i) in subset.indices.iter().enumerate() {
        let (file, row) = table.place[i];
        let gain = subset.gains.get(rank).copied().flatten();
        let line = Line { id: &table.ids[i], file: &table.files[file], row, rank, gain };
        serde_json::to_writer(&mut text, &line)
            .map_err(|e| Error::new(Code::Internal, format!("a row does not serialise: {e}")))?;
        text.push(b'\n');
    }
    Ok(text)
}
