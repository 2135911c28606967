//! Embeddings in files: every kind of column that holds them, and what is said of rows that hold none.

use std::sync::Arc;

use arrow_array::builder::{FixedSizeListBuilder, Float32Builder, Float64Builder, ListBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, cast::AsArray};
use gristmill_core::hash::hash64;
use gristmill_core::{Code, Control, Error};
use gristmill_data::read_tables;
use gristmill_mix::{
    Kernel, Points, Similarity, SimilarityOptions, SubsetMethod, SubsetOptions, choose_subset,
};
use gristmill_score::mixing::{SubsetFileOptions, SubsetFileSummary, subset};
use parquet::arrow::ArrowWriter;

use crate::common::Dir;

/// Two clusters: the point between them comes first, then one of the cluster that it represents less.
const ROWS: [[f64; 2]; 5] = [[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0], [0.1, 1.0]];

fn lists(rows: &[Option<Vec<f64>>]) -> ArrayRef {
    let mut builder = ListBuilder::new(Float64Builder::new());
    for row in rows {
        match row {
            Some(row) => {
                builder.values().append_slice(row);
                builder.append(true);
            }
            None => builder.append(false),
        }
    }
    Arc::new(builder.finish())
}

fn whole() -> Vec<Option<Vec<f64>>> {
    ROWS.iter().map(|row| Some(row.to_vec())).collect()
}

fn write(dir: &Dir, name: &str, columns: Vec<(&str, ArrayRef)>) -> String {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    dir.write(name, bytes)
}

fn options(dir: &Dir, embeddings: String) -> SubsetFileOptions {
    SubsetFileOptions {
        embeddings,
        column: None,
        id: None,
        quality: None,
        output: dir.at("out.parquet"),
        choose: SubsetOptions { budget: 2, ..SubsetOptions::default() },
        device: None,
    }
}

fn choose(options: SubsetFileOptions) -> Result<SubsetFileSummary, Error> {
    subset(options, &Control::default())
}

fn ids(names: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(names.to_vec()))
}

#[test]
fn lists_of_any_kind_are_embeddings() {
    let dir = Dir::new();
    let mut fixed = FixedSizeListBuilder::new(Float32Builder::new(), 2);
    for row in ROWS {
        fixed.values().append_slice(&row.map(|x| x as f32));
        fixed.append(true);
    }
    let id = ids(&["a", "b", "c", "d", "e"]);
    let columns = [("lists", lists(&whole())), ("fixed", Arc::new(fixed.finish()) as ArrayRef)];
    for (name, column) in columns {
        let path = write(&dir, &format!("{name}.parquet"), vec![("id", id.clone()), ("embedding", column)]);
        let found = choose(options(&dir, path)).unwrap();
        assert_eq!((found.rows, found.dimension, found.chosen), (5, 2, 2));
        assert_eq!(found.first, ["c", "d"]);
        let batch = read_tables(&dir.at("out.parquet")).unwrap().next().unwrap().unwrap();
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        assert_eq!(text("id").iter().flatten().collect::<Vec<_>>(), ["c", "d"]);
        assert!(text("file").value(0).ends_with(&format!("{name}.parquet")));
        assert_eq!(batch.num_columns(), 5);
    }
    let json = dir.write("e.jsonl", "{\"id\":7,\"vector\":[1,0]}\n{\"id\":8,\"vector\":[0,1]}\n");
    let mut lines = options(&dir, json);
    lines.output = dir.at("out.jsonl");
    assert_eq!(choose(lines).unwrap().first, ["7", "8"]);
    let text = std::fs::read_to_string(dir.path("out.jsonl")).unwrap();
    assert!(text.starts_with("{\"id\":\"7\",\"file\":"), "{text}");
}

#[test]
fn masks_take_a_column_of_qualities() {
    let dir = Dir::new();
    let quality: ArrayRef = Arc::new(Int64Array::from(vec![0, 9, 0, 0, 9]));
    let path = write(&dir, "q.parquet", vec![("embedding", lists(&whole())), ("quality", quality)]);
    let mut wanted = options(&dir, path);
    wanted.quality = Some("quality".into());
    wanted.choose = SubsetOptions { method: SubsetMethod::Masks, budget: 2, steps: 30, ..wanted.choose };
    let found = choose(wanted).unwrap();
    assert_eq!(found.first, ["1", "4"]);
    assert!(found.comparison.unwrap().greedy.value > 0.0);
}

