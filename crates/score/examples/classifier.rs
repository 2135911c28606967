//! Learns to tell a target from a pool and scores the pool, on one thread.
//!
//! ```text
//! cargo run --release -p gristmill-score --example classifier -- POOL.jsonl TARGET.jsonl [--wordpunct] [--from-text] [--objective]
//! ```
//!
//! Every line is a JSON object with a `text`. The texts are never in memory together: what is learnt from and scored
//! is their features, or with `--from-text` the pool is read again for the scores, as a job does whose pool is larger
//! than what it learns from. With `--objective` it says what was
//! minimised came to. Prints one JSON object. `benches/peers/classifier.py` runs this beside
//! scikit-learn.

use std::io::BufRead;
use std::time::Instant;

use gristmill_core::{Code, Control, Error, Result};
use gristmill_mix::{Bags, Linear, LogisticOptions, Platt, Rows, Targets, TfIdf, TfIdfRows, fit_logistic};
use gristmill_ngram::hashed::{Features, HashedSpec};
use gristmill_ngram::normalize::Normalizer;
use gristmill_score::memory::{HashedLinear, LossModel, Scratch};
use gristmill_score::{Method, ScoreSpec};

fn main() -> Result<()> {
    let mut spec = ScoreSpec::of(Method::Classifier);
    let (mut paths, mut from_text, mut with_objective) = (Vec::new(), false, false);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--wordpunct" => {
                let normalizer = Normalizer::WORDPUNCT.to_owned();
                spec.features = Some(HashedSpec { normalizer, ..ScoreSpec::classifier_features() });
            }
            "--objective" => with_objective = true,
            "--from-text" => from_text = true,
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

    let start = Clock::start();
    let mut bags = Bags::new(features.spec().buckets);
    let mut buckets = Vec::new();
    let mut bytes = 0;
    let mut add = |text: &str| {
        buckets.clear();
        bytes += text.len();
        features.for_each_bucket(text, &mut scratch.words, |bucket| buckets.push(bucket as u32))?;
        bags.push(&buckets)
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
    let featurized = start.seconds();

    let start = Clock::start();
    let tfidf = TfIdf::new(bags.document_frequencies(), bags.len(), 1.0, true);
    let rows = tfidf.rows(bags);
    let targets = Targets::balanced(&(0..rows.len()).map(|i| i < positives).collect::<Vec<_>>())?;
    let model = fit_logistic(&rows, &targets, &LogisticOptions::default(), &Control::default())?;
    let fitted = start.seconds();
    let objective = with_objective.then(|| objective(&rows, &targets, &model));
    let documents = rows.len();

    let start = Clock::start();
    let mut scores: Vec<f64> = (positives..rows.len()).map(|row| model.margin(&rows, row)).collect();
    let scored = start.seconds();

    if from_text {
        let by_feature = Linear { weights: rows.by_feature(&model.weights), ..model.clone() };
        drop(rows);
        let scorer = HashedLinear::new(Method::Classifier, features, &tfidf, &by_feature, Platt::default())?;
        scores.clear();
        each_text(pool, |text| {
            scores.push(spec.score(&scorer.text(&spec, text, &mut scratch)?));
            Ok(())
        })?;
    }
    let result = serde_json::json!({
        "documents": documents,
        "bytes": bytes,
        "epochs": model.epochs,
        "objective": objective,
        "seconds": { "features": featurized, "fit": fitted, "score": scored },
        "scores": scores,
    });
    println!("{result}");
    Ok(())
}

/// Seconds of processor time of this thread where the system tells (Linux), and of a clock elsewhere.
struct Clock(Instant, Option<u64>);

impl Clock {
    fn start() -> Self {
        Self(Instant::now(), Self::nanoseconds())
    }

    fn seconds(&self) -> f64 {
        match (self.1, Self::nanoseconds()) {
            (Some(then), Some(now)) => (now - then) as f64 * 1e-9,
            _ => self.0.elapsed().as_secs_f64(),
        }
    }

    fn nanoseconds() -> Option<u64> {
        std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
    }
}

/// What the fit minimises, with penalty 1.
fn objective(rows: &TfIdfRows, targets: &Targets, model: &Linear) -> f64 {
    let loss = |row: usize| {
        let margin = model.margin(rows, row);
        targets.weights[row]
            * (margin.max(0.0) + (-margin.abs()).exp().ln_1p() - targets.labels[row] * margin)
    };
    let square: f64 = model.weights.iter().map(|w| w * w).sum();
    (0..rows.len()).map(loss).sum::<f64>() + 0.5 * (square + model.intercept.powi(2))
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
