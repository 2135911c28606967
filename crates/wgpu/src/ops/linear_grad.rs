//! What the operations on per-sample gradients of a linear layer share. See `shaders/clipped_grad.wgsl`.

use gristmill_core::ops::{LinearSizes, NormsMethod};
use gristmill_core::{Result, Tensor};

use super::matmul::{FLOPS_PER_BYTE, TILE_COLUMNS, TILE_ROWS};
use super::{Run, dtype, fits_row, gram_norms};
use crate::kernel::Kernel;
use crate::window::{Window, pieces};

/// Workgroups in one dimension of a dispatch at most.
const GROUPS: usize = 65_535;
/// Floating-point operations of one dispatch at most: a fraction of a second on a slow adapter.
pub(super) const FLOPS: usize = 1 << 36;
/// Elements whose squares a workgroup adds up, as in `shaders/per_sample_norms.wgsl`.
const SQUARES: usize = 8192;

/// What becomes of the numbers that sums are added to, as in `shaders/clipped_grad.wgsl`.
#[derive(Clone, Copy)]
pub(super) enum Fresh {
    /// They stay.
    Add,
    /// They do not matter.
    Write,
    /// They do not matter, and are not written if all factors are 0.
    WriteTaken,
}

/// The operands that they share.
pub(super) struct Layer<'a> {
    pub(super) x: &'a Tensor,
    pub(super) dy: &'a Tensor,
    pub(super) offsets: &'a Tensor,
    pub(super) sizes: LinearSizes,
}

/// Elements of a tensor or of scratch memory.
pub(super) enum Numbers<'a> {
    Tensor(&'a Tensor),
    Scratch(&'a wgpu::Buffer),
}

impl Numbers<'_> {
    fn window(&self, run: &Run, first: usize, len: usize) -> Result<Window> {
        match self {
            Numbers::Tensor(tensor) => Window::of(tensor, run.buffers, first, len),
            Numbers::Scratch(buffer) => Ok(Window::cut(buffer, 4 * first as u64, 4 * len as u64, 4)),
        }
    }
}

