//! Weighs the documents of a pool by hashed n-grams, as DSIR does, on one thread.
//!
//! ```text
//! cargo run --release -p gristmill-ngram --example hashed -- POOL.jsonl TARGET.jsonl [--reference] [--repeats N]
//! ```
//!
//! Every line is a JSON object with a `text`. Counts the target once and the pool, and weighs the pool, N
//! times; prints one JSON object. `benches/peers/dsir.py` runs this beside DSIR's own package.

use gristmill_core::{Code, Error, Result};
use gristmill_ngram::hashed::{BucketCounts, Features, HashedSpec, ImportanceWeights};
use gristmill_ngram::normalize::Scratch;

fn main() -> Result<()> {
    let mut paths = Vec::new();
    let mut spec = HashedSpec::default();
    let mut repeats = 1;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--reference" => spec = HashedSpec::reference(),
            "--repeats" => {
                let number = arguments.next().and_then(|n| n.parse().ok());
                repeats = number.ok_or_else(|| Error::invalid_argument("repeats", "takes a number"))?;
            }
            _ => paths.push(argument),
        }
    }
    let [pool, target] = &paths[..] else {
        return Err(Error::new(
            Code::InvalidArgument,
            "give the pool and the target, two files of JSON lines",
        ));
    };
    let (pool, target) = (texts(pool)?, texts(target)?);

    let mut scratch = Scratch::default();
    let features = Features::new(spec)?;
    let target = count(&features, &target, &mut scratch)?;
    let mut sum = 0.0;
    for _ in 0..repeats {
        let raw = count(&features, &pool, &mut scratch)?;
        let weights = ImportanceWeights::new(features.clone(), &target, &raw)?;
        sum = 0.0;
        for text in &pool {
            sum += weights.score(text, &mut scratch)?.sum;
        }
    }
    let bytes: usize = pool.iter().map(String::len).sum();
    println!("{}", serde_json::json!({ "documents": pool.len(), "bytes": bytes, "sumOfWeights": sum }));
    Ok(())
}

fn count(features: &Features, texts: &[String], scratch: &mut Scratch) -> Result<BucketCounts> {
    let mut counts = BucketCounts::new(features);
    for text in texts {
        counts.add(features, text, scratch)?;
    }
    Ok(counts)
}

fn texts(path: &str) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Line {
        text: String,
    }
    let file = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read", e))?;
    let parse = |(row, line)| match serde_json::from_str::<Line>(line) {
        Ok(line) => Ok(line.text),
        Err(e) => Err(Error::new(Code::CorruptData, e.to_string()).at_path(path).at_row(row)),
    };
    (0..).zip(file.lines()).map(parse).collect()
}
