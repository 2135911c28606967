//! Lists of an Arrow column, whichever of Arrow's ways they are laid out.

use std::borrow::Cow;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type, Int32Type, UInt32Type};
use arrow_array::{Array, ArrayRef, ArrowNativeTypeOp, PrimitiveArray};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;
use gristmill_core::{Code, Error, Result};

/// A list column: where each row's values begin, and the values of all rows.
struct Lists {
    /// One more than there are rows, ascending from 0.
    offsets: Vec<usize>,
    /// Rows that are null.
    nulls: Option<NullBuffer>,
    /// Values from the first row's to the last row's.
    values: ArrayRef,
}

impl Lists {
    /// `None` when the column is no list.
    fn of(column: &ArrayRef) -> Option<Self> {
        let (offsets, values): (Vec<usize>, &ArrayRef) = match column.data_type() {
            DataType::List(_) => {
                let list = column.as_list::<i32>();
                (list.offsets().iter().map(|&o| o as usize).collect(), list.values())
            }
            DataType::LargeList(_) => {
                let list = column.as_list::<i64>();
                (list.offsets().iter().map(|&o| o as usize).collect(), list.values())
            }
            DataType::FixedSizeList(_, _) => {
                let list = column.as_fixed_size_list();
                let size = list.value_length() as usize;
                ((0..=list.len()).map(|i| i * size).collect(), list.values())
            }
            _ => return None,
        };
        let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
        Some(Self {
            offsets: offsets.iter().map(|o| o - first).collect(),
            nulls: column.nulls().cloned(),
            values: values.slice(first, last - first),
        })
    }

    fn row(&self, row: usize) -> Range<usize> {
        self.offsets[row]..self.offsets[row + 1]
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|n| n.is_null(row))
    }

    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }
}

/// Floats of one model, ready for summing.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Floats {
    /// As most engines return them.
    Single(Vec<f32>),
    /// With everything they have.
    Double(Vec<f64>),
}

/// Per-token log-probabilities of one model.
#[derive(Debug, PartialEq)]
pub(super) struct LogProbs {
    /// Length of each row as it was given; `None` for a null row.
    pub(super) lengths: Vec<Option<u32>>,
    /// Where each row begins among the values.
    pub(super) offsets: Vec<usize>,
    /// The values that are scored: no nulls, and nothing of null rows.
    pub(super) values: Floats,
    /// Which values of the rows that are not null were, if any: two models must agree in it.
    pub(super) mask: Option<Vec<bool>>,
}

/// Rounding may lift the logarithm of a probability near one above zero, but not by more than this.
const ROUNDING: f64 = 1e-4;

impl LogProbs {
    pub(super) fn of(column: &ArrayRef, name: &str) -> Result<Self> {
        let wrong = || wrong_type(column, name, "a list of float32 or float64 log-probabilities");
        let lists = Lists::of(column).ok_or_else(wrong)?;
        match lists.values.data_type() {
            DataType::Float32 => Self::gather::<Float32Type>(&lists, name, Floats::Single),
            DataType::Float64 => Self::gather::<Float64Type>(&lists, name, Floats::Double),
            _ => Err(wrong()),
        }
    }

    fn gather<T: ArrowPrimitiveType>(
        lists: &Lists,
        name: &str,
        wrap: impl FnOnce(Vec<T::Native>) -> Floats,
    ) -> Result<Self>
    where
        T::Native: Into<f64>,
    {
        let array: &PrimitiveArray<T> = lists.values.as_primitive();
        let nulls = array.nulls().filter(|n| n.null_count() > 0);
        let mut mask = nulls.map(|_| Vec::new());
        let mut lengths = Vec::with_capacity(lists.rows());
        let mut offsets = vec![0];
        let mut values = Vec::with_capacity(array.len());
        for row in 0..lists.rows() {
            if lists.is_null(row) {
                lengths.push(None);
                offsets.push(values.len());
                continue;
            }
            let range = lists.row(row);
            lengths.push(Some(length(range.len(), name, row)?));
            let begin = values.len();
            match nulls {
                None => values.extend_from_slice(&array.values()[range]),
                Some(nulls) => {
                    values.extend(range.clone().filter(|&i| nulls.is_valid(i)).map(|i| array.value(i)));
                    mask.get_or_insert_default().extend(range.map(|i| nulls.is_null(i)));
                }
            }
            // False for NaN, which has its own bin.
            if let Some(bad) = values[begin..].iter().find(|&&v| v.into() > ROUNDING) {
                let bad: f64 = (*bad).into();
                return Err(Error::new(
                    Code::InvalidValue,
                    format!("{bad} is no logarithm of a probability"),
                )
                .at_column(name)
                .at_row(row as u64)
                .hint("losses are negative log-probabilities: negate them"));
            }
            offsets.push(values.len());
        }
        // Nulls may lie under null rows alone.
        let mask = mask.filter(|mask| mask.contains(&true));
        Ok(Self { lengths, offsets, values: wrap(values), mask })
    }

