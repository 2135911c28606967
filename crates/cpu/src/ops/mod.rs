//! The fast versions.

mod lanes;
mod loss_reduction;
mod segment_sum;

pub use loss_reduction::{LossReduction, loss_reduction};
pub use segment_sum::segment_sum;

pub(crate) use lanes::wide;

/// Below this many values an operation stays on the calling thread.
const PARALLEL: usize = 1 << 17;

/// Values that one task takes at the least.
const TASK: usize = 1 << 15;

/// How many segments make a task, or `None` when the work is not worth a second thread.
fn segments_per_task(values: usize, segments: usize) -> Option<usize> {
    (values >= PARALLEL && segments > 1 && rayon::current_num_threads() > 1)
        .then(|| (segments * TASK).div_ceil(values))
}
