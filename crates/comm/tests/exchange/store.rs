//! A store that fails as it is told to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The store says that it is busy, and has done nothing.
    Busy,
    /// The store does as asked, and its answer is lost.
    Lost,
    /// There is never an answer, and nothing is done.
    Hang,
    /// A byte of what is read is another.
    Damage,
    /// The process is killed before the request, or after it.
    KillBefore,
    KillAfter,
}

/// A request: the how manyeth it is from 0, what it asks for, and of what.
pub(crate) struct Request<'a> {
    pub(crate) number: usize,
    pub(crate) what: &'static str,
    pub(crate) path: &'a str,
}

type Plan = dyn Fn(&Request<'_>) -> Fault + Send + Sync;

pub(crate) struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    plan: Box<Plan>,
    requests: AtomicUsize,
}

impl FaultStore {
    pub(crate) fn new(
        inner: Arc<dyn ObjectStore>,
        plan: impl Fn(&Request<'_>) -> Fault + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { inner, plan: Box::new(plan), requests: AtomicUsize::new(0) })
    }

    fn fault(&self, what: &'static str, path: &str) -> Fault {
        let number = self.requests.fetch_add(1, SeqCst);
        (self.plan)(&Request { number, what, path })
    }

    /// What happens before the request.
    async fn before(&self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Busy => Err(busy()),
            Fault::Hang => std::future::pending().await,
            Fault::KillBefore => kill(),
            _ => Ok(()),
        }
    }
}

fn busy() -> Error {
    Error::Generic { store: "fault", source: "503 Service Unavailable".into() }
}

/// As `kill -9` does: nothing more of this process is carried out.
fn kill() -> ! {
    let _ = std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
    std::process::abort()
}

/// What happens after the request.
fn after<T>(fault: Fault, done: Result<T>) -> Result<T> {
    match fault {
        Fault::Lost => Err(busy()),
        Fault::KillAfter => kill(),
        _ => done,
    }
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultStore")
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fault:/")
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = self.fault("put", location.as_ref());
        self.before(fault).await?;
        after(fault, self.inner.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.fault("multipart", location.as_ref());
        self.before(fault).await?;
        after(fault, self.inner.put_multipart_opts(location, options).await)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.fault(if options.head { "head" } else { "get" }, location.as_ref());
        self.before(fault).await?;
        let mut got = after(fault, self.inner.get_opts(location, options).await)?;
        if fault == Fault::Damage {
            let range = got.range.clone();
            let (meta, attributes) = (got.meta.clone(), got.attributes.clone());
            let mut bytes = got.bytes().await?.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            let payload = futures_util::stream::iter([Ok(bytes.into())]).boxed();
            got = GetResult { payload: GetResultPayload::Stream(payload), meta, range, attributes };
        }
        Ok(got)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let fault = self.fault("list", prefix.map_or("", |p| p.as_ref()));
        let listing = self.inner.list(prefix);
        match fault {
            Fault::Busy | Fault::Lost => futures_util::stream::iter([Err(busy())]).boxed(),
            Fault::Hang => futures_util::stream::pending().boxed(),
            Fault::KillBefore | Fault::KillAfter => kill(),
            Fault::None | Fault::Damage => listing,
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
