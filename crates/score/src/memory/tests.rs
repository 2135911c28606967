use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, UInt32Type};
use arrow_array::{
    ArrayRef, DictionaryArray, Int64Array, LargeStringArray, ListArray, RecordBatch, StringArray,
    StringViewArray,
};
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::DataType;
use gristmill_core::{CancelToken, Code, Control, Error, Result};
use gristmill_ngram::normalize::NormalizerSpec;

use super::*;
use crate::methods::{Method, Sums};
use crate::sidecar::spec_of;
use crate::spec::ScoreSpec;
use crate::{Average, Windows};

type Rows = Vec<Option<Vec<Option<f64>>>>;

fn doubles(rows: Rows) -> ArrayRef {
    Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows))
}

fn singles(rows: Rows) -> ArrayRef {
    let narrow = |row: Vec<Option<f64>>| row.into_iter().map(|v| v.map(|v| v as f32)).collect::<Vec<_>>();
    Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows.into_iter().map(|r| r.map(narrow))))
}

fn row(values: &[f64]) -> Option<Vec<Option<f64>>> {
    Some(values.iter().copied().map(Some).collect())
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
}

fn log_probs(names: &[&str]) -> MemoryOptions {
    MemoryOptions { log_probs: names.iter().map(|n| n.to_string()).collect(), ..MemoryOptions::default() }
}

fn run(options: MemoryOptions, batch: &RecordBatch) -> Result<RecordBatch> {
    MemoryScorer::new(options, None)?.score(batch, &Control::default())
}

fn column(batch: &RecordBatch, name: &str) -> Vec<f64> {
    let column = batch.column_by_name(name).unwrap();
    arrow_cast::cast(column, &DataType::Float64).unwrap().as_primitive::<Float64Type>().values().to_vec()
}

/// Every text is its words, which are numbers; the loss of a token is its id under the first model and half
/// of it under the second. Refuses the id 13.
struct Toy {
    models: usize,
    normalizer: NormalizerSpec,
}

impl Toy {
    fn of(models: usize) -> Option<Arc<dyn LossModel>> {
        Some(Arc::new(Self { models, normalizer: NormalizerSpec { name: "toy/1".into(), sha256: None } }))
    }
}

impl LossModel for Toy {
    fn models(&self) -> usize {
        self.models
    }

    fn normalizer(&self) -> Option<&NormalizerSpec> {
        Some(&self.normalizer)
    }

    fn supports(&self, spec: &ScoreSpec) -> Result<()> {
        match spec.windows {
            Windows::Sliding { .. } => Err(Error::new(Code::Unsupported, "no sliding")),
            _ => Ok(()),
        }
    }

    fn text(&self, spec: &ScoreSpec, text: &str, scratch: &mut Scratch) -> Result<Sums> {
        let ids: Vec<u32> = text.split_whitespace().map(|w| w.parse().unwrap()).collect();
        self.tokens(spec, &ids, scratch)
    }

    fn tokens(&self, _: &ScoreSpec, ids: &[u32], _: &mut Scratch) -> Result<Sums> {
        if ids.contains(&13) {
            return Err(Error::new(Code::InvalidValue, "13"));
        }
        let n = ids.len() as u32;
        let nll: f64 = ids.iter().map(|&id| f64::from(id)).sum();
        Ok(Sums { n_tokens: n, n_scored: n, n_bytes: 0, nll: [nll, nll / 2.0] })
    }
}

