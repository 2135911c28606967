use gristmill_core::ops::Op;
use gristmill_core::rng::SecureRng;
use gristmill_core::{Code, DType, Device, Error, Result, Tensor};

use crate::case::{Case, Problem, Scale};
use crate::compare::compare;
use crate::draw::Draw;
use crate::operand::{Operand, Placed, Role, decode};
use crate::report::{Outcome, Report, Row};

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Only these operations; default all.
    pub ops: Option<Vec<String>>,
    /// The seed of an earlier run, to repeat it; default a fresh one.
    pub seed: Option<u64>,
}

impl RunOptions {
    /// For a test: the operations that `GRISTMILL_OPS` lists, or all, from the seed in `GRISTMILL_SEED`, or 1, so that
    /// what a test says depends on the code alone.
    #[must_use]
    pub fn from_env() -> Self {
        let ops = std::env::var("GRISTMILL_OPS").ok().map(|ops| ops.split(',').map(String::from).collect());
        let seed = std::env::var("GRISTMILL_SEED").ok().and_then(|seed| seed.parse().ok());
        Self { ops, seed: Some(seed.unwrap_or(1)) }
    }

    pub(crate) fn selects(&self, op: &str) -> bool {
        self.ops.as_ref().is_none_or(|ops| ops.iter().any(|o| o == op))
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self.ops.iter().flatten().find(|op| !Op::NAMES.contains(&op.as_str())) {
            None => Ok(()),
            Some(op) => Err(Error::invalid_argument("ops", format!("no operation {op:?}"))
                .hint(format!("one of {}", Op::NAMES.join(", ")))),
        }
    }
}

/// Runs the table on a device; `progress` hears of every case as soon as it is done.
///
/// # Errors
/// [`Code::InvalidArgument`] for an operation that does not exist; [`Code::DeviceLost`] when the device ends on the
/// way. Whatever else goes wrong is a row of the report.
pub fn run(device: &Device, options: &RunOptions, mut progress: impl FnMut(&Row)) -> Result<Report> {
    options.check()?;
    let seed = match options.seed {
        Some(seed) => seed,
        None => SecureRng::from_os()?.bits(),
    };
    let reference = gristmill_cpu::open_reference()?;
    let mut rows = Vec::new();
    for case in crate::cases().into_iter().filter(|case| options.selects(case.op)) {
        let (outcome, error) = match run_case(&case, device, &reference, seed) {
            Ok(error) => (Outcome::Passed, Some(error)),
            Err(Stop::Wrong(why)) => (Outcome::Failed(why), None),
            Err(Stop::Error(e)) if e.code() == Code::DeviceLost => return Err(e),
            Err(Stop::Error(e)) if e.code() == Code::Unsupported => (Outcome::Skipped(e.to_string()), None),
            Err(Stop::Error(e)) => (Outcome::Failed(e.to_string()), None),
        };
        let row = Row { case: case.name, op: case.op, bound: case.bound, error, outcome };
        progress(&row);
        rows.push(row);
    }
    Ok(Report { device: device.info().clone(), seed, rows })
}

/// A hash of the results of every case on a device, faults apart, in the order of the table: two runs with one seed
/// gave the same bits exactly where their digests are equal.
///
/// # Errors
/// As [`run`]; [`Code::InvalidArgument`] without a seed.
pub fn digests(device: &Device, options: &RunOptions) -> Result<Vec<(String, u64)>> {
    options.check()?;
    let Some(seed) = options.seed else {
        return Err(Error::invalid_argument("seed", "digests of different inputs say nothing"));
    };
    let mut digests = Vec::new();
    for case in crate::cases().into_iter().filter(|case| options.selects(case.op)) {
        let mut draw = Draw::new(seed, &case.name);
        let Problem { operands, op, fault: None, .. } = (case.build)(&mut draw) else { continue };
        match outputs(device, &operands, &op, &mut draw) {
            Ok(outputs) => {
                let bytes: Vec<u8> = outputs.into_iter().flat_map(|output| output.bytes).collect();
                digests.push((case.name, gristmill_core::hash::hash64(0, &bytes)));
            }
            Err(Stop::Error(e)) if e.code() == Code::Unsupported => {}
            Err(Stop::Error(e)) => return Err(e),
            Err(Stop::Wrong(why)) => return Err(Error::new(Code::Internal, why).in_op(&case.name)),
        }
    }
    Ok(digests)
}

/// Why a case did not pass.
enum Stop {
    Wrong(String),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Stop::Error(e)
    }
}

fn wrong<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Wrong(why.into()))
}

