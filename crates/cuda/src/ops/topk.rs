use gristmill_core::Result;
use gristmill_core::ops::Topk;

use super::{BLOCK, grid};
use crate::backend::Context;
use crate::driver::Args;

const NAME: &str = "topk";
/// Sizes of kernels/topk.cu.
const BINS: usize = 2048;
const DIGITS: u32 = 11;
const SORTED: usize = 4096;
const STATE: usize = 24;
/// Chunks of at most this many entries stay in the shared memory of one block.
const SMALL: usize = 8192;

/// What both ways have in common.
struct Plan {
    x: u64,
    values: u64,
    indices: u64,
    n: usize,
    chunk: usize,
    k: usize,
    index_bits: u32,
    /// `k` up to a power of two.
    padded: usize,
    chunks: usize,
    /// Of each chunk, in the steps for long ones.
    blocks: usize,
    /// States, bins and lists of long chunks.
    memory: [u64; 3],
}

impl Plan {
    /// Arguments, with the size of sequences and the distance for a step of sorting.
    fn args(&self, size: usize, distance: usize) -> Vec<u8> {
        let [states, bins, lists] = self.memory;
        Args::new()
            .u64(self.x)
            .u64(self.values)
            .u64(self.indices)
            .size(self.n)
            .size(self.chunk)
            .size(self.k)
            .u32(self.index_bits)
            .u32(self.blocks as u32)
            .u64(states)
            .u64(bins)
            .u64(lists)
            .size(self.padded)
            .size(size)
            .size(distance)
            .finish()
    }
}

pub(super) fn run(op: &Topk, cx: &mut Context<'_>) -> Result<()> {
    let n = op.x.len();
    if n == 0 {
        return Ok(());
    }
    let longest = op.chunk.min(n);
    let mut plan = Plan {
        x: cx.at(&op.x)?,
        values: cx.at(&op.values)?,
        indices: cx.at(&op.indices)?,
        n,
        chunk: op.chunk,
        k: op.k,
        index_bits: longest.next_power_of_two().trailing_zeros(),
        padded: op.k.next_power_of_two(),
        chunks: n.div_ceil(op.chunk),
        blocks: 1,
        memory: [0; 3],
    };
    if longest <= SMALL && plan.padded <= SORTED {
        let shared = 8 * plan.padded + STATE + 4 * (BINS + BLOCK + longest);
        return cx.launch(NAME, "topk_small", grid([plan.chunks, 1, 1])?, shared, &plan.args(0, 0));
    }
    plan.blocks = longest.div_ceil(16 * BLOCK).min(1024);
    plan.memory = cx.scratch([STATE * plan.chunks, 4 * BINS * plan.chunks, 8 * plan.padded * plan.chunks])?;
    long(&plan, cx)
}

/// Chunks that many blocks read.
fn long(plan: &Plan, cx: &Context<'_>) -> Result<()> {
    let all = grid([plan.chunks * plan.blocks, 1, 1])?;
    let each = grid([plan.chunks, 1, 1])?;
    let args = plan.args(0, 0);
    cx.launch(NAME, "topk_start", all, 0, &args)?;
    for _ in 0..(31 + plan.index_bits).div_ceil(DIGITS) {
        cx.launch(NAME, "topk_histogram", all, 4 * BINS, &args)?;
        cx.launch(NAME, "topk_narrow", each, STATE + 4 * BLOCK, &args)?;
    }
    cx.launch(NAME, "topk_list", all, 0, &args)?;
    let piece = plan.padded.min(SORTED);
    let pieces = grid([plan.chunks * (plan.padded / piece), 1, 1])?;
    // Sequences of up to a piece, and then, for each size above, the far distances one by one and the near in a piece.
    cx.launch(NAME, "topk_sort_pieces", pieces, 8 * piece, &plan.args(piece, 2))?;
    let mut size = 2 * piece;
    while size <= plan.padded {
        let mut distance = size / 2;
        while distance >= piece {
            cx.launch(NAME, "topk_sort_far", all, 0, &plan.args(size, distance))?;
            distance /= 2;
        }
        cx.launch(NAME, "topk_sort_pieces", pieces, 8 * piece, &plan.args(size, size))?;
        size *= 2;
    }
    cx.launch(NAME, "topk_write", all, 0, &args)
}
