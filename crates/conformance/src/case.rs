use std::fmt;
use std::sync::Arc;

use gristmill_core::ops::Op;
use gristmill_core::{DType, Tensor};

use crate::draw::Draw;
use crate::operand::{Operand, Role};

/// How close the results of a case must be to those of the reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// Every bit.
    Bits,
    /// Every bit, except that one NaN is as good as another.
    Exact,
    /// Equal numbers: one NaN is as good as another, and so is a zero of either sign.
    Equal,
    /// The greatest error of an element, relative to the size of the terms that it was computed from.
    Error(f64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Bits | Bound::Exact | Bound::Equal => f.write_str("exact"),
            Bound::Error(bound) => write!(f, "{bound:.1e}"),
        }
    }
}

/// `"exact"`, or the greatest error as a number.
impl serde::Serialize for Bound {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Bound::Error(bound) => s.serialize_f64(*bound),
            _ => s.serialize_str("exact"),
        }
    }
}

/// A line of the table.
pub struct Case {
    /// Operation, sizes, types and kind of input, such as `nll/4x50257/f32/normal`.
    pub name: String,
    /// The operation.
    pub op: &'static str,
    /// How close its results must be.
    pub bound: Bound,
    pub(crate) build: Box<dyn Fn(&mut Draw) -> Problem + Send + Sync>,
}

impl Case {
    /// A case of this operation; its name begins with the operation's.
    pub(crate) fn new(
        op: &'static str,
        rest: impl fmt::Display,
        bound: Bound,
        build: impl Fn(&mut Draw) -> Problem + Send + Sync + 'static,
    ) -> Self {
        Self { name: format!("{op}/{rest}"), op, bound, build: Box::new(build) }
    }

    /// The same with every operand a view into larger memory, at an odd offset that differs between them.
    pub(crate) fn viewed(mut self) -> Self {
        self.name += "/view";
        let build = self.build;
        self.build = Box::new(move |draw| {
            let mut problem = build(draw);
            for (i, operand) in problem.operands.iter_mut().enumerate() {
                operand.margin = (2 * i + 1, 3);
            }
            problem
        });
        self
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.bound)
    }
}

pub(crate) type MakeOp = Arc<dyn Fn(&[Tensor]) -> Op>;

/// An operation with its data.
pub(crate) struct Problem {
    pub(crate) operands: Vec<Operand>,
    pub(crate) op: MakeOp,
    pub(crate) scale: Scale,
    /// The row at which the data breaks the operation's contract.
    pub(crate) fault: Option<u64>,
}

/// What an error is measured by.
pub(crate) enum Scale {
    /// The result itself, and this much beside it.
    Result(f64),
    /// The results of the reference for the magnitudes of the inputs: the sum of the magnitudes of all terms.
    Terms(Vec<Operand>, MakeOp),
}

impl Problem {
    pub(crate) fn new<O: Into<Op>>(operands: Vec<Operand>, op: impl Fn(&[Tensor]) -> O + 'static) -> Self {
        let op = Arc::new(move |tensors: &[Tensor]| op(tensors).into());
        Self { operands, op, scale: Scale::Result(0.0), fault: None }
    }

    /// Measures errors by the result and this much beside it.
    pub(crate) fn beside(self, size: f64) -> Self {
        Self { scale: Scale::Result(size), ..self }
    }

    /// Measures errors by what the operation gives for the magnitudes of the inputs.
    pub(crate) fn by_terms(self) -> Self {
        let op = self.op.clone();
        self.by_terms_of(op, |_, operand| operand.map(f64::abs))
    }

    /// Measures errors by what `op` gives for inputs that are changed so that all terms add up.
    pub(crate) fn by_terms_of(mut self, op: MakeOp, change: impl Fn(usize, &Operand) -> Operand) -> Self {
        let operands = self.operands.iter().enumerate().map(|(i, operand)| match operand.role {
            Role::Out => operand.clone(),
            Role::In | Role::Update => change(i, operand),
        });
        self.scale = Scale::Terms(operands.collect(), op);
        self
    }

    /// Expects a fault at this row.
    pub(crate) fn faulty(mut self, row: u64) -> Self {
        self.fault = Some(row);
        self
    }
}

/// The distance of neighbours in a type, relative to their size: what rounding a result to it may cost two
/// implementations that agree otherwise.
pub(crate) fn ulp(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 2f64.powi(-23),
        DType::F64 => 2f64.powi(-52),
        DType::Bf16 => 2f64.powi(-7),
        DType::F16 => 2f64.powi(-10),
        DType::U8 | DType::I32 | DType::U32 => 0.0,
    }
}
