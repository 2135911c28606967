//! What can be asked of a machine, apart from the machine: the choice among its devices is tested with answers that
//! no machine here gives.

use gristmill_core::{Code, Device, DeviceInfo, Error, Result};

use super::{Backend, Found, FoundDevice};

/// A device of a backend.
#[derive(Debug, Clone)]
pub(crate) struct Adapter {
    /// Its number in the backend.
    pub(crate) index: usize,
    pub(crate) info: DeviceInfo,
    /// Why it cannot be opened.
    pub(crate) unusable: Option<String>,
}

/// Something that has devices.
pub(crate) trait Machine {
    /// What opening one gives.
    type Opened;

    /// The devices of a backend, or why it cannot be used at all.
    fn adapters(&self, backend: Backend) -> Result<Vec<Adapter>>;

    /// Opens one of them.
    fn open(&self, backend: Backend, index: usize) -> Result<Self::Opened>;

    /// Opens the scalar definition of every operation.
    fn open_reference(&self) -> Result<Self::Opened>;
}

/// The machine that this runs on.
pub(crate) struct Here;

impl Machine for Here {
    type Opened = Device;

    fn adapters(&self, backend: Backend) -> Result<Vec<Adapter>> {
        match backend {
            Backend::Cpu => {
                let info = gristmill_core::device::Backend::info(&gristmill_cpu::Cpu::new());
                Ok(vec![Adapter { index: 0, info: (*info).clone(), unusable: None }])
            }
            Backend::Wgpu => wgpu::adapters(),
            Backend::Cuda => cuda::adapters(),
        }
    }

    fn open(&self, backend: Backend, index: usize) -> Result<Device> {
        match backend {
            Backend::Cpu => gristmill_cpu::open(),
            Backend::Wgpu => wgpu::open(index),
            Backend::Cuda => cuda::open(index),
        }
    }

    fn open_reference(&self) -> Result<Device> {
        gristmill_cpu::open_reference()
    }
}

/// A backend that this build was made without.
#[cfg(not(all(feature = "wgpu", feature = "cuda")))]
fn left_out<T>(backend: Backend) -> Result<T> {
    let what = format!("this build was made without {}", backend.name());
    Err(Error::new(Code::DeviceUnavailable, what)
        .hint(format!("build it with the feature {:?}", backend.name())))
}

#[cfg(feature = "wgpu")]
mod wgpu {
    use super::*;

    pub(super) fn adapters() -> Result<Vec<Adapter>> {
        let ours = |gristmill_wgpu::Adapter { index, info, unusable }| Adapter { index, info, unusable };
        Ok(gristmill_wgpu::probe().into_iter().map(ours).collect())
    }

    pub(super) fn open(index: usize) -> Result<Device> {
        gristmill_wgpu::open(index, gristmill_wgpu::Options::default())
    }
}

#[cfg(not(feature = "wgpu"))]
mod wgpu {
    use super::*;

    pub(super) fn adapters() -> Result<Vec<Adapter>> {
        left_out(Backend::Wgpu)
    }

    pub(super) fn open(_index: usize) -> Result<Device> {
        left_out(Backend::Wgpu)
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use super::*;

    pub(super) fn adapters() -> Result<Vec<Adapter>> {
        let devices = gristmill_cuda::probe()?.into_iter().enumerate();
        // The selector has the number by which the driver opens it: devices that are too old are left out.
        Ok(devices
            .map(|(at, info)| {
                let ordinal = info.selector.rsplit_once(':').and_then(|(_, n)| n.parse().ok());
                Adapter { index: ordinal.unwrap_or(at), info, unusable: None }
            })
            .collect())
    }

    pub(super) fn open(ordinal: usize) -> Result<Device> {
        gristmill_cuda::open(ordinal)
    }
}

#[cfg(not(feature = "cuda"))]
mod cuda {
    use super::*;

    pub(super) fn adapters() -> Result<Vec<Adapter>> {
        left_out(Backend::Cuda)
    }

    pub(super) fn open(_ordinal: usize) -> Result<Device> {
        left_out(Backend::Cuda)
    }
}

/// A machine as it was found, of which nothing is opened.
pub(crate) struct Surveyed<'a>(pub(crate) &'a [Found]);

impl Machine for Surveyed<'_> {
    type Opened = String;

    fn adapters(&self, backend: Backend) -> Result<Vec<Adapter>> {
        let Some(found) = self.0.iter().find(|f| f.name == backend.name()) else { return Ok(Vec::new()) };
        match &found.reason {
            Some(reason) if found.devices.is_empty() => {
                let error = Error::new(Code::DeviceUnavailable, &reason.why);
                Err(reason.hint.iter().fold(error, |error, hint| error.hint(hint)))
            }
            _ => Ok(found
                .devices
                .iter()
                .enumerate()
                .map(|(index, FoundDevice { info, unusable })| Adapter {
                    index,
                    info: info.clone(),
                    unusable: unusable.clone(),
                })
                .collect()),
        }
    }

    fn open(&self, backend: Backend, index: usize) -> Result<String> {
        let device = self.0.iter().find(|f| f.name == backend.name()).and_then(|f| f.devices.get(index));
        device
            .map(|d| d.info.selector.clone())
            .ok_or_else(|| Error::new(Code::DeviceUnavailable, "there is no such device"))
    }

    fn open_reference(&self) -> Result<String> {
        Ok("reference".into())
    }
}
