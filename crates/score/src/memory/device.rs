//! Losses and sums on a device: [`nll`](gristmill_core::ops::Nll) of logits, then
//! [`loss_reduction`](gristmill_core::ops::LossReduction) of two models or
//! [`segment_reduce`](gristmill_core::ops::SegmentReduce) of one.

use std::sync::Arc;

use arrow_array::builder::BooleanBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, ListArray, RecordBatch};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use gristmill_core::ops::{NllOptions, Reduction};
use gristmill_core::{Code, DType, Device, Error, Result, Tensor};
use gristmill_data::{TensorColumn, array_to_tensor};

use super::MemoryScorer;
use super::columns::column;
use super::lists::{Floats, LogProbs, TokenIds, wrong_type};
use crate::methods::Sums;

/// Which columns hold logits, and what they are logits of.
pub(super) struct Logits {
    pub(super) columns: Vec<String>,
    targets: String,
    vocab: Option<usize>,
    softcap: Option<f32>,
}

impl Logits {
    /// `None` when no column was named.
    pub(super) fn new(
        columns: Vec<String>,
        targets: Option<String>,
        vocab: Option<usize>,
        softcap: Option<f32>,
    ) -> Result<Option<Self>> {
        if columns.is_empty() {
            let beside = [("targets", targets.is_some()), ("vocab", vocab.is_some())];
            let beside = beside.into_iter().chain([("softcap", softcap.is_some())]).find(|(_, given)| *given);
            return match beside {
                Some((option, _)) => Err(Error::invalid_argument(option, "this goes with logits")),
                None => Ok(None),
            };
        }
        if columns.len() > 2 {
            return Err(Error::invalid_argument("logits", "there are methods for one model and for two"));
        }
        let Some(targets) = targets else {
            return Err(Error::invalid_argument(
                "targets",
                "name the column of the tokens that the logits predict",
            ));
        };
        Ok(Some(Self { columns, targets, vocab, softcap }))
    }
}

/// Sums of log-probabilities by row, under one model or both.
pub(super) fn sum(
    device: &Device,
    first: &LogProbs,
    second: Option<&LogProbs>,
    sums: &mut [Vec<f64>; 2],
) -> Result<()> {
    let values = |of: &LogProbs| {
        let single = match &of.values {
            Floats::Single(values) => values.clone(),
            Floats::Double(values) => values.iter().map(|&v| v as f32).collect(),
        };
        let len = single.len();
        device.tensor(single, [len])
    };
    let second = second.map(values).transpose()?;
    sum_tensors(device, &values(first)?, second.as_ref(), &first.offsets, sums)
}

/// Sums of one or two tensors over consecutive segments.
fn sum_tensors(
    device: &Device,
    first: &Tensor,
    second: Option<&Tensor>,
    offsets: &[usize],
    [a, b]: &mut [Vec<f64>; 2],
) -> Result<()> {
    let ends: Vec<u32> = offsets
        .iter()
        .map(|&o| u32::try_from(o))
        .collect::<Result<_, _>>()
        .map_err(|_| Error::new(Code::InvalidValue, "more than 2^32 tokens in one batch"))?;
    let ends = device.tensor(ends, [offsets.len()])?;
    let Some(second) = second else {
        let sums: Vec<f32> = first.segment_reduce(&ends, Reduction::Sum)?.to_vec()?;
        a.iter_mut().zip(sums).for_each(|(a, sum)| *a = sum.into());
        return Ok(());
    };
    let out = first.loss_reduction(second, &ends)?;
    let (firsts, seconds): (Vec<f32>, Vec<f32>) = (out.prior_sum.to_vec()?, out.conditional_sum.to_vec()?);
    let scores: Vec<f32> = out.score.to_vec()?;
    for (row, segment) in offsets.windows(2).enumerate() {
        let (tokens, score) = ((segment[1] - segment[0]) as f64, f64::from(scores[row]));
        b[row] = seconds[row].into();
        // The difference of two rounded sums has fewer digits than the score, so the first sum is what the score and
        // the second make it, which is within its own rounding.
        let exact = b[row] + score * tokens;
        a[row] = if tokens > 0.0 && exact.is_finite() { exact } else { firsts[row].into() };
    }
    Ok(())
}