impl Layer<'_> {
    /// Squares of the norms of all samples.
    pub(super) fn norms(&self, run: &mut Run, method: NormsMethod, bias: bool, out: &Tensor) -> Result<()> {
        let LinearSizes { d, p, samples, .. } = self.sizes;
        let flags = match method {
            NormsMethod::Gram if d * p > 0 && samples > 0 => Some(gram_norms::norms(run, self, bias, out)?),
            _ => None,
        };
        let gradient = Gradient::new(run, self.sizes, bias)?;
        for sample in 0..samples {
            gradient.measure(run, self, sample, out, flags.as_ref())?;
        }
        gradient.done(run);
        flags.into_iter().for_each(|flags| run.ctx.done_with(flags));
        Ok(())
    }

    /// Samples whose offsets, and whose weights, break the contract are faults.
    pub(super) fn check(&self, run: &mut Run, weights: Option<&Tensor>) -> Result<()> {
        let slot = run.ctx.fault_slot(run.serial)?;
        let samples = self.sizes.samples;
        let offsets = self.offsets(run)?;
        let mut kernel = run
            .ctx
            .kernel("clipped_grad")
            .def("STAGE", "check")
            .flag("WEIGHTS", weights.is_some())
            .read(&offsets)
            .write(&run.ctx.faults.window());
        let mut weights_at = 0;
        if let Some(weights) = weights {
            let weights = Window::of(weights, run.buffers, 0, samples)?;
            weights_at = weights.at;
            kernel = kernel.read(&weights);
        }
        kernel
            .count("samples", samples)
            .param("offsets_at", offsets.at)
            .count("rows", self.sizes.rows)
            .param("weights_at", weights_at)
            .param("slot", slot)
            .run(run.ctx, samples.div_ceil(256), 4 * samples as u64)
    }

    pub(super) fn offsets(&self, run: &Run) -> Result<Window> {
        fits_row(run, self.sizes.samples + 1)?;
        Window::of(self.offsets, run.buffers, 0, self.sizes.samples + 1)
    }

    /// Rows that a binding shows at a time, and one that has none if there are none at all.
    pub(super) fn windows(&self, run: &Run) -> Result<Vec<(usize, usize)>> {
        let LinearSizes { rows, d, p, .. } = self.sizes;
        let fits = fits_row(run, d.max(p))?;
        Ok(if rows == 0 { vec![(0, 0)] } else { pieces(rows, fits).collect() })
    }

    /// Adds the gradients of the weight of some samples, each with its factor if there are factors, to `[p, d]` numbers;
    /// or writes their sum.
    pub(super) fn weight(
        &self,
        run: &mut Run,
        samples: (usize, usize),
        factors: Option<&Numbers>,
        to: &Numbers,
        fresh: Fresh,
    ) -> Result<()> {
        let LinearSizes { d, p, .. } = self.sizes;
        if d * p == 0 {
            return Ok(());
        }
        let (offsets, windows) = (self.offsets(run)?, self.windows(run)?);
        for (i, (row0, rows)) in windows.into_iter().enumerate() {
            let x = Window::of(self.x, run.buffers, row0 * d, rows * d)?;
            let dy = Window::of(self.dy, run.buffers, row0 * p, rows * p)?;
            let short = (FLOPS / (2 * rows.max(1) * d) / TILE_ROWS).clamp(1, GROUPS) * TILE_ROWS;
            for (output0, shown) in pieces(p, fits_row(run, d)?.min(short)) {
                let out = to.window(run, output0 * d, shown * d)?;
                let mut kernel = run
                    .ctx
                    .kernel("clipped_grad")
                    .def("STAGE", "weight")
                    .def("X", dtype(self.x.dtype()))
                    .def("TRANS_A", "1")
                    .def("TRANS_B", "0")
                    .flag("FACTORS", factors.is_some())
                    .read(&dy)
                    .read(&offsets)
                    .write(&out)
                    .read(&x)
                    .param("factors_at", 0);
                if let Some(factors) = factors {
                    let factors = factors.window(run, 0, self.sizes.samples)?;
                    kernel = kernel.read(&factors).param("factors_at", factors.at);
                }
                let grid = [d.div_ceil(TILE_COLUMNS) as u32, shown.div_ceil(TILE_ROWS) as u32, 1];
                kernel
                    .count("sample0", samples.0)
                    .count("samples", samples.1)
                    .param("offsets_at", offsets.at)
                    .count("row0", row0)
                    .count("rows", rows)
                    .count("d", d)
                    .count("outputs", p)
                    .count("output0", output0)
                    .count("shown", shown)
                    .param("x_at", x.at)
                    .param("dy_at", dy.at)
                    .param("out_at", out.at)
                    .param("fresh", if i == 0 { fresh as u32 } else { Fresh::Add as u32 })
                    .run_grid(run.ctx, grid, 2 * (rows * shown) as u64 * d as u64 / FLOPS_PER_BYTE)?;
            }
        }
        Ok(())
    }

    /// The same of the bias, `[p]` numbers.
    pub(super) fn bias(
        &self,
        run: &mut Run,
        samples: (usize, usize),
        factors: Option<&Numbers>,
        to: &Numbers,
        fresh: Fresh,
    ) -> Result<()> {
        let p = self.sizes.p;
        let (offsets, windows) = (self.offsets(run)?, self.windows(run)?);
        for (i, (row0, rows)) in windows.into_iter().enumerate() {
            let dy = Window::of(self.dy, run.buffers, row0 * p, rows * p)?;
            let out = to.window(run, 0, p)?;
            let mut kernel = run
                .ctx
                .kernel("clipped_grad")
                .def("STAGE", "bias")
                .def("X", dtype(self.dy.dtype()))
                .flag("FACTORS", factors.is_some())
                .read(&dy)
                .read(&offsets)
                .write(&out)
                .param("factors_at", 0);
            if let Some(factors) = factors {
                let factors = factors.window(run, 0, self.sizes.samples)?;
                kernel = kernel.read(&factors).param("factors_at", factors.at);
            }
            kernel
                .count("sample0", samples.0)
                .count("samples", samples.1)
                .param("offsets_at", offsets.at)
                .count("row0", row0)
                .count("rows", rows)
                .count("outputs", p)
                .param("dy_at", dy.at)
                .param("out_at", out.at)
                .param("fresh", if i == 0 { fresh as u32 } else { Fresh::Add as u32 })
                .unused(&["d", "output0", "shown", "x_at"])
                .run(run.ctx, p.div_ceil(256), (rows * p * self.dy.dtype().size()) as u64)?;
        }
        Ok(())
    }
}

