//! The driver over kernels on the host.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use gristmill_core::device::DeviceKind;
use gristmill_core::{Code, DType, Device, DeviceInfo, Error, Result};
use gristmill_cuda::driver::{Driver, Gemm, Launch, Memory};
use gristmill_cuda::{CACHE, Cuda};
use half::{bf16, f16};

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
    /// Whether a library multiplies matrices.
    pub(crate) library: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { build: Build::Plain, order: 0, memory: usize::MAX, launches: usize::MAX, library: false }
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

/// What a device on the host says of itself.
pub(crate) fn info() -> DeviceInfo {
    DeviceInfo {
        backend: "cuda-host",
        selector: "cuda-host".into(),
        name: "CUDA kernels on the host".into(),
        kind: DeviceKind::Software,
        driver: "fibers".into(),
        memory: None,
        // Of the layers of the table some have one gradient in half of it, and most several.
        limits: vec![(CACHE, 80 << 10)],
        features: vec!["own-matmul".into()],
        supports: Cuda::supports,
    }
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
        Arc::new(info())
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

    fn gemm(&self, gemm: &Gemm) -> Result<bool> {
        if self.options.library {
            multiply(gemm);
        }
        Ok(self.options.library)
    }
}

/// What the contract of [`Gemm`] says, element by element and column-major.
fn multiply(gemm: &Gemm) {
    let Gemm { a, b, out, m, n, k, .. } = *gemm;
    let [stride_a, stride_b, stride_out] = gemm.strides;
    for batch in 0..gemm.batch {
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let products = (0..k).map(|l| {
                let at_a = if gemm.trans_a { i * k + l } else { l * m + i };
                let at_b = if gemm.trans_b { l * n + j } else { j * k + l };
                element(gemm.dtype, a, batch * stride_a + at_a)
                    * element(gemm.dtype, b, batch * stride_b + at_b)
            });
            let product = f64::from(gemm.alpha) * products.sum::<f64>();
            let at = batch * stride_out + j * m + i;
            let beta = f64::from(gemm.beta);
            let before = if beta == 0.0 { 0.0 } else { beta * element(gemm.out_dtype, out, at) };
            set_element(gemm.out_dtype, out, at, (product + before) as f32);
        }
    }
}

fn element(dtype: DType, address: u64, at: usize) -> f64 {
    // SAFETY: inside a matrix that the backend named, of this type.
    unsafe {
        match dtype {
            DType::F32 => (*(address as *const f32).add(at)).into(),
            DType::Bf16 => (*(address as *const bf16).add(at)).into(),
            _ => (*(address as *const f16).add(at)).into(),
        }
    }
}

fn set_element(dtype: DType, address: u64, at: usize, x: f32) {
    // SAFETY: as above.
    unsafe {
        match dtype {
            DType::F32 => *(address as *mut f32).add(at) = x,
            DType::Bf16 => *(address as *mut bf16).add(at) = bf16::from_f32(x),
            _ => *(address as *mut f16).add(at) = f16::from_f32(x),
        }
    }
}
