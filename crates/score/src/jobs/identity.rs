//! What makes two jobs the same, so that one is never continued as another.

use std::collections::BTreeMap;

use gristmill_core::{Code, Error, Result};
use gristmill_data::{Corpus, Job, JobSpec, read_metadata};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::options::SourceOptions;
use super::summary::{Fitted, ModelUsed};
use super::{fitting, scoring};
use crate::ScoreSpec;
use crate::sidecar::META_MODELS;

/// Changes when the same configuration gives other results.
const VERSION: u32 = 1;

/// The configuration of a job that scores: everything that changes a byte of its output.
pub(crate) fn config<const N: usize>(
    spec: &ScoreSpec,
    models: &[ModelUsed],
    pool: &SourceOptions,
    more: [(&str, Value); N],
) -> Value {
    let mut config = json!({
        "version": VERSION,
        "score": spec,
        "models": describe(models),
        "pool": reading(pool),
    });
    if let Some(fields) = config.as_object_mut() {
        fields.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    config
}

/// What is recorded of models, by role: not where they were.
pub(crate) fn describe(models: &[ModelUsed]) -> Value {
    let one = |m: &ModelUsed| json!(Described { sha256: m.sha256.clone(), weight: m.weight });
    models.iter().map(|m| (m.role.clone(), one(m))).collect::<Map<_, _>>().into()
}

/// How a source is read: all but where it is, which the fingerprints of its files say.
pub(crate) fn reading(source: &SourceOptions) -> Value {
    json!({
        "format": source.format,
        "text": source.text,
        "id": source.id,
        "where": source.filter,
        "lines": source.lines,
    })
}

/// The scores that an earlier job left.
pub(crate) struct There {
    pub(crate) job: Job,
    pub(crate) folder: &'static str,
    pub(crate) spec: ScoreSpec,
    pub(crate) models: Vec<ModelUsed>,
    pub(crate) fitted: Option<Fitted>,
    /// What makes these scores others than those of another job.
    pub(crate) identity: Value,
}

/// Opens the output of a score job, or of a selection, and makes sure that it scored this very pool.
pub(crate) fn scores_of(scores: &str, pool: &Corpus, reads: &SourceOptions) -> Result<There> {
    let (job, there) = Job::inspect(scores)?;
    let folder = match there.kind.as_str() {
        "score" => "",
        "select" => super::select::SCORES,
        other => {
            return Err(
                Error::new(Code::InvalidArgument, format!("a {other} job has no scores")).at_path(scores)
            );
        }
    };
    let expected = JobSpec::new("", Value::Null).input("pool", pool);
    if there.inputs.get("pool") != expected.inputs.get("pool") || there.config["pool"] != reading(reads) {
        return Err(Error::new(
            Code::JobMismatch,
            "these scores are not of this pool, or it has changed since",
        )
        .at_path(scores)
        .hint("name the same files with the same columns and the same filter, or score again"));
    }
    let damaged = |e: serde_json::Error| {
        Error::new(Code::CorruptData, format!("the job's description is damaged: {e}")).at_path(scores)
    };
    let spec: ScoreSpec = serde_json::from_value(there.config["score"].clone()).map_err(damaged)?;
    spec.validate()?;
    let identity = json!({ "config": there.config, "target": there.inputs.get("target") });
    let mut models = Vec::new();
    if job.commit_of(scoring::STEP, 0)?.is_some() {
        let path = job.path_of(&scoring::sidecar_name(folder, &pool.shards()[0]));
        let metadata = read_metadata(&path)?;
        let described = metadata.get(META_MODELS).map_or("{}", String::as_str);
        let described: BTreeMap<String, Described> = serde_json::from_str(described).map_err(damaged)?;
        models.extend(described.into_iter().map(|(role, Described { sha256, weight })| ModelUsed {
            role,
            path: String::new(),
            sha256,
            weight,
        }));
    }
    let fitted = fitting::committed(&job)?;
    Ok(There { job, folder, spec, models, fitted, identity })
}

/// A model as score files name it.
#[derive(Serialize, Deserialize)]
struct Described {
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
}

/// The state of a commit record.
pub(crate) fn write_state(state: &impl Serialize) -> Result<Value> {
    serde_json::to_value(state)
        .map_err(|e| Error::new(Code::Internal, format!("a commit record does not serialise: {e}")))
}

/// What [`write_state`] wrote.
pub(crate) fn read_state<T: DeserializeOwned>(job: &Job, state: Value) -> Result<T> {
    serde_json::from_value(state).map_err(|e| {
        Error::new(Code::CorruptData, format!("a commit record is damaged: {e}"))
            .at_path(job.output())
            .hint("start over with --fresh")
    })
}
