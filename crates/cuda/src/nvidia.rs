//! NVIDIA's driver, by way of `cudarc`, which opens the library at run time.
//!
//! Its lower layer is used: a context, one stream, and addresses. Without the library its functions panic, so nothing is
//! called before the library is known to be there, and what may panic all the same (a symbol that an old driver lacks)
//! is caught.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::rc::Rc;
use std::sync::Arc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use gristmill_core::device::{Backend, DeviceKind};
use gristmill_core::{Code, Device, DeviceInfo, Error, Result};

use crate::backend::{CACHE, Cuda};
use crate::driver::{Driver, Gemm, Launch, Memory};
use crate::kernels::{KERNELS, ptx};
use crate::probe::{Failure, Found, Machine, Unavailable, climb, not_loaded};

mod blas;

use blas::Blas;

/// The devices that can be used, or why there are none.
///
/// # Errors
/// One of the five reasons. Never panics, whatever is or is not installed.
pub fn probe() -> Result<Vec<DeviceInfo>, Unavailable> {
    guarded(|| {
        let (version, found) = climb(&Nvidia)?;
        let blas = Blas::is_there();
        Ok(found.iter().map(|f| info(version, f, blas)).collect())
    })
}

/// Opens the device of this ordinal, as `nvidia-smi` counts them with `CUDA_DEVICE_ORDER=PCI_BUS_ID`.
///
/// # Errors
/// [`Code::DeviceUnavailable`] with the reason and its remedy as hint.
pub fn open(ordinal: usize) -> Result<Device> {
    Device::open(move || {
        let nvidia = guarded(|| {
            let (version, found) = climb(&Nvidia)?;
            let device = found.iter().find(|f| f.ordinal == ordinal).cloned();
            device.map(|d| Opened::new(version, &d)).transpose()
        })?;
        let Some(opened) = nvidia else {
            return Err(Error::new(Code::DeviceUnavailable, format!("no CUDA device {ordinal}"))
                .hint("`gristmill doctor` lists the devices"));
        };
        Ok(Box::new(Cuda::new(Box::new(opened))?) as Box<dyn Backend>)
    })
}

/// Turns a panic of `cudarc`, which comes of a library without a symbol, into a reason.
fn guarded<T>(work: impl FnOnce() -> Result<T, Unavailable>) -> Result<T, Unavailable> {
    // Nothing is shared with what was left half done.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Unavailable::InitFailed {
            code: 0,
            name: "a function is missing from the driver's library".into(),
        })
    })
}

fn failure(e: DriverError) -> Failure {
    let name =
        e.error_name().map_or_else(|_| "an unknown error".into(), |n| n.to_string_lossy().into_owned());
    Failure { code: e.0 as i32, name }
}

/// The machine as it is.
struct Nvidia;

impl Machine for Nvidia {
    fn library(&self) -> bool {
        // SAFETY: it only tries to open the library, whose initialisers are NVIDIA's own.
        unsafe { sys::is_culib_present() }
    }

    fn version(&self) -> Result<i32, Failure> {
        let mut version = 0;
        // SAFETY: the library is there, and `version` is valid for the write.
        unsafe { sys::cuDriverGetVersion(&raw mut version) }.result().map_err(failure)?;
        Ok(version)
    }

    fn init(&self) -> Result<(), Failure> {
        result::init().map_err(failure)
    }

