//! What `segment_reduce` and `loss_reduction` share: how consecutive segments of values are cut into dispatches. See
//! `shaders/lib/segments.wgsl`.

use gristmill_core::{DType, Result, Tensor};

use super::Run;
use super::rows::threads;
use crate::kernel::Kernel;
use crate::window::{Window, pieces};

/// Parts that keep a large device busy.
const UNITS: usize = 1024;
/// Elements below which a part is not worth its own.
const SHORT: usize = 8192;
/// Parts of a segment at most.
const PARTS: usize = 64;

/// Values, one or two for each place, and where their segments begin and end.
pub(super) struct Segments<'a> {
    /// The values, with the name of the parameter for where their window begins.
    pub(super) values: &'a [(&'static str, &'a Tensor)],
    pub(super) offsets: &'a Tensor,
    /// The results, one for each segment, likewise.
    pub(super) outs: &'a [(&'static str, &'a Tensor)],
}

impl Segments<'_> {
    /// Runs all stages of an operation; `describe` adds its own definitions.
    pub(super) fn run(
        &self,
        run: &mut Run,
        name: &'static str,
        describe: impl Fn(Kernel) -> Kernel,
    ) -> Result<()> {
        let slot = run.ctx.fault_slot(run.serial)?;
        let segments = self.offsets.len() - 1;
        let len = self.values[0].1.len();
        let (threads, threads_name) = threads(len / segments.max(1));
        // Places in windows beyond 2^31 would wrap around when they are cut.
        let parts = if len > 1 << 31 { 1 } else { (len / SHORT).min(UNITS) / segments.max(1) };
        let parts = parts.clamp(1, PARTS);
        let widest = self.values.iter().map(|(_, t)| t.dtype().size()).max().unwrap_or(4);
        let windows: Vec<_> = pieces(len, run.ctx.window_len(widest)).collect();
        let states = parts * windows.len().max(1);
        // Offsets are 32 bits: what lies behind is out of reach. Negative ones look like more than 2^31.
        let reach = if self.offsets.dtype() == DType::I32 { i32::MAX as usize } else { u32::MAX as usize };
        let kernel = |run: &mut Run, (first, count): (usize, usize)| -> Result<Kernel> {
            let offsets = Window::of(self.offsets, run.buffers, first, count + 1)?;
            Ok(describe(run.ctx.kernel(name))
                .read(&offsets)
                .write(&run.ctx.faults.window())
                .param("offsets_at", offsets.at)
                .count("segments", count)
                .count("segment0", first)
                .count("values", len.min(reach))
                .count("parts", parts)
                .count("states", states)
                .param("slot", slot))
        };
        for tile in pieces(segments, run.ctx.window_len(16 * states)) {
            let groups = |units: usize, threads: usize| units.div_ceil(256 / threads);
            if states == 1 {
                let kernel = kernel(run, tile)?.def("STAGE", "whole").def("THREADS", threads_name);
                let kernel = self.results(run, kernel, tile)?;
                let kernel = self.window(run, kernel, (0, len))?.param("state0", 0);
                kernel.run(run.ctx, groups(tile.1, threads), (len * widest) as u64)?;
                continue;
            }
            let scratch = run.ctx.scratch(16 * (tile.1 * states) as u64)?;
            for (i, &window) in windows.iter().enumerate() {
                let kernel = kernel(run, tile)?.def("STAGE", "partial").def("THREADS", threads_name);
                let kernel = kernel.write(&Window::whole(&scratch)).count("state0", i * parts);
                let kernel = self.outs.iter().fold(kernel, |kernel, (at, _)| kernel.unused(&[at]));
                let kernel = self.window(run, kernel, window)?;
                kernel.run(run.ctx, groups(tile.1 * parts, threads), (window.1 * widest) as u64)?;
            }
            let (threads, threads_name) = super::rows::threads(states);
            let kernel = kernel(run, tile)?.def("STAGE", "merge").def("THREADS", threads_name);
            let kernel = self.results(run, kernel, tile)?.read(&Window::whole(&scratch)).def("X", "f32");
            let kernel = self.values.iter().fold(kernel, |kernel, (at, _)| kernel.unused(&[at]));
            let kernel = kernel.unused(&["state0", "window", "window_len"]);
            kernel.run(run.ctx, groups(tile.1, threads), 16 * (tile.1 * states) as u64)?;
            run.ctx.done_with(scratch);
        }
        Ok(())
    }

    fn results(&self, run: &Run, mut kernel: Kernel, (first, count): (usize, usize)) -> Result<Kernel> {
        for (at, out) in self.outs {
            let out = Window::of(out, run.buffers, first, count)?;
            kernel = kernel.write(&out).param(at, out.at);
        }
        Ok(kernel)
    }

    /// A window of the values.
    fn window(&self, run: &Run, mut kernel: Kernel, (first, len): (usize, usize)) -> Result<Kernel> {
        for (at, values) in self.values {
            let window = Window::of(values, run.buffers, first, len)?;
            kernel = kernel.read(&window).param(at, window.at);
        }
        let x = self.values[0].1.dtype().name();
        Ok(kernel.def("X", x).count("window", first).count("window_len", len))
    }
}
