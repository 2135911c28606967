//! How fast corpora are read and written: megabytes per second of wall-clock and of processor time.
//!
//! ```text
//! cargo run --release -p gristmill-data --example read -- [--mb 256] [--all] [--write FORMAT] [FILE …]
//! ```
//!
//! Without files, one corpus of English-like text (`--mb` megabytes as plain JSONL) is made in a temporary
//! directory in every format and read from each. `--all` reads all columns, as a selection does; `--write`
//! also writes them again. Processor time counts all threads, so it is the figure per core; megabytes
//! are of the text as plain JSONL, whatever the format, so that the lines compare.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use gristmill_core::{Control, Error, Result};
use gristmill_data::{Compression, Corpus, OutputFormat, ReadOptions, ShardWriter, Source};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (mut mb, mut all, mut write, mut files) = (256usize, false, None, Vec::new());
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| Error::invalid_argument(&arg, "needs a value"));
        match arg.as_str() {
            "--mb" => {
                mb = value()?.parse().map_err(|_| Error::invalid_argument("--mb", "is not a number"))?
            }
            "--all" => all = true,
            "--write" => write = Some(OutputFormat::parse(&value()?)?),
            _ => files.push(PathBuf::from(arg)),
        }
    }
    let dir = tempfile::tempdir().map_err(|e| Error::io("temporary directory", "create", e))?;
    let mut plain = None;
    if files.is_empty() {
        files = make_corpus(dir.path(), mb << 20)?;
        plain = Some(size(&files[0])?);
    }
    println!("{:<16} {:>9} {:>9} {:>9} {:>10} {:>12}", "file", "MB", "docs", "wall s", "MB/s", "MB/s of CPU");
    for file in &files {
        let options = if all || write.is_some() { ReadOptions::all() } else { ReadOptions::default() };
        let bytes = plain.map_or_else(|| size(file), Ok)? as f64 / 1e6;
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        let documents = read(file, options, write)?;
        let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        println!(
            "{name:<16} {bytes:>9.1} {documents:>9} {wall:>9.2} {:>10.0} {:>12.0}",
            bytes / wall,
            bytes / cpu.max(1e-3)
        );
    }
    Ok(())
}

fn read(file: &Path, options: ReadOptions, write: Option<OutputFormat>) -> Result<u64> {
    let control = Control::default();
    let corpus = Corpus::open(Source::new([file.display().to_string()]), &control)?;
    let mut reader = corpus.read(0, options, &control)?;
    let mut writer = match write {
        Some(format) => Some(ShardWriter::create(std::io::sink(), "sink", format)?),
        None => None,
    };
    for batch in reader.by_ref() {
        let batch = batch?;
        if let Some(writer) = &mut writer {
            writer.write(&batch, &[])?;
        }
    }
    writer.map(ShardWriter::finish).transpose()?;
    Ok(reader.stats().delivered)
}

/// The same documents in every format, the plain one first.
fn make_corpus(dir: &Path, bytes: usize) -> Result<Vec<PathBuf>> {
    let plain = dir.join("plain.jsonl");
    let fail = |e| Error::io("temporary corpus", "write", e);
    let mut out = std::io::BufWriter::new(std::fs::File::create(&plain).map_err(fail)?);
    let (mut written, mut state, mut i) = (0, 1u64, 0);
    while written < bytes {
        let line = document(&mut state, i);
        out.write_all(line.as_bytes()).map_err(fail)?;
        written += line.len();
        i += 1;
    }
    out.flush().map_err(fail)?;
    drop(out);
    let mut files = vec![plain.clone()];
    for (name, format) in [
        ("corpus.jsonl.gz", OutputFormat::Jsonl(Compression::Gzip)),
        ("corpus.jsonl.zst", OutputFormat::Jsonl(Compression::Zstd)),
        ("corpus.parquet", OutputFormat::Parquet),
        ("corpus.arrow", OutputFormat::Arrow),
    ] {
        let path = dir.join(name);
        let control = Control::default();
        let corpus = Corpus::open(Source::new([plain.display().to_string()]), &control)?;
        let dest = std::fs::File::create(&path).map_err(fail)?;
        let mut writer = ShardWriter::create(dest, name, format)?;
        for batch in corpus.read(0, ReadOptions::all(), &control)? {
            writer.write(&batch?, &[])?;
        }
        writer.finish()?;
        files.push(path);
    }
    Ok(files)
}

/// A crawled page as such corpora hold it: some metadata and a text of 0.3 to 6 kB with escapes, one in
/// eight with many letters outside of ASCII.
fn document(state: &mut u64, i: usize) -> String {
    let mut next = |n: usize| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) as usize % n
    };
    // A vocabulary of 40,000 made-up words, of which a few hundred make most of a text.
    const PARTS: [&str; 20] = [
        "th", "in", "er", "an", "re", "on", "at", "en", "nd", "ti", "es", "or", "te", "of", "ed", "is", "it",
        "al", "ar", "st",
    ];
    const OTHER: [&str; 8] = ["ü", "é", "ß", "ñ", "д", "ж", "日", "本"];
    let mut text = String::new();
    for _ in 0..60 + next(1000) {
        let mut word = next(200) * next(200) * next(200) / 200;
        loop {
            text.push_str(PARTS[word % 20]);
            word /= 20;
            if word == 0 {
                break;
            }
        }
        if i.is_multiple_of(8) {
            text.push_str(OTHER[next(8)]);
        }
        text.push_str(match next(40) {
            0 => "\\n",
            1 => ", \\\"",
            2 => ". ",
            _ => " ",
        });
    }
    let score = next(1000);
    format!(
        "{{\"id\":\"doc-{i}\",\"url\":\"https://example.org/{i}/{score}\",\"text\":\"{text}\",\
         \"meta\":{{\"lang\":\"en\",\"score\":0.{score},\"tags\":[\"a\",\"b\"]}}}}\n"
    )
}

fn size(path: &Path) -> Result<u64> {
    let meta = std::fs::metadata(path).map_err(|e| Error::io(path.display().to_string(), "read", e))?;
    Ok(meta.len())
}

/// Processor time of all threads so far; wall-clock time where the system does not say.
fn cpu_seconds() -> f64 {
    // Fields 14 and 15 of `stat`, counted after the name in parentheses, in hundredths of a second.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let field = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok());
    match (field(11), field(12)) {
        (Some(user), Some(system)) => (user + system) / 100.0,
        _ => {
            static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
            START.get_or_init(Instant::now).elapsed().as_secs_f64()
        }
    }
}
