use std::marker::PhantomData;
use std::sync::Arc;

use gristmill_core::Result;
use gristmill_core::device::{
    Backend, Buffer, Buffers, Device, DeviceInfo, DeviceKind, Fault, HostBytes, Support,
};
use gristmill_core::ops::Op;

use crate::access::Access;
use crate::buffer::{Arena, Memory};
use crate::{features, ops, reference};

/// Opens the processor as a device.
///
/// # Errors
/// [`gristmill_core::Code::OutOfMemory`] when no thread can be started.
pub fn open() -> Result<Device> {
    Device::open(|| Ok(Box::new(Cpu::new())))
}

/// Opens the scalar reference as a device: what the results of all others are held against.
///
/// # Errors
/// As [`open`].
pub fn open_reference() -> Result<Device> {
    Device::open(|| Ok(Box::new(Reference::new())))
}

/// The fast backend: blocked, with wide vectors and threads.
pub type Cpu = Host<Fast>;

/// The scalar backend that defines every operation.
pub type Reference = Host<Scalar>;

/// A backend whose device memory is the process's own. Work is done when a call returns.
pub struct Host<K> {
    info: Arc<DeviceInfo>,
    arena: Arena,
    kernels: PhantomData<K>,
}

/// One implementation of every operation.
pub trait Kernels: sealed::Kernels {}

/// Those of [`Cpu`].
pub enum Fast {}

/// Those of [`Reference`].
pub enum Scalar {}

impl Kernels for Fast {}
impl Kernels for Scalar {}

mod sealed {
    use super::{Access, Op, Result};

    pub trait Kernels: 'static {
        const BACKEND: &'static str;
        fn driver() -> String;
        #[allow(private_interfaces)]
        fn run(op: &Op, access: &Access) -> Result<()>;
    }

    impl Kernels for super::Fast {
        const BACKEND: &'static str = "cpu";

        fn driver() -> String {
            super::features().vectors.into()
        }

        #[allow(private_interfaces)]
        fn run(op: &Op, access: &Access) -> Result<()> {
            super::ops::run(op, access)
        }
    }

    impl Kernels for super::Scalar {
        const BACKEND: &'static str = "reference";

        fn driver() -> String {
            "scalar".into()
        }

        #[allow(private_interfaces)]
        fn run(op: &Op, access: &Access) -> Result<()> {
            super::reference::run(op, access)
        }
    }
}

impl<K: Kernels> Host<K> {
    /// A backend on this processor.
    pub fn new() -> Self {
        let (arena, features) = (Arena::new(), features());
        let info = DeviceInfo {
            backend: K::BACKEND,
            selector: K::BACKEND.into(),
            name: model().unwrap_or_else(|| features.arch.into()),
            kind: DeviceKind::Cpu,
            driver: K::driver(),
            memory: Some(arena.limit()),
            limits: vec![("threads", features.threads as u64)],
            features: features.extensions.iter().map(|&f| f.into()).collect(),
            supports: |_, _| Support::Native,
        };
        Self { info: Arc::new(info), arena, kernels: PhantomData }
    }
}

impl<K: Kernels> Default for Host<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// The processor by its maker's name, where the system tells.
fn model() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().into())
}

impl<K: Kernels> Backend for Host<K> {
    fn info(&self) -> Arc<DeviceInfo> {
        self.info.clone()
    }

    fn alloc(&mut self, bytes: usize) -> Result<Buffer> {
        Ok(Buffer::new(self.arena.alloc(bytes)?, bytes))
    }

    fn adopt(&mut self, memory: HostBytes) -> Result<Buffer, HostBytes> {
        let bytes = (*memory).as_ref().len();
        Ok(Buffer::adopted(self.arena.adopt(memory)?, bytes))
    }

    fn write(&mut self, dst: &Buffer, offset: usize, src: &[u8]) -> Result<()> {
        let memory: &Memory = dst.get()?;
        memory.own()?;
        let to = memory.write(offset, src.len())?;
        // SAFETY: `write` found the bytes inside of the memory; the source is the caller's, and no slice of this
        // memory is alive between the calls of a backend.
        unsafe { to.as_ptr().copy_from_nonoverlapping(src.as_ptr(), src.len()) };
        Ok(())
    }

    fn read(&mut self, src: &Buffer, offset: usize, dst: &mut [u8]) -> Result<()> {
        dst.copy_from_slice(src.get::<Memory>()?.read(offset, dst.len())?);
        Ok(())
    }

    fn run(&mut self, _serial: u64, op: &Op, buffers: &Buffers) -> Result<()> {
        K::run(op, &Access::new(op, buffers)?)
    }

    fn finish(&mut self) -> Result<Vec<Fault>> {
        // `run` returns faults itself.
        Ok(Vec::new())
    }
}
