use gristmill_core::ops::{Adamw, AdamwRule, Moments, Noise};
use gristmill_core::{DType, Result, Tensor};

use super::elements::finish;
use super::place::Place;
use super::{Run, dtype};
use crate::kernel::Kernel;
use crate::window::{Window, pieces};

const BLOCK: usize = Moments::BLOCK;

/// A step whose gradient and parameter are tensors or scratch memory; otherwise as [`Adamw`].
pub(super) struct Step<'a> {
    pub(super) grad: Place<'a>,
    pub(super) param: Place<'a>,
    pub(super) elements: usize,
    pub(super) moments: &'a Moments,
    pub(super) rule: AdamwRule,
    pub(super) noise: Option<Noise>,
}

pub(super) fn run(run: &mut Run, op: &Adamw) -> Result<()> {
    let [grad, param] = [&op.grad, &op.param].map(Place::Tensor);
    let (elements, moments) = (op.param.len(), &op.moments);
    step(run, &Step { grad, param, elements, moments, rule: op.rule, noise: op.noise })
}

pub(super) fn step(run: &mut Run, op: &Step) -> Result<()> {
    let fits = (run.ctx.window_len(4) / BLOCK).max(1) * BLOCK;
    for piece in pieces(op.elements, fits) {
        match op.moments {
            Moments::Full { m, v } if [m.dtype(), op.param.dtype()] == [DType::F32; 2] => {
                all(run, op, m, v, piece)?
            }
            Moments::Full { m, v } => {
                let windows = [m, v].map(|t| Window::of(t, run.buffers, piece.0, piece.1));
                let [m_window, v_window] = windows;
                let (m_window, v_window) = (m_window?, v_window?);
                let state = dtype(m.dtype());
                param(run, op, state, piece, &[&m_window, &v_window], |kernel| {
                    kernel.param("m_at", m_window.at).param("v_at", v_window.at)
                })?;
                for (target, tensor) in [("m", m), ("v", v)] {
                    let window = Window::of(tensor, run.buffers, piece.0, piece.1)?;
                    let kernel = kernel(run, op, target, state, &window, piece)?;
                    finish(run.ctx, kernel, window.at, state, tensor.dtype().size(), piece.1)?;
                }
            }
            Moments::Int8 { codes, absmax, maps } => int8(run, op, [codes, absmax, maps], piece)?,
        }
    }
    Ok(())
}

/// A kernel with its output, the gradient and the scalars.
fn kernel(
    run: &mut Run,
    op: &Step,
    target: &'static str,
    state: &'static str,
    out: &Window,
    (first, len): (usize, usize),
) -> Result<Kernel> {
    let grad = op.grad.window(run, first, len)?;
    let [b1, c1, b2, c2] = op.rule.betas();
    let bf16 = match target {
        "param" => op.param.dtype() == DType::Bf16,
        _ => state == "bf16",
    };
    let kernel = run
        .ctx
        .kernel("adamw")
        .def("TARGET", target)
        .def("STATE", state)
        .def("G", dtype(op.grad.dtype()))
        .flag("NOISE", bf16 && op.noise.is_some())
        .write(out)
        .read(&grad)
        .unused(&["m_at", "v_at", "m_max_at", "v_max_at", "maps_at"])
        .count("first", first)
        .param("grad_at", grad.at)
        .number("b1", b1)
        .number("c1", c1)
        .number("b2", b2)
        .number("c2", c2)
        .number("eps", op.rule.eps)
        .number("step", op.rule.step)
        .number("keep", op.rule.keep)
        .number("scale", op.rule.grad_scale);
    Ok(noise(kernel, op.noise))
}

/// A kernel with what noise is drawn by; zeros without.
pub(super) fn noise(kernel: Kernel, noise: Option<Noise>) -> Kernel {
    let [seed, stream] = noise.map_or([0; 2], |noise| [noise.seed, noise.stream]);
    [("seed_lo", "seed_hi", seed), ("stream_lo", "stream_hi", stream)]
        .into_iter()
        .fold(kernel, |kernel, (low, high, x)| kernel.param(low, x as u32).param(high, (x >> 32) as u32))
}

fn all(run: &mut Run, op: &Step, m: &Tensor, v: &Tensor, (first, len): (usize, usize)) -> Result<()> {
    let out = op.param.window(run, first, len)?;
    let (m, v) = (Window::of(m, run.buffers, first, len)?, Window::of(v, run.buffers, first, len)?);
    kernel(run, op, "all", "f32", &out, (first, len))?
        .def("OUT", "f32")
        .write(&m)
        .write(&v)
        .count("n", len)
        .param("out_at", out.at)
        .param("m_at", m.at)
        .param("v_at", v.at)
        .run(run.ctx, len.div_ceil(256), 28 * len as u64)
}

/// Writes the parameter from moments that lie in these windows.
fn param(
    run: &mut Run,
    op: &Step,
    state: &'static str,
    (first, len): (usize, usize),
    moments: &[&Window],
    describe: impl FnOnce(Kernel) -> Kernel,
) -> Result<()> {
    let out = op.param.window(run, first, len)?;
    let kernel = kernel(run, op, "param", state, &out, (first, len))?;
    let kernel = describe(moments.iter().fold(kernel, |kernel, window| kernel.read(window)));
    finish(run.ctx, kernel, out.at, dtype(op.param.dtype()), op.param.dtype().size(), len)
}

fn int8(
    run: &mut Run,
    op: &Step,
    [codes, absmax, maps]: [&Tensor; 3],
    (first, len): (usize, usize),
) -> Result<()> {
    let (of_all, block, blocks) = (absmax.len() / 2, first / BLOCK, len.div_ceil(BLOCK));
    let part = |tensor: &Tensor, which: usize, each: usize| {
        Window::of(tensor, run.buffers, each * (which * of_all + block), each * blocks)
    };
    let code_windows = [part(codes, 0, BLOCK / 4)?, part(codes, 1, BLOCK / 4)?];
    let max_windows = [part(absmax, 0, 1)?, part(absmax, 1, 1)?];
    let maps = Window::of(maps, run.buffers, 0, 2 * 256)?;
    let [[m, v], [m_max, v_max]] = [&code_windows, &max_windows];
    param(run, op, "int8", (first, len), &[m, v, m_max, v_max, &maps], |kernel| {
        kernel
            .param("m_at", m.at)
            .param("v_at", v.at)
            .param("m_max_at", m_max.at)
            .param("v_max_at", v_max.at)
            .param("maps_at", maps.at)
    })?;
    for (target, codes, absmax) in [("m", m, m_max), ("v", v, v_max)] {
        kernel(run, op, target, "int8", codes, (first, len))?
            .def("OUT", "f32")
            .write(absmax)
            .read(&maps)
            .count("n", len)
            .param("out_at", codes.at)
            .param("m_max_at", absmax.at)
            .param("maps_at", maps.at)
            .run(run.ctx, blocks, 6 * len as u64)?;
    }
    Ok(())
}
