use gristmill_core::{DType, Result, Tensor};

use super::Run;
use crate::window::Window;

/// Elements of a tensor, or `f32` of scratch memory.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Tensor(&'a Tensor),
    Scratch(&'a wgpu::Buffer),
}

impl Place<'_> {
    pub(super) fn dtype(&self) -> DType {
        match self {
            Place::Tensor(tensor) => tensor.dtype(),
            Place::Scratch(_) => DType::F32,
        }
    }

    /// The window of so many of its elements from `first` on.
    pub(super) fn window(&self, run: &Run, first: usize, len: usize) -> Result<Window> {
        match self {
            Place::Tensor(tensor) => Window::of(tensor, run.buffers, first, len),
            Place::Scratch(buffer) => Ok(Window::cut(buffer, 4 * first as u64, 4 * len as u64, 4)),
        }
    }
}
