use std::io::{BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use gristmill_core::{Code, Error, Result};

use crate::replace::replace_file;
use crate::tables::Grams;
use crate::tables::private::Row;
use crate::vocab::Vocab;

/// Writes an ARPA file, compressed when its name ends in `.gz`. It appears under its name only when it is
/// complete and synced.
///
/// # Errors
/// Those of [`write()`] and of the file system.
pub fn save(grams: &impl Grams, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let shown = path.display().to_string();
    replace_file(path, |file| {
        if path.extension().is_some_and(|e| e == "gz") {
            let mut gzip = GzEncoder::new(file, Compression::default());
            write_as(grams, &mut gzip, &shown)?;
            gzip.finish().map(|_| ()).map_err(|e| Error::io(&shown, "write the model", e))
        } else {
            write_as(grams, file, &shown)
        }
    })
}

/// Writes a model as ARPA text. Numbers have as many digits as it takes to read the same ones again.
///
/// # Errors
/// [`Code::Unsupported`] when a word is empty or has white space in it, which ARPA cannot express; those of
/// `output`.
pub fn write(grams: &impl Grams, output: impl Write) -> Result<()> {
    write_as(grams, output, "output")
}

fn write_as(grams: &impl Grams, output: impl Write, shown: &str) -> Result<()> {
    let vocab = grams.vocab();
    if let Some(word) = vocab.iter().find(|w| w.is_empty() || w.contains(['\t', '\n', '\r', ' '])) {
        let message = format!("the word {word:?} cannot be written to an ARPA file");
        return Err(Error::new(Code::Unsupported, message).hint("save the model as .gml"));
    }
    let io = |e| Error::io(shown, "write the model", e);
    let mut out = BufWriter::with_capacity(1 << 20, output);
    let counts = grams.counts();
    writeln!(out, "\\data\\").map_err(io)?;
    for (n, count) in (1..).zip(&counts) {
        writeln!(out, "ngram {n}={count}").map_err(io)?;
    }
    for n in 1..=counts.len() {
        write!(out, "\n\\{n}-grams:\n").map_err(io)?;
        grams.for_each_row(n, &mut |row| write_row(&mut out, vocab, row).map_err(io))?;
    }
    write!(out, "\n\\end\\\n").and_then(|()| out.flush()).map_err(io)
}

fn write_row(out: &mut impl Write, vocab: &Vocab, (words, prob, backoff): Row<'_>) -> std::io::Result<()> {
    write!(out, "{}", positive_zero(prob))?;
    for (j, word) in words.iter().enumerate() {
        out.write_all(if j == 0 { b"\t" } else { b" " })?;
        out.write_all(vocab.word(*word).as_bytes())?;
    }
    match backoff {
        Some(backoff) => writeln!(out, "\t{}", positive_zero(backoff)),
        None => writeln!(out),
    }
}

/// `-0.0` would be read as zero all the same, but looks like a mistake.
fn positive_zero(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { x }
}
