//! Corpora to work on, and outputs to compare.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use gristmill_core::hash::{hash64, unit_open};
use tempfile::TempDir;

/// A directory for one test.
pub(crate) struct Dir(TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path of a name, as options have it.
    pub(crate) fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        self.at(name)
    }

    /// Writes lines of JSON.
    pub(crate) fn jsonl(&self, name: &str, rows: impl IntoIterator<Item = serde_json::Value>) -> String {
        let mut text = String::new();
        for row in rows {
            text += &row.to_string();
            text.push('\n');
        }
        match name.ends_with(".gz") {
            false => self.write(name, text),
            true => {
                let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gz.write_all(text.as_bytes()).unwrap();
                self.write(name, gz.finish().unwrap())
            }
        }
    }
}

/// Words whose frequencies fall as those of language do; kinds share half of their words.
pub(crate) fn words(kind: &str, seed: u64, n: usize) -> String {
    let mut text = String::new();
    for i in 0..n as u64 {
        let hash = hash64(seed, &i.to_le_bytes());
        // Log-uniform ranks: the r-th word has a share of about 1/r.
        let rank = (3000f64.powf(unit_open(hash))) as u64;
        let own = hash64(1, &rank.to_le_bytes()).is_multiple_of(2);
        let word = if own { format!("{kind}{rank}") } else { format!("w{rank}") };
        text += &word;
        text.push(if hash64(2, &hash.to_le_bytes()).is_multiple_of(12) { '.' } else { ' ' });
    }
    text
}

/// Rows of a kind: `id`, `kind`, `n` and a `text` of 60 to 160 words.
pub(crate) fn rows(kind: &str, from: u64, n: u64) -> impl Iterator<Item = serde_json::Value> {
    let kind = kind.to_owned();
    (from..from + n).map(move |i| {
        let seed = hash64(7, format!("{kind}/{i}").as_bytes());
        let text = words(&kind, seed, 60 + (seed % 100) as usize);
        serde_json::json!({"id": format!("{kind}-{i}"), "kind": kind, "n": i, "text": text})
    })
}

/// All files below a directory with their content, by relative name.
pub(crate) fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut out = BTreeMap::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                out.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    out
}

/// Fails with the names of the files that differ.
pub(crate) fn assert_same(left: &BTreeMap<String, Vec<u8>>, right: &BTreeMap<String, Vec<u8>>, what: &str) {
    let names = |t: &BTreeMap<String, Vec<u8>>| t.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(left), names(right), "{what}");
    let differing: Vec<_> =
        left.iter().filter(|(name, bytes)| right[*name] != **bytes).map(|(n, _)| n).collect();
    assert!(differing.is_empty(), "{what}: {differing:?} differ");
}
