//! From the library to a device that can be used, one step after the other, and what to do about each that is missing.

use std::fmt;

use gristmill_core::{Code, Error};

/// The least version of CUDA that a driver must support, as it numbers them: PTX ISA 8.0 came with 12.0.
pub(crate) const NEEDED: i32 = 12_000;
/// The least compute capability, major: asynchronous copies, `bf16` on tensor cores.
pub(crate) const CAPABILITY: i32 = 8;

/// Why there is no CUDA device here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unavailable {
    /// The driver's library (`libcuda.so.1`, `nvcuda.dll`) cannot be loaded.
    LibraryMissing,
    /// The driver is older than the kernels.
    DriverTooOld {
        /// The version of CUDA that it supports, such as 11040 for 11.4.
        found: i32,
    },
    /// The driver sees no device, or none that the kernels run on.
    NoDevice {
        /// Devices that are there and too old: name and compute capability.
        too_old: Vec<String>,
    },
    /// The driver refuses to start.
    InitFailed {
        /// Its error code.
        code: i32,
        /// And what it calls that.
        name: String,
    },
    /// The driver refuses to compile the kernels.
    PtxRejected {
        /// What its compiler said.
        log: String,
    },
}

impl Unavailable {
    /// A short name that stays the same: `library-missing`, `driver-too-old`, `no-device`, `init-failed` or
    /// `ptx-rejected`.
    pub fn reason(&self) -> &'static str {
        match self {
            Unavailable::LibraryMissing => "library-missing",
            Unavailable::DriverTooOld { .. } => "driver-too-old",
            Unavailable::NoDevice { .. } => "no-device",
            Unavailable::InitFailed { .. } => "init-failed",
            Unavailable::PtxRejected { .. } => "ptx-rejected",
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Unavailable::LibraryMissing => {
                "install NVIDIA's driver (525 or later); in a container, start it with the GPU passed through".into()
            }
            Unavailable::DriverTooOld { .. } => "update NVIDIA's driver to 525 or later".into(),
            Unavailable::NoDevice { too_old } if too_old.is_empty() => {
                "check nvidia-smi and CUDA_VISIBLE_DEVICES; in a container, start it with the GPU passed through"
                    .into()
            }
            Unavailable::NoDevice { .. } => {
                "use a GPU of compute capability 8.0 (Ampere) or later, or the wgpu backend with this one".into()
            }
            Unavailable::InitFailed { code: 802, .. } => {
                "start NVIDIA's fabric manager, or wait until it is ready".into()
            }
            Unavailable::InitFailed { code: 803 | 804, .. } => {
                "restart after the update of the driver: its library and the kernel's module differ".into()
            }
            Unavailable::InitFailed { code: 46 | 805..=810, .. } => {
                "wait until other processes leave the device, or check its compute mode and MPS".into()
            }
            Unavailable::InitFailed { .. } => "check nvidia-smi, and the kernel's log for NVRM or Xid".into(),
            Unavailable::PtxRejected { .. } => {
                "update NVIDIA's driver, and report this with the version of both if it stays".into()
            }
        }
    }
}

fn version(v: i32) -> String {
    format!("{}.{}", v / 1000, v % 1000 / 10)
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unavailable::LibraryMissing => f.write_str("the library of NVIDIA's driver cannot be loaded"),
            Unavailable::DriverTooOld { found } => {
                write!(f, "the driver supports CUDA {}, {} is needed", version(*found), version(NEEDED))
            }
            Unavailable::NoDevice { too_old } if too_old.is_empty() => {
                f.write_str("the driver sees no device")
            }
            Unavailable::NoDevice { too_old } => {
                write!(f, "no device of compute capability 8.0 or later, only {}", too_old.join(", "))
            }
            Unavailable::InitFailed { code, name } => write!(f, "the driver does not start: {name} ({code})"),
            Unavailable::PtxRejected { log } => write!(f, "the driver does not compile the kernels: {log}"),
        }
    }
}

impl std::error::Error for Unavailable {}

