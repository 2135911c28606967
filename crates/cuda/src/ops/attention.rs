use gristmill_core::ops::{Attention, Fill};
use gristmill_core::{DType, Result};

use super::{fill, grid, segments, strided};
use crate::backend::Context;
use crate::driver::Args;

/// What the components of a head fill up to, and how many keys are taken at a time: for `f32`, and for halves.
const SIZES: [(usize, [usize; 2]); 3] = [(64, [32, 64]), (128, [32, 64]), (256, [16, 16])];

pub(super) fn run(op: &Attention, cx: &mut Context<'_>) -> Result<()> {
    let documents = op.offsets.len() - 1;
    // Rows of no document.
    fill::run(&Fill { out: op.out.clone(), value: 0.0 }, cx)?;
    if documents == 0 {
        return Ok(());
    }
    let (rows, d) = (op.q.shape().rows_cols().0, op.head_dim());
    let args = Args::new().u64(cx.at(&op.q)?).u64(cx.at(&op.k)?).u64(cx.at(&op.v)?).u64(cx.at(&op.out)?);
    let args = segments(args, cx, &op.offsets, rows)?
        .size(documents)
        .u32(op.heads as u32)
        .u32((op.heads / op.kv_heads) as u32)
        .u32(d as u32)
        .f32(op.scale * std::f32::consts::LOG2_E)
        .finish();
    cx.launch("attention", "attention_check", strided(documents), 0, &args)?;
    if rows == 0 {
        return Ok(());
    }
    let (size, [keys_single, keys_half]) =
        SIZES.into_iter().find(|(size, _)| d <= *size).unwrap_or(SIZES[SIZES.len() - 1]);
    // As in kernels/attention.cu: rows of a tile, and shared memory for queries, keys and values, or weights.
    let (tile, shared) = match op.q.dtype() {
        DType::F32 => (64, 4 * ((64 + keys_single) * (size + 4) + 64 * (keys_single + 1))),
        _ => (128, 2 * (128 + 2 * keys_half) * (size + 8)),
    };
    let kernel = format!("attention_{size}_{}", op.q.dtype());
    cx.launch("attention", kernel, grid([rows / tile + documents, op.heads, 1])?, shared, &args)
}