    fn devices(&self) -> Result<Vec<Found>, Failure> {
        use sys::CUdevice_attribute as A;
        let count = result::device::get_count().map_err(failure)?;
        let describe = |ordinal: c_int| {
            let device = result::device::get(ordinal)?;
            // SAFETY: the device was just returned by the driver, here and below.
            let get = |attribute| unsafe { result::device::get_attribute(device, attribute) };
            // SAFETY: as above.
            let memory = unsafe { result::device::total_mem(device) }?;
            Ok(Found {
                ordinal: ordinal as usize,
                name: result::device::get_name(device)?,
                capability: (
                    get(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                    get(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
                ),
                memory: memory as u64,
                multiprocessors: get(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
                shared: get(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
                cache: get(A::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
                integrated: get(A::CU_DEVICE_ATTRIBUTE_INTEGRATED)? != 0,
            })
        };
        (0..count).map(describe).collect::<Result<_, _>>().map_err(failure)
    }
}

fn info(version: i32, found: &Found, blas: bool) -> DeviceInfo {
    let (major, minor) = found.capability;
    DeviceInfo {
        backend: "cuda",
        selector: format!("cuda:{}", found.ordinal),
        name: found.name.clone(),
        kind: if found.integrated { DeviceKind::IntegratedGpu } else { DeviceKind::DiscreteGpu },
        driver: format!("CUDA {}.{}", version / 1000, version % 1000 / 10),
        memory: Some(found.memory),
        limits: vec![
            ("multiprocessors", found.multiprocessors as u64),
            ("sharedMemoryPerBlock", found.shared as u64),
            (CACHE, found.cache as u64),
        ],
        features: vec![
            format!("compute-{major}.{minor}"),
            if blas { "cublaslt".into() } else { "own-matmul".into() },
        ],
        supports: Cuda::supports,
    }
}

/// The context of a device and its one stream.
struct Context {
    device: sys::CUdevice,
    stream: sys::CUstream,
}

impl Context {
    fn new(ordinal: usize) -> Result<Self, DriverError> {
        let device = result::device::get(ordinal as c_int)?;
        // SAFETY: the device was just returned by the driver.
        let context = unsafe { result::primary_ctx::retain(device) }?;
        // SAFETY: the context was just retained, and is released after everything that it owns.
        let stream = unsafe { result::ctx::set_current(context) }
            .and_then(|()| result::stream::create(result::stream::StreamKind::NonBlocking));
        match stream {
            Ok(stream) => Ok(Self { device, stream }),
            Err(e) => {
                // SAFETY: it was retained above, and nothing uses it.
                let _ = unsafe { result::primary_ctx::release(device) };
                Err(e)
            }
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: memory and modules hold the context, so nothing of it is in use any more. A lost device refuses both
        // calls, which then have nothing to do.
        unsafe {
            let _ = result::stream::destroy(self.stream);
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

/// Device memory.
struct Allocation {
    address: sys::CUdeviceptr,
    _context: Rc<Context>,
}

impl Memory for Allocation {
    fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        // SAFETY: allocated below and freed once. The driver waits for kernels that still use it.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

/// A device that was opened. Lives on the one thread on which its context is current.
struct Opened {
    context: Rc<Context>,
    info: Arc<DeviceInfo>,
    modules: RefCell<HashMap<&'static str, sys::CUmodule>>,
    functions: RefCell<HashMap<String, sys::CUfunction>>,
    blas: Option<Blas>,
}

impl Opened {
    fn new(version: i32, found: &Found) -> Result<Self, Unavailable> {
        let context = Rc::new(Context::new(found.ordinal).map_err(|e| not_loaded(failure(e), ""))?);
        let blas = Blas::new(&context);
        let opened = Self {
            info: Arc::new(info(version, found, blas.is_some())),
            context,
            modules: RefCell::default(),
            functions: RefCell::default(),
            blas,
        };
        // If one is accepted all are: they come from one compiler.
        opened.module(KERNELS[0].0)?;
        Ok(opened)
    }

    /// The module of an operation, compiled by the driver when it is first asked for; the driver keeps what it compiled
    /// on disk.
    fn module(&self, op: &'static str) -> Result<sys::CUmodule, Unavailable> {
        if let Some(&module) = self.modules.borrow().get(op) {
            return Ok(module);
        }
        let rejected = |log: &str| Unavailable::PtxRejected { log: log.into() };
        let text = ptx(op).ok_or_else(|| rejected("there is no such kernel"))?;
        let text = CString::new(text).map_err(|_| rejected("a kernel with a zero byte"))?;
        let mut log = vec![0u8; 4096];
        let mut options = [
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
            sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
        ];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
        let mut module = null_mut();
        // SAFETY: the text ends with a zero; both options have their value, the log as long as it says; the context is
        // current.
        let loaded = unsafe {
            sys::cuModuleLoadDataEx(
                &raw mut module,
                text.as_ptr().cast(),
                options.len() as c_uint,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        loaded.result().map_err(|e| {
            let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
            not_loaded(failure(e), String::from_utf8_lossy(&log[..end]).trim())
        })?;
        self.modules.borrow_mut().insert(op, module);
        Ok(module)
    }

    fn function(&self, op: &'static str, kernel: &str) -> Result<sys::CUfunction> {
        if let Some(&function) = self.functions.borrow().get(kernel) {
            return Ok(function);
        }
        let module = self.module(op).map_err(|why| match why {
            // The device worked when it was opened.
            Unavailable::InitFailed { code, name } => error(code, "load a kernel", &name),
            why => Error::new(Code::Internal, format!("{why}")).hint(why.remedy()),
        })?;
        let name =
            CString::new(kernel).map_err(|_| Error::new(Code::Internal, "a kernel's name with a zero"))?;
        // SAFETY: the module is loaded, and stays so as long as `self`.
        let function = unsafe { result::module::get_function(module, name) }
            .map_err(|e| failed(e, &format!("find the kernel {kernel}")))?;
        self.functions.borrow_mut().insert(kernel.into(), function);
        Ok(function)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // So that no kernel is under way any more.
        let _ = self.synchronize();
        for &module in self.modules.borrow().values() {
            // SAFETY: loaded by `module`, unloaded once, and no function of it is used after this.
            let _ = unsafe { result::module::unload(module) };
        }
    }
}

fn failed(e: DriverError, what: &str) -> Error {
    let Failure { code, name } = failure(e);
    error(code, what, &name)
}

/// What an error of the driver means. Errors of kernels stay with the context: everything after them fails too.
fn error(code: i32, what: &str, name: &str) -> Error {
    const STICKY: [i32; 15] = [4, 46, 201, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 718, 719];
    let message = format!("cannot {what}: {name} ({code})");
    match code {
        2 => Error::new(Code::OutOfMemory, message).hint("free tensors, or work in smaller pieces"),
        717 | 999 => Error::new(Code::DeviceLost, message),
        code if STICKY.contains(&code) => Error::new(Code::DeviceLost, message),
        _ => Error::new(Code::Internal, message),
    }
}

impl Driver for Opened {
    fn info(&self) -> Arc<DeviceInfo> {
        self.info.clone()
    }

    fn alloc(&self, bytes: usize) -> Result<Box<dyn Memory>> {
        // SAFETY: the context is current on this thread; `Allocation` frees it.
        let address = unsafe { result::malloc_sync(bytes) }
            .map_err(|e| failed(e, &format!("allocate {bytes} bytes on the device")))?;
        Ok(Box::new(Allocation { address, _context: self.context.clone() }))
    }

    fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        // SAFETY: the caller's address has room for the bytes. From memory that is not page-locked the driver has
        // taken them when it returns.
        unsafe { result::memcpy_htod_async(address, bytes, self.context.stream) }
            .map_err(|e| failed(e, "copy to the device"))
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()> {
        // SAFETY: the caller's address has as many bytes, and they are waited for before `bytes` can be used.
        unsafe { result::memcpy_dtoh_async(bytes, address, self.context.stream) }
            .map_err(|e| failed(e, "copy from the device"))?;
        self.synchronize()
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        let function = self.function(launch.op, &launch.kernel)?;
        /// What a block may have without being asked for.
        const FREE: usize = 48 * 1024;
        if launch.shared > FREE {
            use sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as SHARED;
            // SAFETY: the function's module is loaded.
            unsafe { result::function::set_function_attribute(function, SHARED, launch.shared as i32) }
                .map_err(|e| {
                    failed(e, &format!("give {} {} bytes of shared memory", launch.kernel, launch.shared))
                })?;
        }
        // Words, so that the struct is aligned; the driver copies it before it returns.
        let mut args: Vec<u64> = launch
            .args
            .chunks(8)
            .map(|chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                u64::from_ne_bytes(word)
            })
            .collect();
        let [x, y, z] = launch.grid;
        // SAFETY: the kernel takes one struct, which `Args` laid out as its source does (the tests compare the sizes);
        // the memory that it points to is alive until work that was enqueued before is done.
        unsafe {
            result::launch_kernel(
                function,
                (x, y, z),
                (256, 1, 1),
                launch.shared as c_uint,
                self.context.stream,
                &mut [args.as_mut_ptr().cast()],
            )
        }
        .map_err(|e| failed(e, &format!("launch {}", launch.kernel)))
    }

    fn synchronize(&self) -> Result<()> {
        // SAFETY: the stream lives as long as the context.
        unsafe { result::stream::synchronize(self.context.stream) }
            .map_err(|e| failed(e, "wait for the device"))
    }

    fn gemm(&self, gemm: &Gemm) -> Result<bool> {
        self.blas.as_ref().map_or(Ok(false), |blas| blas.gemm(gemm, self.context.stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_driver_have_their_codes() {
        for (code, expected) in [
            (2, Code::OutOfMemory),
            (700, Code::DeviceLost),
            (716, Code::DeviceLost),
            (719, Code::DeviceLost),
            (214, Code::DeviceLost),
            (1, Code::Internal),
            (500, Code::Internal),
        ] {
            let e = error(code, "wait", "NAME");
            assert_eq!(e.code(), expected, "{code}");
            assert!(e.message().contains("NAME"));
        }
    }
}
