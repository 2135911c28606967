//! A file under way: counted and hashed as it is written.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use gristmill_core::Result;
use sha2::{Digest, Sha256};

use super::Output;
use super::remote::Upload;
use crate::fault;

const BUFFER: usize = 256 << 10;

/// A file that becomes visible only when it is committed. Write it, [`JobFile::finish`] it, and hand it to
/// [`Job::commit`](super::Job::commit).
pub struct JobFile {
    name: String,
    shown: String,
    buffer: Vec<u8>,
    bytes: u64,
    hash: Sha256,
    sink: Sink,
}

enum Sink {
    Local(Temp),
    Remote(Upload),
}

/// A temporary file, removed unless it is renamed.
pub(crate) struct Temp {
    pub(crate) file: File,
    pub(crate) path: TempPath,
}

/// Removes its file when dropped.
pub(crate) struct TempPath(pub(crate) Option<PathBuf>);

impl Drop for TempPath {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A file that is written completely and waits for its commit.
pub struct Finished {
    output: Output,
    pub(crate) rest: Rest,
}

pub(crate) enum Rest {
    Local(TempPath),
    Remote(Upload),
}

impl Finished {
    /// Its name, size and hash.
    pub fn output(&self) -> &Output {
        &self.output
    }
}

impl JobFile {
    pub(crate) fn local(name: &str, shown: String, temp: Temp) -> Self {
        Self::new(name, shown, Sink::Local(temp))
    }

    pub(crate) fn remote(name: &str, shown: String, upload: Upload) -> Self {
        Self::new(name, shown, Sink::Remote(upload))
    }

    fn new(name: &str, shown: String, sink: Sink) -> Self {
        let buffer = Vec::with_capacity(BUFFER);
        Self { name: name.into(), shown, buffer, bytes: 0, hash: Sha256::new(), sink }
    }

    /// The path or URL that it will have.
    pub fn path(&self) -> &str {
        &self.shown
    }

    fn drain(&mut self) -> io::Result<()> {
        self.hash.update(&self.buffer);
        match &mut self.sink {
            Sink::Local(temp) => temp.file.write_all(&self.buffer)?,
            Sink::Remote(upload) => upload.write(&self.buffer).map_err(fault::into_io)?,
        }
        self.buffer.clear();
        Ok(())
    }

    /// Ends the file and makes its content durable.
    pub fn finish(mut self) -> Result<Finished> {
        self.drain().map_err(|e| fault::write(&self.shown, e))?;
        let rest = match self.sink {
            Sink::Local(temp) => {
                temp.file.sync_all().map_err(|e| fault::write(&self.shown, e))?;
                Rest::Local(temp.path)
            }
            Sink::Remote(upload) => Rest::Remote(upload),
        };
        let sha256 = hex(&self.hash.finalize());
        Ok(Finished { output: Output { name: self.name, bytes: self.bytes, sha256 }, rest })
    }
}

impl Write for JobFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + data.len() > BUFFER {
            self.drain()?;
        }
        // More than the buffer holds goes through in pieces, so that hashing stays in cache.
        let n = data.len().min(BUFFER);
        self.buffer.extend_from_slice(&data[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Shares the name of an upload between its parts.
pub(crate) type Shown = Arc<str>;
