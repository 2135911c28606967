//! Tests on an adapter of this machine: the conformance table in several settings, and what it does not reach. Where
//! there is no adapter they say so and pass, unless `GRISTMILL_REQUIRE` names `wgpu`.

mod conformance;
mod device;
mod large;

use gristmill_core::Device;

use crate::backend::Setup;
use crate::{Options, backend, probe};

/// The number of an adapter that can be used.
fn adapter() -> Option<usize> {
    let adapters = probe();
    if let Some(usable) = adapters.iter().find(|a| a.unusable.is_none()) {
        return Some(usable.index);
    }
    let required = std::env::var("GRISTMILL_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|r| r == "wgpu"), "no usable adapter among {adapters:?}");
    eprintln!("skipped: no adapter for Vulkan, Metal or Direct3D 12 (Debian: apt install mesa-vulkan-drivers)");
    None
}

/// A device with validation, and other settings.
fn open(subgroups: bool, window_bytes: Option<u64>) -> Option<Device> {
    let options = Options { subgroups: Some(subgroups) };
    let setup = Setup { options, window_bytes, validation: true, witness: None };
    Some(backend::open(adapter()?, setup).unwrap())
}
