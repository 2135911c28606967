//! Jobs in an object store.

use std::sync::Arc;

use futures_util::TryStreamExt;
use gristmill_core::{Code, Error, Result};
use object_store::path::Path as ObjectPath;
use object_store::{MultipartUpload, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload};
use url::Url;

use super::file::{Rest, Shown};
use super::{COMMITS_DIR, Finished, JobFile, PRIVATE_DIR};
use crate::fault;
use crate::place::{Place, Remote};

/// Parts of one size, as some stores demand, and well over the least that any store takes.
const PART: usize = 8 << 20;

pub(super) struct RemoteStore {
    remote: Arc<Remote>,
}

impl RemoteStore {
    pub(super) fn open(url: &Url) -> Result<Self> {
        Ok(Self { remote: Arc::new(Remote::open(url)?) })
    }

    fn path(&self, name: &str) -> ObjectPath {
        name.split('/').fold(self.remote.path().clone(), |path, part| path.join(part))
    }

    pub(super) fn url(&self, name: &str) -> Result<Url> {
        self.remote.url_of(&self.path(name))
    }

    fn shown(&self, name: &str) -> String {
        self.url(name).map_or_else(|_| name.into(), |u| Place::Remote(u).display())
    }

    pub(super) fn create(&self, name: &str) -> Result<JobFile> {
        let shown = self.shown(name);
        let upload = Upload {
            remote: self.remote.clone(),
            path: self.path(name),
            shown: shown.as_str().into(),
            part: Vec::new(),
            upload: None,
        };
        Ok(JobFile::remote(name, shown, upload))
    }

    pub(super) fn complete(&self, file: Finished) -> Result<()> {
        match file.rest {
            Rest::Remote(upload) => upload.complete(),
            Rest::Local(_) => Err(Error::new(Code::Internal, "a local file in a remote job")),
        }
    }

    fn put(&self, name: &str, text: &[u8], mode: PutMode) -> Result<bool> {
        let payload = PutPayload::from(text.to_vec());
        let options = PutOptions { mode, ..Default::default() };
        match self.remote.run(self.remote.store().put_opts(&self.path(name), payload, options)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(e) => Err(fault::store(&self.shown(name), "write", e)),
        }
    }

    /// Creates an object unless there is one; false when there is.
    pub(super) fn create_object(&self, name: &str, text: &[u8]) -> Result<bool> {
        self.put(name, text, PutMode::Create)
    }

    pub(super) fn replace(&self, name: &str, text: &[u8]) -> Result<()> {
        self.put(name, text, PutMode::Overwrite).map(drop)
    }

    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        let get = async { self.remote.store().get(&path).await?.bytes().await };
        match self.remote.run(get) {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(fault::store(&self.shown(name), "read", e)),
        }
    }

    pub(super) fn size(&self, name: &str) -> Result<Option<u64>> {
        match self.remote.head(&self.path(name)) {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(fault::store(&self.shown(name), "read", e)),
        }
    }

    fn list(&self, name: &str) -> Result<Vec<ObjectPath>> {
        let prefix = self.path(name);
        let listing = self.remote.store().list(Some(&prefix)).map_ok(|m| m.location).try_collect();
        self.remote.run(listing).map_err(|e| fault::store(&self.shown(name), "list", e))
    }

    pub(super) fn all_records(&self) -> Result<Vec<Vec<u8>>> {
        let get = |path: ObjectPath| {
            let got = self.remote.run(async { self.remote.store().get(&path).await?.bytes().await });
            got.map(|b| b.to_vec()).map_err(|e| fault::store(path.as_ref(), "read", e))
        };
        self.list(COMMITS_DIR)?.into_iter().map(get).collect()
    }

    fn delete(&self, path: &ObjectPath) -> Result<()> {
        match self.remote.run(self.remote.store().delete(path)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(fault::store(path.as_ref(), "remove", e)),
        }
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        self.delete(&self.path(name))
    }

    pub(super) fn clear(&self) -> Result<()> {
        self.list(PRIVATE_DIR)?.iter().try_for_each(|path| self.delete(path))
    }
}

/// An upload that nobody sees until it is completed; aborted when dropped.
pub(crate) struct Upload {
    remote: Arc<Remote>,
    path: ObjectPath,
    shown: Shown,
    part: Vec<u8>,
    upload: Option<Box<dyn MultipartUpload>>,
}

impl Upload {
    pub(crate) fn write(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let n = data.len().min(PART - self.part.len());
            self.part.extend_from_slice(&data[..n]);
            data = &data[n..];
            if self.part.len() == PART {
                self.send_part()?;
            }
        }
        Ok(())
    }

    fn send_part(&mut self) -> Result<()> {
        let fail = |e| fault::store(&self.shown, "write", e);
        if self.upload.is_none() {
            let start = self.remote.store().put_multipart_opts(&self.path, PutMultipartOptions::default());
            self.upload = Some(self.remote.run(start).map_err(fail)?);
        }
        let part = std::mem::take(&mut self.part);
        match &mut self.upload {
            Some(upload) => self.remote.run(upload.put_part(part.into())).map_err(fail),
            None => Ok(()),
        }
    }

    fn complete(mut self) -> Result<()> {
        let fail = |shown: &str, e| fault::store(shown, "write", e);
        if self.upload.is_none() {
            let payload = PutPayload::from(std::mem::take(&mut self.part));
            let put = self.remote.store().put_opts(&self.path, payload, PutOptions::default());
            return self.remote.run(put).map(drop).map_err(|e| fail(&self.shown, e));
        }
        if !self.part.is_empty() {
            self.send_part()?;
        }
        if let Some(mut upload) = self.upload.take()
            && let Err(e) = self.remote.run(upload.complete())
        {
            let _ = self.remote.run(upload.abort());
            return Err(fail(&self.shown, e));
        }
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(mut upload) = self.upload.take() {
            // What is not aborted stays invisible, and stores expire it by their own rules.
            let _ = self.remote.run(upload.abort());
        }
    }
}
