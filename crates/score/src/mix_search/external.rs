//! Runs with losses from elsewhere.

use gristmill_core::{Code, Error, Result, ResultExt};
use gristmill_mix::stats::Agreement;
use gristmill_mix::{FitOptions, Matrix, MixtureModel, Regressor, Runs};

use super::options::ExternalRuns;
use super::report::ExternalSummary;
use super::run::{Finished, Search};

impl Search<'_> {
    /// How well the runs made here foretell those from elsewhere.
    pub(super) fn external(
        &self,
        finished: &Finished,
        models: &[MixtureModel],
    ) -> Result<Option<ExternalSummary>> {
        let (n, own) = (finished.runs.len(), finished.own);
        if self.options.external.is_none() {
            return Ok(None);
        }
        let mut agreement = Vec::new();
        let rows: Vec<usize> = (0..own).collect();
        let k = finished.runs.domains().len();
        if own >= k.max(2) {
            let runs = Runs::new(
                finished.runs.domains().to_vec(),
                finished.runs.weights().select(&rows),
                finished.runs.targets().to_vec(),
                finished.runs.losses().select(&rows),
            )?;
            let others: Vec<usize> = (own..n).collect();
            for (t, model) in models.iter().enumerate() {
                let regressor = Regressor::Concave { l2: 1e-3 };
                let options = FitOptions { regressor, bags: 0, folds: 0, seed: 0 };
                let mine = MixtureModel::fit_with(&runs, model.target(), None, &options, self.control)?;
                let predicted = mine.predict(&finished.runs.weights().select(&others))?;
                agreement.push(Agreement::of(&predicted, &finished.runs.losses().select(&others).column(t)));
            }
        }
        Ok(Some(ExternalSummary { runs: (n - own) as u64, agreement }))
    }
}

/// Runs from elsewhere, their columns in our order.
pub(super) fn join(external: &ExternalRuns, domains: &[String], targets: &[String]) -> Result<Runs> {
    let theirs = Runs::read_csv(&external.mixtures, &external.losses)?;
    let column = |name: &String| {
        theirs.domains().iter().position(|d| d == name).ok_or_else(|| {
            Error::new(Code::MissingColumn, format!("no column for the domain {name:?}"))
                .at_path(&external.mixtures)
                .hint(format!("it has: {}", theirs.domains().join(", ")))
        })
    };
    let order = domains.iter().map(column).collect::<Result<Vec<_>>>()?;
    if let Some(extra) = theirs.domains().iter().find(|d| !domains.contains(d)) {
        return Err(Error::new(Code::InvalidValue, "the pool has no such domain")
            .at_path(&external.mixtures)
            .at_column(extra));
    }
    let measured = targets
        .iter()
        .map(|t| theirs.target(t).at_path(external.losses.clone()))
        .collect::<Result<Vec<_>>>()?;
    let pick = |m: &Matrix, columns: &[usize]| -> Result<Matrix> {
        let data = m.iter_rows().flat_map(|row| columns.iter().map(|&j| row[j])).collect();
        Matrix::new(m.rows(), columns.len(), data)
    };
    Runs::new(
        domains.to_vec(),
        pick(theirs.weights(), &order)?,
        targets.to_vec(),
        pick(theirs.losses(), &measured)?,
    )
}
