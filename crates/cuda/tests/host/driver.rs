//! The driver over kernels on the host.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use gristmill_core::device::DeviceKind;
use gristmill_core::{Code, Device, DeviceInfo, Error, Result};
use gristmill_cuda::Cuda;
use gristmill_cuda::driver::{Driver, Launch, Memory};

use crate::shim::{Build, Kernels, load};

/// What a device on the host is like.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) build: Build,
    /// The order of threads and blocks; see [`Kernels::launch`].
    pub(crate) order: u64,
    /// Bytes that it has.
    pub(crate) memory: usize,
    /// Launches after which it is lost.
    pub(crate) launches: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { build: Build::Plain, order: 0, memory: usize::MAX, launches: usize::MAX }
    }
}

/// The backend `cuda-host`, or `None` where it can be skipped.
pub(crate) fn open(options: Options) -> Option<Device> {
    let kernels = load(options.build)?;
    let device = Device::open(move || {
        let driver =
            Host { kernels, left: Rc::new(Cell::new(options.memory)), launches: Cell::new(0), options };
        Ok(Box::new(Cuda::new(Box::new(driver))?))
    });
    Some(device.unwrap())
}

struct Host {
    kernels: Arc<Kernels>,
    options: Options,
    /// Bytes that are free.
    left: Rc<Cell<usize>>,
    launches: Cell<usize>,
}

struct HostMemory {
    at: *mut u8,
    layout: Layout,
    left: Rc<Cell<usize>>,
}

impl Memory for HostMemory {
    fn address(&self) -> u64 {
        self.at as u64
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and freed once.
        unsafe { dealloc(self.at, self.layout) };
        self.left.set(self.left.get().saturating_add(self.layout.size()));
    }
}

impl Driver for Host {
    fn info(&self) -> Arc<DeviceInfo> {
        Arc::new(DeviceInfo {
            backend: "cuda-host",
            selector: "cuda-host".into(),
            name: "CUDA kernels on the host".into(),
            kind: DeviceKind::Software,
            driver: "fibers".into(),
            memory: None,
            limits: Vec::new(),
            features: vec!["matmul-own".into()],
            supports: Cuda::supports,
        })
    }

    fn alloc(&self, bytes: usize) -> Result<Box<dyn Memory>> {
        let Some(left) = self.left.get().checked_sub(bytes) else {
            return Err(Error::new(Code::OutOfMemory, format!("no {bytes} bytes are left")));
        };
        let layout = Layout::from_size_align(bytes, 256).unwrap();
        // SAFETY: the size is above 0, as the contract of `alloc` says.
        let at = unsafe { alloc(layout) };
        assert!(!at.is_null());
        // SAFETY: allocated above with this size.
        unsafe { at.write_bytes(0xA5, bytes) };
        self.left.set(left);
        Ok(Box::new(HostMemory { at, layout, left: self.left.clone() }))
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        // SAFETY: the backend writes inside memory that it allocated.
        unsafe { (address as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        // SAFETY: the backend reads inside memory that it allocated.
        unsafe { (address as *const u8).copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        self.launches.set(self.launches.get() + 1);
        if self.launches.get() > self.options.launches {
            return Err(Error::new(Code::DeviceLost, "the device fell off the bus"));
        }
        assert!(launch.grid.iter().all(|&n| n > 0), "{launch:?}");
        assert!(launch.shared <= 99 * 1024, "more shared memory than every device has: {launch:?}");
        let Launch { kernel, grid, shared, args, .. } = launch;
        self.kernels
            .launch(&kernel, grid, 256, shared, &args, self.options.order)
            .map_err(|why| Error::new(Code::Internal, format!("{kernel}: {why}")))
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}
