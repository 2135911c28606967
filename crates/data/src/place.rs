//! Where bytes live: a local file or an object in a store, read the same way.
//!
//! A store is opened by each thread that reads from it, with a small current-thread runtime of its own:
//! no thread and no runtime outlives the reader, so that the library can be unloaded (Node workers).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use futures_util::future::try_join_all;
use gristmill_core::{Code, Error, Result};
use object_store::path::Path as ObjectPath;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};
use tokio::runtime::Runtime;
use url::Url;

use crate::fault;

/// A local path or an object-store URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Local(PathBuf),
    Remote(Url),
}

const MEMORY: &str = "memory";

impl Place {
    /// Reads an argument: anything with a scheme of two or more letters and `://` is a URL (one letter is
    /// a Windows drive); `file://` is a local path.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let scheme = text.split_once("://").map(|(s, _)| s).filter(|s| s.len() > 1);
        if scheme.is_none() {
            return Ok(Self::Local(PathBuf::from(text)));
        }
        let bad = |why: String| Error::new(Code::InvalidArgument, why).at_path(text);
        // `?` is a wildcard in our URLs and never a query, `#` never a fragment: object names are taken as they are.
        let url = Url::parse(&text.replace('?', "%3F").replace('#', "%23"))
            .map_err(|e| bad(format!("not a URL: {e}")))?;
        if url.scheme() == "file" {
            let path = url.to_file_path().map_err(|()| bad("not a local file URL".into()))?;
            return Ok(Self::Local(path));
        }
        if url.scheme() != MEMORY {
            object_store::ObjectStoreScheme::parse(&url).map_err(|e| {
                bad(e.to_string())
                    .hint("stores are reached by s3://, gs://, az://, abfss://, https:// and memory://")
            })?;
        }
        Ok(Self::Remote(url))
    }

    /// How a user writes it.
    pub(crate) fn display(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Remote(url) => {
                // Names are shown decoded: `crawl/a b.jsonl`, not `a%20b`.
                let path = ObjectPath::from_url_path(url.path()).map(|p| p.to_string());
                let host = &url[..url::Position::BeforePath];
                format!("{host}/{}", path.unwrap_or_else(|_| url.path().trim_start_matches('/').into()))
            }
        }
    }
}

/// An open object store with the runtime that drives it.
pub(crate) struct Remote {
    runtime: Runtime,
    store: Arc<dyn ObjectStore>,
    path: ObjectPath,
    base: String,
}

impl Remote {
    pub(crate) fn open(url: &Url) -> Result<Self> {
        let shown = Place::Remote(url.clone()).display();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::io(&shown, "start a runtime to reach", e))?;
        let (store, path): (Arc<dyn ObjectStore>, _) = if url.scheme() == MEMORY {
            let path =
                ObjectPath::from_url_path(url.path()).map_err(|e| fault::store(&shown, "use", e.into()))?;
            (process_memory(url.host_str().unwrap_or_default()), path)
        } else {
            let (store, path) = object_store::parse_url_opts(url, store_options())
                .map_err(|e| fault::store(&shown, "open", e))?;
            (store.into(), path)
        };
        let base = shown.strip_suffix(path.as_ref()).unwrap_or(&shown).trim_end_matches('/').to_string();
        Ok(Self { runtime, store, path, base })
    }

    /// Runs one request to its end. Must not be called from within an async runtime.
    pub(crate) fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The object or prefix that the URL named.
    pub(crate) fn path(&self) -> &ObjectPath {
        &self.path
    }

    /// The URL of an object of this store.
    pub(crate) fn url_of(&self, path: &ObjectPath) -> Result<Url> {
        let root = format!("{}/", self.base);
        let mut url = Url::parse(&root).map_err(|e| Error::new(Code::InvalidArgument, e.to_string()))?;
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(path.parts().map(|p| p.as_ref().to_string()));
        }
        Ok(url)
    }

    pub(crate) fn head(&self, path: &ObjectPath) -> Result<ObjectMeta, object_store::Error> {
        let options = GetOptions { head: true, ..Default::default() };
        Ok(self.run(self.store.get_opts(path, options))?.meta)
    }
}