    /// Refuses another model's log-probabilities that are not of the same tokens.
    pub(super) fn must_match(&self, other: &Self, names: [&str; 2]) -> Result<()> {
        let row = (0..self.lengths.len()).find(|&row| self.lengths[row] != other.lengths[row]);
        if let Some(row) = row {
            let shown = |l: Option<u32>| l.map_or("a null".to_owned(), |n| format!("{n} tokens"));
            let what = format!(
                "{} where {:?} has {}: both models must see the same tokens",
                shown(other.lengths[row]),
                names[0],
                shown(self.lengths[row])
            );
            return Err(Error::new(Code::InvalidValue, what).at_column(names[1]).at_row(row as u64));
        }
        if self.mask != other.mask {
            let null = |of: &Self, at: usize| of.mask.as_ref().is_some_and(|mask| mask[at]);
            let mut at = 0..0;
            let row = self.lengths.iter().position(|n| {
                at = at.end..at.end + n.unwrap_or(0) as usize;
                at.clone().any(|at| null(self, at) != null(other, at))
            });
            let row = row.unwrap_or(0);
            let what = format!("a token is null here and not in {:?}, or the other way round", names[0]);
            return Err(Error::new(Code::InvalidValue, what).at_column(names[1]).at_row(row as u64));
        }
        Ok(())
    }
}

/// Token ids of documents.
pub(super) struct TokenIds<'a> {
    lists: Lists,
    name: &'a str,
}

impl<'a> TokenIds<'a> {
    pub(super) fn of(column: &ArrayRef, name: &'a str) -> Result<Self> {
        let wrong = || wrong_type(column, name, "a list of int32 or uint32 token ids");
        let lists = Lists::of(column).ok_or_else(wrong)?;
        if !matches!(lists.values.data_type(), DataType::Int32 | DataType::UInt32) {
            return Err(wrong());
        }
        Ok(Self { lists, name })
    }

    /// The ids of a row; `None` for a null row.
    pub(super) fn row(&self, row: usize) -> Result<Option<Cow<'_, [u32]>>> {
        if self.lists.is_null(row) {
            return Ok(None);
        }
        let range = self.lists.row(row);
        length(range.len(), self.name, row)?;
        let refuse =
            |what: &str| Err(Error::new(Code::InvalidValue, what).at_column(self.name).at_row(row as u64));
        let values = &self.lists.values;
        if values.nulls().is_some_and(|n| range.clone().any(|i| n.is_null(i))) {
            return refuse("a null among token ids");
        }
        Ok(Some(match values.as_primitive_opt::<UInt32Type>() {
            Some(ids) => Cow::Borrowed(&ids.values()[range]),
            None => {
                let ids = &values.as_primitive::<Int32Type>().values()[range];
                if ids.iter().any(|id| id.is_lt(0)) {
                    return refuse("a negative token id");
                }
                Cow::Owned(ids.iter().map(|&id| id as u32).collect())
            }
        }))
    }
}

/// Length of a row, which must fit the column of counts.
fn length(n: usize, name: &str, row: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| {
        Error::new(Code::InvalidValue, format!("{n} tokens in one row")).at_column(name).at_row(row as u64)
    })
}