/// In Python: math.exp((1.5 + 2.25 + 4) / 3).
#[test]
fn perplexity_of_log_probabilities() {
    let rows: Rows = vec![Some(vec![None, Some(-1.5), Some(-2.25), Some(-4.0)])];
    for column_of in [doubles, singles] {
        let scored = run(log_probs(&["p"]), &batch(vec![("p", column_of(rows.clone()))])).unwrap();
        assert_eq!(column(&scored, "nll_sum"), [7.75]);
        assert_eq!((column(&scored, "n_tokens"), column(&scored, "n_scored")), (vec![4.0], vec![3.0]));
        let ppl = column(&scored, "score")[0];
        assert!((ppl - 13.241_202_019_156_521).abs() < 1e-13, "{ppl}");
    }
    let base = |log_base| {
        let options = MemoryOptions { log_base, ..log_probs(&["p"]) };
        column(&run(options, &batch(vec![("p", doubles(vec![row(&[-1.0, -2.0])]))])).unwrap(), "nll_sum")[0]
    };
    assert_eq!((base(LogBase::E), base(LogBase::Two)), (3.0, 3.0 * std::f64::consts::LN_2));
    assert_eq!(base(LogBase::Ten), 3.0 * std::f64::consts::LN_10);
}

#[test]
fn two_models_in_the_order_of_their_roles() {
    let a = vec![row(&[-3.0, -5.0]), row(&[-2.0])];
    let b = vec![row(&[-2.0, -4.0]), row(&[-2.5])];
    for (ca, cb) in [
        (doubles(a.clone()), singles(b.clone())),
        (singles(a.clone()), doubles(b.clone())),
        (singles(a.clone()), singles(b.clone())),
        (doubles(a.clone()), doubles(b.clone())),
    ] {
        let table = batch(vec![("a", ca), ("b", cb)]);
        for method in [Method::LossReduction, Method::Difference, Method::MooreLewis] {
            let options = MemoryOptions { method: Some(method), ..log_probs(&["a", "b"]) };
            let scored = run(options, &table).unwrap();
            let names = ScoreSpec::of(method).nll_columns();
            assert_eq!(column(&scored, &names[0]), [8.0, 2.0]);
            assert_eq!(column(&scored, &names[1]), [6.0, 2.5]);
            assert_eq!(column(&scored, "score"), [1.0, -0.5]);
        }
    }
}

#[test]
fn what_cannot_be_scored_is_nan() {
    let rows: Rows = vec![
        None,
        Some(vec![]),
        Some(vec![None]),
        row(&[-1.0, f64::NAN]),
        row(&[f64::NEG_INFINITY]),
        row(&[-2.0]),
    ];
    let scored = run(log_probs(&["p"]), &batch(vec![("p", doubles(rows.clone()))])).unwrap();
    let score = column(&scored, "score");
    assert!(score[..4].iter().all(|s| s.is_nan()), "{score:?}");
    assert_eq!(score[4], f64::INFINITY);
    assert_eq!(column(&scored, "n_tokens"), [0.0, 0.0, 1.0, 2.0, 1.0, 1.0]);
    assert_eq!(column(&scored, "n_scored"), [0.0, 0.0, 0.0, 2.0, 1.0, 1.0]);
    assert_eq!(column(&scored, "nll_sum")[2].to_bits(), 0, "nothing is 0, not -0");
    let table = batch(vec![("p", doubles(rows.clone())), ("q", doubles(rows))]);
    let both = run(log_probs(&["p", "q"]), &table).unwrap();
    assert!(column(&both, "score")[4].is_nan(), "impossible under both says nothing");
}

#[test]
fn packed_rows_have_the_length_they_say() {
    let options = || MemoryOptions {
        spec: Some(ScoreSpec { windows: Windows::Packed { tokens: 4 }, ..ScoreSpec::color_filter() }),
        ..log_probs(&["a", "b"])
    };
    let table = |rows: Rows| batch(vec![("a", doubles(rows.clone())), ("b", doubles(rows))]);
    let rows = vec![Some(vec![None, Some(-1.0), Some(-1.0), Some(-4.0)]), row(&[-1.0, -1.0, -4.0])];
    let scored = run(options(), &table(rows)).unwrap();
    assert_eq!((column(&scored, "n_tokens"), column(&scored, "n_scored")), (vec![4.0; 2], vec![3.0; 2]));
    assert_eq!(column(&scored, "nll_sum_prior"), [6.0, 6.0]);
    for bad in [
        row(&[-1.0; 2]),
        row(&[-1.0; 4]),
        row(&[-1.0; 5]),
        Some(vec![]),
        Some(vec![None, Some(-1.0), Some(-1.0)]),
    ] {
        let e = run(options(), &table(vec![row(&[-1.0; 3]), bad.clone()])).unwrap_err();
        assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(1)), "{bad:?}");
    }
    let filled = MemoryOptions { spec: Some(ScoreSpec::mini_plm()), ..log_probs(&["a", "b"]) };
    run(filled.clone(), &table(vec![row(&[-1.0; 1025]), row(&[-1.0])])).unwrap();
    assert!(run(filled, &table(vec![row(&[-1.0; 1026])])).is_err());
}

