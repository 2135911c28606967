use gristmill_core::Result;
use gristmill_core::ops::Topk;

use super::Run;
use crate::kernel::Kernel;
use crate::window::{Window, pieces};

/// Entries that are sorted in workgroup memory at most.
const SMALL: usize = 1024;
/// Elements of a chunk that one workgroup looks through: where chunks are few, and where they are many.
const ALONE: usize = 1 << 16;
const CROWDED: usize = 1 << 20;
const CROWD: usize = 256;
/// Elements among which one workgroup sorts in the steps for large chunks; `sort_near` in `topk_large.wgsl`.
const NEAR: usize = 512;
/// Elements that a workgroup looks at in the steps for large chunks; `block_len` there.
const BLOCK: usize = 4096;
/// Entries of a chunk at most: so many words fit the least binding that WebGPU guarantees.
pub(super) const MOST: usize = 1 << 25;

pub(super) fn run(run: &mut Run, op: &Topk) -> Result<()> {
    let fits = run.ctx.window_len(4);
    let chunks = op.x.len().div_ceil(op.chunk);
    let short = if chunks >= CROWD { CROWDED } else { ALONE };
    let small = op.k <= SMALL && op.chunk <= short.min(fits);
    let sorted = if small { op.k } else { op.k.max(NEAR) }.next_power_of_two();
    let together = if small { fits / op.chunk } else { (fits / op.chunk).min(fits / sorted).max(1) };
    for (chunk0, count) in pieces(chunks, together) {
        let first = chunk0 * op.chunk;
        let len = (count * op.chunk).min(op.x.len() - first);
        let tile = Tile { op, chunk0, count, first, len, sorted };
        if small { tile.small(run)? } else { tile.large(run, fits)? }
    }
    Ok(())
}

/// Some consecutive chunks.
struct Tile<'a> {
    op: &'a Topk,
    chunk0: usize,
    count: usize,
    /// Their first element, and how many they have.
    first: usize,
    len: usize,
    /// Places for the entries of a chunk.
    sorted: usize,
}

