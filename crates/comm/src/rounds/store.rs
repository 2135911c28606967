//! The store: requests that are tried again, that can be stopped, and whose cost is counted.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::{StreamExt, TryStreamExt};
use gristmill_core::{Code, Control, Error, Result};
use object_store::path::Path as ObjectPath;
use object_store::{
    Error as StoreError, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use tokio::runtime::Runtime;
use url::Url;

use super::meter::Shared;
use super::options::SyncOptions;

/// Larger objects are sent and fetched in parts of this size.
const PART: usize = 16 << 20;
/// Objects of one round that are looked at, at the most.
const MAX_LISTED: usize = 100_000;
/// Bytes of a manifest at the most.
const MAX_SMALL: u64 = 16 << 20;
/// How often a request under way looks whether it should stop.
const TICK: Duration = Duration::from_millis(20);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Store {
    runtime: Runtime,
    store: Arc<dyn ObjectStore>,
    prefix: ObjectPath,
    shown: String,
    /// The directory, where the store is one: what is written there is made durable before anybody relies on it.
    directory: Option<PathBuf>,
    retries: u32,
    request_timeout: Duration,
    pub(super) meter: Arc<Shared>,
}

/// An object found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) size: u64,
}

impl Store {
    /// Opens a directory or a URL.
    pub(super) fn open(location: &str, options: &SyncOptions) -> Result<Self> {
        let scheme = location.split_once("://").map(|(s, _)| s).filter(|s| s.len() > 1);
        let bad = |why: String| Error::invalid_argument("url", why).at_path(location);
        if scheme.is_none() {
            return Self::directory(PathBuf::from(location), options);
        }
        let url = Url::parse(location).map_err(|e| bad(format!("not a URL: {e}")))?;
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| bad("not a local file URL".into()))?;
            return Self::directory(path, options);
        }
        let (store, prefix) = object_store::parse_url_opts(&url, settings()).map_err(|e| {
            bad(e.to_string()).hint("stores are reached by s3://, gs://, az://, abfss:// and https://")
        })?;
        Self::with(store.into(), prefix, location.trim_end_matches('/').into(), None, options)
    }

    fn directory(path: PathBuf, options: &SyncOptions) -> Result<Self> {
        let shown = path.display().to_string();
        std::fs::create_dir_all(&path).map_err(|e| Error::io(&shown, "create", e))?;
        let path = path.canonicalize().map_err(|e| Error::io(&shown, "open", e))?;
        let store = object_store::local::LocalFileSystem::new_with_prefix(&path)
            .map_err(|e| failed(&shown, "open", e))?;
        Self::with(Arc::new(store), ObjectPath::default(), shown, Some(path), options)
    }

    pub(super) fn with(
        store: Arc<dyn ObjectStore>,
        prefix: ObjectPath,
        shown: String,
        directory: Option<PathBuf>,
        options: &SyncOptions,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::io(&shown, "start a runtime to reach", e))?;
        let (retries, request_timeout) = (options.retries, options.request_timeout);
        let meter = Arc::default();
        Ok(Self { runtime, store, prefix, shown, directory, retries, request_timeout, meter })
    }

    /// The last part of the location, for want of another name.
    pub(super) fn base_name(&self) -> Option<String> {
        let path =
            self.directory.as_ref().and_then(|d| d.file_name()).map(|n| n.to_string_lossy().into_owned());
        path.or_else(|| self.prefix.parts().next_back().map(|p| p.as_ref().to_string()))
    }

    pub(super) fn shown(&self, name: &str) -> String {
        format!("{}/{name}", self.shown)
    }

    fn path(&self, name: &str) -> ObjectPath {
        name.split('/').fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// Drives some requests to their end, or until a stop is asked for.
    fn run<T>(&self, control: &Control, future: impl Future<Output = Result<T>>) -> Result<T> {
        control.check()?;
        let stop = async {
            loop {
                tokio::time::sleep(TICK).await;
                if let Err(e) = control.check() {
                    return e;
                }
            }
        };
        self.runtime.block_on(async {
            match select(pin!(future), pin!(stop)).await {
                Either::Left((out, _)) => out,
                Either::Right((stopped, _)) => Err(stopped),
            }
        })
    }

    /// Waits, unless a stop is asked for.
    pub(super) fn sleep(&self, control: &Control, time: Duration) -> Result<()> {
        self.run(control, async {
            tokio::time::sleep(time).await;
            Ok(())
        })
    }

    /// One request, tried again while it fails for a reason that may pass.
    async fn request<T, F>(
        &self,
        action: &str,
        name: &str,
        mut once: impl FnMut() -> F,
    ) -> Result<Result<T, StoreError>>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut pause = FIRST_PAUSE;
        let mut left = self.retries;
        loop {
            self.meter.with(|m| m.requests += 1);
            let error = match tokio::time::timeout(self.request_timeout, once()).await {
                Ok(Err(e)) if may_pass(&e) => failed(&self.shown(name), action, e),
                Ok(other) => return Ok(other),
                Err(_) => Error::new(Code::TimedOut, format!("cannot {action}: the store does not answer"))
                    .at_path(self.shown(name)),
            };
            if left == 0 {
                return Err(error.hint("the request was tried several times"));
            }
            left -= 1;
            self.meter.with(|m| m.retries += 1);
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    /// Creates a small object unless there is one; false when there is, which may be this one whose answer was lost.
    pub(super) fn create(&self, name: &str, bytes: &Bytes, control: &Control) -> Result<bool> {
        let path = self.path(name);
        let put = || {
            let options = PutOptions { mode: PutMode::Create, ..Default::default() };
            self.store.put_opts(&path, PutPayload::from_bytes(bytes.clone()), options)
        };
        let created = self.run(control, async {
            match self.request("write", name, put).await? {
                Ok(_) => Ok(true),
                Err(StoreError::AlreadyExists { .. }) => Ok(false),
                Err(e) => Err(failed(&self.shown(name), "write", e)),
            }
        })?;
        if created {
            self.meter.with(|m| m.bytes_up += bytes.len() as u64);
            self.make_durable(name)?;
        }
        Ok(created)
    }

    /// Uploads an object that is named after its content, so that writing it twice changes nothing.
    pub(super) fn upload(&self, name: &str, bytes: &Bytes, control: &Control) -> Result<()> {
        if bytes.len() <= PART {
            return self.create(name, bytes, control).map(drop);
        }
        let path = &self.path(name);
        let put = || async move {
            let mut upload = self.store.put_multipart(path).await?;
            for start in (0..bytes.len()).step_by(PART) {
                let part = bytes.slice(start..bytes.len().min(start + PART));
                if let Err(e) = upload.put_part(part.into()).await {
                    // What is not aborted stays invisible, and stores expire it by their own rules.
                    let _ = upload.abort().await;
                    return Err(e);
                }
            }
            upload.complete().await
        };
        self.run(control, async {
            self.request("write", name, put).await?.map_err(|e| failed(&self.shown(name), "write", e))
        })?;
        self.meter.with(|m| m.bytes_up += bytes.len() as u64);
        self.make_durable(name)
    }

    fn make_durable(&self, name: &str) -> Result<()> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let path = directory.join(name);
        let file = std::fs::File::open(&path).and_then(|f| f.sync_all());
        // A directory can be synchronised on Unix alone.
        let parent = || match path.parent() {
            Some(parent) if cfg!(unix) => std::fs::File::open(parent).and_then(|f| f.sync_all()),
            _ => Ok(()),
        };
        file.and_then(|()| parent()).map_err(|e| Error::io(self.shown(name), "write", e))
    }

    /// The content of a small object, or `None` where there is none.
    pub(super) fn read(&self, name: &str, control: &Control) -> Result<Option<Bytes>> {
        let path = &self.path(name);
        let get = || async move {
            let got = self.store.get(path).await?;
            if got.meta.size > MAX_SMALL {
                return Ok(None);
            }
            got.bytes().await.map(Some)
        };
        let bytes = self.run(control, async {
            match self.request("read", name, get).await? {
                Ok(Some(bytes)) => Ok(Some(bytes)),
                Ok(None) => {
                    Err(Error::new(Code::CorruptData, "the object is too large for what it should be")
                        .at_path(self.shown(name)))
                }
                Err(StoreError::NotFound { .. }) => Ok(None),
                Err(e) => Err(failed(&self.shown(name), "read", e)),
            }
        })?;
        self.meter.with(|m| m.bytes_down += bytes.as_ref().map_or(0, |b| b.len() as u64));
        Ok(bytes)
    }

    /// Whether there is an object of this name.
    pub(super) fn exists(&self, name: &str, control: &Control) -> Result<bool> {
        let path = &self.path(name);
        self.run(control, async {
            match self.request("read", name, || self.store.head(path)).await? {
                Ok(_) => Ok(true),
                Err(StoreError::NotFound { .. }) => Ok(false),
                Err(e) => Err(failed(&self.shown(name), "read", e)),
            }
        })
    }

    /// The objects directly below a prefix, by name.
    pub(super) fn list(&self, prefix: &str, control: &Control) -> Result<Vec<Found>> {
        let below = &self.path(prefix);
        let found = |meta: object_store::ObjectMeta| {
            let mut parts = meta.location.prefix_match(below)?;
            let name = parts.next()?.as_ref().to_string();
            parts.next().is_none().then_some(Found { name, size: meta.size })
        };
        let list = || self.store.list(Some(below)).take(MAX_LISTED).try_collect::<Vec<_>>();
        let metas = self.run(control, async {
            self.request("list", prefix, list).await?.map_err(|e| failed(&self.shown(prefix), "list", e))
        })?;
        let mut all: Vec<Found> = metas.into_iter().filter_map(found).collect();
        all.sort();
        Ok(all)
    }

    /// Downloads objects of known sizes, several at a time, in the order given; `None` for one that is gone, or
    /// that has another size by now.
    pub(super) fn fetch(
        &self,
        wanted: &[Found],
        parallel: usize,
        control: &Control,
    ) -> Result<Vec<Option<Bytes>>> {
        let downloads = wanted.iter().map(|found| self.download(found));
        self.run(control, futures_util::stream::iter(downloads).buffered(parallel).try_collect())
    }

    async fn download(&self, found: &Found) -> Result<Option<Bytes>> {
        let Found { name, size } = found;
        let path = &self.path(name);
        let mut whole = Vec::new();
        let mut tag: Option<String> = None;
        let mut at = 0u64;
        while at < *size {
            let end = (*size).min(at + PART as u64);
            let options = GetOptions {
                range: Some(GetRange::Bounded(at..end)),
                if_match: tag.clone(),
                ..Default::default()
            };
            let get = || {
                let options = options.clone();
                async move {
                    let got = self.store.get_opts(path, options).await?;
                    let meta = got.meta.clone();
                    if meta.size != *size {
                        return Ok(None);
                    }
                    Ok(Some((got.bytes().await?, meta.e_tag)))
                }
            };
            match self.request("read", name, get).await? {
                Ok(Some((part, e_tag))) if part.len() as u64 == end - at => {
                    self.meter.with(|m| m.bytes_down += part.len() as u64);
                    if end == *size && at == 0 {
                        return Ok(Some(part));
                    }
                    // Grown part by part: memory is given to what has arrived.
                    whole.extend_from_slice(&part);
                    tag = tag.or(e_tag);
                    at = end;
                }
                Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Precondition { .. }) => {
                    return Ok(None);
                }
                Err(e) => return Err(failed(&self.shown(name), "read", e)),
            }
        }
        Ok(Some(whole.into()))
    }
}

