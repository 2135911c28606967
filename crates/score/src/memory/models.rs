//! Which models give the losses, and what it takes to read them.

use std::sync::Arc;

use gristmill_core::{Control, Device, Error, Result};
use gristmill_lm::LanguageModel;
use gristmill_ngram::model::Model;
use serde::{Deserialize, Serialize};

use super::{LossModel, Neural, NeuralOptions, Ngrams, transformer};
use crate::methods::Method;

/// Which models score text or token ids: paths of n-gram models, or of transformers (folders and `.gguf` files).
/// `ngram:` or `lm:` before a path says which it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ModelOptions {
    /// The model of a method that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The general model of a method that compares two: prior or reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior: Option<String>,
    /// The other model of a method that compares two: conditional, target or large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditional: Option<String>,
    /// How text becomes words, where the files do not say or need a tokenizer file for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalizer: Option<String>,
    /// How transformers read and score.
    pub transformer: NeuralOptions,
}

/// Transformers that are in memory already, by the option in whose place they are.
#[derive(Debug, Clone, Default)]
pub struct LoadedModels {
    /// The model of a method that has one.
    pub model: Option<Arc<LanguageModel>>,
    /// The general model of a method that compares two.
    pub prior: Option<Arc<LanguageModel>>,
    /// The other model of a method that compares two.
    pub conditional: Option<Arc<LanguageModel>>,
}

/// The option that names the model of a role.
fn option_of(role: &str) -> &'static str {
    match role {
        "prior" | "reference" => "prior",
        "conditional" | "large" | "target" => "conditional",
        _ => "model",
    }
}