pub(super) fn wrong_type(column: &ArrayRef, name: &str, expected: &str) -> Error {
    let text = format!("expected {expected}, found {}", column.data_type());
    Error::new(Code::WrongType, text).at_column(name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::types::Int64Type;
    use arrow_array::{FixedSizeListArray, LargeListArray, ListArray};

    use super::*;

    fn rows() -> Vec<Option<Vec<Option<f64>>>> {
        vec![
            Some(vec![None, Some(-1.0), Some(-2.0)]),
            None,
            Some(vec![]),
            Some(vec![Some(-4.0), Some(0.0), Some(-8.0)]),
        ]
    }

    fn check(column: ArrayRef, lengths: &[Option<u32>], offsets: &[usize], values: Floats) {
        let got = LogProbs::of(&column, "p").unwrap();
        assert_eq!((&got.lengths[..], &got.offsets[..], &got.values), (lengths, offsets, &values));
    }

    #[test]
    fn all_layouts_give_the_same_lists() {
        let (lengths, offsets) = ([Some(3), None, Some(0), Some(3)], [0, 2, 2, 2, 5]);
        let double = || Floats::Double(vec![-1.0, -2.0, -4.0, 0.0, -8.0]);
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows()));
        let large: ArrayRef = Arc::new(LargeListArray::from_iter_primitive::<Float64Type, _, _>(rows()));
        let single = rows()
            .into_iter()
            .map(|r| r.map(|r| r.into_iter().map(|v| v.map(|v| v as f32)).collect::<Vec<_>>()));
        let single: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(single));
        check(list.clone(), &lengths, &offsets, double());
        check(large, &lengths, &offsets, double());
        check(single, &lengths, &offsets, Floats::Single(vec![-1.0, -2.0, -4.0, 0.0, -8.0]));
        // A slice that begins within the values.
        check(list.slice(2, 2), &[Some(0), Some(3)], &[0, 0, 3], Floats::Double(vec![-4.0, 0.0, -8.0]));
        check(list.slice(0, 0), &[], &[0], Floats::Double(vec![]));

        // Fixed size: the values under a null row are there, and are no one's.
        let fixed = vec![Some(vec![Some(-1.0), Some(-2.0)]), None, Some(vec![Some(-3.0), None])];
        let fixed: ArrayRef =
            Arc::new(FixedSizeListArray::from_iter_primitive::<Float64Type, _, _>(fixed, 2));
        check(
            fixed.clone(),
            &[Some(2), None, Some(2)],
            &[0, 2, 2, 3],
            Floats::Double(vec![-1.0, -2.0, -3.0]),
        );
        check(fixed.slice(2, 1), &[Some(2)], &[0, 1], Floats::Double(vec![-3.0]));
    }

    #[test]
    fn what_is_no_log_probability_is_refused_with_its_place() {
        let column = |rows: Vec<Option<Vec<Option<f64>>>>| -> ArrayRef {
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows))
        };
        let loss = column(vec![Some(vec![Some(-1.0)]), Some(vec![Some(-1.0), Some(2.5)])]);
        let e = LogProbs::of(&loss, "p").unwrap_err();
        assert_eq!(
            (e.code(), e.location().row, e.location().column.as_deref()),
            (Code::InvalidValue, Some(1), Some("p"))
        );
        // Rounding is no error, NaN has its own bin, and -inf is an impossible token.
        let odd = column(vec![Some(vec![Some(1e-6), Some(f64::NAN), Some(f64::NEG_INFINITY)])]);
        LogProbs::of(&odd, "p").unwrap();
        let ints: ArrayRef =
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)])]));
        assert_eq!(LogProbs::of(&ints, "p").unwrap_err().code(), Code::WrongType);
        assert_eq!(
            LogProbs::of(&(Arc::new(arrow_array::Int32Array::from(vec![1])) as _), "p").unwrap_err().code(),
            Code::WrongType
        );
    }

    #[test]
    fn two_models_must_see_the_same_tokens() {
        let of = |rows: Vec<Option<Vec<Option<f64>>>>| {
            let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows));
            LogProbs::of(&column, "p").unwrap()
        };
        let a = of(rows());
        a.must_match(&of(rows()), ["a", "b"]).unwrap();
        for (row, changed) in [
            (0, Some(vec![None, Some(-1.0)])),
            (1, Some(vec![])),
            (3, None),
            (3, Some(vec![Some(-4.0), None, Some(-8.0)])),
        ] {
            let mut rows = rows();
            rows[row] = changed;
            let e = a.must_match(&of(rows), ["a", "b"]).unwrap_err();
            assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(row as u64)), "{e}");
        }
        // The same number of nulls in other places.
        let mut moved = rows();
        moved[3] = Some(vec![None, Some(-1.0), Some(-2.0)]);
        let b = of(moved.clone());
        moved[3] = Some(vec![Some(-1.0), None, Some(-2.0)]);
        let e = b.must_match(&of(moved), ["a", "b"]).unwrap_err();
        assert_eq!(e.location().row, Some(3));
    }

    #[test]
    fn token_ids_are_what_they_say() {
        let rows =
            vec![Some(vec![Some(1), Some(2)]), None, Some(vec![]), Some(vec![Some(-3)]), Some(vec![None])];
        let column: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows));
        let ids = TokenIds::of(&column, "t").unwrap();
        assert_eq!(ids.row(0).unwrap().as_deref(), Some(&[1u32, 2][..]));
        assert_eq!(ids.row(1).unwrap(), None);
        assert_eq!(ids.row(2).unwrap().as_deref(), Some(&[][..]));
        for row in [3, 4] {
            let e = ids.row(row).unwrap_err();
            assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(row as u64)));
        }
        let column: ArrayRef =
            Arc::new(LargeListArray::from_iter_primitive::<UInt32Type, _, _>([Some(vec![Some(u32::MAX)])]));
        assert_eq!(TokenIds::of(&column, "t").unwrap().row(0).unwrap().as_deref(), Some(&[u32::MAX][..]));
        let floats: ArrayRef =
            Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(1.0)])]));
        assert_eq!(TokenIds::of(&floats, "t").err().unwrap().code(), Code::WrongType);
    }
}
