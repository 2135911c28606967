//! What a job is, so that it is never continued as another.

use std::collections::BTreeMap;

use gristmill_core::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::Corpus;

/// What makes a job the same job when it is started again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Which kind of job, such as `score`.
    pub kind: String,
    /// Everything that changes its result; not how it is run (threads, memory, worker).
    pub config: Value,
    /// The inputs by role, such as `pool`: the shards in their order.
    pub inputs: BTreeMap<String, Vec<InputPrint>>,
}

/// One input of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputPrint {
    /// The shard's name.
    pub name: String,
    /// Its fingerprint.
    pub fingerprint: String,
}

impl JobSpec {
    /// A job of this kind and configuration, without inputs.
    pub fn new(kind: impl Into<String>, config: Value) -> Self {
        Self { kind: kind.into(), config, inputs: BTreeMap::new() }
    }

    /// Adds the shards of a corpus under a role.
    pub fn input(mut self, role: impl Into<String>, corpus: &Corpus) -> Self {
        let print =
            |s: &crate::Shard| InputPrint { name: s.name.clone(), fingerprint: s.fingerprint.clone() };
        self.inputs.insert(role.into(), corpus.shards().iter().map(print).collect());
        self
    }

    /// Adds one file under a role, such as a model with its hash.
    pub fn file(
        mut self,
        role: impl Into<String>,
        name: impl Into<String>,
        fingerprint: impl Into<String>,
    ) -> Self {
        let print = InputPrint { name: name.into(), fingerprint: fingerprint.into() };
        self.inputs.entry(role.into()).or_default().push(print);
        self
    }

    /// Fails with what differs unless `self` continues the job that `there` describes.
    pub(crate) fn continues(&self, there: &JobSpec) -> Result<()> {
        let mut changes = Vec::new();
        if self.kind != there.kind {
            changes.push(format!("it is a {} job, not a {} job", there.kind, self.kind));
        }
        differences("", &there.config, &self.config, &mut changes);
        for role in there.inputs.keys().chain(self.inputs.keys().filter(|k| !there.inputs.contains_key(*k))) {
            let none = Vec::new();
            let (old, new) =
                (there.inputs.get(role).unwrap_or(&none), self.inputs.get(role).unwrap_or(&none));
            changes.extend(input_change(role, old, new));
        }
        if changes.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            Code::JobMismatch,
            format!("the output belongs to another job: {}", changes.join("; ")),
        )
        .hint("choose another output, or start over with --fresh"))
    }
}

fn input_change(role: &str, old: &[InputPrint], new: &[InputPrint]) -> Option<String> {
    if old == new {
        return None;
    }
    let by_name = |v: &[InputPrint]| {
        v.iter().map(|i| (i.name.clone(), i.fingerprint.clone())).collect::<BTreeMap<_, _>>()
    };
    let (was, is) = (by_name(old), by_name(new));
    let gone = was.keys().find(|k| !is.contains_key(*k));
    let added = is.keys().find(|k| !was.contains_key(*k));
    let changed = is.iter().find(|(k, v)| was.get(*k).is_some_and(|w| w != *v)).map(|(k, _)| k);
    Some(match (changed, gone, added) {
        (Some(name), _, _) => format!("{role}: {name} changed"),
        (_, Some(name), _) => format!("{role}: {name} is not among the inputs any more"),
        (_, _, Some(name)) => format!("{role}: {name} is a new input"),
        _ => format!("{role}: the inputs are in another order"),
    })
}

fn differences(at: &str, was: &Value, is: &Value, out: &mut Vec<String>) {
    const SHOWN: usize = 4;
    if was == is || out.len() >= SHOWN {
        return;
    }
    match (was, is) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                let of = |m: &serde_json::Map<String, Value>| m.get(key).cloned().unwrap_or(Value::Null);
                differences(&path, &of(a), &of(b), out);
            }
        }
        _ => out.push(format!("{} was {was} and is {is}", if at.is_empty() { "config" } else { at })),
    }
}

/// The part of the shards that this process takes: those whose index leaves the remainder `index` when
/// divided by `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerShare {
    /// Which worker this is, from 0.
    pub index: usize,
    /// How many there are.
    pub count: usize,
}

impl Default for WorkerShare {
    fn default() -> Self {
        Self { index: 0, count: 1 }
    }
}

impl WorkerShare {
    /// Reads `i/n` with `i` from 0 to `n - 1`, as array jobs number their tasks.
    pub fn parse(text: &str) -> Result<Self> {
        let parts =
            text.split_once('/').and_then(|(i, n)| Some((i.trim().parse().ok()?, n.trim().parse().ok()?)));
        match parts {
            Some((index, count)) if index < count => Ok(Self { index, count }),
            _ => Err(Error::invalid_argument("worker", format!("{text:?} is no share of a job"))
                .hint("write i/n with i from 0 to n-1, such as 0/4")),
        }
    }

    /// Whether this worker takes the shard.
    pub fn takes(&self, shard: usize) -> bool {
        shard % self.count == self.index
    }
}

impl std::fmt::Display for WorkerShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn shares_cover_every_shard_once() {
        let shares: Vec<_> = (0..3).map(|i| WorkerShare::parse(&format!("{i}/3")).unwrap()).collect();
        for shard in 0..10 {
            assert_eq!(shares.iter().filter(|s| s.takes(shard)).count(), 1);
        }
        for bad in ["", "3/3", "1", "a/b", "-1/2", "0/0"] {
            assert_eq!(WorkerShare::parse(bad).unwrap_err().code(), Code::InvalidArgument, "{bad}");
        }
    }

    #[test]
    fn a_mismatch_names_the_difference() {
        let a = JobSpec::new("score", json!({"order": 5, "model": {"path": "x"}})).file("pool", "a", "1");
        let b = JobSpec::new("score", json!({"order": 6, "model": {"path": "x"}})).file("pool", "a", "2");
        let e = b.continues(&a).unwrap_err();
        assert_eq!(e.code(), Code::JobMismatch);
        let text = e.to_string();
        assert!(
            text.contains("order was 5 and is 6")
                && text.contains("pool: a changed")
                && text.contains("--fresh"),
            "{text}"
        );
        assert!(a.continues(&a.clone()).is_ok());
    }
}
