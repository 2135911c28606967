//! Learns to tell a target from a pool and scores the pool, on one thread.
//!
//! ```text
//! cargo run --release -p gristmill-score --example classifier -- POOL.jsonl TARGET.jsonl [--wordpunct]
//! ```
//!
//! Every line is a JSON object with a `text`. The pool is read twice, for its features and for its scores, and its
//! texts are never in memory together. Prints one JSON object. `benches/peers/classifier.py` runs this beside
//! scikit-learn.

use std::io::BufRead;
use std::time::Instant;

use gristmill_core::{Code, Control, Error, Result};
use gristmill_mix::{Bags, LogisticOptions, Platt, Targets, TfIdf, fit_logistic};
use gristmill_ngram::hashed::{Features, HashedSpec};
use gristmill_ngram::normalize::Normalizer;
use gristmill_score::memory::{HashedLinear, LossModel, Scratch};
use gristmill_score::{Method, ScoreSpec};

fn main() -> Result<()> {
    let mut spec = ScoreSpec::of(Method::Classifier);
    let mut paths = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--wordpunct" => {
                let normalizer = Normalizer::WORDPUNCT.to_owned();
                spec.features = Some(HashedSpec { normalizer, ..ScoreSpec::classifier_features() });
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
    let features = Features::new(spec.features.clone().unwrap_or_else(ScoreSpec::classifier_features))?;
    let mut scratch = Scratch::default();

    let start = Instant::now();
    let mut bags = Bags::new(features.spec().buckets);
    let mut buckets = Vec::new();
    let mut bytes = 0;
    let mut add = |text: &str| {
        buckets.clear();
        bytes += text.len();
        features.for_each_bucket(text, &mut scratch.words, |bucket| buckets.push(bucket as u32))?;
        bags.push(&mut buckets)
    };
    each_text(target, &mut add)?;
    let positives = {
        let mut n = 0;
        each_text(target, |_| {
            n += 1;
            Ok(())
        })?;
        n
    };
    each_text(pool, &mut add)?;
    let featurized = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let tfidf = TfIdf::new(&bags.document_frequencies(), bags.len(), 1.0, true);
    let rows = tfidf.rows(&bags);
    let targets = Targets::balanced(&(0..bags.len()).map(|i| i < positives).collect::<Vec<_>>())?;
    let model = fit_logistic(&rows, &targets, &LogisticOptions::default(), &Control::default())?;
    let fitted = start.elapsed().as_secs_f64();
    let documents = bags.len();
    drop(rows);
    drop(bags);

    let start = Instant::now();
    let scorer = HashedLinear::new(Method::Classifier, features, &tfidf, &model, Platt::default())?;
    let mut scores = Vec::new();
    each_text(pool, |text| {
        scores.push(spec.score(&scorer.text(&spec, text, &mut scratch)?));
        Ok(())
    })?;
    let scored = start.elapsed().as_secs_f64();
    let result = serde_json::json!({
        "documents": documents,
        "bytes": bytes,
        "epochs": model.epochs,
        "seconds": { "features": featurized, "fit": fitted, "score": scored },
        "scores": scores,
    });
    println!("{result}");
    Ok(())
}

fn each_text(path: &str, mut f: impl FnMut(&str) -> Result<()>) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        text: std::borrow::Cow<'a, str>,
    }
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, "read", e))?;
    for (row, line) in (0..).zip(std::io::BufReader::new(file).lines()) {
        let line = line.map_err(|e| Error::io(path, "read", e))?;
        let Line { text } = serde_json::from_str(&line)
            .map_err(|e| Error::new(Code::CorruptData, e.to_string()).at_path(path).at_row(row))?;
        f(&text)?;
    }
    Ok(())
}
