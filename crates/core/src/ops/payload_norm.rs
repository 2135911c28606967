use super::topk_aggregate::payload_fault;
use super::{Contract, Cost, Operation, Promise, check};
use crate::payload::{Chunking, PayloadLayout};
use crate::{DType, Result, Tensor};

/// The sum of the squares of what each payload says, from codes and scales alone: positions are not looked at.
///
/// For each chunk, in `f32`, every product and sum rounded, `n(c)` being the entries with code `c`:
/// `signMagnitude`: `n(low) · low² + n(high) · high²`; `reference`: `n(0) · l₀² + … + n(3) · l₃²`, from the left; `int8`:
/// `(N · step) · step`, with `N` the sum of the squared codes; `none`: the sum of `v²` from the first entry on. A sum
/// below 2⁻¹²⁰ counts as 0. Those of 256 consecutive chunks at a time (missing ones are 0) are added up by halves, number `i`
/// and `i + 128`, then `i + 64`, down to one; the results in the same way, until one is left. Exact on every backend.
///
/// A payload whose scale or values break the layout is a fault at row `peer · chunks + chunk`.
#[derive(Debug, Clone)]
pub struct PayloadNorm {
    /// The payloads, `[peers, words]`, `u32`.
    pub payloads: Tensor,
    /// The sums of squares, `[peers]`, `f32`.
    pub out: Tensor,
    /// How the elements of the tensor are cut into chunks.
    pub chunking: Chunking,
    /// What is sent of a chunk, and how.
    pub layout: PayloadLayout,
}

impl Operation for PayloadNorm {
    const NAME: &'static str = "payload_norm";
    const PROMISE: Promise = Promise::Exact;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.payloads]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        let peers = check::payloads(&self.payloads, &self.chunking, &self.layout)?;
        check::dtype("out", &self.out, &[DType::F32])?;
        check::shape("out", &self.out, &[peers])
    }

    fn cost(&self) -> Cost {
        let (peers, _) = self.payloads.shape().rows_cols();
        let words = self.layout.scale_words() + self.layout.codes().len();
        let entries = peers as u64 * self.chunking.entries(&self.layout);
        Cost { flops: 2 * entries, bytes: 4 * (peers * self.chunking.chunks() * words) as u64 }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.chunking.chunks(), broken: payload_fault }
    }
}