#[test]
fn bytes_come_from_text_or_numbers() {
    let texts = vec![Some("hé"), None, Some("abc")];
    let rows = vec![row(&[-1.0]), row(&[-1.0]), row(&[-1.0])];
    let nothing: ArrayRef = Arc::new([None, None].into_iter().collect::<DictionaryArray<Int32Type>>());
    let table = batch(vec![("p", doubles(vec![row(&[-1.0]), row(&[-1.0])])), ("b", nothing)]);
    let options = MemoryOptions { bytes: Some("b".into()), ..log_probs(&["p"]) };
    assert_eq!(column(&run(options, &table).unwrap(), "n_bytes"), [0.0, 0.0]);
    let columns: [ArrayRef; 4] = [
        Arc::new(StringArray::from(texts.clone())),
        Arc::new(LargeStringArray::from(texts.clone())),
        Arc::new(StringViewArray::from(texts)),
        Arc::new(Int64Array::from(vec![Some(3), None, Some(3)])),
    ];
    for bytes in columns {
        let table = batch(vec![("p", doubles(rows.clone())), ("b", bytes)]);
        let options =
            MemoryOptions { method: Some(Method::BitsPerByte), bytes: Some("b".into()), ..log_probs(&["p"]) };
        let scored = run(options, &table).unwrap();
        assert_eq!(column(&scored, "n_bytes"), [3.0, 0.0, 3.0]);
        let score = column(&scored, "score");
        assert!((score[0] - 1.0 / (3.0 * std::f64::consts::LN_2)).abs() < 1e-15 && score[1].is_nan());
    }
    let options = MemoryOptions { bytes: Some("b".into()), ..log_probs(&["p"]) };
    for bad in [-1, 1 << 32] {
        let bytes: ArrayRef = Arc::new(Int64Array::from(vec![1, bad, 1]));
        let e = run(options.clone(), &batch(vec![("p", doubles(rows.clone())), ("b", bytes)])).unwrap_err();
        assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(1)));
    }
    let e = run(options, &batch(vec![("p", doubles(rows.clone())), ("b", doubles(rows))])).unwrap_err();
    assert_eq!(e.code(), Code::WrongType);
    let without = MemoryOptions { method: Some(Method::BitsPerByte), ..log_probs(&["p"]) };
    assert!(MemoryScorer::new(without, None).is_err());
}

#[test]
fn the_input_stays_or_goes() {
    let ids = Arc::new(StringArray::from(vec!["x"]));
    let table = batch(vec![("id", ids), ("p", doubles(vec![row(&[-1.0])]))]);
    let names =
        |b: &RecordBatch| b.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>().join(" ");
    let kept = run(log_probs(&["p"]), &table).unwrap();
    assert_eq!(names(&kept), "id p n_tokens n_scored n_bytes nll_sum score");
    assert_eq!(spec_of(&kept.schema()).unwrap().name, Method::Perplexity);
    let dropped = run(MemoryOptions { keep_columns: false, ..log_probs(&["p"]) }, &table).unwrap();
    assert_eq!(names(&dropped), "n_tokens n_scored n_bytes nll_sum score");
    // Scoring what is scored would have two columns of one name.
    assert_eq!(run(log_probs(&["p"]), &kept).unwrap_err().code(), Code::InvalidArgument);
    run(MemoryOptions { keep_columns: false, ..log_probs(&["p"]) }, &kept).unwrap();
}