/// The greatest error of an element of any output.
fn run_case(case: &Case, device: &Device, reference: &Device, seed: u64) -> Result<f64, Stop> {
    let mut draw = Draw::new(seed, &case.name);
    let problem = (case.build)(&mut draw);
    if let Some(row) = problem.fault {
        for device in [reference, device] {
            fault(case, &problem, device, row, &mut draw)?;
        }
        return Ok(0.0);
    }
    let expect = |what: &str, e: Error| Stop::Wrong(format!("{what}: {e}"));
    let Problem { operands, op, scale, .. } = &problem;
    let want = outputs(reference, operands, op, &mut draw).map_err(|e| match e {
        Stop::Error(e) => expect("the reference", e),
        wrong => wrong,
    })?;
    let got = outputs(device, operands, op, &mut draw)?;
    let again = outputs(device, operands, op, &mut draw)?;
    let terms = match scale {
        Scale::Result(_) => None,
        Scale::Terms(operands, op) => Some(outputs(reference, operands, op, &mut draw)?),
    };
    let mut worst: f64 = 0.0;
    for (i, want) in want.iter().enumerate() {
        if got[i].bytes != again[i].bytes {
            return wrong(format!("output {i} has other bits the second time"));
        }
        let terms = terms.as_ref().map(|terms| decode(want.dtype, &terms[i].bytes));
        let scale = |element: usize, result: f64| match (&terms, scale) {
            (Some(terms), _) => terms[element],
            (None, Scale::Result(beside)) => result.abs() + beside,
            (None, Scale::Terms(..)) => f64::NAN,
        };
        let error = compare(case.bound, want.dtype, &got[i].bytes, &want.bytes, scale)
            .map_err(|why| Stop::Wrong(format!("output {i}: {why}")))?;
        worst = worst.max(error);
    }
    Ok(worst)
}

/// The elements of something that the operation wrote.
struct Output {
    dtype: DType,
    bytes: Vec<u8>,
}

/// Runs the operation, and reads everything: what it wrote, and that it wrote nothing else.
fn outputs(
    device: &Device,
    operands: &[Operand],
    op: &crate::case::MakeOp,
    garbage: &mut Draw,
) -> Result<Vec<Output>, Stop> {
    let placed = place(device, operands, garbage)?;
    device.run(op(&tensors(&placed)))?;
    let mut outputs = Vec::new();
    for (i, (operand, placed)) in operands.iter().zip(&placed).enumerate() {
        let mut bytes = placed.root.read()?;
        let own = operand.range();
        let kept = match operand.role {
            Role::In => bytes == placed.bytes,
            Role::Out | Role::Update => {
                bytes[..own.start] == placed.bytes[..own.start] && bytes[own.end..] == placed.bytes[own.end..]
            }
        };
        if !kept {
            return wrong(match operand.role {
                Role::In => format!("input {i} was written to"),
                _ => format!("memory beside operand {i} was written to"),
            });
        }
        if operand.role != Role::In {
            bytes.truncate(own.end);
            outputs.push(Output { dtype: operand.dtype, bytes: bytes.split_off(own.start) });
        }
    }
    Ok(outputs)
}

fn place(device: &Device, operands: &[Operand], garbage: &mut Draw) -> Result<Vec<Placed>> {
    operands.iter().map(|operand| operand.place(device, garbage)).collect()
}

fn tensors(placed: &[Placed]) -> Vec<Tensor> {
    placed.iter().map(|p| p.tensor.clone()).collect()
}

/// Expects the operation to fail at this row, its results and what is computed from them to be poisoned, and
/// everything else to be as before.
fn fault(case: &Case, problem: &Problem, device: &Device, row: u64, garbage: &mut Draw) -> Result<(), Stop> {
    let placed = place(device, &problem.operands, garbage)?;
    device.run((problem.op)(&tensors(&placed)))?;
    for (operand, placed) in problem.operands.iter().zip(&placed) {
        if operand.role == Role::In {
            if placed.root.read()? != placed.bytes {
                return wrong("an input was written to");
            }
            continue;
        }
        let dependent = placed.tensor.copy()?;
        for tensor in [&placed.tensor, &dependent] {
            match tensor.read() {
                Ok(_) => return wrong("the fault was not reported"),
                Err(e) if e.code() != Code::InvalidValue => return wrong(format!("another error: {e:?}")),
                Err(e) if e.location().row != Some(row) => {
                    return wrong(format!("the fault is at row {row}, reported: {e}"));
                }
                Err(e) if !e.message().starts_with(case.op) => {
                    return wrong(format!("the error does not name the operation: {e}"));
                }
                Err(_) => {}
            }
        }
    }
    let fine = device.tensor(vec![1u32, 2, 3], [3])?.copy()?;
    if fine.to_vec::<u32>()? != [1, 2, 3] {
        return wrong("the device copies wrongly after the fault");
    }
    Ok(())
}