impl MemoryScorer {
    pub(super) fn score_logits(&self, batch: &RecordBatch, logits: &Logits) -> Result<Vec<Sums>> {
        let Some(device) = &self.device else {
            let what = "logits are scored on a device: name one";
            return Err(Error::invalid_argument("device", what));
        };
        let targets = column(batch, &logits.targets)?;
        let columns: Vec<&ArrayRef> =
            logits.columns.iter().map(|name| column(batch, name)).collect::<Result<_>>()?;
        let present = present(targets, &columns, &logits.columns)?;
        let ids = TokenIds::of(targets, &logits.targets)?;
        let (mut flat, mut offsets, mut lengths) = (Vec::new(), vec![0], Vec::new());
        for row in 0..batch.num_rows() {
            let of_row = ids.row(row)?;
            flat.extend_from_slice(of_row.as_deref().unwrap_or_default());
            lengths.push(of_row.map(|ids| ids.len() as u32));
            offsets.push(flat.len());
        }
        let mut sums = [vec![0.0; lengths.len()], vec![0.0; lengths.len()]];
        if flat.is_empty() {
            return self.rows(&logits.targets, &lengths, &offsets, &sums, 1.0);
        }
        let tensors: Vec<Tensor> = columns
            .iter()
            .zip(&logits.columns)
            .map(|(column, name)| rows_of_logits(device, column, name, &present, &offsets))
            .collect::<Result<_>>()?;
        for (tensor, name) in tensors.iter().zip(&logits.columns) {
            let (_, columns) = tensor.shape().rows_cols();
            let vocab = logits.vocab.unwrap_or(columns);
            if vocab == 0 || vocab > columns {
                let what = format!("expected a vocabulary of 1 to {columns}, given {vocab}");
                return Err(Error::invalid_argument("vocab", what).at_column(name));
            }
            check_targets(&flat, &offsets, vocab, &logits.targets)?;
        }
        let targets = device.tensor(flat, [offsets[lengths.len()]])?;
        let losses: Vec<Tensor> = tensors
            .iter()
            .map(|logits_of| {
                let (vocab, softcap) = (logits.vocab, logits.softcap);
                logits_of.nll(&targets, NllOptions { vocab, softcap, bias: None })
            })
            .collect::<Result<_>>()?;
        sum_tensors(device, &losses[0], losses.get(1), &offsets, &mut sums)?;
        self.rows(&logits.targets, &lengths, &offsets, &sums, 1.0)
    }
}

/// The first target that no word has is refused by its row.
fn check_targets(ids: &[u32], offsets: &[usize], vocab: usize, name: &str) -> Result<()> {
    match ids.iter().position(|&id| id as usize >= vocab) {
        None => Ok(()),
        Some(at) => {
            let row = offsets.partition_point(|&o| o <= at) - 1;
            let what = format!("the target {} lies outside the vocabulary of {vocab}", ids[at]);
            Err(Error::new(Code::InvalidValue, what).at_column(name).at_row(row as u64))
        }
    }
}

/// The rows that are not null. A row is null in all columns or in none.
fn present(targets: &ArrayRef, columns: &[&ArrayRef], names: &[String]) -> Result<BooleanArray> {
    let mut present = BooleanBuilder::with_capacity(targets.len());
    for row in 0..targets.len() {
        if let Some(at) = columns.iter().position(|c| c.is_null(row) != targets.is_null(row)) {
            let what = "logits without targets, or targets without logits";
            return Err(Error::new(Code::InvalidValue, what).at_column(&names[at]).at_row(row as u64));
        }
        present.append_value(targets.is_valid(row));
    }
    Ok(present.finish())
}

