//! Times this crate's fits on what the peers in `benches/peers/mix_*.py` are timed on, and prints JSON.
//!
//!     cargo run --release -p gristmill-mix --example mix_bench -- gbdt FOLDER TARGET DRAWS
//!
//! `FOLDER` holds the published RegMix runs; `DRAWS` is a file of little-endian f64, one row of weights per mixture to predict.

use std::path::Path;
use std::time::Instant;

use gristmill_core::{Code, Control, Error, Result};
use gristmill_mix::stats::spearman;
use gristmill_mix::{Gbdt, GbdtOptions, Matrix, Runs};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["gbdt", folder, target, draws] => gbdt(Path::new(folder), target, draws),
        _ => Err(Error::new(Code::InvalidArgument, "see the head of mix_bench.rs for its arguments")),
    }
}

/// The median of several timed calls, in seconds, and the last result.
fn median<T>(times: usize, mut work: impl FnMut() -> Result<T>) -> Result<(f64, T)> {
    let mut seconds = Vec::with_capacity(times);
    let mut result = None;
    for _ in 0..times {
        let start = Instant::now();
        result = Some(work()?);
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let result = result.ok_or_else(|| Error::new(Code::Internal, "nothing was timed"))?;
    Ok((seconds[times / 2], result))
}

fn gbdt(folder: &Path, target: &str, draws: &str) -> Result<()> {
    let read = |mixtures: &str, losses: &str| Runs::read_csv(folder.join(mixtures), folder.join(losses));
    let runs = read("train_mixture_1m.csv", "train_pile_loss_1m.csv")?;
    let y = runs.losses().column(runs.target(target)?);
    let bytes = std::fs::read(draws).map_err(|e| Error::io(draws, "read", e))?;
    let values: Vec<f64> = bytes
        .chunks_exact(8)
        .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
        .collect();
    let k = runs.domains().len();
    let draws = Matrix::new(values.len() / k, k, values)?;

    let fit = || Gbdt::fit(runs.weights(), &y, &GbdtOptions::default(), &Control::default());
    let (fit_seconds, model) = median(5, fit)?;
    let pool = |threads| {
        let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        built.map_err(|e| Error::new(Code::Internal, e.to_string()))
    };
    let single = pool(1)?;
    let (one, predicted) = median(5, || single.install(|| model.predict(&draws)))?;
    let (all, _) = median(5, || model.predict(&draws))?;
    let rank = |size: &str| -> Result<f64> {
        let test = read(&format!("test_mixture_{size}.csv"), &format!("test_pile_loss_{size}.csv"))?;
        let measured = test.losses().column(test.target(target)?);
        Ok(100.0 * spearman(&model.predict(test.weights())?, &measured))
    };
    println!(
        "{}",
        serde_json::json!({
            "rows": runs.len(), "features": k, "trees": model.trees(), "draws": draws.rows(),
            "fitSeconds": fit_seconds, "predictSecondsOneThread": one, "predictSecondsAllThreads": all,
            "threads": rayon::current_num_threads(),
            "spearman100": {"1m": rank("1m")?, "60m": rank("60m")?},
            "predictionMean": predicted.iter().sum::<f64>() / predicted.len() as f64,
        })
    );
    Ok(())
}
