//! Points of laws from CSV files.

use std::path::Path;

use gristmill_core::{Code, Error, Result, ResultExt};

use super::cmr::CmrCurve;
use super::form::LawForm;
use crate::Matrix;
use crate::runs::Table;

/// Reads the points of a law and their losses from a CSV file with a header. Columns are named as the form's
/// variables ([`LawForm::variables`]), whatever the case, and `loss`; all other columns are left alone.
///
/// # Errors
/// A column that is not there, or a value that is missing or no number.
pub fn read_law_points(form: LawForm, path: impl AsRef<Path>, loss: &str) -> Result<(Matrix, Vec<f64>)> {
    let wanted: Vec<&str> = form.variables().iter().copied().chain([loss]).collect();
    let table = Table::read_columns(path.as_ref(), &wanted)?;
    let (n, k) = (table.rows(), wanted.len() - 1);
    let points = table.iter_rows().flat_map(|row| &row[..k]).copied().collect();
    Ok((Matrix::new(n, k, points)?, table.column(k)))
}

/// Reads curves of continual training from a CSV file with the columns `ratio`, `tokens`, `general` and `domain`
/// (losses minus what they were before training); rows of one ratio are one curve.
///
/// # Errors
/// A column that is not there, or a value that is missing or no number.
pub fn read_cmr_curves(path: impl AsRef<Path>) -> Result<Vec<CmrCurve>> {
    let path = path.as_ref();
    let table = Table::read_columns(path, &["ratio", "tokens", "general", "domain"])?;
    let mut curves: Vec<CmrCurve> = Vec::new();
    for row in table.iter_rows() {
        let at = match curves.iter().position(|c| c.ratio == row[0]) {
            Some(at) => at,
            None => {
                curves.push(CmrCurve { ratio: row[0], tokens: vec![], general: vec![], domain: vec![] });
                curves.len() - 1
            }
        };
        curves[at].tokens.push(row[1]);
        curves[at].general.push(row[2]);
        curves[at].domain.push(row[3]);
    }
    match curves.is_empty() {
        true => Err(Error::new(Code::EmptyInput, "no rows")).at_path(path.display().to_string()),
        false => Ok(curves),
    }
}
