//! Times of optimizers on the CPU, as JSON, for `benches/peers/torch_optim.py`.
//!
//!     optim_bench RAW ROWS COLUMNS RANK     RAW: a matrix of f32, by rows

use std::time::Instant;

use gristmill_core::ops::Draw;
use gristmill_core::{Device, Error, Result, Tensor};
use gristmill_optim::linalg::{RangeOptions, captured_energy, range_find};
use gristmill_optim::{
    Algorithm, ApolloOptions, FiraOptions, GaLoreOptions, Group, ModelConfig, MuonOptions, Optimizer,
    OptimizerOptions, Refresh, StateType,
};

/// Seconds of the fastest of several calls, after one that does not count.
fn fastest(times: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let mut best = f64::INFINITY;
    for _ in 0..times {
        let start = Instant::now();
        work()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn normal(device: &Device, shape: &[usize], seed: u64) -> Result<Tensor> {
    device.philox(shape.to_vec(), Draw::Normal, seed, 0, 0)
}

/// Parameters a second of steps without a refresh, and bytes of state.
fn steps(
    device: &Device,
    shapes: &[Vec<usize>],
    algorithm: Algorithm,
    state: StateType,
) -> Result<(f64, u64)> {
    let mut params = Vec::new();
    let mut gradients = Vec::new();
    for (i, shape) in shapes.iter().enumerate() {
        params.push((format!("w{i}"), normal(device, shape, i as u64)?));
        gradients.push(normal(device, shape, 1000 + i as u64)?);
    }
    let mut group = Group::new(algorithm, params);
    group.adam.state = state;
    // PyTorch's step looks at no gradient either.
    let options = OptimizerOptions { check_finite: false, ..OptimizerOptions::default() };
    let mut optimizer = Optimizer::new(device, vec![group], options)?;
    if let Algorithm::GaLore(GaLoreOptions { rank, .. }) | Algorithm::Fira(FiraOptions { rank, .. }) =
        algorithm
    {
        let names: Vec<_> =
            optimizer.params().map(|(name, t)| (name.to_owned(), t.shape().rows_cols())).collect();
        for (name, (rows, columns)) in names {
            let side = rows.min(columns);
            let range = normal(device, &[side, rank.min(side)], 7)?;
            optimizer.set_projector(&name, &[gristmill_optim::linalg::orthonormalize(&range)?])?;
        }
    }
    let seconds = fastest(5, || {
        optimizer.step(&gradients)?;
        device.synchronize()
    })?;
    let elements: usize = shapes.iter().map(|s| s.iter().product::<usize>()).sum();
    Ok((elements as f64 / seconds, optimizer.memory().state()))
}

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = || Error::invalid_argument("arguments", "expected RAW ROWS COLUMNS RANK");
    let raw = args.next().ok_or_else(usage)?;
    let mut size = || args.next().and_then(|text| text.parse::<usize>().ok()).ok_or_else(usage);
    let (rows, columns, rank) = (size()?, size()?, size()?);
    let bytes = std::fs::read(&raw).map_err(|e| Error::io(&raw, "read", e))?;
    let device = gristmill_cpu::open()?;
    let matrix = device.tensor(floats(&bytes), [rows, columns])?;

    let options = RangeOptions { oversample: 0, power: 1, ..RangeOptions::new(rank) };
    let cold = fastest(3, || range_find(&matrix, &options)?.device().synchronize())?;
    let basis = range_find(&matrix, &options)?;
    let energy = captured_energy(&matrix, &basis, false)?;
    let warm_options = RangeOptions { start: Some(basis), power: 0, ..options };
    let warm = fastest(3, || range_find(&matrix, &warm_options)?.device().synchronize())?;
    let warm_energy = captured_energy(&matrix, &range_find(&matrix, &warm_options)?, false)?;

    let config = ModelConfig::named("llama-60m").ok_or_else(usage)?;
    let shapes: Vec<_> = config.params()?.into_iter().filter(|p| p.2).map(|p| p.1).collect();
    let galore =
        |rank| Algorithm::GaLore(GaLoreOptions { rank, refresh: Refresh::Given, ..GaLoreOptions::default() });
    let dense = [vec![1 << 26]];
    let (adamw, adamw_bytes) = steps(&device, &dense, Algorithm::AdamW, StateType::F32)?;
    let (adamw8, _) = steps(&device, &dense, Algorithm::AdamW, StateType::Int8)?;
    let (model_adamw, model_bytes) = steps(&device, &shapes, Algorithm::AdamW, StateType::F32)?;
    let (galore128, bytes128) = steps(&device, &shapes, galore(128), StateType::F32)?;
    let (galore32, _) = steps(&device, &shapes, galore(32), StateType::F32)?;
    let muon = Algorithm::Muon(MuonOptions::default());
    let (muon, _) = steps(&device, &shapes, muon, StateType::F32)?;
    let (galore8, bytes8) = steps(&device, &shapes, galore(128), StateType::Int8)?;
    let apollo = Algorithm::Apollo(ApolloOptions::default());
    let (apollo128, apollo_bytes) = steps(&device, &shapes, apollo, StateType::F32)?;
    let (mini, mini_bytes) =
        steps(&device, &shapes, Algorithm::Apollo(ApolloOptions::mini()), StateType::F32)?;
    let fira = Algorithm::Fira(FiraOptions { refresh: Refresh::Given, ..FiraOptions::default() });
    let (fira128, fira_bytes) = steps(&device, &shapes, fira, StateType::F32)?;
    let report = serde_json::json!({
        "refresh": { "cold": cold, "coldEnergy": energy, "warm": warm, "warmEnergy": warm_energy },
        "adamw": { "parametersPerSecond": adamw, "stateBytes": adamw_bytes },
        "adamwInt8": { "parametersPerSecond": adamw8 },
        "llama60m": {
            "adamw": { "parametersPerSecond": model_adamw, "stateBytes": model_bytes },
            "galore128": { "parametersPerSecond": galore128, "stateBytes": bytes128 },
            "galore32": { "parametersPerSecond": galore32 },
            "muon": { "parametersPerSecond": muon },
            "galore128Int8": { "parametersPerSecond": galore8, "stateBytes": bytes8 },
            "apollo128": { "parametersPerSecond": apollo128, "stateBytes": apollo_bytes },
            "apolloMini": { "parametersPerSecond": mini, "stateBytes": mini_bytes },
            "fira128": { "parametersPerSecond": fira128, "stateBytes": fira_bytes },
        },
    });
    println!("{report}");
    Ok(())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}
