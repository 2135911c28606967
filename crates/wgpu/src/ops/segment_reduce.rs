use gristmill_core::Result;
use gristmill_core::ops::SegmentReduce;

use super::Run;
use super::row_reduce::rule;
use super::segments::Segments;

pub(super) fn run(run: &mut Run, op: &SegmentReduce) -> Result<()> {
    let segments =
        Segments { values: &[("x_at", &op.x)], offsets: &op.offsets, outs: &[("out_at", &op.out)] };
    segments.run(run, "segment_reduce", |kernel| kernel.def("RULE", rule(op.reduction)))
}
