//! Other programs that results are compared with, installed by `benches/peers/setup.sh`.

use std::path::{Path, PathBuf};

/// The folder of KenLM: `bin/lmplz`, `bin/build_binary`, `bin/query`, and `venv/bin/python` with the module
/// `kenlm`. `None`, with the reason on stderr, where it is not installed.
///
/// It is `$GRISTMILL_PEERS`, or `target/peers` in the repository.
///
/// # Panics
/// When it is not installed and `$GRISTMILL_REQUIRE`, a list separated by commas, has `kenlm` in it.
pub(crate) fn kenlm() -> Option<PathBuf> {
    let folder = folder();
    let missing = ["bin/lmplz", "bin/build_binary", "bin/query", "venv/bin/python"]
        .into_iter()
        .find(|file| !folder.join(file).exists());
    let Some(missing) = missing else { return Some(folder) };
    skip(
        "kenlm",
        &format!(
            "KenLM is not there, no {} (benches/peers/setup.sh installs it)",
            folder.join(missing).display()
        ),
    )
}

/// KenLM's estimator: `$GRISTMILL_LMPLZ`, or the one of the peers, or the one on the search path.
///
/// # Panics
/// When there is none and `$GRISTMILL_REQUIRE` has `lmplz` in it.
pub(crate) fn lmplz() -> Option<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::iter::once(folder().join("bin")).chain(std::env::split_paths(&search));
    std::env::var_os("GRISTMILL_LMPLZ")
        .map(PathBuf::from)
        .or_else(|| places.find_map(|place| Some(place.join("lmplz")).filter(|file| file.is_file())))
        .or_else(|| skip("lmplz", "lmplz is not there (benches/peers/setup.sh installs it)"))
}

fn folder() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers");
    std::env::var_os("GRISTMILL_PEERS").map_or(default, PathBuf::from)
}

/// Says why a test is skipped, or fails where `$GRISTMILL_REQUIRE` names what is missing.
pub(crate) fn skip<T>(name: &str, reason: &str) -> Option<T> {
    let required = std::env::var("GRISTMILL_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|required| required.trim() == name), "{reason}");
    eprintln!("skipped: {reason}");
    None
}
