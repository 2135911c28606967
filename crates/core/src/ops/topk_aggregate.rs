use super::{Contract, Cost, Operation, Promise, check};
use crate::payload::{Chunking, PayloadLayout};
use crate::{Code, DType, Error, Result, Tensor};

/// Payloads of several peers, decoded, added up in the order in which they are given, and applied as a step of plain
/// gradient descent: for each element, with `c` the number of payloads that have an entry for it and the sum over
/// these,
///
/// `theta ← theta − settle(steps[c] · Σ_r settle(weights[r] · v_r))`,
///
/// the sum from the first payload on, each operation rounded to `f32`; `settle` as in [`crate::payload`]. An element
/// without an entry, or whose step settles to 0, keeps its bits. Exact on every backend.
///
/// `steps[c] = α / c` divides by those who contributed to an element, `steps[c] = α / peers` by all. A payload whose
/// words break the layout is a fault at row `peer · chunks + chunk`.
#[derive(Debug, Clone)]
pub struct TopkAggregate {
    /// The payloads, `[peers, words]`, `u32`.
    pub payloads: Tensor,
    /// Factor of each payload, `[peers]`, `f32`, from 0 to 1.
    pub weights: Tensor,
    /// The step for each number of entries, `[peers + 1]`, `f32`.
    pub steps: Tensor,
    /// Parameters to update, `f32`, of any shape.
    pub theta: Tensor,
    /// How the elements are cut into chunks.
    pub chunking: Chunking,
    /// What is sent of a chunk, and how.
    pub layout: PayloadLayout,
}

impl Operation for TopkAggregate {
    const NAME: &'static str = "topk_aggregate";
    const PROMISE: Promise = Promise::Exact;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.payloads, &self.weights, &self.steps]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn updates(&self) -> Vec<&Tensor> {
        vec![&self.theta]
    }

    fn check(&self) -> Result<()> {
        let peers = check::payloads(&self.payloads, &self.chunking, &self.layout)?;
        check::dtype("weights", &self.weights, &[DType::F32])?;
        check::shape("weights", &self.weights, &[peers])?;
        check::dtype("steps", &self.steps, &[DType::F32])?;
        check::shape("steps", &self.steps, &[peers + 1])?;
        check::dtype("theta", &self.theta, &[DType::F32])?;
        check::chunked("theta", &self.theta, &self.chunking, &self.layout)
    }

    fn cost(&self) -> Cost {
        let (peers, _) = self.payloads.shape().rows_cols();
        let entries = peers as u64 * self.chunking.entries(&self.layout);
        let bytes = check::bytes(&[&self.payloads, &self.weights, &self.steps]);
        Cost { flops: 2 * entries, bytes: bytes + 2 * self.theta.bytes() as u64 }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.chunking.chunks(), broken: payload_fault }
    }
}

/// A payload that is none, at row `peer · chunks + chunk`.
pub(super) fn payload_fault(row: u64, chunks: usize) -> Error {
    let chunks = chunks.max(1) as u64;
    let place = format!("chunk {} of payload {} breaks its layout", row % chunks, row / chunks);
    Error::new(Code::InvalidValue, place).at_column("payloads").at_row(row)
}
