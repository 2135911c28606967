//! Tests on an adapter of this machine: the conformance table in several settings, and what it does not reach. Where
//! there is no adapter they say so and pass, unless `GRISTMILL_REQUIRE` names `wgpu`.

mod conformance;
mod device;
mod large;
mod norms;

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

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
    eprintln!(
        "skipped: no adapter for Vulkan, Metal or Direct3D 12 (Debian: apt install mesa-vulkan-drivers)"
    );
    None
}

/// A device for a test: its thread has ended, and with it all use of the driver, when the test has.
struct Opened(Device);

impl Deref for Opened {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.close();
        if !std::thread::panicking() {
            let complaints = std::mem::take(&mut *COMPLAINTS.lock());
            assert!(complaints.is_empty(), "{complaints:#?}");
        }
    }
}

/// What the validation layers and wgpu log as errors.
struct Complaints(Mutex<Vec<String>>);

impl Complaints {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static COMPLAINTS: Complaints = Complaints(Mutex::new(Vec::new()));

impl log::Log for Complaints {
    fn enabled(&self, metadata: &log::Metadata) -> bool {
        metadata.level() <= log::Level::Error
    }

    fn log(&self, record: &log::Record) {
        let text = record.args().to_string();
        // Layers from before 2023 do not know WGSL as the language of a module; and where a message has objects, they
        // come as a message of their own.
        let known = text.contains("Invalid source language operand") || text.starts_with("\tobjects");
        if self.enabled(record.metadata()) && !known {
            self.lock().push(format!("{}: {text}", record.target()));
        }
    }

    fn flush(&self) {}
}

/// A device with validation, and other settings.
fn open(subgroups: bool, window_bytes: Option<u64>) -> Option<Opened> {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        log::set_logger(&COMPLAINTS).unwrap();
        log::set_max_level(log::LevelFilter::Error);
    });
    let options = Options { subgroups: Some(subgroups) };
    let setup = Setup { options, window_bytes, validation: true, witness: None };
    Some(Opened(backend::open(adapter()?, setup).unwrap()))
}
