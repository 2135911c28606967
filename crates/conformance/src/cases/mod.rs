//! The table itself, an operation or a family a file.

mod adamw;
mod attention;
mod clipping;
mod elementwise;
mod faults;
mod gaussian_noise;
mod loss;
mod matmul;
mod payload;
mod philox;
mod reduce;
mod row_norm_scale;
mod tables;
mod topk;
mod transformer;

mod activation_grad;
mod columns;
mod linear_grad;
mod norm_grad;
mod quantization;

mod gram;
mod low_rank_adam;

mod channel;
mod int4;

use gristmill_core::DType;

use crate::Case;

/// The floating-point types of every backend, and the one of the CPU.
const FLOATS: [DType; 4] = [DType::F32, DType::Bf16, DType::F16, DType::F64];

/// All cases. The same on every machine, but for the numbers that a run draws.
pub fn cases() -> Vec<Case> {
    [
        elementwise::cases(),
        matmul::cases(),
        reduce::cases(),
        loss::cases(),
        philox::cases(),
        topk::cases(),
        row_norm_scale::cases(),
        transformer::cases(),
        attention::cases(),
        payload::cases(),
        adamw::cases(),
        faults::cases(),
        clipping::cases(),
        tables::cases(),
        gaussian_noise::cases(),
        linear_grad::cases(),
        low_rank_adam::cases(),
        gram::cases(),
        columns::cases(),
        activation_grad::cases(),
        quantization::cases(),
        norm_grad::cases(),
        channel::cases(),
        int4::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What adding up `n` terms in `f32` may cost, in units of the sum of their magnitudes: for additions in blocks or by
/// trees, as every backend does them, with room for tensor cores that round towards zero.
fn sum_error(n: usize) -> f64 {
    2f64.powi(-23) * (8.0 + n as f64 / 16.0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use gristmill_core::ops::Op;

    #[test]
    fn names_are_distinct_and_every_operation_has_cases() {
        let cases = super::cases();
        let names: HashSet<_> = cases.iter().map(|c| &c.name).collect();
        assert_eq!(names.len(), cases.len());
        for op in Op::NAMES {
            assert!(cases.iter().filter(|c| c.op == *op).count() >= 5, "{op}");
        }
    }
}
