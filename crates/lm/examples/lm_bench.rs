//! Tokens per second of a model on the processor:
//! `lm_bench MODEL [--tokens N] [--documents N] [--dtype f32|bf16] [--text FILE]...`.
//!
//! Prints one line of JSON with the time of loading, of scoring documents of so many tokens (a warm-up batch apart), and
//! of the matrix products that the model takes at the least, each at the rate that products of its own shapes reach in
//! this run; and apart from that of making tokens of the texts.

use std::time::Instant;

use gristmill_core::ops::MatmulOptions;
use gristmill_core::{Control, DType, Device, Error, Result};
use gristmill_lm::{Config, LanguageModel, LoadOptions, Tokens};
use serde_json::json;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut model = None;
    let (mut tokens, mut documents, mut dtype) = (1024, 8, DType::F32);
    let mut texts_to_cut = Vec::new();
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        match arg.as_str() {
            "--tokens" => tokens = number(),
            "--documents" => documents = number(),
            "--dtype" => dtype = args.next().unwrap_or_default().parse()?,
            "--text" => {
                let path = args.next().unwrap_or_default();
                texts_to_cut.push(std::fs::read_to_string(&path).map_err(|e| Error::io(path, "read", e))?);
            }
            _ => model = Some(arg),
        }
    }
    let model = model.ok_or_else(|| Error::invalid_argument("model", "name a folder or a .gguf file"))?;
    let device = gristmill_cpu::open()?;
    let start = Instant::now();
    let options = LoadOptions { dtype: Some(dtype), longest: Some(tokens), batch_tokens: None };
    let model = LanguageModel::load(model, &device, options)?;
    let load = start.elapsed().as_secs_f64();
    let config = model.transformer().config();

    // Ids without a pattern: what a token is changes nothing in the work.
    let id = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) as u32 % config.vocab as u32;
    let texts: Vec<Vec<u32>> =
        (0..documents).map(|d| (0..=tokens).map(|i| id(d * 7919 + i)).collect()).collect();
    let windows: Vec<Tokens> = texts.iter().map(|ids| Tokens { ids, first: 1 }).collect();
    let control = Control::default();
    model.losses(&windows[..1], &control)?;
    let start = Instant::now();
    let losses = model.losses(&windows, &control)?;
    let seconds = start.elapsed().as_secs_f64();
    let scored: usize = losses.iter().map(Vec::len).sum();
    let rate = scored as f64 / seconds;

    let mut tokenise = f64::INFINITY;
    let mut cut = 0;
    for _ in 0..5 {
        let start = Instant::now();
        cut = model.tokenizer().encode_batch(&texts_to_cut)?.iter().map(Vec::len).sum();
        tokenise = tokenise.min(start.elapsed().as_secs_f64());
    }

    let gemm = gemm_seconds(config, &device, dtype)?;
    let report = json!({
        "tokens": tokens, "documents": documents, "dtype": dtype.name(),
        "loadSeconds": load, "seconds": seconds, "tokensPerSecond": rate,
        "gemmTokensPerSecond": 1.0 / gemm, "shareOfGemm": rate * gemm,
        "peakBytes": peak_bytes(), "tokenisedPerSecond": cut as f64 / tokenise,
    });
    println!("{report}");
    Ok(())
}

/// The most memory that the process had at one time, where the system tells.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Seconds of the products of one token, at the rate of large products in this run.
fn gemm_seconds(config: &Config, device: &Device, dtype: DType) -> Result<f64> {
    let size = 1024;
    let one = || device.zeros(dtype, [size, size]);
    let (a, b) = (one()?, one()?);
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let start = Instant::now();
        a.matmul(&b, MatmulOptions { trans_b: true, ..MatmulOptions::default() })?;
        device.synchronize()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    let flops_per_second = 2.0 * (size as f64).powi(3) / best;
    let positions = if config.rope.is_none() { config.context * config.hidden } else { 0 };
    let embedding = if config.tied { 0 } else { config.vocab * config.hidden };
    let weights = config.parameters() - positions - embedding;
    Ok(2.0 * weights as f64 / flops_per_second)
}
