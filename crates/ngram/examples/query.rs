//! Tokens per second of a model on a text, tokenising timed apart. One thread.
//!
//! ```text
//! cargo run --release -p gristmill-ngram --example query -- MODEL TEXT [REPEATS]
//! ```
//!
//! `TEXT` has one sentence a line, words separated by white space, as KenLM's `query` takes it. Prints one
//! JSON object; `benches/peers/ngram_query.py` runs this beside KenLM. Times are the best of `REPEATS`, and
//! of the processor where the system tells (Linux), so that a busy machine does not distort them.

use std::path::Path;
use std::time::Instant;

use gristmill_core::{Error, Result};
use gristmill_ngram::model::{Model, State};
use gristmill_ngram::vocab::{UNK, WordId};

/// Sentences given to the model at a time, as many as the documents of a batch elsewhere.
const BATCH: usize = 128;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(model), Some(text)) = (args.next(), args.next()) else {
        return Err(Error::invalid_argument("MODEL TEXT", "a model and a text are needed"));
    };
    let repeats = args.next().map_or(Ok(3), |n| n.parse());
    let repeats: usize = repeats.map_err(|e| Error::invalid_argument("REPEATS", format!("{e}")))?;
    let text = std::fs::read_to_string(Path::new(&text)).map_err(|e| Error::io(&text, "read the text", e))?;

    let (load_s, model) = timed(|| Model::load(&model));
    let model = model?;
    let mut sentences = Vec::new();
    let tokenise_s = best(repeats, || sentences = tokenise(&model, &text));
    let unknown = sentences.iter().flatten().filter(|id| **id == UNK).count();

    let mut log10 = 0.0;
    let mut scores = Vec::new();
    let score_s = best(repeats, || {
        log10 = 0.0;
        for batch in sentences.chunks(BATCH) {
            model.score_many(batch.iter().map(Vec::as_slice), true, true, &mut scores);
            log10 += scores.iter().map(|x| f64::from(*x)).sum::<f64>();
        }
    });
    let statewise_s = best(repeats, || {
        for ids in &sentences {
            let mut state = model.begin_state();
            for id in ids.iter().copied().chain([model.eos()]) {
                state = std::hint::black_box(model.full_score(&state, id)).1;
            }
            std::hint::black_box::<State>(state);
        }
    });
    let tokens = sentences.iter().map(|ids| ids.len() + 1).sum::<usize>();
    let report = serde_json::json!({
        "tokens": tokens,
        "unknown": unknown,
        "log10": log10,
        "counts": model.counts(),
        "tableBytes": model.table_bytes(),
        "loadSeconds": load_s,
        "tokeniseSeconds": tokenise_s,
        "scoreSeconds": score_s,
        "statewiseSeconds": statewise_s,
        "tokensPerSecond": tokens as f64 / score_s,
        "tokensPerSecondWithTokenising": tokens as f64 / (score_s + tokenise_s),
        "tokensPerSecondStatewise": tokens as f64 / statewise_s,
    });
    println!("{report}");
    Ok(())
}

fn tokenise(model: &Model, text: &str) -> Vec<Vec<WordId>> {
    let words = |line: &str| line.split_ascii_whitespace().map(|word| model.encode(word)).collect();
    text.lines().map(words).collect()
}

/// Seconds that `f` took.
fn timed<T>(f: impl FnOnce() -> T) -> (f64, T) {
    let (start, start_on_cpu) = (Instant::now(), on_cpu());
    let result = f();
    let on_cpu = on_cpu().zip(start_on_cpu).map(|(end, start)| end - start);
    (on_cpu.unwrap_or_else(|| start.elapsed().as_secs_f64()), result)
}

/// Processor time of this thread so far, in seconds.
fn on_cpu() -> Option<f64> {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(schedule.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

fn best(repeats: usize, mut f: impl FnMut()) -> f64 {
    (0..repeats.max(1)).map(|_| timed(&mut f).0).fold(f64::INFINITY, f64::min)
}