/// Memory for the gradient of one sample, and for the sums of its squares.
pub(super) struct Gradient {
    pub(super) weight: wgpu::Buffer,
    pub(super) bias: Option<wgpu::Buffer>,
    partials: wgpu::Buffer,
}

impl Gradient {
    pub(super) fn new(run: &mut Run, LinearSizes { d, p, .. }: LinearSizes, bias: bool) -> Result<Self> {
        Ok(Self {
            weight: run.ctx.scratch(4 * (p * d) as u64)?,
            bias: bias.then(|| run.ctx.scratch(4 * p as u64)).transpose()?,
            partials: run.ctx.scratch(4 * ((p * d).div_ceil(SQUARES) + p.div_ceil(SQUARES) + 64) as u64)?,
        })
    }

    pub(super) fn done(self, run: &mut Run) {
        [Some(self.weight), self.bias, Some(self.partials)]
            .into_iter()
            .flatten()
            .for_each(|b| run.ctx.done_with(b));
    }

    /// Makes the gradient of a sample, and the square of its norm; or nothing, if the sample has a flag that is 0.
    pub(super) fn measure(
        &self,
        run: &mut Run,
        layer: &Layer,
        sample: usize,
        to: &Tensor,
        flags: Option<&wgpu::Buffer>,
    ) -> Result<()> {
        let LinearSizes { d, p, .. } = layer.sizes;
        let fresh = if flags.is_some() { Fresh::WriteTaken } else { Fresh::Write };
        let factors = flags.map(Numbers::Scratch);
        layer.weight(run, (sample, 1), factors.as_ref(), &Numbers::Scratch(&self.weight), fresh)?;
        let flag = flags.map(|flags| (flags, sample));
        let mut count = self.squares(run, &self.weight, p * d, 0, flag)?;
        if let Some(bias) = &self.bias {
            layer.bias(run, (sample, 1), factors.as_ref(), &Numbers::Scratch(bias), fresh)?;
            count = self.squares(run, bias, p, count, flag)?;
        }
        let (partials, out) = (Window::whole(&self.partials), Window::of(to, run.buffers, sample, 1)?);
        let kernel = run.ctx.kernel("per_sample_norms").def("STAGE", "total").read(&partials).write(&out);
        flagged(kernel, flag).count("len", count).param("partials_at", 0).param("out_at", out.at).run(
            run.ctx,
            1,
            4 * count as u64,
        )
    }

    /// Sums of squares of so many numbers, behind `before` others; gives how many there are then.
    fn squares(
        &self,
        run: &mut Run,
        x: &wgpu::Buffer,
        len: usize,
        before: usize,
        flag: Option<(&wgpu::Buffer, usize)>,
    ) -> Result<usize> {
        let partials = Window::whole(&self.partials);
        let mut count = before;
        // Whole workgroups in each piece, so that there are no more sums than for one.
        let most = (run.ctx.window_len(4) / SQUARES).max(1) * SQUARES;
        for (first, len) in pieces(len, most) {
            let x = Window::cut(x, 4 * first as u64, 4 * len as u64, 4);
            let groups = len.div_ceil(SQUARES);
            let kernel = run.ctx.kernel("per_sample_norms").def("STAGE", "squares").read(&x).write(&partials);
            flagged(kernel, flag).count("len", len).param("x_at", x.at).count("partials_at", count).run(
                run.ctx,
                groups,
                4 * len as u64,
            )?;
            count += groups;
        }
        Ok(count)
    }
}

/// Lets a kernel do nothing if the flag of this number is 0.
fn flagged(kernel: Kernel, flag: Option<(&wgpu::Buffer, usize)>) -> Kernel {
    let kernel = kernel.flag("FLAGS", flag.is_some());
    match flag {
        Some((flags, number)) => kernel.read(&Window::whole(flags)).count("flag", number),
        None => kernel.param("flag", 0),
    }
}