impl From<Unavailable> for Error {
    fn from(why: Unavailable) -> Self {
        Error::new(Code::DeviceUnavailable, format!("{why} ({})", why.reason()))
            .hint(why.remedy())
            .with_source(why)
    }
}

/// An error of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: i32,
    pub(crate) name: String,
}

/// `CUDA_ERROR_NO_DEVICE` and the three codes for PTX that is too new or does not compile.
const NO_DEVICE: i32 = 100;
const INVALID_PTX: [i32; 3] = [218, 222, 209];
/// `CUDA_ERROR_STUB_LIBRARY`: the toolkit's stand-in, without a driver behind it.
const STUB: i32 = 34;
/// `CUDA_ERROR_INSUFFICIENT_DRIVER` goes by this number in the driver's interface.
const INSUFFICIENT: i32 = 35;

/// A device as the driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) ordinal: usize,
    pub(crate) name: String,
    pub(crate) capability: (i32, i32),
    pub(crate) memory: u64,
    pub(crate) multiprocessors: i32,
    /// Bytes that a block can have.
    pub(crate) shared: i32,
    /// Bytes of the second-level cache.
    pub(crate) cache: i32,
    pub(crate) integrated: bool,
}

/// What a machine answers on the way up.
pub(crate) trait Machine {
    /// Whether the library can be loaded.
    fn library(&self) -> bool;
    /// The version of CUDA that the driver supports.
    fn version(&self) -> Result<i32, Failure>;
    /// Starts the driver.
    fn init(&self) -> Result<(), Failure>;
    /// All devices.
    fn devices(&self) -> Result<Vec<Found>, Failure>;
}

/// The version of the driver and the devices that the kernels run on, at least one.
pub(crate) fn climb(machine: &dyn Machine) -> Result<(i32, Vec<Found>), Unavailable> {
    if !machine.library() {
        return Err(Unavailable::LibraryMissing);
    }
    let found = machine.version().map_err(refused)?;
    if found < NEEDED {
        return Err(Unavailable::DriverTooOld { found });
    }
    machine.init().map_err(refused)?;
    let (usable, old): (Vec<_>, Vec<_>) =
        machine.devices().map_err(refused)?.into_iter().partition(|d| d.capability.0 >= CAPABILITY);
    if usable.is_empty() {
        let too_old = old.iter().map(|d| format!("{} ({}.{})", d.name, d.capability.0, d.capability.1));
        return Err(Unavailable::NoDevice { too_old: too_old.collect() });
    }
    Ok((found, usable))
}

fn refused(failure: Failure) -> Unavailable {
    match failure.code {
        NO_DEVICE => Unavailable::NoDevice { too_old: Vec::new() },
        STUB => Unavailable::LibraryMissing,
        INSUFFICIENT => Unavailable::DriverTooOld { found: 0 },
        code => Unavailable::InitFailed { code, name: failure.name },
    }
}

