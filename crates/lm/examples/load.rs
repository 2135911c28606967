//! What a model file says, how long its weights take to load, and how fast its tokenizer is.
//!
//! ```text
//! cargo run --release -p gristmill-lm --example load -- MODEL [f32|bf16] [TEXT]
//! ```

use std::time::Instant;

use gristmill_core::{DType, Error, Result};
use gristmill_lm::Checkpoint;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let path =
        args.next().ok_or_else(|| Error::invalid_argument("MODEL", "name a folder or a .gguf file"))?;
    let dtype: DType = args.next().as_deref().unwrap_or("f32").parse()?;
    let start = Instant::now();
    let checkpoint = Checkpoint::open(&path)?;
    println!("{:#?}\nopened in {:.0} ms", checkpoint.config(), start.elapsed().as_secs_f64() * 1e3);

    let start = Instant::now();
    let load = |spec: &gristmill_lm::config::TensorSpec| checkpoint.tensor(&spec.name, dtype);
    let tensors = checkpoint.tensors().map(load).collect::<Result<Vec<_>>>()?;
    let bytes: usize = tensors.iter().map(|t| t.bytes().len()).sum();
    println!("{bytes} bytes in {dtype} in {:.2} s, peak memory {}", start.elapsed().as_secs_f64(), peak());

    let start = Instant::now();
    let tokenizer = checkpoint.tokenizer()?;
    println!("tokenizer of {} ids in {:.2} s", tokenizer.vocab_size(), start.elapsed().as_secs_f64());
    let Some(file) = args.next() else { return Ok(()) };
    let text = std::fs::read_to_string(&file).map_err(|e| Error::io(&file, "read the text", e))?;
    // Texts of ordinary size: paragraphs, again and again up to 16 MB.
    let paragraphs: Vec<&str> = text.split_inclusive("\n\n").collect();
    let count = paragraphs.len() * (16 << 20) / text.len().max(1);
    let texts: Vec<&str> = paragraphs.iter().copied().cycle().take(count).collect();
    let start = Instant::now();
    let ids: usize = tokenizer.encode_batch(&texts)?.iter().map(Vec::len).sum();
    println!("{:.2} M tokens/s on all cores", ids as f64 / start.elapsed().as_secs_f64() / 1e6);
    Ok(())
}

/// The most memory that the process has had, as Linux counts it.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.map_or("unknown".into(), |l| l.trim().to_owned())
}
