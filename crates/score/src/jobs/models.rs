//! The models of a score job that are read from files.

use gristmill_core::{Error, Result};
use gristmill_ngram::model::Model;

use super::options::{Method, ScoreOptions};
use super::scorer::Scorer;
use super::summary::ModelUsed;
use crate::memory::{ModelOptions, Ngrams};

/// Reads the models of a score job and builds its scorer.
pub(crate) fn load(options: &ScoreOptions) -> Result<(Scorer, Vec<ModelUsed>)> {
    let named = ModelOptions {
        model: options.model.clone(),
        prior: options.prior.clone(),
        conditional: options.conditional.clone(),
        normalizer: options.normalizer.clone(),
    };
    let method = options.method.unwrap_or_else(|| named.method());
    if method == Method::Dsir {
        return Err(Error::invalid_argument("target", "dsir learns from a target, not from model files"));
    }
    let mut models = Vec::new();
    let mut used = Vec::new();
    for (role, path) in named.files(method)? {
        let model = Model::load(path)?;
        let sha256 = model.sha256().unwrap_or_default().to_owned();
        used.push(ModelUsed { role: role.to_owned(), path: path.to_owned(), sha256, weight: None });
        models.push(model);
    }
    let losses = Ngrams::new(models, named.normalizer.as_deref())?;
    let scorer = Scorer::new(method, Box::new(losses))?.with_cutoffs(options.cutoffs)?;
    Ok((scorer, used))
}
