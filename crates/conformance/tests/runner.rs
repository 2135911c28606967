//! The runner held against devices that are known to be right or wrong.

use std::sync::Arc;

use gristmill_conformance::bench::{self, BenchOptions};
use gristmill_conformance::{Outcome, Report, RunOptions, cases, run};
use gristmill_core::device::{Backend, Buffer, Buffers, DeviceKind, Fault, Support};
use gristmill_core::ops::{Op, Reduction};
use gristmill_core::{Code, DType, Device, DeviceInfo, Result};
use gristmill_cpu::{Cpu, Reference};

fn options(ops: &[&str]) -> RunOptions {
    RunOptions { ops: Some(ops.iter().map(|&op| op.into()).collect()), seed: Some(7) }
}

#[test]
fn the_reference_agrees_with_itself() {
    let device = gristmill_cpu::open_reference().unwrap();
    let report = run(&device, &RunOptions::default(), |_| {}).unwrap();
    assert!(report.passed(), "{report}");
    assert_eq!(report.rows.len(), cases().len());
    assert!(report.rows.iter().all(|row| row.error == Some(0.0)), "{report}");
    assert_eq!(report.counts(), [report.rows.len(), 0, 0]);
}

#[test]
fn a_seed_repeats_a_run_and_another_draws_other_numbers() {
    // Off by a unit in the last place: the error depends on the numbers.
    let device = wrong(Defect::OneElement(1e-7));
    let errors = |seed| {
        let report = run(&device, &RunOptions { seed: Some(seed), ..options(&["nll"]) }, |_| {}).unwrap();
        report.rows.iter().map(|row| row.error).collect::<Vec<_>>()
    };
    assert_eq!(errors(1), errors(1));
    assert_ne!(errors(1), errors(2));
}

#[test]
fn an_operation_that_does_not_exist_is_refused() {
    let device = gristmill_cpu::open_reference().unwrap();
    let e = run(&device, &options(&["nll", "softmax"]), |_| {}).unwrap_err();
    assert_eq!(e.code(), Code::InvalidArgument);
    assert!(e.hint_text().unwrap().contains("softmax_stats"));
}

/// How a backend is made wrong.
#[derive(Clone, Copy)]
enum Defect {
    /// One element of the first output is off by a small part of itself.
    OneElement(f32),
    /// Outputs are not written at all.
    Lazy,
    /// The first input changes.
    Writes,
    /// What lies beside the first output changes.
    Beside,
    /// The second time gives other bits.
    Wavers,
    /// The rows of faults are off by one.
    WrongRow,
    /// Faults go by in silence.
    NoFault,
}

/// The reference with a defect.
struct Wrong {
    right: Reference,
    defect: Defect,
    runs: u32,
}

impl Wrong {
    fn change(&mut self, buffer: &Buffer, offset: usize, change: impl Fn(f32) -> f32) -> Result<()> {
        let mut bytes = [0; 4];
        self.right.read(buffer, offset, &mut bytes)?;
        self.right.write(buffer, offset, &change(f32::from_ne_bytes(bytes)).to_ne_bytes())
    }
}

impl Backend for Wrong {
    fn info(&self) -> Arc<DeviceInfo> {
        self.right.info()
    }

    fn alloc(&mut self, bytes: usize) -> Result<Buffer> {
        self.right.alloc(bytes)
    }

    fn write(&mut self, dst: &Buffer, offset: usize, src: &[u8]) -> Result<()> {
        self.right.write(dst, offset, src)
    }

    fn read(&mut self, src: &Buffer, offset: usize, dst: &mut [u8]) -> Result<()> {
        self.right.read(src, offset, dst)
    }