/// The logits of all tokens of all rows, `[tokens, columns]`; `offsets` says how many tokens each row has.
fn rows_of_logits(
    device: &Device,
    column: &ArrayRef,
    name: &str,
    present: &BooleanArray,
    offsets: &[usize],
) -> Result<Tensor> {
    let internal = |e| Error::new(Code::Internal, format!("cannot take the rows that are not null: {e}"));
    let column = match column.null_count() {
        0 => column.clone(),
        _ => arrow_select::filter::filter(column, present).map_err(internal)?,
    };
    // Which row of the table a row of the filtered column is.
    let rows: Vec<usize> = (0..present.len()).filter(|&row| present.value(row)).collect();
    let place = |e: Error| match e.location().row {
        Some(row) => {
            let row = rows.get(row as usize).map_or(row, |&row| row as u64);
            Error::new(e.code(), e.message()).at_column(name).at_row(row)
        }
        None => e,
    };
    let flat = flat_lists(&column).unwrap_or(column);
    let expected = "lists of float16 or float32 logits";
    let TensorColumn::Ragged { values, offsets: ends } =
        array_to_tensor(&flat, name, device).map_err(place)?
    else {
        return Err(wrong_type(&flat, name, expected));
    };
    if !matches!(values.dtype(), DType::F32 | DType::F16) {
        return Err(wrong_type(&flat, name, expected));
    }
    let ends: Vec<u32> = ends.to_vec()?;
    let tokens = offsets[offsets.len() - 1];
    // Logits in a list of their own, or all of a row's tokens in one.
    let (width, logits) = match **values.shape() {
        [_, columns] => (1, columns),
        [all] if all % tokens == 0 => (all / tokens, all / tokens),
        [all] => {
            let what = format!("{all} logits for {tokens} targets: not as many for each");
            return Err(Error::new(Code::InvalidValue, what).at_column(name));
        }
        _ => return Err(wrong_type(&flat, name, expected)),
    };
    for (i, end) in ends.windows(2).enumerate() {
        let (row, given) = (rows[i], (end[1] - end[0]) as usize);
        let targets = offsets[row + 1] - offsets[row];
        if given != targets * width {
            let what = format!("{given} entries for {targets} targets: expected {}", targets * width);
            return Err(Error::new(Code::InvalidValue, what).at_column(name).at_row(row as u64));
        }
    }
    values.reshape([tokens, logits]).map_err(|e| e.at_column(name))
}

