//! The columns in which scores are kept, one file beside each input shard.
//!
//! | Column | Type | |
//! |---|---|---|
//! | `id` | utf8 | the document's id |
//! | `row` | uint64 | its row in the shard |
//! | `n_tokens`, `n_scored`, `n_bytes` | uint32 | see [`Sums`] |
//! | `nll_sum`, or `nll_sum_<role>` twice | float64 | summed loss in nats under each model; absent without one |
//! | `score` | float64 | what the specification makes of these |
//! | `bucket` | utf8, nullable | with CCNet's cut-offs: head, middle or tail; null for NaN |
//! | `label` | utf8, nullable | with labels of the classifier: target or other; null where it is not sure |
//!
//! The score is an `f64` though it costs four bytes more a document than an `f32`: selection is exact in the
//! order of the scores that are stored, and rounding to 24 bits makes ties of documents that differ, a few
//! thousand of them at the cut of a large pool.
//!
//! The schema's metadata hold the specification ([`META_SPEC`]), the models ([`META_MODELS`]), the input
//! ([`META_INPUT`]) and the version of this layout ([`META_FORMAT`]).

use std::sync::Arc;

use arrow_array::builder::{Float64Builder, StringBuilder, UInt32Builder, UInt64Builder};
use arrow_array::types::{Float64Type, UInt32Type, UInt64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, PrimitiveArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gristmill_core::{Code, Error, Result};

use crate::methods::Sums;
use crate::spec::ScoreSpec;

/// Metadata key of the version of the layout; the value is [`FORMAT`].
pub const META_FORMAT: &str = "gristmill.format";
/// Metadata key of the [`ScoreSpec`], as JSON.
pub const META_SPEC: &str = "gristmill.score";
/// Metadata key of the models: a JSON object from role to what is known of the model, its SHA-256 at least.
pub const META_MODELS: &str = "gristmill.models";
/// Metadata key of the input shard: a JSON object with its name and fingerprint.
pub const META_INPUT: &str = "gristmill.input";
/// The version of the layout.
pub const FORMAT: &str = "scores/1";

/// The fields of a specification's columns without `id` and `row`, as they are added to other columns.
pub fn score_fields(spec: &ScoreSpec) -> Vec<Field> {
    let count = |name: &str| Field::new(name, DataType::UInt32, false);
    let mut fields = vec![count("n_tokens"), count("n_scored"), count("n_bytes")];
    fields.extend(spec.nll_columns().into_iter().map(|name| Field::new(name, DataType::Float64, false)));
    fields.push(Field::new("score", DataType::Float64, false));
    if spec.cutoffs.is_some() {
        fields.push(Field::new("bucket", DataType::Utf8, true));
    }
    if spec.labels.is_some() {
        fields.push(Field::new("label", DataType::Utf8, true));
    }
    fields
}

/// The schema of a sidecar. `models` and `input` are JSON objects.
pub fn schema(spec: &ScoreSpec, models: &serde_json::Value, input: &serde_json::Value) -> SchemaRef {
    let mut fields =
        vec![Field::new("id", DataType::Utf8, false), Field::new("row", DataType::UInt64, false)];
    fields.extend(score_fields(spec));
    let metadata = [
        (META_FORMAT, FORMAT.to_owned()),
        (META_SPEC, spec.to_json()),
        (META_MODELS, models.to_string()),
        (META_INPUT, input.to_string()),
    ];
    Arc::new(Schema::new_with_metadata(fields, metadata.map(|(k, v)| (k.to_owned(), v)).into()))
}

/// The specification that a sidecar was written under.
pub fn spec_of(schema: &Schema) -> Result<ScoreSpec> {
    let value = |key: &str| schema.metadata().get(key).map(String::as_str);
    match (value(META_FORMAT), value(META_SPEC)) {
        (Some(FORMAT), Some(spec)) => ScoreSpec::from_json(spec),
        (Some(other), _) if other != FORMAT => Err(Error::new(
            Code::Unsupported,
            format!("scores of layout {other:?}; this release reads {FORMAT:?}"),
        )),
        _ => Err(Error::new(Code::CorruptData, "no score specification in the file's metadata")
            .hint("only files that gristmill score wrote can be read as scores")),
    }
}

/// Gathers the columns of a specification, document by document.
#[derive(Debug)]
pub struct ScoreColumns {
    spec: ScoreSpec,
    counts: [UInt32Builder; 3],
    nll: Vec<Float64Builder>,
    score: Float64Builder,
    bucket: Option<StringBuilder>,
    label: Option<StringBuilder>,
}

impl ScoreColumns {
    /// Empty columns.
    pub fn new(spec: &ScoreSpec) -> Self {
        Self {
            counts: Default::default(),
            nll: spec.models().iter().map(|_| Float64Builder::new()).collect(),
            score: Float64Builder::new(),
            bucket: spec.cutoffs.is_some().then(StringBuilder::new),
            label: spec.labels.is_some().then(StringBuilder::new),
            spec: spec.clone(),
        }
    }

    /// Adds a document and gives its score.
    pub fn push(&mut self, sums: &Sums) -> f64 {
        for (column, n) in self.counts.iter_mut().zip([sums.n_tokens, sums.n_scored, sums.n_bytes]) {
            column.append_value(n);
        }
        for (column, nll) in self.nll.iter_mut().zip(sums.nll) {
            column.append_value(if nll.is_nan() { f64::NAN } else { nll });
        }
        let score = self.spec.score(sums);
        self.score.append_value(score);
        if let (Some(column), Some(cutoffs)) = (&mut self.bucket, &self.spec.cutoffs) {
            column.append_option(cutoffs.bucket(score).map(|b| b.as_str()));
        }
        if let (Some(column), Some(labels)) = (&mut self.label, &self.spec.labels) {
            column.append_option(labels.label(score));
        }
        score
    }

    /// The columns, in the order of [`score_fields`]; begins anew.
    pub fn finish(&mut self) -> Vec<ArrayRef> {
        let mut columns: Vec<ArrayRef> = Vec::new();
        columns.extend(self.counts.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef));
        columns.extend(self.nll.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef));
        columns.push(Arc::new(self.score.finish()));
        let marks = [&mut self.bucket, &mut self.label].into_iter().flatten();
        columns.extend(marks.map(|c| Arc::new(c.finish()) as ArrayRef));
        columns
    }
}

