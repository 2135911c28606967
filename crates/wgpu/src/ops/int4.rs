use gristmill_core::Result;
use gristmill_core::ops::{INT4_GROUP, Int4Pack, Int4Unpack};

use super::{Run, elements};
use crate::window::{Window, pieces};

/// Elements that a window shows, in whole groups.
fn fits(run: &Run) -> usize {
    (run.ctx.window_len(4) / INT4_GROUP).max(1) * INT4_GROUP
}

pub(super) fn pack(run: &mut Run, op: &Int4Pack) -> Result<()> {
    for (first, len) in pieces(op.x.len(), fits(run)) {
        let (group, groups) = (first / INT4_GROUP, len.div_ceil(INT4_GROUP));
        let x = Window::of(&op.x, run.buffers, first, len)?;
        let codes = Window::of(&op.codes, run.buffers, first / 8, len.div_ceil(8))?;
        let scales = Window::of(&op.scales, run.buffers, group, groups)?;
        let zeros = Window::of(&op.zeros, run.buffers, group, groups)?;
        run.ctx
            .kernel("int4_pack")
            .read(&x)
            .write(&codes)
            .write(&scales)
            .write(&zeros)
            .count("n", len)
            .param("x_at", x.at)
            .param("codes_at", codes.at)
            .param("scales_at", scales.at)
            .param("zeros_at", zeros.at)
            .run(run.ctx, groups, 5 * len as u64)?;
    }
    Ok(())
}

pub(super) fn unpack(run: &mut Run, op: &Int4Unpack) -> Result<()> {
    for (first, len) in pieces(op.out.len(), fits(run)) {
        let (group, groups) = (first / INT4_GROUP, len.div_ceil(INT4_GROUP));
        let out = Window::of(&op.out, run.buffers, first, len)?;
        let codes = Window::of(&op.codes, run.buffers, first / 8, len.div_ceil(8))?;
        let scales = Window::of(&op.scales, run.buffers, group, groups)?;
        let zeros = Window::of(&op.zeros, run.buffers, group, groups)?;
        let kernel = run
            .ctx
            .kernel("int4_unpack")
            .write(&out)
            .read(&codes)
            .read(&scales)
            .read(&zeros)
            .param("codes_at", codes.at)
            .param("scales_at", scales.at)
            .param("zeros_at", zeros.at);
        elements::finish(run.ctx, kernel, out.at, "f32", 4, len)?;
    }
    Ok(())
}
