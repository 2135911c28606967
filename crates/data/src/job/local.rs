//! Jobs in a local (or shared) directory.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use gristmill_core::{Code, Error, Result};
use sha2::{Digest, Sha256};

use super::file::{Rest, Temp, TempPath, hex};
use super::{COMMITS_DIR, Commit, Finished, JobFile, Output, PRIVATE_DIR, WorkerShare, check_name};
use crate::place::slash_path;

const TMP_DIR: &str = "_gristmill/tmp";
const RECORD: &str = "record";

/// A temporary of another machine counts as abandoned when nothing was written to it for this long.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Local {
    dir: PathBuf,
    worker: WorkerShare,
}

impl Local {
    pub(super) fn open(dir: &Path, worker: WorkerShare) -> Result<Self> {
        if fs::metadata(dir).is_ok_and(|m| !m.is_dir()) {
            return Err(Error::new(Code::InvalidArgument, "the output is a file, not a directory")
                .at_path(dir.display().to_string()));
        }
        let local = Self { dir: dir.into(), worker };
        local.make_dirs()?;
        Ok(local)
    }

    /// What is in a directory, to be read only.
    pub(super) fn existing(dir: &Path, worker: WorkerShare) -> Self {
        Self { dir: dir.into(), worker }
    }

    fn make_dirs(&self) -> Result<()> {
        for name in [COMMITS_DIR, TMP_DIR] {
            let path = self.path(name);
            fs::create_dir_all(&path).map_err(|e| fail(&path, "create", e))?;
        }
        sync_dir(&self.path(PRIVATE_DIR))?;
        sync_dir(&self.dir)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        name.split('/').fold(self.dir.clone(), |path, part| path.join(part))
    }

    /// `worker.host.pid.process.number.what`: enough to tell whether its writer may still live.
    fn temp_path(&self, what: &str) -> PathBuf {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let WorkerShare { index, count } = self.worker;
        let (host, pid, process) = (host(), std::process::id(), process_tag());
        let number = NUMBER.fetch_add(1, Relaxed);
        self.path(TMP_DIR).join(format!("{index}of{count}.{host}.{pid}.{process:016x}.{number}.{what}"))
    }

    pub(super) fn create(&self, name: &str) -> Result<JobFile> {
        let path = self.temp_path("data");
        let file = File::create_new(&path).map_err(|e| fail(&path, "create", e))?;
        let temp = Temp { file, path: TempPath(Some(path)) };
        Ok(JobFile::local(name, self.path(name).display().to_string(), temp))
    }

    fn write_temp(&self, text: &[u8]) -> Result<TempPath> {
        let path = self.temp_path(RECORD);
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(text)?;
            file.sync_all()
        };
        let guard = TempPath(Some(path.clone()));
        write().map_err(|e| fail(&path, "write", e))?;
        Ok(guard)
    }

    /// Creates a file unless there is one; false when there is.
    pub(super) fn create_small(&self, name: &str, text: &[u8]) -> Result<bool> {
        let temp = self.write_temp(text)?;
        let path = self.path(name);
        let from = temp.0.as_deref().unwrap_or(Path::new(""));
        // A hard link fails when the name is taken; a rename would replace it. Where the file system has
        // no links, the check and the rename are two steps, and the content decides later anyway.
        let linked = match fs::hard_link(from, &path) {
            Ok(()) => true,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(_) if path.exists() => return Ok(false),
            Err(_) => {
                self.rename(temp, &path)?;
                return Ok(true);
            }
        };
        sync_dir(path.parent().unwrap_or(&self.dir))?;
        Ok(linked)
    }

    fn rename(&self, mut temp: TempPath, to: &Path) -> Result<()> {
        let from = temp.0.take().unwrap_or_default();
        fs::rename(&from, to).map_err(|e| {
            let _ = fs::remove_file(&from);
            fail(to, "rename a finished file to", e)
        })?;
        sync_dir(to.parent().unwrap_or(&self.dir))
    }

    /// See the order of stages in the documentation of the module above.
    pub(super) fn publish(
        &self,
        files: Vec<Finished>,
        record: &str,
        text: &[u8],
        owned: &[Output],
    ) -> Result<()> {
        let mut ready = Vec::new();
        for file in files {
            let target = self.path(&file.output().name);
            self.check_target(&target, file.output(), owned)?;
            make_parents(&target, &self.dir)?;
            match file.rest {
                Rest::Local(temp) => ready.push((temp, target)),
                Rest::Remote(_) => return Err(Error::new(Code::Internal, "an upload in a local job")),
            }
        }
        let record_path = self.path(record);
        make_parents(&record_path, &self.dir)?;
        let record = self.write_temp(text)?;
        sync_dir(&self.path(TMP_DIR))?;
        for (temp, target) in ready {
            self.rename(temp, &target)?;
        }
        self.rename(record, &record_path)
    }

    /// A file that is there already is replaced only if this job wrote it: a commit record whose outputs
    /// do not stand any more names it, or the temporary record of a commit that was cut short, or it is
    /// what would be written anyway.
    fn check_target(&self, target: &Path, output: &Output, owned: &[Output]) -> Result<()> {
        let name = &output.name;
        let Ok(meta) = fs::symlink_metadata(target) else { return Ok(()) };
        if owned.iter().any(|o| o.name == *name) {
            return Ok(());
        }
        if meta.is_file() && meta.len() == output.bytes && hash_file(target)? == output.sha256 {
            return Ok(());
        }
        let ours = self
            .temporaries()?
            .into_iter()
            .any(|t| t.record().is_some_and(|commit| commit.outputs.iter().any(|o| o.name == *name)));
        if ours {
            return Ok(());
        }
        Err(Error::new(Code::InvalidArgument, "a file of this name is there, and this job did not write it")
            .at_path(target.display().to_string())
            .hint("choose an empty directory for the output"))
    }

    pub(super) fn size(&self, name: &str) -> Result<Option<u64>> {
        let path = self.path(name);
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fail(&path, "read", e)),
        }
    }

    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        match fs::read(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(fail(&path, "read", e)),
        }
    }

    /// The texts of all records, also of those that were not published.
    pub(super) fn all_records(&self) -> Result<Vec<Vec<u8>>> {
        let mut out = Vec::new();
        for step in list(&self.path(COMMITS_DIR))? {
            for record in list(&step)? {
                out.push(fs::read(&record).map_err(|e| fail(&record, "read", e))?);
            }
        }
        for temp in self.temporaries()? {
            out.extend(temp.is_record().then(|| fs::read(&temp.path).unwrap_or_default()));
        }
        Ok(out)
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(fail(&path, "remove", e)),
            _ => Ok(()),
        }
    }

    pub(super) fn clear(&self) -> Result<()> {
        let path = self.path(PRIVATE_DIR);
        fs::remove_dir_all(&path).map_err(|e| fail(&path, "remove", e))?;
        self.make_dirs()
    }

    pub(super) fn remove_temporaries(&self) -> Result<()> {
        self.temporaries()?.into_iter().try_for_each(|t| self.take_back(t))
    }

    /// Removes temporaries whose writer is dead, and the results that it had renamed without a record.
    pub(super) fn take_back_stale(&self) -> Result<()> {
        for temp in self.temporaries()? {
            if temp.is_stale(self.worker) {
                self.take_back(temp)?;
            }
        }
        Ok(())
    }

    fn take_back(&self, temp: Temporary) -> Result<()> {
        if let Some(commit) = temp.record() {
            let published = self.path(&super::record_name(&commit.step, commit.shard));
            if !published.exists() {
                for output in commit.outputs.iter().filter(|o| check_name(&o.name).is_ok()) {
                    self.remove(&output.name)?;
                }
            }
        }
        match fs::remove_file(&temp.path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(fail(&temp.path, "remove", e)),
            _ => Ok(()),
        }
    }

    fn temporaries(&self) -> Result<Vec<Temporary>> {
        Ok(list(&self.path(TMP_DIR))?.into_iter().filter_map(Temporary::parse).collect())
    }
}

