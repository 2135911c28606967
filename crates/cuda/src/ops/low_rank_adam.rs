use gristmill_core::ops::{LowRankAdam, LowRankSizes, MatmulSizes};
use gristmill_core::{DType, Result, Tensor};

use super::adamw::Step;
use super::matmul::Product;
use super::{cast, strided};
use crate::backend::Context;
use crate::driver::Args;

/// The projection, the step in the subspace and the way back, each its own launch; what is between them is scratch memory.
pub(super) fn run(op: &LowRankAdam, cx: &mut Context<'_>) -> Result<()> {
    let LowRankSizes { rows, columns, rank, kept, depth } = op.sizes();
    if kept == 0 {
        return Ok(());
    }
    let wide = |tensor: &Tensor| if tensor.dtype() == DType::F32 { 0 } else { 4 * tensor.len() };
    let update = if op.weight.dtype() == DType::F32 { 0 } else { 4 * op.weight.len() };
    let inner = 4 * kept * rank;
    let [inner, direction, grad, basis, update] =
        cx.scratch([inner, inner, wide(&op.grad), wide(&op.basis), update])?;
    let widened = |tensor: &Tensor, scratch: u64| -> Result<u64> {
        let at = cx.at(tensor)?;
        if tensor.dtype() == DType::F32 {
            return Ok(at);
        }
        cast::cast(cx, (at, tensor.dtype()), (scratch, DType::F32), tensor.len())?;
        Ok(scratch)
    };
    let (grad, basis) = (widened(&op.grad, grad)?, widened(&op.basis, basis)?);
    let product = |[a, b, out]: [u64; 3], [m, n, k]: [usize; 3]| Product {
        dtype: DType::F32,
        out_dtype: DType::F32,
        a,
        b,
        out,
        trans_a: false,
        trans_b: false,
        sizes: MatmulSizes { batch: 1, m, n, k, batched_b: true },
        alpha: 1.0,
        beta: 0.0,
    };
    Product { trans_a: !op.right, ..product([grad, basis, inner], [kept, rank, depth]) }.run(cx)?;
    let (rule, _) = op.rule.direction();
    Step {
        grad: (inner, DType::F32),
        param: (direction, DType::F32),
        elements: kept * rank,
        moments: &op.moments,
        rule,
        noise: op.noise,
    }
    .run(cx)?;
    let (a, b) = if op.right { (direction, basis) } else { (basis, direction) };
    let weight = cx.at(&op.weight)?;
    let back =
        Product { trans_b: true, alpha: -op.rule.step, ..product([a, b, weight], [rows, columns, rank]) };
    if op.weight.dtype() == DType::F32 {
        return Product { beta: op.rule.keep, ..back }.run(cx);
    }
    Product { out: update, ..back }.run(cx)?;
    let n = op.weight.len();
    if n == 0 {
        return Ok(());
    }
    let (seed, stream) = op.noise.map_or((0, 0), |noise| (noise.seed, noise.stream));
    let args = Args::new().u64(update).u64(weight).size(n).u64(seed).u64(stream).f32(op.rule.keep).finish();
    let suffix = if op.noise.is_some() { "_noise" } else { "" };
    cx.launch("low_rank_adam", format!("low_rank_adam_bf16{suffix}"), strided(n), 0, &args)
}
