//! The wgpu backend: Vulkan, Metal and Direct3D 12.

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
