//! Times this crate on what the peers in `benches/peers/mix_*.py` are timed on, and prints JSON.
//!
//!     mix_bench gbdt FOLDER TARGET DRAWS     FOLDER: the published RegMix runs; DRAWS: mixtures to predict
//!     mix_bench dcpt POINTS STARTS           POINTS: rows of N, D, r and the loss
//!
//!     mix_bench facility EMBEDDINGS D K      EMBEDDINGS: rows of D numbers in f32; K of them are chosen
//!     mix_bench kmeans EMBEDDINGS D K ROUNDS the same; K clusters from random centres, so many rounds
//!
//! `DRAWS` and `POINTS` are files of little-endian f64, row by row.

use std::path::Path;
use std::time::Instant;

use gristmill_core::{Code, Control, Error, Result};
use gristmill_mix::stats::spearman;
use gristmill_mix::{
    FacilityLocation, Gbdt, GbdtOptions, Init, KMeansOptions, Kernel, LawForm, LawOptions, Matrix, Optimizer,
    Points, Runs, Similarity, SimilarityOptions, fit_law, kmeans, maximize,
};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["dcpt", points, starts] => dcpt(points, number(starts)?),
        ["facility", embeddings, d, k] => facility(embeddings, number(d)?, number(k)?),
        ["kmeans", embeddings, d, k, rounds] => clusters(embeddings, number(d)?, number(k)?, number(rounds)?),
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

/// Rows of little-endian f64.
fn matrix(path: &str, columns: usize) -> Result<Matrix> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    let (numbers, _) = bytes.as_chunks::<8>();
    let values: Vec<f64> = numbers.iter().map(|b| f64::from_le_bytes(*b)).collect();
    Matrix::new(values.len() / columns, columns, values)
}

fn dcpt(points: &str, starts: usize) -> Result<()> {
    let data = matrix(points, 4)?;
    let mut rows = Matrix::zeros(data.rows(), 3);
    (0..data.rows()).for_each(|i| rows.row_mut(i).copy_from_slice(&data.row(i)[..3]));
    let options = LawOptions { starts, folds: 0, extrapolate: false, ..Default::default() };
    let fit = || fit_law(LawForm::Dcpt, &rows, &data.column(3), &options, &Control::default());
    let (one, fitted) = median(5, || pool(1)?.install(fit))?;
    let (all, _) = median(5, fit)?;
    println!(
        "{}",
        serde_json::json!({
            "points": rows.rows(), "starts": starts, "secondsOneThread": one, "secondsAllThreads": all,
            "threads": rayon::current_num_threads(), "huber": fitted.huber, "r2": fitted.fitted.r2,
            "agreement": fitted.starts,
        })
    );
    Ok(())
}

/// Facility location on cosine similarities, the similarities included.
fn facility(embeddings: &str, d: usize, k: usize) -> Result<()> {
    let data = floats(embeddings)?;
    let points = Points::new(&data, d)?;
    let options = SimilarityOptions { kernel: Kernel::SquaredCosine, ..Default::default() };
    let control = Control::default();
    let (similarity_seconds, similarity) = median(3, || Similarity::of(points, &options, &control))?;
    let choose = || maximize(&mut FacilityLocation::new(&similarity), k, Optimizer::Lazy, 0, &control);
    let (greedy_seconds, chosen) = median(3, choose)?;
    println!(
        "{}",
        serde_json::json!({
            "points": points.len(), "dimension": d, "budget": k, "threads": rayon::current_num_threads(),
            "similaritySeconds": similarity_seconds, "greedySeconds": greedy_seconds,
            "seconds": similarity_seconds + greedy_seconds, "evaluations": chosen.evaluations,
            "value": chosen.value, "indices": chosen.indices,
        })
    );
    Ok(())
}

/// Lloyd's rounds from random centres, as many as are asked for.
fn clusters(embeddings: &str, d: usize, k: usize, rounds: usize) -> Result<()> {
    let data = floats(embeddings)?;
    let points = Points::new(&data, d)?;
    let options =
        KMeansOptions { k, iterations: rounds + 1, init: Init::Random, tolerance: 0.0, ..Default::default() };
    let (seconds, found) = median(3, || kmeans(points, &options, &Control::default()))?;
    println!(
        "{}",
        serde_json::json!({
            "points": points.len(), "dimension": d, "k": k, "rounds": found.iterations - 1,
            "threads": rayon::current_num_threads(), "seconds": seconds, "inertia": found.inertia,
        })
    );
    Ok(())
}

fn floats(path: &str) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

fn number(text: &str) -> Result<usize> {
    text.parse().map_err(|_| Error::new(Code::InvalidArgument, format!("{text:?} is no number")))
}

fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    let built = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    built.map_err(|e| Error::new(Code::Internal, e.to_string()))
}

fn gbdt(folder: &Path, target: &str, draws: &str) -> Result<()> {
    let read = |mixtures: &str, losses: &str| Runs::read_csv(folder.join(mixtures), folder.join(losses));
    let runs = read("train_mixture_1m.csv", "train_pile_loss_1m.csv")?;
    let y = runs.losses().column(runs.target(target)?);
    let k = runs.domains().len();
    let draws = matrix(draws, k)?;

    let fit = || Gbdt::fit(runs.weights(), &y, &GbdtOptions::default(), &Control::default());
    let (fit_seconds, model) = median(5, fit)?;
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