/// Gathers a sidecar, document by document.
#[derive(Debug)]
pub struct SidecarBuilder {
    schema: SchemaRef,
    id: StringBuilder,
    row: UInt64Builder,
    columns: ScoreColumns,
}

impl SidecarBuilder {
    /// An empty sidecar of this schema, which [`schema`] made for this specification.
    pub fn new(spec: &ScoreSpec, schema: SchemaRef) -> Self {
        let (id, row) = (StringBuilder::new(), UInt64Builder::new());
        Self { schema, id, row, columns: ScoreColumns::new(spec) }
    }

    /// Adds a document and gives its score.
    pub fn push(&mut self, id: &str, row: u64, sums: &Sums) -> f64 {
        self.id.append_value(id);
        self.row.append_value(row);
        self.columns.push(sums)
    }

    /// What was added since the last batch.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.id.finish()), Arc::new(self.row.finish())];
        columns.extend(self.columns.finish());
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|e| Error::new(Code::Internal, format!("a sidecar does not fit its schema: {e}")))
    }
}

/// A batch of a sidecar, read back.
#[derive(Debug, Clone)]
pub struct Sidecar {
    ids: StringArray,
    rows: PrimitiveArray<UInt64Type>,
    counts: [PrimitiveArray<UInt32Type>; 3],
    nll: Vec<PrimitiveArray<Float64Type>>,
    score: PrimitiveArray<Float64Type>,
}

impl Sidecar {
    /// The columns of a batch, in any order among others; typed errors for those that are missing, of
    /// another type or hold nulls.
    pub fn new(spec: &ScoreSpec, batch: &RecordBatch) -> Result<Self> {
        let ids = column(batch, "id")?
            .as_any()
            .downcast_ref::<StringArray>()
            .ok_or_else(|| wrong_type(batch, "id", &DataType::Utf8))?
            .clone();
        let [a, b, c] = ["n_tokens", "n_scored", "n_bytes"].map(|name| primitive(batch, name));
        Ok(Self {
            ids,
            rows: primitive(batch, "row")?,
            counts: [a?, b?, c?],
            nll: spec.nll_columns().iter().map(|name| primitive(batch, name)).collect::<Result<_>>()?,
            score: primitive(batch, "score")?,
        })
    }

    /// Documents.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of a document.
    pub fn id(&self, i: usize) -> &str {
        self.ids.value(i)
    }

    /// Its row in the input shard.
    pub fn row(&self, i: usize) -> u64 {
        self.rows.value(i)
    }

    /// Its score.
    pub fn score(&self, i: usize) -> f64 {
        self.score.value(i)
    }