/// Lists of lists as lists of all that is in them; `None` for anything else.
fn flat_lists(column: &ArrayRef) -> Option<ArrayRef> {
    let outer = column.as_list_opt::<i32>()?;
    let inner = outer.values().as_list_opt::<i32>()?;
    if inner.null_count() > 0 || !matches!(column.data_type(), DataType::List(_)) {
        return None;
    }
    let ends: Vec<i32> = outer.offsets().iter().map(|&o| inner.offsets()[o as usize]).collect();
    let width = inner.offsets().first().zip(inner.offsets().get(1)).map(|(a, b)| b - a);
    let even = inner.offsets().windows(2).all(|o| Some(o[1] - o[0]) == width);
    let field = Arc::new(Field::new("item", inner.value_type(), true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    even.then(|| ListArray::try_new(field, offsets, inner.values().clone(), outer.nulls().cloned()).ok())
        .flatten()
        .map(|list| Arc::new(list) as ArrayRef)
}

#[cfg(test)]
mod tests {
    use arrow_array::types::{Float32Type, Float64Type, UInt32Type};
    use arrow_array::{FixedSizeListArray, PrimitiveArray};
    use gristmill_core::Control;

    use super::super::{MemoryOptions, MemoryScorer};
    use super::*;

    const VOCAB: usize = 5;
    /// Documents of these many tokens; the second is null.
    const TOKENS: [Option<usize>; 4] = [Some(2), None, Some(0), Some(3)];

    /// Logits that two models might give, without a pattern that a mistake could keep.
    fn logit(model: usize, token: usize, word: usize) -> f32 {
        ((model * 31 + token * 17 + word * 7) % 13) as f32 / 3.0 - 1.5
    }

    fn target(token: usize) -> u32 {
        (token * 3 % VOCAB) as u32
    }

    /// The loss by its definition.
    fn loss(model: usize, token: usize) -> f64 {
        let z = |word: usize| f64::from(logit(model, token, word));
        (0..VOCAB).map(|word| z(word).exp()).sum::<f64>().ln() - z(target(token) as usize)
    }

    /// Numbers of the tokens of each document.
    fn documents() -> Vec<Option<std::ops::Range<usize>>> {
        let mut at = 0;
        TOKENS
            .map(|tokens| {
                tokens.map(|n| {
                    at += n;
                    at - n..at
                })
            })
            .to_vec()
    }

    fn targets() -> ArrayRef {
        let rows = documents().into_iter().map(|d| d.map(|d| d.map(|t| Some(target(t))).collect::<Vec<_>>()));
        Arc::new(ListArray::from_iter_primitive::<UInt32Type, _, _>(rows))
    }

    /// All logits of a document in one list.
    fn flat(model: usize) -> ArrayRef {
        let of = |d: std::ops::Range<usize>| -> Vec<Option<f32>> {
            d.flat_map(|token| (0..VOCAB).map(move |word| Some(logit(model, token, word)))).collect()
        };
        let rows = documents().into_iter().map(|d| d.map(of));
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows))
    }

    /// The same with a list for each token, of fixed size or not.
    fn nested(model: usize, fixed: bool) -> ArrayRef {
        let flat = flat(model);
        let flat = flat.as_list::<i32>();
        let ends: Vec<i32> = flat.offsets().iter().map(|o| o / VOCAB as i32).collect();
        let item = Arc::new(Field::new("item", DataType::Float32, true));
        let tokens: ArrayRef = if fixed {
            let values = flat.values().clone();
            Arc::new(FixedSizeListArray::try_new(item, VOCAB as i32, values, None).unwrap())
        } else {
            let inner = (0..=ends[ends.len() - 1]).map(|i| i * VOCAB as i32).collect::<Vec<_>>();
            let offsets = OffsetBuffer::new(ScalarBuffer::from(inner));
            Arc::new(ListArray::try_new(item, offsets, flat.values().clone(), None).unwrap())
        };
        let field = Arc::new(Field::new("item", tokens.data_type().clone(), true));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
        Arc::new(ListArray::try_new(field, offsets, tokens, flat.nulls().cloned()).unwrap())
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
    }

    fn options(logits: &[&str]) -> MemoryOptions {
        MemoryOptions {
            logits: logits.iter().map(|&name| name.into()).collect(),
            targets: Some("targets".into()),
            ..MemoryOptions::default()
        }
    }

    fn score(options: MemoryOptions, batch: &RecordBatch) -> Result<RecordBatch> {
        let device = gristmill_cpu::open()?;
        MemoryScorer::new(options, None)?.on(device)?.score(batch, &Control::default())
    }

    fn doubles(batch: &RecordBatch, name: &str) -> Vec<f64> {
        let column = arrow_cast::cast(batch.column_by_name(name).unwrap(), &DataType::Float64).unwrap();
        column.as_primitive::<Float64Type>().values().to_vec()
    }

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-5 || (g.is_nan() && w.is_nan()), "{got:?} {want:?}");
        }
    }

    #[test]
    fn logits_in_every_form_give_the_losses_of_their_definition() {
        let sum = |model: usize, d: std::ops::Range<usize>| d.map(|token| loss(model, token)).sum::<f64>();
        let sums = |model: usize| documents().into_iter().map(move |d| d.map_or(0.0, |d| sum(model, d)));
        let mean = |d: &Option<std::ops::Range<usize>>| match d {
            Some(d) if !d.is_empty() => (sum(0, d.clone()) - sum(1, d.clone())) / d.len() as f64,
            _ => f64::NAN,
        };
        let expected: Vec<f64> = documents().iter().map(mean).collect();
        for form in [flat, |m| nested(m, true), |m| nested(m, false)] {
            let table = batch(vec![("prior", form(0)), ("conditional", form(1)), ("targets", targets())]);
            let scored = score(options(&["prior", "conditional"]), &table).unwrap();
            close(&doubles(&scored, "score"), &expected);
            close(&doubles(&scored, "nll_sum_prior"), &sums(0).collect::<Vec<_>>());
            close(&doubles(&scored, "nll_sum_conditional"), &sums(1).collect::<Vec<_>>());
            close(&doubles(&scored, "n_scored"), &[2.0, 0.0, 0.0, 3.0]);
        }
        let table = batch(vec![("model", flat(1)), ("targets", targets())]);
        let scored = score(options(&["model"]), &table).unwrap();
        close(&doubles(&scored, "score")[..1], &[(sum(1, 0..2) / 2.0).exp()]);
        // A slice that begins within the values.
        let scored = score(options(&["model"]), &table.slice(2, 2)).unwrap();
        close(&doubles(&scored, "score")[1..], &[(sum(1, 2..5) / 3.0).exp()]);
    }

    #[test]
    fn log_probabilities_give_on_a_device_what_they_give_without() {
        let rows = |model: usize| {
            documents().into_iter().map(move |d| {
                d.map(|d| d.map(|token| Some(-loss(model, token))).collect::<Vec<Option<f64>>>())
            })
        };
        let list = |model| -> ArrayRef {
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows(model)))
        };
        let table = batch(vec![("prior", list(0)), ("conditional", list(1))]);
        for columns in [vec!["prior"], vec!["prior", "conditional"]] {
            let options = MemoryOptions {
                log_probs: columns.iter().map(|&c| c.into()).collect(),
                ..MemoryOptions::default()
            };
            let plain = MemoryScorer::new(options.clone(), None).unwrap();
            let plain = plain.score(&table, &Control::default()).unwrap();
            let on_device = score(options, &table).unwrap();
            close(&doubles(&on_device, "score"), &doubles(&plain, "score"));
        }
    }

    /// The difference of the sums keeps the digits of the score, which those of rounded sums would not.
    #[test]
    fn a_small_difference_of_large_sums_survives() {
        let rows = |each: f32| [Some(vec![Some(each); 100_000])];
        let list =
            |each| -> ArrayRef { Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows(each))) };
        let (prior, conditional) = (-9.000_01f32, -9.0f32);
        let table = batch(vec![("prior", list(prior)), ("conditional", list(conditional))]);
        let options = MemoryOptions {
            log_probs: vec!["prior".into(), "conditional".into()],
            ..MemoryOptions::default()
        };
        let score = doubles(&score(options, &table).unwrap(), "score")[0];
        let exact = f64::from(conditional) - f64::from(prior);
        assert!((score - exact).abs() < 1e-6 * exact, "{score} {exact}");
    }

    #[test]
    fn what_does_not_fit_is_refused_by_its_row_and_column() {
        let refused = |options: MemoryOptions, columns: Vec<(&str, ArrayRef)>| {
            let e = score(options, &batch(columns)).unwrap_err();
            (e.code(), e.location().row, e.location().column.clone().unwrap_or_default())
        };
        let ids = |rows: Vec<Option<Vec<Option<u32>>>>| -> ArrayRef {
            Arc::new(ListArray::from_iter_primitive::<UInt32Type, _, _>(rows))
        };
        let given = |targets: ArrayRef| vec![("model", flat(0)), ("targets", targets)];
        let some = |ids: &[u32]| Some(ids.iter().copied().map(Some).collect::<Vec<_>>());
        let right = [some(&[0, 1]), None, some(&[]), some(&[0, 1, 2])];
        let changed = |row: usize, ids: Option<Vec<Option<u32>>>| {
            let mut rows = right.to_vec();
            rows[row] = ids;
            rows
        };
        let invalid = |row, column: &str| (Code::InvalidValue, Some(row), column.to_owned());
        for (rows, at) in [
            (changed(3, some(&[0, 5, 2])), invalid(3, "targets")),
            (changed(3, Some(vec![None, Some(1), Some(1)])), invalid(3, "targets")),
            (changed(1, some(&[0])), invalid(1, "model")),
            (changed(0, None), invalid(0, "model")),
        ] {
            assert_eq!(refused(options(&["model"]), given(ids(rows))), at);
        }
        // As many in all, in other rows.
        let moved = vec![some(&[0, 1, 2]), None, some(&[]), some(&[0, 1])];
        assert_eq!(refused(options(&["model"]), given(ids(moved))), invalid(0, "model"));
        let few = MemoryOptions { vocab: Some(9), ..options(&["model"]) };
        assert_eq!(refused(few, given(targets())).0, Code::InvalidArgument);
        let small = MemoryOptions { vocab: Some(2), ..options(&["model"]) };
        assert_eq!(refused(small, given(targets())), invalid(0, "targets"));
        let numbers: ArrayRef = Arc::new(PrimitiveArray::<Float32Type>::from(vec![1.0; 4]));
        let wrong = vec![("model", numbers), ("targets", targets())];
        assert_eq!(refused(options(&["model"]), wrong).0, Code::InvalidValue);
        let none = MemoryOptions { targets: None, ..options(&["model"]) };
        assert_eq!(refused(none, given(targets())).0, Code::InvalidArgument);
        assert_eq!(refused(options(&["other"]), given(targets())).0, Code::MissingColumn);
        let text =
            MemoryOptions { targets: Some("t".into()), log_probs: vec!["p".into()], ..Default::default() };
        assert_eq!(MemoryScorer::new(text, None).err().unwrap().code(), Code::InvalidArgument);
    }
}