/// Settings of the stores from the environment, as their own tools read them. Only these prefixes: the
/// builders would also take a bare `TOKEN` or `REGION`, which may belong to something else.
fn store_options() -> impl Iterator<Item = (String, String)> {
    const PREFIXES: [&str; 3] = ["AWS_", "GOOGLE_", "AZURE_"];
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .filter_map(|(key, value)| {
            PREFIXES.iter().any(|p| key.starts_with(p)).then(|| (key.to_ascii_lowercase(), value))
        })
}

/// `memory://name/` is a store that lives as long as the process: for tests and for pipelines that
/// never touch a disk.
fn process_memory(name: &str) -> Arc<dyn ObjectStore> {
    static STORES: OnceLock<Mutex<HashMap<String, Arc<dyn ObjectStore>>>> = OnceLock::new();
    let mut stores = STORES.get_or_init(Default::default).lock().unwrap_or_else(|e| e.into_inner());
    stores.entry(name.into()).or_insert_with(|| Arc::new(object_store::memory::InMemory::new())).clone()
}

/// A file that can be read at any position, by several readers at once.
#[derive(Clone)]
pub(crate) struct Input(Arc<Shared>);

struct Shared {
    inner: Inner,
    /// The last failure of the device: decoders turn errors into text, and who reads that text must not
    /// take a lost connection for a damaged file.
    failure: Mutex<Option<Error>>,
}

enum Inner {
    Local { file: File, len: u64, shown: String },
    Remote(Box<RemoteFile>),
    Memory(Bytes),
}

struct RemoteFile {
    remote: Remote,
    shown: String,
    len: u64,
    etag: Option<String>,
    blocks: Mutex<Blocks>,
}

/// The last few blocks read of an object. Parquet reads a page header and then the page, of several
/// columns in turn: without this each would be a request.
#[derive(Default)]
struct Blocks {
    recent: Vec<(u64, Bytes)>,
}

/// One request asks for this much when reads are scattered, …
const BLOCK: u64 = 512 << 10;
/// … and for this much, in parallel parts, once they run on from each other.
const RUN: u64 = 8 << 20;
const KEPT_BLOCKS: usize = 4;

impl Input {
    pub(crate) fn open(place: &Place) -> Result<Self> {
        let shown = place.display();
        let inner = match place {
            Place::Local(path) => {
                let file = File::open(path).map_err(|e| Error::io(&shown, "open", e))?;
                let meta = file.metadata().map_err(|e| Error::io(&shown, "open", e))?;
                if meta.is_dir() {
                    return Err(
                        Error::new(Code::InvalidArgument, "is a directory, not a file").at_path(shown)
                    );
                }
                Inner::Local { file, len: meta.len(), shown }
            }
            Place::Remote(url) => {
                let remote = Remote::open(url)?;
                let meta = remote.head(remote.path()).map_err(|e| fault::store(&shown, "open", e))?;
                let (len, etag) = (meta.size, meta.e_tag);
                Inner::Remote(Box::new(RemoteFile { remote, shown, len, etag, blocks: Mutex::default() }))
            }
        };
        Ok(Self(Arc::new(Shared { inner, failure: Mutex::default() })))
    }

    pub(crate) fn of_bytes(bytes: Bytes) -> Self {
        Self(Arc::new(Shared { inner: Inner::Memory(bytes), failure: Mutex::default() }))
    }

    pub(crate) fn len(&self) -> u64 {
        match &self.0.inner {
            Inner::Local { len, .. } => *len,
            Inner::Remote(remote) => remote.len,
            Inner::Memory(bytes) => bytes.len() as u64,
        }
    }

    pub(crate) fn is_remote(&self) -> bool {
        matches!(&self.0.inner, Inner::Remote(_))
    }

    /// Reads up to `buf.len()` bytes at `pos`; 0 only at the end.
    pub(crate) fn read_at(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
        let read = match &self.0.inner {
            Inner::Local { file, shown, .. } => {
                read_file_at(file, pos, buf).map_err(|e| Error::io(shown, "read", e))
            }
            Inner::Remote(remote) => remote.read_at(pos, buf),
            Inner::Memory(bytes) => {
                let rest = usize::try_from(pos).ok().and_then(|pos| bytes.get(pos..)).unwrap_or_default();
                let n = rest.len().min(buf.len());
                buf[..n].copy_from_slice(&rest[..n]);
                Ok(n)
            }
        };
        read.map_err(|e| {
            *self.0.failure.lock().unwrap_or_else(|e| e.into_inner()) = Some(fault::copy(&e));
            fault::into_io(e)
        })
    }