#[test]
fn text_and_tokens_go_through_the_model_in_order() {
    let n = 1000u32;
    let texts: Vec<Option<String>> =
        (0..n).map(|i| (i % 7 != 0).then(|| format!("{} {}", 20 + i, i % 3))).collect();
    let ids: Vec<Option<Vec<Option<u32>>>> =
        (0..n).map(|i| (i % 7 != 0).then(|| vec![Some(20 + i), Some(i % 3)])).collect();
    let signed =
        ids.iter().map(|r| r.as_ref().map(|r| r.iter().map(|v| v.map(|v| v as i32)).collect::<Vec<_>>()));
    let signed = ListArray::from_iter_primitive::<Int32Type, _, _>(signed);
    let table = batch(vec![
        ("text", Arc::new(StringArray::from(texts.clone()))),
        ("large", Arc::new(LargeStringArray::from(texts.clone()))),
        ("view", Arc::new(StringViewArray::from_iter(texts.clone()))),
        ("dictionary", Arc::new(texts.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())),
        ("i32", Arc::new(signed)),
        ("u32", Arc::new(ListArray::from_iter_primitive::<UInt32Type, _, _>(ids))),
    ]);
    let score = |options: MemoryOptions| {
        let scorer = MemoryScorer::new(options, Toy::of(2)).unwrap();
        (scorer.spec().clone(), scorer.score(&table, &Control::default()).unwrap())
    };
    let text = |name: &str| MemoryOptions { text: Some(name.into()), ..MemoryOptions::default() };
    let tokens = |name: &str| MemoryOptions { tokens: Some(name.into()), ..MemoryOptions::default() };
    let (spec, by_text) = score(text("text"));
    assert_eq!(spec.normalizer.unwrap().name, "toy/1");
    for (i, reduction) in column(&by_text, "score").into_iter().enumerate() {
        // Half of the mean id.
        let want = (20 + i + i % 3) as f64 / 4.0;
        assert!(if i % 7 == 0 { reduction.is_nan() } else { reduction == want }, "row {i}");
    }
    let bytes = column(&by_text, "n_bytes");
    assert!(texts.iter().zip(&bytes).all(|(t, &b)| t.as_ref().map_or(0, String::len) as f64 == b));
    for options in [text("large"), text("view"), text("dictionary"), tokens("i32"), tokens("u32")] {
        let (_, other) = score(options);
        for name in ["n_tokens", "n_scored", "nll_sum_prior", "nll_sum_conditional", "score"] {
            let bits = |b: &RecordBatch| column(b, name).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&other), bits(&by_text), "{name}");
        }
    }
}

