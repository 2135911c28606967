//! Jobs that can be killed at any moment and continued, by one process or by many.
//!
//! A job owns `_gristmill/` inside its output, and nothing else there that no commit record names:
//!
//! ```text
//! out/
//!   a.parquet …                      results, each complete as soon as it is there
//!   _gristmill/job.json              what the job is: kind, configuration, fingerprints of the inputs
//!   _gristmill/commits/<step>/<shard>.json   one immutable record per finished piece of work
//!   _gristmill/tmp/…                 what is being written (local outputs only)
//! ```
//!
//! A piece is committed in this order, each stage durable before the next: the data under a temporary
//! name; a record, still temporary, that names the data; the data renamed; the record renamed. Whoever
//! finds a temporary record of a dead process knows which results to take back. A record counts only
//! while the outputs that it names are there with their sizes; otherwise the piece is done again.
//!
//! In an object store an upload becomes visible only when it is complete, so there are no temporaries:
//! the data is uploaded and the record created with `PutMode::Create`. When two workers do the same piece,
//! the second finds an equal record, which is success.
//!
//! Records carry nothing that differs between two runs of the same work (no time, host or worker).

mod file;
mod local;
mod remote;
mod spec;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use gristmill_core::{Code, Error, Result};

use crate::place::Place;
pub use file::{Finished, JobFile};
pub use spec::{InputPrint, JobSpec, WorkerShare};

/// Where a job keeps its own files. Reading a directory passes it over.
pub(crate) const PRIVATE_DIR: &str = "_gristmill";
const JOB_FILE: &str = "_gristmill/job.json";
const COMMITS_DIR: &str = "_gristmill/commits";
const VERSION: u32 = 1;

/// How a job is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobOptions {
    /// Throw away what is there and start over.
    pub fresh: bool,
    /// Which worker this process is.
    pub worker: WorkerShare,
}

/// A file that a commit record vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Its name relative to the output, with `/` between its parts.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of its content in hexadecimal.
    pub sha256: String,
}

/// The record of one finished piece of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// The step of the job, such as `score`.
    pub step: String,
    /// The shard, or 0 for a step that is one piece.
    pub shard: usize,
    /// The files that it made.
    pub outputs: Vec<Output>,
    /// What the step wants to know later, such as counts or a histogram.
    pub state: Value,
}

#[derive(Serialize, Deserialize)]
struct JobRecord {
    version: u32,
    #[serde(flatten)]
    spec: JobSpec,
}

/// An open job. It may be used by many threads at once.
pub struct Job {
    store: Store,
    shown: String,
    worker: WorkerShare,
}

enum Store {
    Local(local::Local),
    Remote(remote::RemoteStore),
}

impl Job {
    /// Opens the job at `out` (a directory or an object-store URL), creating it where there is none.
    ///
    /// Fails with [`Code::JobMismatch`] where there is another job, or the same one over inputs that have
    /// changed since. Takes back what a dead process of this worker left unfinished.
    pub fn open(out: &str, spec: JobSpec, options: JobOptions) -> Result<Self> {
        if options.fresh && options.worker.count > 1 {
            return Err(Error::invalid_argument("fresh", "several workers cannot each start the job over")
                .hint("run --fresh once without --worker, or remove the output, then start the workers"));
        }
        let place = Place::parse(out)?;
        let shown = place.display();
        let store = match &place {
            Place::Local(dir) => Store::Local(local::Local::open(dir, options.worker)?),
            Place::Remote(url) => Store::Remote(remote::RemoteStore::open(url)?),
        };
        let job = Self { store, shown, worker: options.worker };
        if options.fresh {
            job.start_over()?;
        }
        job.enter(spec)?;
        if let Store::Local(local) = &job.store {
            local.take_back_stale()?;
        }
        Ok(job)
    }

