//! What one decides with tables: runs to a regression, points to a law, embeddings to a subset.
//!
//! The methods are in `gristmill-mix`, on plain numbers. Here they meet files: CSV tables of runs, Parquet files
//! of embeddings, drawings, models. Each function takes the options object of the TypeScript API.

mod law;
mod numbers;
mod regression;
mod subset;

pub use law::{CriticalOptions, CriticalSummary, LawFitOptions, LawFitSummary, LawPoints, critical, fit_law};
pub use numbers::{Number, matrix};
pub use regression::{
    MixFitOptions, MixFitSummary, MixOptimizeOptions, MixSampleOptions, MixSampleSummary, RunsSource, fit,
    optimize, sample,
};
pub use subset::{SubsetFileOptions, SubsetFileSummary, subset, subset_on};

use std::path::Path;

use gristmill_core::{Error, Result};

/// Writes a file by way of a second one, so that a reader never sees half of it.
pub(crate) fn write_whole(path: &str, content: &[u8]) -> Result<()> {
    let mut temporary = Path::new(path).as_os_str().to_owned();
    temporary.push(".part");
    std::fs::write(&temporary, content)
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|e| Error::io(path, "write", e))
}
