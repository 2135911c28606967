use gristmill_core::Result;

use super::{Panel, Series, short, svg};
use crate::{LawFit, LawForm, Matrix};

/// Curves that fit into one panel.
const MOST_CURVES: usize = 6;
/// Points of a curve.
const STEPS: usize = 80;

/// A fitted law along the variable that was measured at most values, a curve for each setting of the others, and
/// its residuals. Of more settings than colours an even selection is drawn.
///
/// # Errors
/// Points that are not those of the fit.
pub fn law(fit: &LawFit, points: &Matrix, losses: &[f64]) -> Result<String> {
    let names = fit.law.form().variables();
    let distinct = |j: usize| {
        let mut values = points.column(j);
        values.sort_by(f64::total_cmp);
        values.dedup();
        values
    };
    let across = (0..names.len()).rev().max_by_key(|&j| distinct(j).len()).unwrap_or(0);
    let range = distinct(across);
    let (low, high) = (range[0], range[range.len() - 1]);
    let logarithmic = low > 0.0 && high / low > 8.0;

    let mut settings: Vec<Vec<f64>> = points.iter_rows().map(|row| without(row, across)).collect();
    settings.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    settings.dedup();
    let shown = settings.len().min(MOST_CURVES);
    let pick = |i: usize| if shown < 2 { 0 } else { i * (settings.len() - 1) / (shown - 1) };
    let mut series = Vec::new();
    for setting in (0..shown).map(|i| &settings[pick(i)]) {
        let others = names.iter().enumerate().filter(|(j, _)| *j != across).zip(setting);
        let label: Vec<String> =
            others.map(|((_, name), value)| format!("{name} {}", plain(*value))).collect();
        let mut curve = Vec::with_capacity(STEPS + 1);
        for step in 0..=STEPS {
            let t = step as f64 / STEPS as f64;
            let x = if logarithmic { low * (high / low).powf(t) } else { low + (high - low) * t };
            let mut row = setting.clone();
            row.insert(across, x);
            curve.push((x, fit.law.predict(&row)?.loss));
        }
        let rows = points.iter_rows().zip(losses).filter(|(row, _)| without(row, across) == *setting);
        let points = rows.map(|(row, loss)| (row[across], *loss)).collect();
        series.push(Series { label: label.join(", "), curve, points });
    }
    let predicted: Vec<f64> = losses.iter().zip(&fit.residuals).map(|(loss, r)| loss + r).collect();
    let note = match &fit.held_out {
        Some(held_out) => format!("RMSE {}, held out {}", short(fit.fitted.rmse), short(held_out.rmse)),
        None => format!("RMSE {}", short(fit.fitted.rmse)),
    };
    let of = if settings.len() > shown {
        format!(" ({shown} of {} settings)", settings.len())
    } else {
        String::new()
    };
    let curves =
        Panel::Curves { title: format!("fitted law{of}"), across: names[across].into(), logarithmic, series };
    let residuals =
        Panel::Residuals { title: "residuals".into(), note, predicted, residuals: fit.residuals.clone() };
    let form = match fit.law.form() {
        LawForm::Power => "Power",
        LawForm::Chinchilla => "Chinchilla",
        LawForm::Ratio => "Ratio",
        LawForm::Dcpt => "D-CPT",
        LawForm::CrossDomain => "Cross-domain",
    };
    svg(&format!("{form} law, {} points", losses.len()), &[vec![curves, residuals]])
}

fn without(row: &[f64], column: usize) -> Vec<f64> {
    row.iter().enumerate().filter(|(j, _)| *j != column).map(|(_, x)| *x).collect()
}

/// A setting as one would write it.
fn plain(x: f64) -> String {
    let rounded = (x * 1e4).round() / 1e4;
    if x.abs() < 1e6 && (x - rounded).abs() <= 1e-4 * x.abs() { rounded.to_string() } else { short(x) }
}
