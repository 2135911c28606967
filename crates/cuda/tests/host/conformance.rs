//! The whole table, in several orders of execution and under the sanitizers.

use std::process::Command;

use gristmill_conformance::{RunOptions, run};
use gristmill_core::hash::hash64;
use gristmill_core::ops::Op;

use crate::driver::{Options, open};
use crate::shim::{Build, compile, compiler, required};

/// Runs the table, of these operations or all; fails with what went wrong.
fn table(options: Options, ops: Option<&[&str]>) {
    let Some(device) = open(options) else { return };
    let asked = RunOptions::from_env();
    let ops = asked.ops.or_else(|| ops.map(|ops| ops.iter().map(|&op| op.into()).collect()));
    let report = run(&device, &RunOptions { ops, ..asked }, |_| {}).unwrap();
    let [passed, failed, skipped] = report.counts();
    let wrong: Vec<_> = report.failures().map(ToString::to_string).collect();
    assert!(report.passed(), "{failed} of {passed} failed, seed {}:\n{}", report.seed, wrong.join("\n"));
    assert!(passed > 10 && skipped < passed, "{report}");
}

#[test]
fn the_table_holds_in_ascending_order() {
    table(Options::default(), None);
}

#[test]
fn the_table_holds_in_descending_order() {
    table(Options { order: 1, ..Options::default() }, None);
}

#[test]
fn the_table_holds_in_random_order() {
    let order = hash64(0, &RunOptions::from_env().seed.unwrap().to_le_bytes()) | 2;
    table(Options { order, ..Options::default() }, None);
}

#[test]
fn nothing_of_a_document_depends_on_its_batch() {
    let Some(device) = open(Options::default()) else { return };
    let wrong = gristmill_conformance::depend_on_their_batch(&device).unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A library is asked for the right products: here one that does what BLAS defines.
#[test]
fn the_table_holds_with_a_library_for_products() {
    table(Options { library: true, ..Options::default() }, Some(&["matmul", "gram", "low_rank_adam"]));
}

/// Set in the process that has libasan loaded.
const SANITIZED: &str = "GRISTMILL_CUDA_HOST_SANITIZED";

/// Out-of-bounds accesses, also of shared memory, and undefined behaviour end the process that this starts. It takes
/// longest, so its name has it begin first.
#[test]
fn a_table_of_sanitized_kernels_holds() {
    if std::env::var_os(SANITIZED).is_some() {
        return table(Options { build: Build::Sanitized, ..Options::default() }, None);
    }
    if let Err(why) = compiler() {
        assert!(!required(), "cuda-host is required: {why}");
        return eprintln!("skipped: {why}");
    }
    compile(Build::Sanitized);
    let output = again("conformance::a_table_of_sanitized_kernels_holds", SANITIZED);
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Runs one test of this program in a process with libasan loaded and a variable set.
pub(crate) fn again(test: &str, variable: &str) -> std::process::Output {
    let asan = Command::new("g++").arg("-print-file-name=libasan.so").output().unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(variable, "1")
        .env("LD_PRELOAD", String::from_utf8(asan.stdout).unwrap().trim())
        // What the Rust side leaves to the end of the process is not what is looked for.
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .output()
        .unwrap()
}

#[test]
fn every_operation_but_those_in_f64_is_done() {
    let Some(device) = open(Options::default()) else { return };
    let fine = device.zeros(gristmill_core::DType::F32, [3]).unwrap();
    assert_eq!(fine.to_vec::<f32>().unwrap(), [0.0; 3]);
    let refused = device.zeros(gristmill_core::DType::F64, [3]).unwrap_err();
    assert_eq!(refused.code(), gristmill_core::Code::Unsupported);
    let kernels: Vec<_> = gristmill_cuda::KERNELS.iter().map(|(op, _)| *op).collect();
    let mut ops = Op::NAMES.to_vec();
    ops.sort_unstable();
    assert_eq!(kernels, ops);
}