#[test]
fn the_first_bad_row_is_named_whatever_the_threads() {
    let texts: Vec<String> =
        (0..500).map(|i| if i >= 170 && i % 10 == 0 { "13".into() } else { format!("1{i}0") }).collect();
    let table = batch(vec![("text", Arc::new(StringArray::from(texts)))]);
    let options = MemoryOptions { text: Some("text".into()), ..MemoryOptions::default() };
    let scorer = MemoryScorer::new(options, Toy::of(1)).unwrap();
    for threads in [1, 2, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let e = pool.install(|| scorer.score(&table, &Control::default())).unwrap_err();
        assert_eq!((e.location().row, e.location().column.as_deref()), (Some(170), Some("text")));
    }
    let cancel = CancelToken::default();
    cancel.cancel();
    let e = scorer.score(&table, &Control::with_cancel(cancel)).unwrap_err();
    assert_eq!(e.code(), Code::Aborted);
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let text = || MemoryOptions { text: Some("t".into()), ..MemoryOptions::default() };
    let spec = || Some(ScoreSpec::of(Method::Perplexity));
    let refuse = |options: MemoryOptions, model: Option<Arc<dyn LossModel>>| {
        MemoryScorer::new(options, model).err().expect("refused").code()
    };
    let per_byte = spec().map(|s| ScoreSpec { average: Average::Bytes, ..s });
    for (options, model) in [
        (MemoryOptions::default(), None),
        (text(), None),
        (MemoryOptions { tokens: Some("i".into()), ..text() }, Toy::of(1)),
        (MemoryOptions { text: Some("t".into()), ..log_probs(&["p"]) }, None),
        (log_probs(&["p"]), Toy::of(1)),
        (log_probs(&["p", "q", "r"]), None),
        (MemoryOptions { method: Some(Method::LossReduction), ..log_probs(&["p"]) }, None),
        (MemoryOptions { method: Some(Method::Perplexity), ..text() }, Toy::of(2)),
        (MemoryOptions { method: Some(Method::Perplexity), spec: spec(), ..log_probs(&["p"]) }, None),
        (MemoryOptions { spec: per_byte, ..log_probs(&["p"]) }, None),
    ] {
        assert_eq!(refuse(options, model), Code::InvalidArgument);
    }
    let sliding = spec().map(|s| ScoreSpec { windows: Windows::Sliding { tokens: 8, stride: 4 }, ..s });
    assert_eq!(refuse(MemoryOptions { spec: sliding, ..text() }, Toy::of(1)), Code::Unsupported);
    let e = run(log_probs(&["q"]), &batch(vec![("p", doubles(vec![]))])).unwrap_err();
    assert_eq!((e.code(), e.hint_text()), (Code::MissingColumn, Some("the table has: p")));
    let json = r#"{"logProbs": ["a"], "logBase": "10", "keepColumns": false}"#;
    let options: MemoryOptions = serde_json::from_str(json).unwrap();
    assert_eq!(options, MemoryOptions { log_base: LogBase::Ten, keep_columns: false, ..log_probs(&["a"]) });
    assert!(serde_json::from_str::<MemoryOptions>(r#"{"logprobs": ["a"]}"#).is_err());
}

fn stream(batches: &[RecordBatch], options: IpcWriteOptions) -> Vec<u8> {
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|b| writer.write(b).unwrap());
    writer.into_inner().unwrap()
}

fn table(n: usize) -> RecordBatch {
    let rows: Rows = (0..n).map(|i| row(&vec![-1.0 - i as f64; i % 5])).collect();
    let ids: Vec<String> = (0..n).map(|i| format!("doc-{i}")).collect();
    batch(vec![("id", Arc::new(StringArray::from(ids))), ("p", doubles(rows))])
}

#[test]
fn ipc_goes_in_and_comes_out() {
    let whole = table(90);
    let parts = [whole.slice(0, 40), whole.slice(40, 0), whole.slice(40, 50)];
    let scorer = MemoryScorer::new(log_probs(&["p"]), None).unwrap();
    let expected = scorer.score(&whole, &Control::default()).unwrap();
    let compressed =
        IpcWriteOptions::default().try_with_compression(Some(arrow_ipc::CompressionType::ZSTD)).unwrap();
    let mut file = FileWriter::try_new(Vec::new(), &whole.schema()).unwrap();
    parts.iter().for_each(|p| file.write(p).unwrap());
    for bytes in
        [stream(&parts, IpcWriteOptions::default()), stream(&parts, compressed), file.into_inner().unwrap()]
    {
        let out = scorer.score_ipc(bytes, &Control::default()).unwrap();
        let reader = StreamReader::try_new(&out[..], None).unwrap();
        let batches: Vec<RecordBatch> = reader.map(|b| b.unwrap()).collect();
        assert_eq!(batches.iter().map(|b| b.num_rows()).collect::<Vec<_>>(), [40, 0, 50]);
        let joined = arrow_select::concat::concat_batches(&expected.schema(), &batches).unwrap();
        assert_eq!(joined.schema(), expected.schema());
        for (got, want) in joined.columns().iter().zip(expected.columns()) {
            // NaN equals NaN here: arrays compare by bits.
            assert_eq!(got.to_data(), want.to_data());
        }
    }
}

#[test]
fn an_error_names_batch_and_row() {
    let good = batch(vec![("p", doubles(vec![row(&[-1.0]); 3]))]);
    let bad = batch(vec![("p", doubles(vec![row(&[-1.0]), row(&[5.0])]))]);
    let scorer = MemoryScorer::new(log_probs(&["p"]), None).unwrap();
    let bytes = stream(&[good, bad], IpcWriteOptions::default());
    let e = scorer.score_ipc(bytes, &Control::default()).unwrap_err();
    assert_eq!((e.location().row_group, e.location().row), (Some(1), Some(1)));
}

/// Cut anywhere, or with any byte changed: an answer or a typed error, never a panic, and no allocation that
/// the length of the input does not justify.
#[test]
fn damaged_bytes_are_typed_errors() {
    let scorer = MemoryScorer::new(log_probs(&["p"]), None).unwrap();
    let bytes = stream(&[table(20), table(3)], IpcWriteOptions::default());
    let mut refused = 0;
    let mut check = |damaged: Vec<u8>| {
        if let Err(e) = scorer.score_ipc(damaged, &Control::default()) {
            assert!(!matches!(e.code(), Code::Internal | Code::Aborted), "a defect and no answer: {e}");
            refused += 1;
        }
    };
    (0..bytes.len()).step_by(3).for_each(|n| check(bytes[..n].to_vec()));
    for at in 0..bytes.len() {
        for value in [0x00, 0xFF, 0x7F, bytes[at] ^ 1] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            check(damaged);
        }
    }
    assert!(refused > 1000, "{refused}");
    let huge = b"\xff\xff\xff\xff\xff\xff\xff\x7f";
    for hostile in [&b""[..], b"ARROW1", huge, b"PAR1", &[0xFF; 64]] {
        let e = scorer.score_ipc(hostile.to_vec(), &Control::default()).unwrap_err();
        assert_eq!(e.code(), Code::CorruptData, "{hostile:?}");
    }
}