/// A file in the temporary directory, and who made it.
struct Temporary {
    path: PathBuf,
    worker: String,
    host: String,
    pid: u32,
    process: u64,
    what: String,
}

impl Temporary {
    fn parse(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_string();
        let mut parts = name.split('.');
        let (worker, host) = (parts.next()?.to_string(), parts.next()?.to_string());
        let (pid, process) = (parts.next()?.parse().ok()?, u64::from_str_radix(parts.next()?, 16).ok()?);
        let what = parts.nth(1)?.to_string();
        Some(Self { path, worker, host, pid, process, what })
    }

    fn is_record(&self) -> bool {
        self.what == RECORD
    }

    fn record(&self) -> Option<Commit> {
        self.is_record()
            .then(|| fs::read(&self.path).ok())
            .flatten()
            .and_then(|t| serde_json::from_slice(&t).ok())
    }

    /// Whether its writer cannot live any more, as far as this process can know.
    fn is_stale(&self, worker: WorkerShare) -> bool {
        let age = fs::metadata(&self.path).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if age.is_some_and(|age| age > ABANDONED) {
            return true;
        }
        if self.worker != format!("{}of{}", worker.index, worker.count) || self.host != host() {
            return false;
        }
        if self.pid == std::process::id() {
            // Numbers come back, in containers always the same one; the tag of a process does not.
            return self.process != process_tag();
        }
        // Without `/proc` nothing is known of another process; two with the same share are not meant to run.
        !Path::new("/proc/self").exists() || !Path::new("/proc").join(self.pid.to_string()).exists()
    }
}

/// A number that differs between processes, also between those that had the same process id.
fn process_tag() -> u64 {
    static TAG: OnceLock<u64> = OnceLock::new();
    *TAG.get_or_init(|| {
        let mut hasher = std::hash::RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.finish()
    })
}

fn host() -> &'static str {
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| {
        let name = fs::read_to_string("/proc/sys/kernel/hostname")
            .or_else(|_| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")))
            .unwrap_or_default();
        let safe: String =
            name.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        if safe.is_empty() { "host".into() } else { safe }
    })
}

fn hash_file(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(|e| fail(path, "open", e))?;
    io::copy(&mut file, &mut hash).map_err(|e| fail(path, "read", e))?;
    Ok(hex(&hash.finalize()))
}

fn fail(path: &Path, action: &str, e: io::Error) -> Error {
    Error::io(path.display().to_string(), action, e)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(fail(dir, "list", e)),
    };
    let mut out = entries
        .map(|e| e.map(|e| e.path()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|e| fail(dir, "list", e))?;
    out.sort();
    Ok(out)
}

/// Creates the directories above `path`, and makes the entries of those that are new durable.
fn make_parents(path: &Path, root: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    if parent.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(parent).map_err(|e| fail(parent, "create", e))?;
    let relative = slash_path(parent.strip_prefix(root).unwrap_or(parent));
    let mut dir = root.to_path_buf();
    for part in relative.split('/') {
        sync_dir(&dir)?;
        dir.push(part);
    }
    Ok(())
}

/// Makes the names in a directory durable. Only Unix can, and only there is it needed.
fn sync_dir(dir: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let dir_or_here = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir_or_here).and_then(|d| d.sync_all()).map_err(|e| fail(dir, "sync", e))?;
    }
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}
