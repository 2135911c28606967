//! The conformance table over the fast backend.

use gristmill_conformance::{RunOptions, run};

#[test]
fn the_cpu_passes_every_case() {
    let device = gristmill_cpu::open().unwrap();
    let report = run(&device, &RunOptions::default(), |_| {}).unwrap();
    let failures: Vec<_> = report.failures().map(|row| row.to_string()).collect();
    assert!(failures.is_empty(), "seed {}:\n{}", report.seed, failures.join("\n"));
    assert_eq!(report.counts()[2], 0, "nothing is skipped");
}
