//! The quarantine file of a job that has no output directory of its own.

use std::fs::File;
use std::io::{BufWriter, Write};

use gristmill_core::{Error, Result};
use gristmill_data::{DocBatch, Quarantined};

/// `<output>.quarantine.jsonl`, which is there only when something was put aside.
pub(crate) struct Aside {
    path: String,
    file: Option<BufWriter<File>>,
}

impl Aside {
    pub(crate) fn beside(output: &str) -> Self {
        Self { path: format!("{output}.quarantine.jsonl"), file: None }
    }

    /// Writes down what a batch carries.
    pub(crate) fn write(&mut self, batch: &DocBatch) -> Result<()> {
        for record in &batch.quarantined {
            let file = match &mut self.file {
                Some(file) => file,
                none => {
                    let file = File::create(&self.path).map_err(|e| Error::io(&self.path, "write", e))?;
                    none.insert(BufWriter::new(file))
                }
            };
            Quarantined::write_to(record, file)?;
        }
        Ok(())
    }

    /// Makes the file durable; removes that of an earlier run when there is nothing to put aside now.
    pub(crate) fn finish(self) -> Result<()> {
        let io = |e| Error::io(&self.path, "write", e);
        match self.file {
            None => match std::fs::remove_file(&self.path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io(e)),
                _ => Ok(()),
            },
            Some(mut file) => file.flush().and_then(|()| file.get_ref().sync_all()).map_err(io),
        }
    }
}

/// Writes a small file so that it is there whole or not at all.
pub(crate) fn replace(path: &str, text: &[u8]) -> Result<()> {
    let temporary = format!("{path}.{}.tmp", std::process::id());
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        Error::io(path, "write", e)
    })
}