    fn run(&mut self, serial: u64, op: &Op, buffers: &Buffers) -> Result<()> {
        self.runs += 1;
        if let Defect::Lazy = self.defect {
            return Ok(());
        }
        match (self.right.run(serial, op, buffers), self.defect) {
            (Err(_), Defect::NoFault) => return Ok(()),
            (Err(e), Defect::WrongRow) => return Err(op.fault(e.location().row.unwrap() + 1)),
            (Err(e), _) => return Err(e),
            (Ok(()), _) => {}
        }
        let outputs = op.writes();
        let Some(out) = outputs.first().filter(|out| out.bytes() >= 4) else { return Ok(()) };
        let (buffer, at) = (buffers.of(out)?, out.byte_offset());
        match self.defect {
            Defect::OneElement(part) => self.change(buffer, at, |x| x + x * part),
            Defect::Wavers => {
                let odd = self.runs % 2 == 1;
                self.change(buffer, at, |x| if odd { f32::from_bits(x.to_bits() ^ 1) } else { x })
            }
            Defect::Beside if at >= 4 => self.change(buffer, at - 4, |x| f32::from_bits(!x.to_bits())),
            Defect::Writes if !op.inputs().is_empty() && op.inputs()[0].bytes() >= 4 => {
                let input = op.inputs()[0];
                let (buffer, at) = (buffers.of(input)?, input.byte_offset());
                self.change(buffer, at, |x| f32::from_bits(!x.to_bits()))
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<Vec<Fault>> {
        self.right.finish()
    }
}

fn wrong(defect: Defect) -> Device {
    Device::open(move || Ok(Box::new(Wrong { right: Reference::new(), defect, runs: 0 }))).unwrap()
}

fn report_of(defect: Defect, ops: &[&str]) -> Report {
    run(&wrong(defect), &options(ops), |_| {}).unwrap()
}

fn why(report: &Report, case: &str) -> String {
    match &report.rows.iter().find(|row| row.case == case).expect(case).outcome {
        Outcome::Failed(why) => why.clone(),
        other => panic!("{case}: {other:?}"),
    }
}

#[test]
fn an_element_that_is_slightly_wrong_fails_everywhere() {
    let report =
        report_of(Defect::OneElement(1e-3), &["matmul", "row_reduce", "nll", "topk", "row_norm_scale"]);
    for case in [
        "matmul/65x63x17/f32-f32/nn/normal",
        "row_reduce/3x50257/f32/sum-squares/normal",
        "row_reduce/7x63/f32/max/normal",
        "nll/4x50257/f32/normal*3",
        "topk/10/4/3/normal",
        "row_norm_scale/7x63/f32/1/normal",
    ] {
        assert!(why(&report, case).starts_with("output 0: element 0 is "), "{case}");
    }
    // The last bit of an exact result.
    let report = report_of(Defect::OneElement(2e-7), &["topk", "philox", "copy"]);
    assert!(why(&report, "topk/4096/4096/4096/normal").contains("element 0"));
    assert!(why(&report, "philox/64/uniform/0").contains("element 0"));
}

#[test]
fn outputs_that_are_not_written_fail() {
    let report = report_of(Defect::Lazy, &["fill", "copy", "nll", "topk"]);
    let passed: Vec<_> = report.rows.iter().filter(|row| row.outcome == Outcome::Passed).collect();
    // Only what has no elements.
    assert!(passed.iter().all(|row| row.case.contains("/0/") || row.case.contains("/0x")), "{passed:?}");
    assert!(why(&report, "copy/1003/u8/bits").contains("other bits the second time"));
}

#[test]
fn writes_to_the_wrong_place_fail() {
    let report = report_of(Defect::Writes, &["scale"]);
    assert_eq!(why(&report, "scale/1003/f32/-1.7/normal"), "input 0 was written to");
    let report = report_of(Defect::Beside, &["scale"]);
    assert_eq!(why(&report, "scale/517/f32/0.1/normal/view"), "memory beside operand 1 was written to");
}

#[test]
fn bits_that_waver_fail_even_within_the_bound() {
    let report = report_of(Defect::Wavers, &["softmax_stats"]);
    assert_eq!(why(&report, "softmax_stats/7x63/f32/normal*3"), "output 0 has other bits the second time");
}

#[test]
fn faults_must_be_reported_where_they_are() {
    for op in ["nll", "linear_nll", "loss_reduction"] {
        let report = report_of(Defect::NoFault, &[op]);
        let case = if op == "loss_reduction" { "descending" } else { "negative" };
        assert_eq!(why(&report, &format!("{op}/fault/{case}")), "the fault was not reported");
        let report = report_of(Defect::WrongRow, &[op]);
        assert!(why(&report, &format!("{op}/fault/{case}")).starts_with("the fault is at row"));
    }
    let report = report_of(Defect::NoFault, &["segment_reduce"]);
    for reduction in Reduction::ALL {
        why(&report, &format!("segment_reduce/fault/beyond/{}", reduction.name()));
    }
}

/// A backend that says other things of itself.
struct Dressed<B> {
    backend: B,
    dress: fn(&mut DeviceInfo),
}

impl<B: Backend> Backend for Dressed<B> {
    fn info(&self) -> Arc<DeviceInfo> {
        let mut info = (*self.backend.info()).clone();
        (self.dress)(&mut info);
        Arc::new(info)
    }

    fn alloc(&mut self, bytes: usize) -> Result<Buffer> {
        self.backend.alloc(bytes)
    }

    fn write(&mut self, dst: &Buffer, offset: usize, src: &[u8]) -> Result<()> {
        self.backend.write(dst, offset, src)
    }

    fn read(&mut self, src: &Buffer, offset: usize, dst: &mut [u8]) -> Result<()> {
        self.backend.read(src, offset, dst)
    }

    fn run(&mut self, serial: u64, op: &Op, buffers: &Buffers) -> Result<()> {
        self.backend.run(serial, op, buffers)
    }

    fn finish(&mut self) -> Result<Vec<Fault>> {
        self.backend.finish()
    }
}

#[test]
fn a_device_that_refuses_is_skipped_with_its_reason() {
    let refuses = |info: &mut DeviceInfo| {
        info.supports = |_, op| match op.inputs().iter().any(|t| t.dtype() == DType::F64) {
            true => Support::Unsupported("no f64 here".into()),
            false => Support::Native,
        };
    };
    let device =
        Device::open(move || Ok(Box::new(Dressed { backend: Reference::new(), dress: refuses }))).unwrap();
    let report = run(&device, &options(&["scale"]), |_| {}).unwrap();
    let [passed, failed, skipped] = report.counts();
    assert!(passed > 10 && failed == 0 && skipped == 5, "{report}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["seed"], "7");
    let rows = json["rows"].as_array().unwrap();
    let skipped = rows.iter().find(|row| row["outcome"] == "skipped").unwrap();
    assert!(skipped["why"].as_str().unwrap().contains("no f64 here"));
    let passed = rows.iter().find(|row| row["outcome"] == "passed").unwrap();
    assert_eq!((&passed["error"], &passed["op"]), (&0.0.into(), &"scale".into()));
}

/// As a device of the kind whose benchmark is small.
#[test]
fn the_bench_measures_every_operation_against_a_limit() {
    let small = |info: &mut DeviceInfo| info.kind = DeviceKind::Software;
    let device = Device::open(move || Ok(Box::new(Dressed { backend: Cpu::new(), dress: small }))).unwrap();
    let options = BenchOptions { ops: None, rounds: 1, seconds: 0.0 };
    let mut heard = 0;
    let report = bench::run(&device, &options, |_| heard += 1).unwrap();
    assert_eq!(heard, report.rows.len());
    for op in Op::NAMES {
        assert!(report.rows.iter().any(|row| row.op == *op), "{op}");
    }
    for row in &report.rows {
        let limit = report.limits.iter().find(|limit| limit.name == row.limit).unwrap();
        assert_eq!(row.share, row.rate.value() / limit.rate.value());
        assert!(row.seconds > 0.0 && row.share > 0.0, "{row}");
    }
    // Every byte of a copy is read once and written once.
    let copy = report.rows.iter().find(|row| row.op == "copy").unwrap();
    let bytes = copy.rate.value() * copy.seconds * 1e9;
    assert!((bytes - f64::from(1 << 25)).abs() < 1.0, "{bytes}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["rows"][0]["rate"]["unit"], "GB/s");
    let options = BenchOptions { rounds: 0, ..BenchOptions::default() };
    assert_eq!(bench::run(&device, &options, |_| {}).unwrap_err().code(), Code::InvalidArgument);
}
