//! The fast versions.

mod lanes;
mod loss_reduction;
mod segment_reduce;

pub use loss_reduction::{LossReduction, loss_reduction};
pub use segment_reduce::segment_sum;

use gristmill_core::Result;
use gristmill_core::ops::Op;

use crate::access::Access;

pub(crate) use lanes::wide;
pub(crate) use loss_reduction::run_with as loss_reduction_with;

/// Carries out an operation.
pub(crate) fn run(op: &Op, access: &Access) -> Result<()> {
    match op {
        Op::LossReduction(op) => loss_reduction::run(op, access),
        other => crate::reference::run(other, access),
    }
}

/// Below this many values an operation stays on the calling thread.
const PARALLEL: usize = 1 << 17;

/// Values that one task takes at the least.
const TASK: usize = 1 << 15;

/// How many segments make a task, or `None` when the work is not worth a second thread.
fn segments_per_task(values: usize, segments: usize) -> Option<usize> {
    (values >= PARALLEL && segments > 1 && rayon::current_num_threads() > 1)
        .then(|| (segments * TASK).div_ceil(values))
}