    /// The last failure of the device, once.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.0.failure.lock().unwrap_or_else(|e| e.into_inner()).take()
    }

    /// Exactly `len` bytes at `pos`; fewer is damage, since the caller took the numbers from the file.
    pub(crate) fn bytes_at(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        if pos.checked_add(len as u64).is_none_or(|end| end > self.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut out = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match self.read_at(pos + filled as u64, &mut out[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        Ok(out.into())
    }

    pub(crate) fn reader(&self, pos: u64) -> InputReader {
        InputReader { input: self.clone(), pos }
    }
}

/// A sequential read of an [`Input`].
pub(crate) struct InputReader {
    input: Input,
    pos: u64,
}

impl Read for InputReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read_at(self.pos, buf)?;
        self.pos += n as u64;
        Ok(n)
    }
}

impl io::Seek for InputReader {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let pos = match to {
            io::SeekFrom::Start(pos) => Some(pos),
            io::SeekFrom::End(by) => self.input.len().checked_add_signed(by),
            io::SeekFrom::Current(by) => self.pos.checked_add_signed(by),
        };
        self.pos = pos.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.pos)
    }
}

impl RemoteFile {
    fn read_at(&self, pos: u64, buf: &mut [u8]) -> Result<usize> {
        if pos >= self.len || buf.is_empty() {
            return Ok(0);
        }
        let mut blocks = self.blocks.lock().unwrap_or_else(|e| e.into_inner());
        let hit = blocks.recent.iter().position(|(at, b)| *at <= pos && pos < at + b.len() as u64);
        let i = match hit {
            Some(i) => i,
            None => {
                let runs_on = blocks.recent.iter().any(|(at, b)| at + b.len() as u64 == pos);
                let want = if runs_on { RUN } else { BLOCK }.max((buf.len() as u64).min(RUN));
                let bytes = self.fetch(pos, want.min(self.len - pos))?;
                if blocks.recent.len() == KEPT_BLOCKS {
                    blocks.recent.remove(0);
                }
                blocks.recent.push((pos, bytes));
                blocks.recent.len() - 1
            }
        };
        // Most recently used last.
        let block = blocks.recent.remove(i);
        let from = (pos - block.0) as usize;
        let n = buf.len().min(block.1.len() - from);
        buf[..n].copy_from_slice(&block.1[from..from + n]);
        blocks.recent.push(block);
        Ok(n)
    }

    fn fetch(&self, pos: u64, len: u64) -> Result<Bytes> {
        let part = RUN / 4;
        let parts = (0..len.div_ceil(part)).map(|i| pos + i * part..pos + ((i + 1) * part).min(len));
        let requests = parts.map(|range| {
            let options = GetOptions {
                range: Some(GetRange::Bounded(range.clone())),
                if_match: self.etag.clone(),
                ..Default::default()
            };
            async move {
                let store = self.remote.store();
                let bytes = store.get_opts(self.remote.path(), options).await?.bytes().await?;
                Ok::<_, object_store::Error>((bytes, range.end - range.start))
            }
        });
        let mut got =
            self.remote.run(try_join_all(requests)).map_err(|e| fault::store(&self.shown, "read", e))?;
        if got.iter().any(|(bytes, want)| bytes.len() as u64 != *want) {
            return Err(
                Error::new(Code::Io, "the store returned fewer bytes than asked").at_path(&self.shown)
            );
        }
        Ok(match got.len() {
            1 => got.remove(0).0,
            _ => got.iter().flat_map(|(b, _)| b.iter().copied()).collect::<Vec<_>>().into(),
        })
    }
}

fn read_file_at(file: &File, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match read_file_once(file, pos, buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(unix)]
fn read_file_once(file: &File, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, pos)
}

#[cfg(windows)]
fn read_file_once(file: &File, pos: u64, buf: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, pos)
}

/// `path` relative to `base` with `/` between its parts; lossy only in characters that are not Unicode.
pub(crate) fn slash_path(path: &Path) -> String {
    let parts: Vec<_> = path
        .components()
        .filter_map(|c| match c {
            std::path::Component::Normal(part) => Some(part.to_string_lossy()),
            _ => None,
        })
        .collect();
    parts.join("/")
}
