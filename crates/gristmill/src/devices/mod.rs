//! The devices of this machine: which there are, which to take, and why not another.
//!
//! A device is opened by its selector: `cpu`, `wgpu`, `wgpu:1`, `cuda`, `cuda:0`, or `auto`, which tries CUDA first,
//! then wgpu on hardware, then the processor, and remembers why it passed over each. Software adapters of graphics
//! APIs are taken only by name. `reference` is the scalar definition of every operation, for comparison.
//!
//! ```
//! let opened = gristmill::devices::open("auto")?;
//! println!("{} ({})", opened.device.info().name, opened.device.info().selector);
//! for reason in &opened.passed_over {
//!     println!("not {reason}");
//! }
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod choose;
mod machine;
mod selector;

use std::fmt;

use gristmill_core::{Code, Device, DeviceInfo, Error, Result};
use serde::Serialize;

pub use selector::{Backend, Selector};

use machine::{Adapter, Here, Machine};

/// Why a device was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// What was not taken: a backend such as `cuda`, or one of its devices such as `wgpu:0`.
    pub device: String,
    /// Why.
    pub why: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Reason {
    fn new(device: impl Into<String>, why: impl Into<String>) -> Self {
        Self { device: device.into(), why: why.into(), hint: None }
    }

    fn of(device: impl Into<String>, error: &Error) -> Self {
        Self { hint: error.hint_text().map(Into::into), ..Self::new(device, error.message()) }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.device, self.why)?;
        self.hint.iter().try_for_each(|hint| write!(f, " ({hint})"))
    }
}

/// The source of an error with [`Code::DeviceUnavailable`]: why each device that was asked for cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    /// One for each backend or device that was looked at.
    pub reasons: Vec<Reason>,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons: Vec<_> = self.reasons.iter().map(Reason::to_string).collect();
        f.write_str(&reasons.join("; "))
    }
}

impl std::error::Error for Unavailable {}

/// A device, and what was tried before it.
#[derive(Debug)]
pub struct Opened {
    /// The device.
    pub device: Device,
    /// Why others were passed over, in the order in which they were tried.
    pub passed_over: Vec<Reason>,
}

/// Opens a device by its [selector](self).
///
/// # Errors
/// [`Code::InvalidArgument`] for a selector that is none; [`Code::DeviceUnavailable`], with [`Unavailable`] as its
/// source, when the device that was named cannot be used. `auto` always finds one.
pub fn open(selector: &str) -> Result<Opened> {
    let (device, passed_over) = choose::choose(&Here, &selector.parse()?)?;
    Ok(Opened { device, passed_over })
}

/// What is there of a backend.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The backend: `cpu`, `wgpu` or `cuda`.
    pub name: &'static str,
    /// Whether one of its devices can be used.
    pub available: bool,
    /// Why not, if none can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Its devices.
    pub devices: Vec<FoundDevice>,
}

/// A device that is there.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundDevice {
    /// What it is.
    #[serde(flatten)]
    pub info: DeviceInfo,
    /// Why it cannot be opened, if it lacks something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
}

/// What [`open`] would do with `auto`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Auto {
    /// The device that it would open.
    pub selector: String,
    /// Why it would pass over others.
    pub passed_over: Vec<Reason>,
}

/// Looks for the devices of every backend, without opening one.
pub fn survey() -> (Vec<Found>, Auto) {
    let found: Vec<_> = Backend::ALL.into_iter().map(|backend| look(&Here, backend)).collect();
    let here = machine::Surveyed(&found);
    let auto = match choose::choose(&here, &Selector::Auto) {
        Ok((selector, passed_over)) => Auto { selector, passed_over },
        // The processor can always be opened.
        Err(e) => Auto { selector: "cpu".into(), passed_over: vec![Reason::of("cpu", &e)] },
    };
    (found, auto)
}

fn look(machine: &impl Machine, backend: Backend) -> Found {
    let (adapters, reason) = match machine.adapters(backend) {
        Ok(adapters) if adapters.is_empty() => (adapters, Some(none_of(backend))),
        Ok(adapters) => (adapters, None),
        Err(e) => (Vec::new(), Some(Reason::of(backend.name(), &e))),
    };
    let devices: Vec<_> =
        adapters.into_iter().map(|Adapter { info, unusable, .. }| FoundDevice { info, unusable }).collect();
    let available = devices.iter().any(|d| d.unusable.is_none());
    let reason = reason.or_else(|| {
        let first = devices.iter().filter(|_| !available).find_map(|d| d.unusable.as_ref());
        first.map(|why| Reason::new(backend.name(), why))
    });
    Found { name: backend.name(), available, reason, devices }
}

/// Why a backend without devices is passed over.
fn none_of(backend: Backend) -> Reason {
    let hint = match backend {
        Backend::Wgpu => "install a driver for Vulkan, Metal or Direct3D 12",
        Backend::Cuda => "install the NVIDIA driver",
        Backend::Cpu => "this build has no processor",
    };
    Reason { hint: Some(hint.into()), ..Reason::new(backend.name(), "there is no device") }
}

/// The error of a selector for which nothing can be opened.
fn unavailable(selector: &Selector, reasons: Vec<Reason>) -> Error {
    let why = reasons.first().map_or("there is none", |r| r.why.as_str());
    let error = Error::new(Code::DeviceUnavailable, format!("the device {selector} cannot be used: {why}"));
    let error = match reasons.iter().find_map(|r| r.hint.as_ref()) {
        Some(hint) => error.hint(hint),
        None => error.hint("`gristmill doctor` lists what there is"),
    };
    error.with_source(Unavailable { reasons })
}
