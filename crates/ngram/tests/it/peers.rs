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
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers");
    let folder = std::env::var_os("GRISTMILL_PEERS").map_or(default, PathBuf::from);
    let missing = ["bin/lmplz", "bin/build_binary", "bin/query", "venv/bin/python"]
        .into_iter()
        .find(|file| !folder.join(file).exists());
    let Some(missing) = missing else { return Some(folder) };
    let reason = format!(
        "KenLM is not there, no {} (benches/peers/setup.sh installs it)",
        folder.join(missing).display()
    );
    let required = std::env::var("GRISTMILL_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name.trim() == "kenlm"), "{reason}");
    eprintln!("skipped: {reason}");
    None
}
