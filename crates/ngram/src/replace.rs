//! Files that appear under their name only when they are complete.

use std::fs::File;
use std::path::Path;

use gristmill_core::{Error, Result, ResultExt};

/// Writes a file next to `path` and, once `write` succeeded and the data is on disk, renames it to `path`.
pub(crate) fn replace_file<T>(path: &Path, write: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let shown = path.display().to_string();
    let io = |e| Error::io(&shown, "write the model", e);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new();
    temporary.prefix(".gristmill-");
    // A model is no secret: as any new file, it is readable as far as the umask allows.
    #[cfg(unix)]
    temporary.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = temporary.tempfile_in(folder).map_err(io)?;
    let result = write(file.as_file_mut()).at_path(&shown)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    // The rename itself must survive a crash; folders cannot be synced on every system.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(result)
}
