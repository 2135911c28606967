//! Models in files: JSON, in which every number comes back as it was.

use std::path::Path;

use gristmill_core::{Code, Error, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Writes `model` to `path` as JSON, by way of a second file, so that a reader never sees half of it.
pub(crate) fn save(model: &impl Serialize, path: &Path) -> Result<()> {
    let shown = path.display().to_string();
    let text = serde_json::to_vec(model)
        .map_err(|e| Error::new(Code::Internal, format!("cannot write as JSON: {e}")).at_path(&shown))?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".part");
    std::fs::write(&temporary, text)
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|e| Error::io(shown, "write", e))
}

/// Reads what [`save`] wrote, and refuses what is damaged.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let shown = path.display().to_string();
    let text = std::fs::read(path).map_err(|e| Error::io(&shown, "read", e))?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::new(Code::InvalidModel, e.to_string()).at_path(shown).with_source(e))
}
