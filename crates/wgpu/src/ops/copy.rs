use gristmill_core::Result;
use gristmill_core::ops::Copy;

use super::{Run, dtype, elements};
use crate::context::Context;
use crate::window::{Window, pieces};

pub(super) fn run(run: &mut Run, op: &Copy) -> Result<()> {
    let size = op.x.dtype().size();
    for (first, len) in pieces(op.x.len(), run.ctx.window_len(size)) {
        let x = Window::of(&op.x, run.buffers, first, len)?;
        let out = Window::of(&op.out, run.buffers, first, len)?;
        let [from, to] = [&x, &out].map(|w| w.offset + u64::from(w.at) * size as u64);
        let bytes = (len * size) as u64;
        // Whole words between two buffers need no kernel.
        if x.buffer != out.buffer && [from, to, bytes].iter().all(|b| b.is_multiple_of(4)) {
            run.ctx.record(2 * bytes, |encoder| {
                encoder.copy_buffer_to_buffer(&x.buffer, from, &out.buffer, to, bytes);
            })?;
        } else {
            elements(run.ctx, dtype(op.x.dtype()), size, &x, &out, len)?;
        }
    }
    Ok(())
}

/// Copies elements between windows, wherever in a word they begin.
pub(crate) fn elements(
    ctx: &mut Context,
    dtype: &'static str,
    size: usize,
    x: &Window,
    out: &Window,
    len: usize,
) -> Result<()> {
    let kernel = ctx.kernel("copy");
    elements::dispatch(ctx, kernel, Some(x), out, dtype, size, len)
}
