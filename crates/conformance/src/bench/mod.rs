//! How fast the operations of a device are, beside what the device can do at all.
//!
//! The limits are measured in the same run, with operations that do nothing but move or multiply: a large copy, a
//! large sum, large matrix products. Each case says which of them binds it, and its share of that limit is what to
//! look at: the numbers themselves depend on who else uses the machine.

mod cases;
mod layers;
mod low_rank;
mod samples;

mod channel;

use std::fmt;
use std::time::Instant;

use gristmill_core::ops::Op;
use gristmill_core::{Code, Device, DeviceInfo, Error, Result};

use crate::RunOptions;
use cases::{BenchCase, Bind};

/// What to measure, and for how long.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Only these operations; default all.
    pub ops: Option<Vec<String>>,
    /// How often each case is timed; the fastest time counts. Default 5.
    pub rounds: usize,
    /// Seconds that a round takes at the least: short operations run several times in it. Default 0.1.
    pub seconds: f64,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { ops: None, rounds: 5, seconds: 0.1 }
    }
}

/// A rate that a device reached.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase", tag = "unit", content = "value")]
pub enum Rate {
    /// Gigabytes per second: 10⁹ bytes that had to be read or written.
    #[serde(rename = "GB/s")]
    Bytes(f64),
    /// 10⁹ floating-point operations per second.
    #[serde(rename = "GFLOP/s")]
    Flops(f64),
}

impl Rate {
    /// The number without its unit.
    pub fn value(self) -> f64 {
        match self {
            Rate::Bytes(value) | Rate::Flops(value) => value,
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Bytes(value) => write!(f, "{value:.1} GB/s"),
            Rate::Flops(value) => write!(f, "{value:.1} GFLOP/s"),
        }
    }
}

/// What the device can do at all.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Limit {
    /// What was measured, such as `copy` or `matmul bf16`.
    pub name: String,
    /// How fast it was.
    pub rate: Rate,
}

/// What became of a case.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BenchRow {
    /// Operation, sizes and types.
    pub case: String,
    /// The operation.
    pub op: &'static str,
    /// Seconds of one operation, in the fastest round.
    pub seconds: f64,
    /// What it reached.
    pub rate: Rate,
    /// The limit that binds it.
    pub limit: String,
    /// The part of that limit that it reached.
    pub share: f64,
}

impl fmt::Display for BenchRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<40} {:>10.3} ms {:>16} {:>5.0}% of {}",
            self.case,
            self.seconds * 1e3,
            self.rate.to_string(),
            self.share * 100.0,
            self.limit
        )
    }
}

/// Everything that was measured in a run.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BenchReport {
    /// The device.
    pub device: DeviceInfo,
    /// What it can do at all.
    pub limits: Vec<Limit>,
    /// The cases, in the order of the table.
    pub rows: Vec<BenchRow>,
}

/// The table.
impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeviceInfo { selector, name, driver, .. } = &self.device;
        writeln!(f, "{selector}: {name} ({driver})")?;
        for Limit { name, rate } in &self.limits {
            writeln!(f, "{:<40} {:>30}", format!("limit: {name}"), rate.to_string())?;
        }
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        Ok(())
    }
}

/// Measures a device; `progress` hears of every case as soon as it is done. Cases that the device does not do, or has
/// no memory for, are left out.
///
/// # Errors
/// [`Code::InvalidArgument`] for an operation that does not exist or no rounds; whatever else the device says.
pub fn run(
    device: &Device,
    options: &BenchOptions,
    mut progress: impl FnMut(&BenchRow),
) -> Result<BenchReport> {
    let which = RunOptions { ops: options.ops.clone(), seed: None };
    which.check()?;
    if options.rounds == 0 || !options.seconds.is_finite() || options.seconds < 0.0 {
        return Err(Error::invalid_argument("rounds", "expected at least one round of some seconds"));
    }
    let cases: Vec<_> = cases::cases(device).into_iter().filter(|case| which.selects(case.op)).collect();
    let mut limits: Vec<Limit> = Vec::new();
    for case in cases::limits(device) {
        let needed = cases.iter().any(|c| c.bind == case.bind);
        if needed && let Some(seconds) = measure(device, &case, options)? {
            let (rate, _) = rate(&case, device, seconds)?;
            limits.push(Limit { name: case.bind.name(), rate });
        }
    }
    let mut rows = Vec::new();
    for case in cases {
        let Some(seconds) = measure(device, &case, options)? else { continue };
        let (rate, op) = rate(&case, device, seconds)?;
        let name = case.bind.name();
        let Some(limit) = limits.iter().find(|limit| limit.name == name) else { continue };
        let share = rate.value() / limit.rate.value();
        let row = BenchRow { case: case.name, op, seconds, rate, limit: name, share };
        progress(&row);
        rows.push(row);
    }
    Ok(BenchReport { device: device.info().clone(), limits, rows })
}

/// Bytes or operations over time.
fn rate(case: &BenchCase, device: &Device, seconds: f64) -> Result<(Rate, &'static str)> {
    let op = (case.build)(device)?;
    let cost = op.cost();
    let rate = match case.bind {
        Bind::Copy | Bind::Read => Rate::Bytes(cost.bytes as f64 / seconds / 1e9),
        Bind::Matmul(_) => Rate::Flops(cost.flops as f64 / seconds / 1e9),
    };
    Ok((rate, op.name()))
}

/// Seconds of one operation in the fastest round; `None` when the device does not do it.
fn measure(device: &Device, case: &BenchCase, options: &BenchOptions) -> Result<Option<f64>> {
    let skip = |e: Error| match e.code() {
        Code::Unsupported | Code::OutOfMemory => Ok(None),
        _ => Err(e),
    };
    let op = match (case.build)(device) {
        Ok(op) => op,
        Err(e) => return skip(e),
    };
    // The first run warms caches up, compiles what is compiled late, and shows whether it works at all.
    if let Err(e) = once(device, &op, 1).and_then(|_| result(&op)) {
        return skip(e);
    }
    let estimate = once(device, &op, 1)?.max(1e-7);
    let times = (options.seconds / estimate).ceil().clamp(1.0, 10_000.0) as usize;
    let mut fastest = f64::INFINITY;
    for _ in 0..options.rounds {
        fastest = fastest.min(once(device, &op, times)? / times as f64);
    }
    Ok(Some(fastest))
}

/// Seconds for so many operations, from the first call to the end of the last.
fn once(device: &Device, op: &Op, times: usize) -> Result<f64> {
    device.synchronize()?;
    let start = Instant::now();
    for _ in 0..times {
        device.run(op.clone())?;
    }
    device.synchronize()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Reads a little of a result, which tells whether there is one.
fn result(op: &Op) -> Result<()> {
    let out = op.writes()[0].clone();
    let out = out.reshape([out.len()])?;
    out.narrow(0, out.len().min(1))?.read().map(drop)
}

/// The name of a limit by the type of its factors.
impl Bind {
    fn name(self) -> String {
        match self {
            Bind::Copy => "copy".into(),
            Bind::Read => "read".into(),
            Bind::Matmul(dtype) => format!("matmul {dtype}"),
        }
    }
}