/// What is given for the roles of a method, in the order of its sums; an error when something is missing, or is given
/// that the method does not use.
fn by_role<T>(method: Method, given: [(&'static str, Option<T>); 3]) -> Result<Vec<(&'static str, T)>> {
    let roles = method.roles();
    for (option, value) in &given {
        let needed = roles.iter().any(|role| option_of(role) == *option);
        if needed != value.is_some() {
            let text = if needed { "needs this model" } else { "does not use this model" };
            return Err(Error::invalid_argument(option, format!("{method} {text}")));
        }
    }
    let mut given = given;
    let mut take = |role: &&'static str| {
        let option = given.iter_mut().find(|(name, _)| *name == option_of(role))?;
        Some((*role, option.1.take()?))
    };
    Ok(roles.iter().filter_map(&mut take).collect())
}

impl ModelOptions {
    /// The method that is meant when none is named: perplexity of one model, loss reduction of two.
    pub fn method(&self) -> Method {
        if self.model.is_some() { Method::Perplexity } else { Method::LossReduction }
    }

    /// The models that are named.
    pub(crate) fn named(&self) -> impl Iterator<Item = &str> {
        [&self.model, &self.prior, &self.conditional].into_iter().flatten().map(String::as_str)
    }

    /// Whether any model is a transformer.
    pub fn neural(&self) -> bool {
        self.named().any(|path| transformer(path).is_some())
    }

    /// The roles of a method's models with their paths, in the order of its sums; an error when one is missing
    /// or one is named that the method does not use.
    pub fn files(&self, method: Method) -> Result<Vec<(&'static str, &str)>> {
        let options = [
            ("model", self.model.as_deref()),
            ("prior", self.prior.as_deref()),
            ("conditional", self.conditional.as_deref()),
        ];
        let files = by_role(method, options)?;
        Ok(files
            .into_iter()
            .map(|(role, path)| (role, path.strip_prefix("ngram:").unwrap_or(path)))
            .collect())
    }

    /// Reads the models of a method, in the order of its roles; `None` when no model is named. Without a
    /// method it is that of [`MemoryScorer`](super::MemoryScorer): perplexity of one model, loss reduction of
    /// two. Transformers go to the device that `open` opens by its name, or are those of `loaded`.
    ///
    /// # Errors
    /// [`gristmill_core::Code::InvalidArgument`] for models that the method does not use or lacks, that do not go
    /// together, or with options that are not theirs; those of reading them and of the device.
    pub fn load(
        &self,
        method: Option<Method>,
        loaded: &LoadedModels,
        open: impl FnOnce(&str) -> Result<Device>,
        control: &Control,
    ) -> Result<Option<Arc<dyn LossModel>>> {
        if !loaded.is_empty() {
            return Ok(Some(Arc::new(self.of_loaded(method, loaded, &control.silent())?)));
        }
        if self.named().next().is_none() {
            return Ok(None);
        }
        let files = self.files(method.unwrap_or_else(|| self.method()))?;
        Ok(Some(self.read(&files, open, &control.silent())?.0.into()))
    }

    /// Reads these files; also the SHA-256 of each.
    pub(crate) fn read(
        &self,
        files: &[(&'static str, &str)],
        open: impl FnOnce(&str) -> Result<Device>,
        control: &Control,
    ) -> Result<(Box<dyn LossModel>, Vec<String>)> {
        if self.neural() {
            let neural = self.transformers(files, open, control)?;
            let fingerprints = neural.fingerprints().map(str::to_owned).collect();
            return Ok((Box::new(neural), fingerprints));
        }
        if let Some(option) = self.transformer.given() {
            return Err(Error::invalid_argument(option, "is of transformers, and no model is one"));
        }
        let models = files.iter().map(|(_, path)| Model::load(path)).collect::<Result<Vec<_>>>()?;
        let fingerprints = models.iter().map(|m| m.sha256().unwrap_or_default().to_owned()).collect();
        Ok((Box::new(Ngrams::new(models, self.normalizer.as_deref())?), fingerprints))
    }

    fn transformers(
        &self,
        files: &[(&'static str, &str)],
        open: impl FnOnce(&str) -> Result<Device>,
        control: &Control,
    ) -> Result<Neural> {
        self.refuse_normalizer()?;
        let paths = files.iter().map(|(role, path)| {
            transformer(path).ok_or_else(|| {
                let what = format!("{path} is no transformer, and the other model is one");
                Error::invalid_argument(option_of(role), what)
                    .hint("losses can be compared only over the same tokens: name two transformers")
            })
        });
        let paths = paths.collect::<Result<Vec<_>>>()?;
        let device = open(self.transformer.device.as_deref().unwrap_or("auto"))?;
        Neural::load(&paths, &device, self.transformer.clone(), control)
    }

    fn of_loaded(&self, method: Option<Method>, loaded: &LoadedModels, control: &Control) -> Result<Neural> {
        self.refuse_normalizer()?;
        let paths = [("model", &self.model), ("prior", &self.prior), ("conditional", &self.conditional)];
        if let Some((option, _)) = paths.into_iter().find(|(_, path)| path.is_some()) {
            let what = "is a path, and the other model is loaded: load both, or name both";
            return Err(Error::invalid_argument(option, what));
        }
        let NeuralOptions { device, dtype, batch_tokens, .. } = &self.transformer;
        let settled = [
            ("device", device.is_some()),
            ("dtype", dtype.is_some()),
            ("batchTokens", batch_tokens.is_some()),
        ];
        if let Some((option, _)) = settled.into_iter().find(|(_, given)| *given) {
            let what = "was settled when the model was loaded: leave it out";
            return Err(Error::invalid_argument(option, what));
        }
        let by_models = if loaded.model.is_some() { Method::Perplexity } else { Method::LossReduction };
        let models = by_role(
            method.unwrap_or(by_models),
            [
                ("model", loaded.model.clone()),
                ("prior", loaded.prior.clone()),
                ("conditional", loaded.conditional.clone()),
            ],
        )?;
        let models = models.into_iter().map(|(_, model)| model).collect();
        Neural::new(models, self.transformer.clone(), control.clone())
    }

    fn refuse_normalizer(&self) -> Result<()> {
        match self.normalizer {
            None => Ok(()),
            Some(_) => {
                let what = "a transformer comes with its tokenizer: leave this out";
                Err(Error::invalid_argument("normalizer", what))
            }
        }
    }
}

impl LoadedModels {
    fn is_empty(&self) -> bool {
        self.model.is_none() && self.prior.is_none() && self.conditional.is_none()
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::Code;

    use super::*;
    use crate::memory::{MemoryOptions, MemoryScorer};

    const ARPA: &str =
        "\\data\\\nngram 1=5\n\n\\1-grams:\n-2\t<unk>\n-99\t<s>\n-1\t</s>\n-1\ta\n-1\tb\n\n\\end\\\n";

    fn read(options: &ModelOptions, method: Option<Method>) -> Result<Option<Arc<dyn LossModel>>> {
        let open = |selector: &str| panic!("n-gram models need no device, not even {selector}");
        options.load(method, &LoadedModels::default(), open, &Control::default())
    }

    #[test]
    fn models_come_from_the_options_of_their_roles() {
        let folder = std::env::temp_dir().join(format!("gristmill-memory-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.arpa");
        std::fs::write(&path, ARPA).unwrap();
        let path = path.to_str().unwrap().to_owned();
        let options = |json: &str| -> ModelOptions {
            serde_json::from_str(&json.replace("PATH", &path.replace('\\', "\\\\"))).unwrap()
        };
        assert!(read(&options("{}"), None).unwrap().is_none());
        let one = options(r#"{"model": "ngram:PATH", "normalizer": "whitespace/1"}"#);
        let loaded = read(&one, None).unwrap().unwrap();
        let scorer =
            MemoryScorer::new(MemoryOptions { text: Some("t".into()), ..Default::default() }, Some(loaded));
        assert_eq!(scorer.unwrap().spec().normalizer.as_ref().unwrap().name, "whitespace/1");
        let two = options(r#"{"prior": "PATH", "conditional": "PATH"}"#);
        assert_eq!(read(&two, None).unwrap().unwrap().models(), 2);
        assert_eq!(read(&two, Some(Method::MooreLewis)).unwrap().unwrap().models(), 2);
        for (wrong, method) in [
            (r#"{"model": "PATH"}"#, Method::LossReduction),
            (r#"{"prior": "PATH", "conditional": "PATH"}"#, Method::Perplexity),
            (r#"{"prior": "PATH"}"#, Method::Difference),
        ] {
            assert_eq!(
                read(&options(wrong), Some(method)).err().unwrap().code(),
                Code::InvalidArgument,
                "{wrong}"
            );
        }
        let with_device = r#"{"model": "PATH", "transformer": {"device": "cpu"}}"#;
        let refused = read(&options(with_device), None).err().unwrap();
        assert_eq!(refused.location().column.as_deref(), Some("device"));
        let gone = read(&options(r#"{"model": "PATH.not-there"}"#), None).err().unwrap();
        assert_eq!(gone.code(), Code::NotFound);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
