//! The wgpu backend: every operation of [`gristmill_core::ops`] on Vulkan, Metal and Direct3D 12, as compute shaders
//! in WGSL.
//!
//! ```no_run
//! use gristmill_wgpu::{Options, open, probe};
//!
//! for adapter in probe() {
//!     println!("{}: {} ({})", adapter.info.selector, adapter.info.name, adapter.info.kind);
//! }
//! let device = open(0, Options::default())?;
//! let logits = device.tensor(vec![0.0f32; 8], [2, 4])?;
//! let losses = logits.nll(&device.tensor(vec![1u32, 3], [2])?, Default::default())?;
//! assert!((losses.to_vec::<f32>()?[0] - 4f32.ln()).abs() < 1e-6);
//! # Ok::<(), gristmill_core::Error>(())
//! ```
//!
//! # One shader for each operation
//!
//! `shaders/<op>.wgsl` is the kernel, `src/ops/<op>.rs` decides how the work is cut and what is bound. What kernels
//! share is in `shaders/lib`: elements of every type in 32-bit words, streams of 16 bytes, reductions, tiles of a
//! product, exact conversions, accurate functions. A shader is written once for all element types; a preprocessor of
//! five directives makes the variants, and a table lists all that there can be, so that a test validates each of them
//! on machines without an adapter. Pipelines are compiled when they are first needed.
//!
//! # Elements narrower than a word
//!
//! WGSL reads and writes 32-bit words. Two or four elements share one, tensors may begin in the middle of one (a view
//! of some rows), and two invocations that write to one word would race. So invocations of kernels that write narrow
//! elements own whole words of the output, and merge what belongs to the neighbours at the two ends. Products in
//! half precision are made in `f32`, piece by piece, and rounded by such a kernel.
//!
//! # Bits that do not depend on the device
//!
//! WGSL lets a device flush subnormal numbers, assume that there is no NaN, contract and, in practice, reassociate,
//! and its `exp`, `log` and `sin` are coarse. What is promised exactly is therefore integer work: casts, the
//! order of top-k, the product of two words in Philox, maxima (as integers in the order of the numbers), the test for
//! NaN. Sums carry their rounding errors along, behind a barrier that no compiler can see through (an exclusive or with
//! a parameter that is always 0). Functions are polynomials of our own. There are no atomics on numbers, and reductions
//! have a fixed order, so a device gives the same bits twice.
//!
//! # Subgroups
//!
//! Reductions come in two variants. The one with subgroups takes any size of a subgroup, but needs subgroups to be
//! consecutive invocations; WGSL does not promise that, so a small kernel looks when the device is opened, and if it
//! is not so the other variant is used.
//!
//! # Limits
//!
//! A binding shows 128 MiB on many adapters, a dispatch has 65,535 workgroups in a dimension, and a driver kills
//! what runs for seconds. Operations are cut into windows of their tensors, at most half a GiB each; rows that are longer
//! than a window leave partial states that a last dispatch merges. Commands are submitted after a bounded amount of
//! work, with few submissions under way, and every submission is followed by a poll, without which wgpu frees
//! nothing.
//!
//! # What goes wrong
//!
//! Kernels that find a target outside the vocabulary or offsets that do not ascend write NaN, read nothing they should
//! not, and leave the lowest row at fault in a word of its own, which is looked at when the queue waits. A buffer that
//! cannot be had is [`OutOfMemory`](gristmill_core::Code::OutOfMemory), and the device goes on. A device that the
//! driver gave up is [`DeviceLost`](gristmill_core::Code::DeviceLost) to everybody who asks, and another can be opened.
//! Tensors of `f64` are refused, since WGSL has none.

mod backend;
mod context;
mod faults;
mod kernel;
mod memory;
mod ops;
mod preprocess;
mod probe;
mod shaders;
#[cfg(test)]
mod tests;
mod window;

use gristmill_core::{Device, Result};

pub use probe::{Adapter, probe};

/// How to open a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether kernels use subgroup operations: `Some(true)` insists, `Some(false)` forbids; by default they do
    /// where the adapter has them.
    pub subgroups: Option<bool>,
}

/// Opens the adapter with this number in [`probe`]'s list.
///
/// # Errors
/// [`DeviceUnavailable`](gristmill_core::Code::DeviceUnavailable) when there is none, when it lacks something, when its
/// driver refuses, or when it lacks the subgroups that `options` insist on.
pub fn open(index: usize, options: Options) -> Result<Device> {
    backend::open(index, backend::Setup { options, ..Default::default() })
}
