use gristmill_core::ops::Nll;
use gristmill_core::{Result, Tensor};

use super::Run;
use super::rows::{Rows, Tile};
use crate::kernel::Kernel;
use crate::window::Window;

pub(super) fn run(run: &mut Run, op: &Nll) -> Result<()> {
    let (count, stride) = op.logits.shape().rows_cols();
    let rows = Rows { x: &op.logits, rows: count, columns: op.vocab, stride };
    let slot = run.ctx.fault_slot(run.serial)?;
    // Where not even the bias fits a binding, tiles are short enough for both.
    let narrow = op.bias.is_some() && op.vocab > run.ctx.window_len(4);
    rows.run(run, "nll", narrow, |run, kernel, ends, tile| {
        let end = End { targets: &op.targets, out: &op.out, vocab: op.vocab, slot };
        let mut kernel = end.describe(run, kernel, ends, tile)?;
        kernel = kernel
            .flag("CAP", op.softcap.is_some())
            .flag("BIAS", op.bias.is_some())
            .number("cap", op.softcap.unwrap_or(0.0));
        match &op.bias {
            Some(bias) => {
                let bias = Window::of(bias, run.buffers, tile.column0, tile.columns)?;
                Ok(kernel.read(&bias).param("bias_at", bias.at).count("bias_seg0", tile.seg0))
            }
            None => Ok(kernel.param("bias_at", 0).param("bias_seg0", 0)),
        }
    })
}

/// What becomes of states in `nll` and `linear_nll`.
pub(super) struct End<'a> {
    pub(super) targets: &'a Tensor,
    pub(super) out: &'a Tensor,
    pub(super) vocab: usize,
    pub(super) slot: u32,
}

impl End<'_> {
    /// The bindings and parameters of targets, and of results if there are any.
    pub(super) fn describe(
        &self,
        run: &mut Run,
        mut kernel: Kernel,
        ends: bool,
        tile: &Tile,
    ) -> Result<Kernel> {
        let targets = Window::of(self.targets, run.buffers, tile.row0, tile.rows)?;
        let mut out_at = 0;
        if ends {
            let out = Window::of(self.out, run.buffers, tile.row0, tile.rows)?;
            kernel = kernel.write(&out).write(&run.ctx.faults.window());
            out_at = out.at;
        }
        Ok(kernel
            .read(&targets)
            .param("targets_at", targets.at)
            .param("out_at", out_at)
            // Below 2^32, as validated.
            .count("vocab", self.vocab)
            .count("row0", tile.row0)
            .param("slot", self.slot))
    }
}
