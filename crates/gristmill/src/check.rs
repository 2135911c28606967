use gristmill_conformance::{Report, Row, RunOptions};
use gristmill_core::ops::Op;
use gristmill_core::rng::SecureRng;
use gristmill_core::{Control, Device, Error, Result};
use serde::Deserialize;

/// What to check.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CheckOptions {
    /// Only these operations; default all.
    pub ops: Option<Vec<String>>,
    /// The seed of an earlier run, to repeat it; default a fresh one. As text, since JSON numbers lose digits of it.
    pub seed: Option<String>,
}

impl CheckOptions {
    /// The seed of the run.
    fn seed(&self) -> Result<u64> {
        match &self.seed {
            Some(text) => text.parse().map_err(|_| {
                Error::invalid_argument("seed", format!("expected a whole number below 2^64, given {text:?}"))
            }),
            None => Ok(SecureRng::from_os()?.bits()),
        }
    }

    /// The operations that were named, each as the table knows it.
    fn ops(&self) -> Result<Vec<&'static str>> {
        let Some(ops) = &self.ops else { return Ok(Op::NAMES.to_vec()) };
        let known = |op: &String| {
            Op::NAMES.iter().copied().find(|name| name == op).ok_or_else(|| {
                Error::invalid_argument("ops", format!("no operation {op:?}"))
                    .hint(format!("one of {}", Op::NAMES.join(", ")))
            })
        };
        ops.iter().map(known).collect()
    }
}

/// Holds a device against the promises of every operation: runs the table of [`gristmill_conformance`] on it, an
/// operation at a time so that it can be stopped in between. `progress` hears of every case as soon as it is done.
///
/// # Errors
/// [`gristmill_core::Code::InvalidArgument`] for an operation or a seed that is none;
/// [`gristmill_core::Code::DeviceLost`]; [`gristmill_core::Code::Aborted`]. What a case finds is in the report.
pub fn check(
    device: &Device,
    options: &CheckOptions,
    control: &Control,
    mut progress: impl FnMut(&Row),
) -> Result<Report> {
    let (ops, seed) = (options.ops()?, options.seed()?);
    let mut report = Report { device: device.info().clone(), seed, rows: Vec::new() };
    for op in ops {
        control.check()?;
        let run = RunOptions { ops: Some(vec![op.into()]), seed: Some(seed) };
        report.rows.extend(gristmill_conformance::run(device, &run, &mut progress)?.rows);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use gristmill_core::{CancelToken, Code};

    use super::*;

    fn options(ops: &[&str], seed: &str) -> CheckOptions {
        CheckOptions { ops: Some(ops.iter().map(|&op| op.into()).collect()), seed: Some(seed.into()) }
    }

    #[test]
    fn the_processor_keeps_its_promises() {
        let device = gristmill_cpu::open().unwrap();
        let mut heard = 0;
        let options = options(&["topk", "philox"], "18446744073709551615");
        let report = check(&device, &options, &Control::default(), |_| heard += 1).unwrap();
        assert!(report.passed(), "{report}");
        assert_eq!((heard, report.seed), (report.rows.len(), u64::MAX));
        let cases = gristmill_conformance::cases();
        let expected = cases.iter().filter(|case| ["topk", "philox"].contains(&case.op)).count();
        assert_eq!(heard, expected);
    }

    #[test]
    fn what_does_not_exist_is_refused_and_what_is_stopped_stops() {
        let device = gristmill_cpu::open().unwrap();
        let run = |options: &CheckOptions, control: &Control| {
            check(&device, options, control, |_| {}).unwrap_err().code()
        };
        let control = Control::default();
        assert_eq!(run(&options(&["softmax"], "1"), &control), Code::InvalidArgument);
        assert_eq!(run(&options(&["topk"], "-1"), &control), Code::InvalidArgument);
        let cancel = CancelToken::default();
        cancel.cancel();
        assert_eq!(run(&options(&["topk"], "1"), &Control::with_cancel(cancel)), Code::Aborted);
    }
}