    /// What its score was made from.
    pub fn sums(&self, i: usize) -> Sums {
        let [n_tokens, n_scored, n_bytes] = [0, 1, 2].map(|c: usize| self.counts[c].value(i));
        let nll = match self.nll.is_empty() {
            true => [self.score(i), 0.0],
            false => [0, 1].map(|m: usize| self.nll.get(m).map_or(0.0, |column| column.value(i))),
        };
        Sums { n_tokens, n_scored, n_bytes, nll }
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    let column = batch.column_by_name(name).ok_or_else(|| {
        let there: Vec<_> = batch.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
        Error::new(Code::MissingColumn, format!("no column {name:?} among {}", there.join(", ")))
            .at_column(name)
    })?;
    match column.logical_nulls().filter(|n| n.null_count() > 0) {
        None => Ok(column),
        Some(nulls) => {
            let row = (0..nulls.len()).find(|&i| nulls.is_null(i)).unwrap_or(0);
            Err(Error::new(Code::InvalidValue, "a null").at_column(name).at_row(row as u64))
        }
    }
}

fn wrong_type(batch: &RecordBatch, name: &str, expected: &DataType) -> Error {
    let found = batch.column_by_name(name).map(|c| c.data_type().to_string()).unwrap_or_default();
    Error::new(Code::WrongType, format!("expected {expected}, found {found}")).at_column(name)
}

fn primitive<T: ArrowPrimitiveType>(batch: &RecordBatch, name: &str) -> Result<PrimitiveArray<T>> {
    column(batch, name)?
        .as_any()
        .downcast_ref::<PrimitiveArray<T>>()
        .cloned()
        .ok_or_else(|| wrong_type(batch, name, &T::DATA_TYPE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::{Cutoffs, Method};
    use serde_json::json;

    fn written(spec: &ScoreSpec) -> (SchemaRef, RecordBatch) {
        let schema = schema(spec, &json!({"model": {"sha256": "ab"}}), &json!({"name": "a.parquet"}));
        let mut sidecar = SidecarBuilder::new(spec, schema.clone());
        sidecar.push("x", 3, &Sums { n_tokens: 4, n_scored: 5, n_bytes: 20, nll: [10.0, 8.0] });
        sidecar.push("y", 4, &Sums::default());
        (schema, sidecar.finish().unwrap())
    }

    #[test]
    fn what_is_written_reads_back() {
        for method in Method::ALL {
            let spec = ScoreSpec::of(method);
            let (schema, batch) = written(&spec);
            assert_eq!(spec_of(&schema).unwrap(), spec);
            let sidecar = Sidecar::new(&spec, &batch).unwrap();
            assert_eq!((sidecar.len(), sidecar.id(1), sidecar.row(0)), (2, "y", 3));
            let sums = sidecar.sums(0);
            assert_eq!((sums.n_tokens, sums.n_scored, sums.n_bytes), (4, 5, 20));
            assert_eq!(&sums.nll[..spec.models().len()], &[10.0, 8.0][..spec.models().len()]);
            assert_eq!(spec.score(&sums), sidecar.score(0), "the score follows from what is stored");
            assert!(sidecar.score(1).is_nan());
        }
    }

    #[test]
    fn columns_are_named_after_the_models() {
        let names = |method| {
            let (schema, _) = written(&ScoreSpec::of(method));
            schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(Method::Perplexity), "id row n_tokens n_scored n_bytes nll_sum score");
        assert_eq!(
            names(Method::LossReduction),
            "id row n_tokens n_scored n_bytes nll_sum_prior nll_sum_conditional score"
        );
    }

    #[test]
    fn cutoffs_add_a_bucket() {
        let cutoffs = Some(Cutoffs { head: 5.0, tail: 9.0 });
        let (_, batch) = written(&ScoreSpec { cutoffs, ..ScoreSpec::of(Method::Ccnet) });
        let bucket = batch.column_by_name("bucket").unwrap();
        let bucket = bucket.as_any().downcast_ref::<StringArray>().unwrap();
        // 10^(10 / (5 ln 10)) = e^2 = 7.4
        assert_eq!((bucket.value(0), bucket.is_null(1)), ("middle", true));
    }

    #[test]
    fn labels_are_given_where_the_probability_is_sure() {
        let labels = Some(crate::spec::Labels { above: 0.75, below: 0.25 });
        let spec = ScoreSpec { labels, ..ScoreSpec::of(Method::Classifier) };
        let mut rows = ScoreColumns::new(&spec);
        for loss in [0.2, 0.7, 1.5, f64::NAN] {
            // exp(-0.2) = 0.82, exp(-0.7) = 0.50, exp(-1.5) = 0.22
            rows.push(&Sums { n_tokens: 1, n_scored: 1, n_bytes: 1, nll: [loss, 0.0] });
        }
        let columns = rows.finish();
        let label = columns.last().unwrap().as_any().downcast_ref::<StringArray>().unwrap();
        assert_eq!(label.iter().collect::<Vec<_>>(), [Some("target"), None, Some("other"), None]);
    }

    #[test]
    fn files_that_are_no_scores_are_refused() {
        let spec = ScoreSpec::of(Method::Perplexity);
        let (schema, batch) = written(&spec);
        let code = |metadata: &[(&str, &str)]| {
            let metadata = metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            spec_of(&schema.as_ref().clone().with_metadata(metadata)).unwrap_err().code()
        };
        assert_eq!(code(&[]), Code::CorruptData);
        assert_eq!(code(&[(META_FORMAT, FORMAT)]), Code::CorruptData);
        assert_eq!(code(&[(META_FORMAT, "scores/9"), (META_SPEC, "{}")]), Code::Unsupported);

        let without = batch.project(&[0, 1, 2, 3, 4, 6]).unwrap();
        let e = Sidecar::new(&spec, &without).unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::MissingColumn, Some("nll_sum")));
        let rows: ArrayRef = Arc::new(StringArray::from(vec!["1", "2"]));
        let mut columns = batch.columns().to_vec();
        columns[1] = rows;
        let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        fields[1] = Field::new("row", DataType::Utf8, false);
        let wrong = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let e = Sidecar::new(&spec, &wrong).unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::WrongType, Some("row")));
    }
}