    /// Opens a job that is there, to look at what it committed, and says what it is. Changes nothing.
    pub fn inspect(out: &str) -> Result<(Self, JobSpec)> {
        let place = Place::parse(out)?;
        let shown = place.display();
        let worker = WorkerShare::default();
        let store = match &place {
            Place::Local(dir) => Store::Local(local::Local::existing(dir, worker)),
            Place::Remote(url) => Store::Remote(remote::RemoteStore::open(url)?),
        };
        let job = Self { store, shown, worker };
        let text = job.read(JOB_FILE)?.ok_or_else(|| {
            Error::new(Code::NotFound, "there is no output of a Gristmill job").at_path(&job.shown)
        })?;
        let record: JobRecord = serde_json::from_slice(&text).map_err(|e| {
            Error::new(Code::CorruptData, format!("the job's description is damaged: {e}"))
                .at_path(job.path_of(JOB_FILE))
        })?;
        if record.version != VERSION {
            return Err(Error::new(Code::Unsupported, "the output was made by another version of Gristmill")
                .at_path(&job.shown));
        }
        Ok((job, record.spec))
    }

    /// The output as the user wrote it.
    pub fn output(&self) -> &str {
        &self.shown
    }

    /// The path or URL of a file of this job's output.
    pub fn path_of(&self, name: &str) -> String {
        match &self.store {
            Store::Local(local) => local.path(name).display().to_string(),
            Store::Remote(remote) => {
                remote.url(name).map_or_else(|_| name.into(), |u| Place::Remote(u).display())
            }
        }
    }

    /// Which worker this process is.
    pub fn worker(&self) -> WorkerShare {
        self.worker
    }

    fn enter(&self, spec: JobSpec) -> Result<()> {
        let record = JobRecord { version: VERSION, spec };
        let text = to_json(&record)?;
        // Created if absent, in one step: of two workers that start together one wins, the other compares.
        if self.create(JOB_FILE, &text)? {
            return Ok(());
        }
        let there = self.read(JOB_FILE)?.unwrap_or_default();
        let there: JobRecord = serde_json::from_slice(&there).map_err(|e| {
            Error::new(Code::CorruptData, format!("the job's description is damaged: {e}"))
                .at_path(self.path_of(JOB_FILE))
                .hint("start over with --fresh")
        })?;
        if there.version != VERSION {
            return Err(Error::new(Code::JobMismatch, "the output was made by another version of Gristmill")
                .at_path(&self.shown)
                .hint("choose another output, or start over with --fresh"));
        }
        record.spec.continues(&there.spec).map_err(|e| e.at_path(&self.shown))
    }

    /// The record of a finished piece whose outputs are all there; `None` when it is still to be done.
    pub fn commit_of(&self, step: &str, shard: usize) -> Result<Option<Commit>> {
        let Some(commit) = self.record_of(step, shard)? else { return Ok(None) };
        Ok(self.outputs_stand(&commit)?.then_some(commit))
    }

    /// For each of `shards` pieces whether some worker has committed it.
    pub fn committed(&self, step: &str, shards: usize) -> Result<Vec<bool>> {
        (0..shards).map(|shard| Ok(self.commit_of(step, shard)?.is_some())).collect()
    }

    /// The records of all `shards` pieces of a step, or `None` while one is missing.
    pub fn complete(&self, step: &str, shards: usize) -> Result<Option<Vec<Commit>>> {
        (0..shards).map(|shard| self.commit_of(step, shard)).collect::<Result<Option<Vec<_>>>>()
    }

    /// The content of an output that was committed, such as a model.
    pub fn read_output(&self, name: &str) -> Result<Vec<u8>> {
        check_name(name)?;
        let missing =
            || Error::new(Code::NotFound, "an output of the job is missing").at_path(self.path_of(name));
        self.read(name)?.ok_or_else(missing)
    }

    /// Starts a file that [`Job::commit`] will publish as `name`. Dropped before that, it leaves nothing.
    pub fn temp_writer(&self, name: &str) -> Result<JobFile> {
        check_name(name)?;
        match &self.store {
            Store::Local(local) => local.create(name),
            Store::Remote(remote) => remote.create(name),
        }
    }