/// Why a module was not loaded: because of its PTX, or for lack of a working driver.
pub(crate) fn not_loaded(failure: Failure, log: &str) -> Unavailable {
    if INVALID_PTX.contains(&failure.code) || !log.is_empty() {
        let log = if log.is_empty() { failure.name } else { format!("{}: {log}", failure.name) };
        return Unavailable::PtxRejected { log };
    }
    refused(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that answers what it is told to.
    #[derive(Clone)]
    struct Simulated {
        library: bool,
        version: Result<i32, Failure>,
        init: Result<(), Failure>,
        devices: Result<Vec<Found>, Failure>,
    }

    impl Machine for Simulated {
        fn library(&self) -> bool {
            self.library
        }
        fn version(&self) -> Result<i32, Failure> {
            assert!(self.library, "nothing may be called without the library");
            self.version.clone()
        }
        fn init(&self) -> Result<(), Failure> {
            self.version().map(drop)?;
            self.init.clone()
        }
        fn devices(&self) -> Result<Vec<Found>, Failure> {
            self.init()?;
            self.devices.clone()
        }
    }

    fn device(name: &str, capability: (i32, i32)) -> Found {
        Found {
            ordinal: 0,
            name: name.into(),
            capability,
            memory: 80 << 30,
            multiprocessors: 132,
            shared: 232_448,
            cache: 50 << 20,
            integrated: false,
        }
    }

    fn good() -> Simulated {
        Simulated {
            library: true,
            version: Ok(12_040),
            init: Ok(()),
            devices: Ok(vec![device("Tesla T4", (7, 5)), device("H100", (9, 0))]),
        }
    }

    fn failure<T>(code: i32, name: &str) -> Result<T, Failure> {
        Err(Failure { code, name: name.into() })
    }

    #[test]
    fn every_reason_is_found_and_has_a_remedy_of_its_own() {
        let reasons = [
            (Simulated { library: false, ..good() }, Unavailable::LibraryMissing),
            (Simulated { version: Ok(11_080), ..good() }, Unavailable::DriverTooOld { found: 11_080 }),
            (
                Simulated { init: failure(100, "CUDA_ERROR_NO_DEVICE"), ..good() },
                Unavailable::NoDevice { too_old: vec![] },
            ),
            (Simulated { devices: Ok(vec![]), ..good() }, Unavailable::NoDevice { too_old: vec![] }),
            (
                Simulated { devices: Ok(vec![device("Tesla T4", (7, 5))]), ..good() },
                Unavailable::NoDevice { too_old: vec!["Tesla T4 (7.5)".into()] },
            ),
            (
                Simulated { init: failure(803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"), ..good() },
                Unavailable::InitFailed { code: 803, name: "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH".into() },
            ),
            (
                Simulated { version: failure(999, "CUDA_ERROR_UNKNOWN"), ..good() },
                Unavailable::InitFailed { code: 999, name: "CUDA_ERROR_UNKNOWN".into() },
            ),
            (
                Simulated { init: failure(34, "CUDA_ERROR_STUB_LIBRARY"), ..good() },
                Unavailable::LibraryMissing,
            ),
        ];
        for (machine, expected) in &reasons {
            assert_eq!(climb(machine).as_ref(), Err(expected));
        }
        let log = "ptxas fatal : Unsupported .version 8.0";
        let rejected = [
            not_loaded(Failure { code: 222, name: "CUDA_ERROR_UNSUPPORTED_PTX_VERSION".into() }, ""),
            not_loaded(Failure { code: 218, name: "CUDA_ERROR_INVALID_PTX".into() }, log),
        ];
        assert!(rejected.iter().all(|r| r.reason() == "ptx-rejected"));
        assert!(rejected[1].to_string().contains(log));

        let mut all: Vec<_> = reasons.iter().map(|(_, why)| why.clone()).chain(rejected).collect();
        let mut remedies: Vec<_> = all.iter().map(Unavailable::remedy).collect();
        remedies.sort();
        remedies.dedup();
        // One for each reason, and a second for devices that are too old and for a start that fails otherwise.
        assert_eq!(remedies.len(), 7, "{remedies:#?}");
        all.dedup_by_key(|why| why.reason());
        for why in all {
            let e = Error::from(why.clone());
            assert_eq!(e.code(), Code::DeviceUnavailable);
            assert!(e.message().contains(why.reason()));
            assert_eq!(e.hint_text(), Some(&*why.remedy()));
        }
    }

    #[test]
    fn a_machine_with_a_device_answers_with_it() {
        let (version, devices) = climb(&good()).unwrap();
        assert_eq!((version, devices), (12_040, vec![device("H100", (9, 0))]));
    }

    #[test]
    fn this_machine_gives_an_answer_and_never_a_panic() {
        match crate::probe() {
            Ok(devices) => assert!(devices.iter().all(|d| d.backend == "cuda")),
            Err(why) => {
                let e = crate::open(0).unwrap_err();
                assert_eq!(e.code(), Code::DeviceUnavailable);
                assert!(e.message().contains(why.reason()), "{e}");
            }
        }
    }
}