/// Settings of the stores from the environment, as their own tools read them.
fn settings() -> impl Iterator<Item = (String, String)> {
    const PREFIXES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(key, _)| PREFIXES.iter().any(|p| key.starts_with(p)))
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
}

/// The system's error below a store's, where there is one.
fn io_kind(e: &StoreError) -> Option<ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(e);
    while let Some(c) = cause {
        if let Some(io) = c.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        cause = c.source();
    }
    None
}

/// Whether a request may succeed when it is tried again: the store was busy, the connection broke.
fn may_pass(e: &StoreError) -> bool {
    use ErrorKind as K;
    let lasting = |kind| {
        matches!(
            kind,
            K::StorageFull | K::QuotaExceeded | K::FileTooLarge | K::PermissionDenied | K::ReadOnlyFilesystem
        )
    };
    matches!(e, StoreError::Generic { .. } | StoreError::JoinError { .. }) && !io_kind(e).is_some_and(lasting)
}

fn failed(shown: &str, action: &str, e: StoreError) -> Error {
    let code = match (&e, io_kind(&e)) {
        (_, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)) => {
            Code::StorageFull
        }
        (StoreError::NotFound { .. }, _) => Code::NotFound,
        (StoreError::NotSupported { .. } | StoreError::NotImplemented { .. }, _) => Code::Unsupported,
        (StoreError::InvalidPath { .. } | StoreError::UnknownConfigurationKey { .. }, _) => {
            Code::InvalidArgument
        }
        _ => Code::Io,
    };
    let error = Error::new(code, format!("cannot {action}: {e}")).at_path(shown);
    let error = match &e {
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            error.hint("credentials are read from AWS_*, GOOGLE_* and AZURE_* in the environment")
        }
        StoreError::NotImplemented { .. } => error.hint("rounds need a store with conditional create"),
        _ => error,
    };
    error.with_source(e)
}
