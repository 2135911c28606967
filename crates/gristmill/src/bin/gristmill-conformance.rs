//! Holds a device against the promises of every operation, or measures it, on any machine that has a driver for it:
//! the one file that is to be copied there.

use std::io::Write;
use std::process::ExitCode;

use gristmill::core::{Code, Control, Error, Result};
use gristmill::{BenchOptions, CheckOptions};
use serde::Serialize;

const HELP: &str = "\
Holds a device against the promises of every operation, or measures it.

Usage: gristmill-conformance [options]

  --device DEVICE  auto, cpu, wgpu, wgpu:0, cuda, cuda:0, reference (default: auto)
  --ops OPS        only these operations, separated by commas (default: all)
  --seed SEED      the seed of an earlier run, to repeat it (default: a fresh one)
  --bench          measure the operations instead, beside what the device can do at all
  --rounds N       with --bench: how often each case is timed; the fastest counts (default: 5)
  --json FILE      also write the report to this file
  --devices        list what this machine has, as JSON, and why a backend has nothing
  --samples SEED   print a few cases with their data, as JSON, for tests in another language
  --help, --version

Exit codes: 0 all promises held, 1 one did not or the run failed, 2 wrong usage, 3 the device cannot be used.
";

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNAVAILABLE: u8 = 3;

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => FAILED.into(),
        Err(e) => {
            eprintln!("error: {e} [{}]", e.code());
            match e.code() {
                Code::InvalidArgument => USAGE,
                Code::DeviceUnavailable => UNAVAILABLE,
                _ => FAILED,
            }
            .into()
        }
    }
}

/// What the command line asks for.
struct Arguments {
    device: String,
    ops: Option<Vec<String>>,
    seed: Option<String>,
    bench: bool,
    rounds: Option<usize>,
    json: Option<String>,
}

/// Whether all held.
fn run(mut words: impl Iterator<Item = String>) -> Result<bool> {
    let device = "auto".into();
    let mut args = Arguments { device, ops: None, seed: None, bench: false, rounds: None, json: None };
    while let Some(word) = words.next() {
        let mut value = || {
            words.next().ok_or_else(|| Error::invalid_argument(&word, "expected a value").hint("see --help"))
        };
        match word.as_str() {
            "--device" => args.device = value()?,
            "--ops" => args.ops = Some(value()?.split(',').map(Into::into).collect()),
            "--seed" => args.seed = Some(value()?),
            "--bench" => args.bench = true,
            "--rounds" => {
                let rounds = value()?;
                let whole =
                    rounds.parse().map_err(|_| Error::invalid_argument("--rounds", "expected a number"))?;
                args.rounds = Some(whole);
            }
            "--json" => args.json = Some(value()?),
            "--samples" => {
                let seed = value()?;
                let seed =
                    seed.parse().map_err(|_| Error::invalid_argument("--samples", "expected a seed"))?;
                return print(&(gristmill::conformance::samples(seed, 6)?)).map(|()| true);
            }
            "--devices" => return print(&gristmill::devices::survey()).map(|()| true),
            "--help" | "-h" => return say(HELP).map(|()| true),
            "--version" => return say(concat!(env!("CARGO_PKG_VERSION"), "\n")).map(|()| true),
            _ => return Err(Error::invalid_argument(&word, "there is no such option").hint("see --help")),
        }
    }
    table(args)
}

/// Makes the table that is asked for; whether all held.
fn table(args: Arguments) -> Result<bool> {
    let opened = gristmill::devices::open(&args.device)?;
    for reason in &opened.passed_over {
        eprintln!("passed over {reason}");
    }
    let device = &opened.device;
    let json = args.json.as_deref();
    let held = if args.bench {
        let options = BenchOptions { ops: args.ops, rounds: args.rounds, seconds: None };
        let report = gristmill::bench(device, &options, &Control::default(), line)?;
        for limit in &report.limits {
            line(&format!("limit of {}: {}", limit.name, limit.rate));
        }
        write(json, &report)?;
        true
    } else {
        let options = CheckOptions { ops: args.ops, seed: args.seed };
        let report = gristmill::check(device, &options, &Control::default(), line)?;
        let [passed, failed, skipped] = report.counts();
        let info = &report.device;
        say(&format!(
            "{}: {} ({}), seed {}: {passed} passed, {failed} failed, {skipped} skipped\n",
            info.selector, info.name, info.driver, report.seed
        ))?;
        write(json, &report)?;
        report.passed()
    };
    device.close();
    Ok(held)
}

/// Prints a row at once. A reader that went away shows at the end.
fn line(row: &impl std::fmt::Display) {
    let _ = say(&format!("{row}\n"));
}

fn write(path: Option<&str>, report: &impl Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, to_json(report)? + "\n").map_err(|e| Error::io(path, "write the report", e))
}

fn print(value: &impl Serialize) -> Result<()> {
    say(&(to_json(value)? + "\n"))
}

fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map_err(|e| Error::new(Code::Internal, format!("a report does not serialise: {e}")))
}

fn say(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Error::io("standard output", "write", e))
}
