use gristmill_conformance::bench::{self, BenchReport, BenchRow};
use gristmill_core::{Control, Device, Result};
use serde::Deserialize;

/// What to measure, and for how long.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct BenchOptions {
    /// Only these operations; default all.
    pub ops: Option<Vec<String>>,
    /// How often each case is timed; the fastest time counts. Default 5.
    pub rounds: Option<usize>,
    /// Seconds that a round takes at the least. Default 0.1.
    pub seconds: Option<f64>,
}

/// Measures the operations of a device beside what the device can do at all: [`gristmill_conformance::bench`].
/// `progress` hears of every case as soon as it is done. When it is stopped, the device is closed.
///
/// # Errors
/// [`gristmill_core::Code::InvalidArgument`] for an operation that does not exist, or no rounds;
/// [`gristmill_core::Code::DeviceLost`]; [`gristmill_core::Code::Aborted`].
pub fn bench(
    device: &Device,
    options: &BenchOptions,
    control: &Control,
    mut progress: impl FnMut(&BenchRow),
) -> Result<BenchReport> {
    control.check()?;
    let defaults = bench::BenchOptions::default();
    let options = bench::BenchOptions {
        ops: options.ops.clone(),
        rounds: options.rounds.unwrap_or(defaults.rounds),
        seconds: options.seconds.unwrap_or(defaults.seconds),
    };
    let mut stopped = None;
    let report = bench::run(device, &options, |row| {
        progress(row);
        if let Err(e) = control.check() {
            stopped.get_or_insert(e);
            device.abandon();
        }
    });
    stopped.map_or(report, Err)
}

#[cfg(test)]
mod tests {
    use gristmill_core::{CancelToken, Code};

    use super::*;

    #[test]
    fn a_stop_shows_after_the_case_under_way() {
        let device = gristmill_cpu::open().unwrap();
        let cancel = CancelToken::default();
        let ops = Some(vec!["philox".into()]);
        let options = BenchOptions { ops, rounds: Some(1), seconds: Some(0.0) };
        let mut heard = 0;
        let e = bench(&device, &options, &Control::with_cancel(cancel.clone()), |row| {
            assert!(row.share > 0.0 && row.seconds > 0.0, "{row}");
            heard += 1;
            cancel.cancel();
        });
        assert_eq!((e.unwrap_err().code(), heard), (Code::Aborted, 1));
        let none = BenchOptions { ops: Some(vec!["x".into()]), ..BenchOptions::default() };
        let e = bench(&gristmill_cpu::open().unwrap(), &none, &Control::default(), |_| {}).unwrap_err();
        assert_eq!(e.code(), Code::InvalidArgument);
    }
}