    /// Publishes finished files and the record that vouches for them, durably.
    ///
    /// When the piece is committed already with equal content, that is success and nothing is written;
    /// with other content it is [`Code::JobMismatch`]: the work is not deterministic, or an input changed.
    pub fn commit(&self, step: &str, shard: usize, files: Vec<Finished>, state: Value) -> Result<Commit> {
        let outputs = files.iter().map(|f| f.output().clone()).collect();
        let commit = Commit { step: step.into(), shard, outputs, state };
        let there = self.record_of(step, shard)?;
        if let Some(there) = there.as_ref()
            && self.outputs_stand(there)?
        {
            return self.settle(there, commit);
        }
        let name = record_name(step, shard);
        let text = to_json(&commit)?;
        match &self.store {
            Store::Local(local) => {
                let owned = there.map(|c| c.outputs).unwrap_or_default();
                if let Err(e) = local.publish(files, &name, &text, &owned) {
                    // A worker that was done meanwhile removes what is temporary, of this one too: then the piece is
                    // committed.
                    return match self.record_of(step, shard)? {
                        Some(there) if e.code() == Code::NotFound && self.outputs_stand(&there)? => {
                            self.settle(&there, commit)
                        }
                        _ => Err(e),
                    };
                }
            }
            Store::Remote(remote) => {
                for file in files {
                    remote.complete(file)?;
                }
                if there.is_some() {
                    remote.replace(&name, &text)?;
                } else if !remote.create_object(&name, &text)? {
                    let there = self.record_of(step, shard)?;
                    return self.settle(there.as_ref().unwrap_or(&commit), commit.clone());
                }
            }
        }
        Ok(commit)
    }

    fn settle(&self, there: &Commit, ours: Commit) -> Result<Commit> {
        if *there == ours {
            return Ok(ours);
        }
        Err(Error::new(
            Code::JobMismatch,
            format!("step {} of shard {} is committed already with another content", ours.step, ours.shard),
        )
        .at_path(&self.shown)
        .hint("did an input change while the job ran? start over with --fresh"))
    }

    /// Removes what is temporary, of every worker. For the end of a job, when nothing is left to do.
    pub fn remove_temporaries(&self) -> Result<()> {
        match &self.store {
            Store::Local(local) => local.remove_temporaries(),
            Store::Remote(_) => Ok(()),
        }
    }

    fn record_of(&self, step: &str, shard: usize) -> Result<Option<Commit>> {
        let name = record_name(step, shard);
        // A record is renamed into place whole: one that does not parse was damaged later, and counts as none.
        Ok(self.read(&name)?.and_then(|text| serde_json::from_slice(&text).ok()))
    }

    fn outputs_stand(&self, commit: &Commit) -> Result<bool> {
        for output in &commit.outputs {
            let size = match &self.store {
                Store::Local(local) => local.size(&output.name)?,
                Store::Remote(remote) => remote.size(&output.name)?,
            };
            if size != Some(output.bytes) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn start_over(&self) -> Result<()> {
        let names = match &self.store {
            Store::Local(local) => local.all_records()?,
            Store::Remote(remote) => remote.all_records()?,
        };
        for text in names {
            let Ok(commit) = serde_json::from_slice::<Commit>(&text) else { continue };
            for output in commit.outputs.iter().filter(|o| check_name(&o.name).is_ok()) {
                match &self.store {
                    Store::Local(local) => local.remove(&output.name)?,
                    Store::Remote(remote) => remote.remove(&output.name)?,
                }
            }
        }
        match &self.store {
            Store::Local(local) => local.clear(),
            Store::Remote(remote) => remote.clear(),
        }
    }

    fn create(&self, name: &str, text: &[u8]) -> Result<bool> {
        match &self.store {
            Store::Local(local) => local.create_small(name, text),
            Store::Remote(remote) => remote.create_object(name, text),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match &self.store {
            Store::Local(local) => local.read(name),
            Store::Remote(remote) => remote.read(name),
        }
    }
}

fn record_name(step: &str, shard: usize) -> String {
    format!("{COMMITS_DIR}/{step}/{shard:06}.json")
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::new(Code::Internal, format!("cannot encode a record: {e}")))?;
    text.push(b'\n');
    Ok(text)
}

/// A name must stay inside of the output, and out of the job's own directory.
fn check_name(name: &str) -> Result<()> {
    let parts = || name.split('/');
    let bad = parts().any(|p| p.is_empty() || p == "." || p == ".." || p.contains(['\\', '\0']));
    if bad || parts().next() == Some(PRIVATE_DIR) || parts().next().is_some_and(|p| p.ends_with(':')) {
        return Err(Error::new(Code::InvalidArgument, format!("{name:?} cannot be the name of an output")));
    }
    Ok(())
}
