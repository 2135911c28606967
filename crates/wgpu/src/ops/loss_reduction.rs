use gristmill_core::Result;
use gristmill_core::ops::LossReduction;

use super::Run;
use super::segments::Segments;

pub(super) fn run(run: &mut Run, op: &LossReduction) -> Result<()> {
    let segments = Segments {
        values: &[("prior_at", &op.prior), ("conditional_at", &op.conditional)],
        offsets: &op.offsets,
        outs: &[
            ("prior_sum_at", &op.prior_sum),
            ("conditional_sum_at", &op.conditional_sum),
            ("score_at", &op.score),
        ],
    };
    segments.run(run, "loss_reduction", |kernel| kernel)
}