#[test]
fn packing_loses_nothing_but_the_end() {
    let mut packer = Packer::new(5).unwrap();
    let documents: Vec<Vec<u32>> =
        (0..20u32).map(|d| (0..d % 7).map(|t| 100 * d + 20 + t).collect()).collect();
    let mut batches = Vec::new();
    for (i, d) in documents.iter().enumerate() {
        packer.push(d);
        if i % 6 == 5 {
            batches.push(packer.take().unwrap());
        }
    }
    batches.push(packer.take().unwrap());
    let rows = arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap();
    let stream: Vec<u32> = documents.concat();
    let tokens = rows.column(2).as_fixed_size_list().values().as_primitive::<UInt32Type>().values().to_vec();
    assert_eq!(tokens, stream[..stream.len() - packer.pending()]);
    assert_eq!((rows.num_rows(), packer.pending()), (stream.len() / 5, stream.len() % 5));
    for (r, (d, t)) in column(&rows, "document").into_iter().zip(column(&rows, "token")).enumerate() {
        assert_eq!(documents[d as usize][t as usize], stream[5 * r], "row {r}");
    }
    assert!(Packer::new(1).is_err() && Packer::new(u32::MAX).is_err());
    // What comes out is what a packed specification takes.
    let spec = ScoreSpec { windows: Windows::Packed { tokens: 5 }, ..ScoreSpec::color_filter() };
    let options =
        MemoryOptions { tokens: Some("tokens".into()), spec: Some(spec), ..MemoryOptions::default() };
    let scorer = MemoryScorer::new(options, Toy::of(2)).unwrap();
    let scored = scorer.score(&rows, &Control::default()).unwrap();
    assert_eq!(scored.num_rows(), rows.num_rows());
}
