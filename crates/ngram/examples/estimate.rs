//! Estimates a model from a text file, as `lmplz` does, and says what it took.
//!
//! ```text
//! cargo run --release -p gristmill-ngram --example estimate -- TEXT [MODEL] [--order N] [--memory BYTES]
//!     [--threads N] [--prune N,N,…] [--fallback]
//! ```
//!
//! `TEXT` has one sentence a line, words separated by white space. `MODEL` is written as ARPA text when it
//! ends in `.arpa` or `.arpa.gz`, and as `.gml` otherwise. Prints one JSON object;
//! `benches/peers/ngram_estimate.py` runs this beside `lmplz`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Instant;

use gristmill_core::{Control, Error, Result};
use gristmill_ngram::estimate::{Estimator, FALLBACK_DISCOUNTS, Options};
use gristmill_ngram::model::ModelMeta;
use gristmill_ngram::{arpa, gml};

fn main() -> Result<()> {
    let (text, model, options) = arguments()?;
    let failed = |e| Error::io(&text, "read the text", e);
    let mut file = BufReader::with_capacity(1 << 20, File::open(&text).map_err(failed)?);

    let start = Instant::now();
    let mut estimator = Estimator::new(options)?;
    let mut line = String::new();
    let mut sentence = Vec::new();
    while file.read_line(&mut line).map_err(failed)? > 0 {
        sentence.clear();
        for word in line.split(['\0', '\t', '\r', '\n', ' ']).filter(|word| !word.is_empty()) {
            sentence.push(estimator.vocab_mut().intern(word));
        }
        estimator.add_sentence(&sentence)?;
        line.clear();
    }
    let read = start.elapsed().as_secs_f64();
    let estimate = estimator.finish(&Control::default())?;
    let estimated = start.elapsed().as_secs_f64();
    let report = serde_json::json!({
        "sentences": estimate.sentences,
        "tokens": estimate.tokens,
        "spilled": estimate.spilled,
        "orders": estimate.orders,
        "readSeconds": read,
        "estimateSeconds": estimated - read,
    });
    match model.as_deref().map(Path::new) {
        Some(path) if is_arpa(path) => arpa::save(&estimate.trie, path)?,
        Some(path) => drop(gml::save(&estimate.trie, &ModelMeta::default(), path)?),
        None => {}
    }
    println!("{report:#}");
    Ok(())
}

fn is_arpa(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.ends_with(".arpa") || name.ends_with(".arpa.gz")
}

fn arguments() -> Result<(String, Option<String>, Options)> {
    let mut options = Options::default();
    let mut paths = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut numbers = || -> Result<Vec<u64>> {
            let value = args.next().unwrap_or_default();
            let numbers: Result<_, _> = value.split(',').map(str::parse).collect();
            numbers.map_err(|_| Error::invalid_argument(&arg, format!("{value:?} is no number")))
        };
        match arg.as_str() {
            "--order" => options.order = numbers()?[0] as usize,
            "--memory" => options.memory_limit = numbers()?[0] as usize,
            "--threads" => options.threads = numbers()?[0] as usize,
            "--prune" => options.prune = numbers()?,
            "--fallback" => options.discount_fallback = Some(FALLBACK_DISCOUNTS),
            _ => paths.push(arg),
        }
    }
    let mut paths = paths.into_iter();
    let text = paths.next().ok_or_else(|| Error::invalid_argument("TEXT", "name a text file"))?;
    Ok((text, paths.next(), options))
}