#[test]
fn rows_that_hold_no_embedding_are_named() {
    let dir = Dir::new();
    let bad = |name: &str, rows: Vec<Option<Vec<f64>>>| {
        let path = write(&dir, name, vec![("embedding", lists(&rows))]);
        choose(options(&dir, path)).unwrap_err()
    };
    let mut nan = whole();
    nan[3] = Some(vec![0.0, f64::NAN]);
    let mut null = whole();
    null[3] = None;
    let mut long = whole();
    long[3] = Some(vec![1.0; 3]);
    for (name, rows) in [("nan.parquet", nan), ("null.parquet", null), ("long.parquet", long)] {
        let e = bad(name, rows);
        assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(3)), "{name}: {e}");
        assert_eq!(e.location().column.as_deref(), Some("embedding"));
        assert!(e.location().path.as_deref().unwrap().ends_with(name));
    }
}

/// The products of a device, whose sums have another order, lead to the same choices.
#[test]
fn a_device_computes_the_similarities() {
    let numbers: Vec<f32> = (0..300 * 17u64)
        .map(|n| (hash64(7, &n.to_le_bytes()) >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
        .collect();
    let device = gristmill_cpu::open().unwrap();
    let points = Points::new(&numbers, 17).unwrap();
    let control = Control::default();
    let kernels = [
        Kernel::Cosine,
        Kernel::SquaredCosine,
        Kernel::SquaredCorrelation,
        Kernel::Euclidean,
        Kernel::Rbf { gamma: 0.3 },
    ];
    for (kernel, neighbors) in kernels.into_iter().flat_map(|kernel| [(kernel, None), (kernel, Some(20))]) {
        let wanted = SimilarityOptions { kernel, neighbors, ..Default::default() };
        let of = |points| Similarity::of(points, &wanted, &control).unwrap();
        let (here, there) = (of(points), of(points.on(&device)));
        for (i, j) in (0..300).flat_map(|i| (0..300).map(move |j| (i, j))) {
            let (a, b) = (here.get(i, j), there.get(i, j));
            assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{kernel:?} {neighbors:?} {i} {j}: {a} {b}");
        }
    }
    for method in [SubsetMethod::FacilityLocation, SubsetMethod::LogDeterminant, SubsetMethod::Partitioned] {
        let wanted = SubsetOptions { method, budget: 20, partitions: 3, ridge: 0.1, ..Default::default() };
        let of = |points| choose_subset(points, None, &wanted, &control).unwrap().indices;
        assert_eq!(of(points), of(points.on(&device)), "{method:?}");
    }

    let dir = Dir::new();
    let path = write(&dir, "e.parquet", vec![("embedding", lists(&whole()))]);
    let on = |device: &str| {
        choose(SubsetFileOptions { device: Some(device.into()), ..options(&dir, path.clone()) })
    };
    assert_eq!(on("cpu").unwrap().first, ["2", "3"]);
    assert_eq!(on("cuda:0").unwrap_err().code(), Code::DeviceUnavailable);
    device.close();
    let closed = Similarity::of(points.on(&device), &SimilarityOptions::default(), &control);
    assert_eq!(closed.unwrap_err().code(), Code::Disposed);
}

#[test]
fn ids_are_distinct_and_columns_are_there() {
    let dir = Dir::new();
    let twice = ids(&["a", "b", "c", "b", "e"]);
    let path = write(&dir, "twice.parquet", vec![("id", twice), ("embedding", lists(&whole()))]);
    let e = choose(options(&dir, path.clone())).unwrap_err();
    assert_eq!((e.code(), e.location().row), (Code::DuplicateId, Some(3)));
    let named = |change: fn(&mut SubsetFileOptions)| {
        let mut o = options(&dir, path.clone());
        change(&mut o);
        choose(o).unwrap_err().code()
    };
    assert_eq!(named(|o| o.column = Some("vec".into())), Code::MissingColumn);
    assert_eq!(named(|o| o.column = Some("id".into())), Code::WrongType);
    assert_eq!(named(|o| o.id = Some("key".into())), Code::MissingColumn);
    assert_eq!(named(|o| o.output = "out.csv".into()), Code::InvalidArgument);
    let none = write(&dir, "none.parquet", vec![("id", ids(&["a"]))]);
    assert_eq!(choose(options(&dir, none)).unwrap_err().code(), Code::MissingColumn);
    assert_eq!(choose(options(&dir, dir.at("gone.parquet"))).unwrap_err().code(), Code::NotFound);
}
