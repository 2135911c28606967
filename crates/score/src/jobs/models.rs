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
    if matches!(method, Method::Dsir | Method::Classifier) {
        let message = format!("{method} learns from a target, not from model files");
        return Err(Error::invalid_argument("target", message));
    }
    if method.roles().is_empty() {
        return Err(Error::invalid_argument(
            "method",
            format!("{method} is not made by models of a language"),
        ));
    }
    for (option, given) in [
        ("l2", options.l2.is_some()),
        ("rounds", options.rounds.is_some()),
        ("poolSample", options.pool_sample.is_some()),
        ("labels", options.labels.is_some()),
    ] {
        if given {
            return Err(Error::invalid_argument(option, "is of the classifier, which learns from a target"));
        }
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
