//! What operations on single elements share: they run over the words of their output, piece by piece.

use gristmill_core::{Result, Tensor};

use super::{Run, dtype};
use crate::context::Context;
use crate::kernel::Kernel;
use crate::window::{Window, pieces};

/// Words that a workgroup writes; `words_each` of `words.wgsl` for each invocation.
const WORDS: usize = 4 * 256;

/// Runs a kernel over all elements of `out`, and of `x` beside them; `describe` adds what is its own.
pub(super) fn run(
    run: &mut Run,
    name: &'static str,
    x: Option<&Tensor>,
    out: &Tensor,
    describe: impl Fn(Kernel) -> Kernel,
) -> Result<()> {
    let widest = out.dtype().size().max(x.map_or(1, |x| x.dtype().size()));
    for (first, len) in pieces(out.len(), run.ctx.window_len(widest)) {
        let x = x.map(|x| Window::of(x, run.buffers, first, len)).transpose()?;
        let to = Window::of(out, run.buffers, first, len)?;
        let kernel = describe(run.ctx.kernel(name));
        dispatch(run.ctx, kernel, x.as_ref(), &to, dtype(out.dtype()), out.dtype().size(), len)?;
    }
    Ok(())
}

/// Runs a kernel over the elements of windows.
pub(super) fn dispatch(
    ctx: &mut Context,
    mut kernel: Kernel,
    x: Option<&Window>,
    out: &Window,
    out_dtype: &'static str,
    size: usize,
    len: usize,
) -> Result<()> {
    if let Some(x) = x {
        kernel = kernel.read(x).param("x_at", x.at);
    }
    finish(ctx, kernel.write(out), out.at, out_dtype, size, len)
}

/// Runs a kernel that has its bindings over so many elements of its output.
pub(super) fn finish(
    ctx: &mut Context,
    kernel: Kernel,
    out_at: u32,
    out_dtype: &'static str,
    size: usize,
    len: usize,
) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    // One word more for each end that belongs to others in part.
    let words = (len * size).div_ceil(4) + 1;
    kernel.def("OUT", out_dtype).param("out_at", out_at).count("n", len).run(
        ctx,
        words.div_ceil(WORDS),
        2 * (len * size) as u64,
    )
}
