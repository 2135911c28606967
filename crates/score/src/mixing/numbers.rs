//! Numbers as JSON has them: what is no number there (NaN, infinity, a hole in a table) arrives as null.

use gristmill_core::{Code, Error, Result};
use gristmill_mix::Matrix;
use serde::{Deserialize, Deserializer, Serialize};

/// A number, or NaN for null: the checks of whoever takes it say where it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Number(pub f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        Ok(Self(Option::<f64>::deserialize(d)?.unwrap_or(f64::NAN)))
    }
}

/// A matrix from rows of equal length; `name` is the option in errors.
///
/// # Errors
/// Rows of different lengths.
pub fn matrix(rows: &[Vec<Number>], name: &str) -> Result<Matrix> {
    let width = rows.first().map_or(0, Vec::len);
    if let Some(i) = rows.iter().position(|row| row.len() != width) {
        let message = format!("{} numbers in a row, {width} in the first one", rows[i].len());
        return Err(Error::new(Code::InvalidArgument, message).at_column(name).at_row(i as u64));
    }
    Matrix::new(rows.len(), width, rows.iter().flatten().map(|n| n.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_nan_and_rows_are_even() {
        let rows: Vec<Vec<Number>> = serde_json::from_str("[[1, null], [0.5, 2]]").unwrap();
        let m = matrix(&rows, "losses").unwrap();
        assert!(m.row(0)[1].is_nan() && m.row(1) == [0.5, 2.0]);
        let uneven: Vec<Vec<Number>> = serde_json::from_str("[[1, 2], [3]]").unwrap();
        let e = matrix(&uneven, "losses").unwrap_err();
        assert_eq!((e.location().row, e.location().column.as_deref()), (Some(1), Some("losses")));
        assert!(serde_json::from_str::<Number>("\"1\"").is_err());
    }
}
