//! Checks against published data and numbers.

mod laws;
mod lego;
mod regmix;
mod subset;

use std::path::PathBuf;

/// Where the published data named `name` lies, or `None`, with the reason printed, when it is not there.
/// `GRISTMILL_SHARED` names the folder of shared data, which is `../shared` beside the repository otherwise;
/// `GRISTMILL_REQUIRE` lists the data that must be there.
fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GRISTMILL_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let path = root.join("data").join(name);
    if path.is_dir() {
        return Some(path);
    }
    let required = std::env::var("GRISTMILL_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r == name), "{} is required and not there", path.display());
    eprintln!("skipped: {} is not there", path.display());
    None
}
