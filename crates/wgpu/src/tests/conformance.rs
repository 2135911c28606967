//! The conformance table. wgpu's own validation is on, and its first complaint fails the operation that it concerns.

use gristmill_conformance::{Outcome, RunOptions, run};

/// Runs the whole table; nothing may fail, or be skipped but `f64`.
fn table(subgroups: bool, window_bytes: Option<u64>) {
    let Some(device) = super::open(subgroups, window_bytes) else { return };
    let report = run(&device, &RunOptions::from_env(), |_| {}).unwrap();
    let failed: Vec<_> = report.failures().map(ToString::to_string).collect();
    assert!(failed.is_empty(), "seed {}\n{}", report.seed, failed.join("\n"));
    let skipped = report.rows.iter().filter(|row| matches!(row.outcome, Outcome::Skipped(_)));
    let skipped: Vec<_> = skipped.map(|row| &row.case).filter(|case| !case.contains("f64")).collect();
    assert!(skipped.is_empty(), "{skipped:?}");
}

#[test]
fn the_table_holds_with_subgroups() {
    table(true, None);
}

#[test]
fn the_table_holds_without_subgroups() {
    table(false, None);
}

/// Bindings of 64 KiB: nearly every case is cut into pieces.
#[test]
fn the_table_holds_in_small_pieces() {
    table(true, Some(64 << 10));
}

#[test]
fn nothing_of_a_document_depends_on_its_batch() {
    for (subgroups, window_bytes) in [(true, None), (false, Some(64 << 10))] {
        let Some(device) = super::open(subgroups, window_bytes) else { return };
        let wrong = gristmill_conformance::depend_on_their_batch(&device).unwrap();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