impl Tile<'_> {
    /// Values and positions, from an entry of these chunks on.
    fn results(&self, run: &Run, kernel: Kernel, first: usize, len: usize) -> Result<Kernel> {
        let first = self.chunk0 * self.op.k + first;
        let values = Window::of(&self.op.values, run.buffers, first, len)?;
        let indices = Window::of(&self.op.indices, run.buffers, first, len)?;
        let kernel = kernel.write(&values).write(&indices);
        Ok(kernel.param("values_at", values.at).param("indices_at", indices.at))
    }

    /// A workgroup for each chunk.
    fn small(&self, run: &mut Run) -> Result<()> {
        let x = Window::of(&self.op.x, run.buffers, self.first, self.len)?;
        let kernel = run.ctx.kernel("topk").def("STEP", "chunk").read(&x);
        self.results(run, kernel, 0, self.count * self.op.k)?
            .count("len", self.len)
            .count("chunk", self.op.chunk)
            .count("k", self.op.k)
            .count("sorted", self.sorted)
            .param("x_at", x.at)
            .run(run.ctx, self.count, 4 * 6 * self.len as u64)
    }

    /// Many workgroups for each chunk: select by radix, take, sort, write.
    fn large(&self, run: &mut Run, fits: usize) -> Result<()> {
        let words = |n: usize| 4 * n as u64;
        let state = run.ctx.scratch(words(4 * self.count))?;
        let histogram = run.ctx.scratch(words(256 * self.count))?;
        let bits = run.ctx.scratch(words(self.count * self.sorted))?;
        let places = run.ctx.scratch(words(self.count * self.sorted))?;
        self.select(run, fits, &Window::whole(&state), &Window::whole(&histogram))?;
        let entries = [Window::whole(&bits), Window::whole(&places)];
        let all = self.count * self.sorted;
        self.step(run, "clear", &[], &entries).count("len", all).run(
            run.ctx,
            all.div_ceil(256),
            words(2 * all),
        )?;
        self.look(run, fits, "take", 0, &[&Window::whole(&state)], &entries)?;
        self.sort(run, &entries)?;
        for (first, len) in pieces(self.count * self.op.k, fits) {
            let kernel = self.step(run, "write", &entries, &[]);
            self.results(run, kernel, first, len)?.count("len", len).count("first", first).run(
                run.ctx,
                len.div_ceil(256),
                words(4 * len),
            )?;
        }
        for scratch in [state, histogram, bits, places] {
            run.ctx.done_with(scratch);
        }
        Ok(())
    }

    /// A step with the parameters that all share.
    fn step(&self, run: &Run, step: &'static str, reads: &[Window], writes: &[Window]) -> Kernel {
        let mut kernel = run.ctx.kernel("topk").def("STEP", step);
        kernel = reads.iter().fold(kernel, |kernel, window| kernel.read(window));
        kernel = writes.iter().fold(kernel, |kernel, window| kernel.write(window));
        self.common(kernel)
    }

    /// The parameters of all steps.
    fn common(&self, kernel: Kernel) -> Kernel {
        kernel
            .unused(&[
                "level",
                "first",
                "x_at",
                "x_len",
                "blocks",
                "block",
                "distance",
                "values_at",
                "indices_at",
            ])
            .count("chunk", self.op.chunk)
            .count("k", self.op.k)
            .count("sorted", self.sorted)
    }

    /// Chooses the last entry of each chunk, digit by digit.
    fn select(&self, run: &mut Run, fits: usize, state: &Window, histogram: &Window) -> Result<()> {
        let both = [state.clone(), histogram.clone()];
        self.step(run, "start", &[], &both).count("len", self.len).run(run.ctx, self.count, 0)?;
        for level in 0..8 {
            self.look(run, fits, "histogram", level, &[state, histogram], &[])?;
            self.step(run, "pick", &[], &both)
                .count("len", self.len)
                .param("level", level)
                .run(run.ctx, self.count, 0)?;
        }
        Ok(())
    }

    /// A step over all elements, in windows where one cannot show a chunk.
    fn look(
        &self,
        run: &mut Run,
        fits: usize,
        step: &'static str,
        level: u32,
        before: &[&Window],
        after: &[Window],
    ) -> Result<()> {
        let chunk = self.op.chunk.min(self.len);
        for (first, shown) in pieces(chunk, if self.count > 1 { chunk } else { fits }) {
            let len = if self.count > 1 { self.len } else { shown };
            let x = Window::of(&self.op.x, run.buffers, self.first + first, len)?;
            let mut kernel = run.ctx.kernel("topk").def("STEP", step);
            kernel = before.iter().fold(kernel, |kernel, window| kernel.write(window)).read(&x);
            kernel = after.iter().fold(kernel, |kernel, window| kernel.write(window));
            let blocks = shown.div_ceil(BLOCK);
            self.common(kernel)
                .count("len", self.len)
                .param("level", level)
                .count("first", first)
                .param("x_at", x.at)
                .count("x_len", shown)
                .count("blocks", blocks)
                .run(run.ctx, self.count * blocks, 4 * len as u64)?;
        }
        Ok(())
    }

    /// Bitonic, all chunks side by side.
    fn sort(&self, run: &mut Run, entries: &[Window]) -> Result<()> {
        let all = self.count * self.sorted;
        let near = |run: &mut Run, from: usize, to: usize| {
            self.step(run, "sort_near", &[], entries)
                .count("len", all)
                .count("block", from)
                .count("distance", to)
                .run(run.ctx, all / NEAR, 16 * all as u64)
        };
        near(run, 2, NEAR)?;
        let mut block = 2 * NEAR;
        while block <= self.sorted {
            let mut distance = block / 2;
            while distance >= NEAR {
                self.step(run, "sort_far", &[], entries)
                    .count("len", all)
                    .count("block", block)
                    .count("distance", distance)
                    .run(run.ctx, all / 512, 16 * all as u64)?;
                distance /= 2;
            }
            near(run, block, block)?;
            block *= 2;
        }
        Ok(())
    }
}
