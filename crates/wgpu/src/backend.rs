//! The device as the core drives it.

use std::sync::Arc;

use gristmill_core::device::{Backend, Buffer, Buffers, Device, DeviceInfo, Fault};
use gristmill_core::ops::Op;
use gristmill_core::{Code, Error, Result};

use crate::context::Context;
use crate::memory::{Memory, USAGES};
use crate::{Options, ops, probe};

pub(crate) struct Wgpu {
    info: Arc<DeviceInfo>,
    ctx: Context,
}

/// Gets to see the device of wgpu before it is used.
pub(crate) type Witness = Box<dyn FnOnce(&wgpu::Device) + Send>;

/// What tests ask for beside the public options.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) options: Options,
    /// Bytes that a binding may show, below what the adapter allows.
    pub(crate) window_bytes: Option<u64>,
    /// Validation layers, where they are installed.
    pub(crate) validation: bool,
    /// What tests use to pull the plug.
    pub(crate) witness: Option<Witness>,
}

pub(crate) fn open(index: usize, setup: Setup) -> Result<Device> {
    Device::open(move || Ok(Box::new(Wgpu::new(index, setup)?)))
}

fn unavailable(what: String) -> Error {
    Error::new(Code::DeviceUnavailable, what)
}

impl Wgpu {
    fn new(index: usize, setup: Setup) -> Result<Self> {
        let adapters = probe::adapters(&probe::instance(setup.validation));
        let adapter = adapters.get(index).ok_or_else(|| {
            unavailable(format!("no adapter wgpu:{index}; there are {}", adapters.len())).hint(
                "install a driver for Vulkan (Debian: mesa-vulkan-drivers), or name an adapter that doctor lists",
            )
        })?;
        if let Some(why) = probe::lacks(adapter) {
            return Err(unavailable(format!("wgpu:{index} cannot be used: {why}")));
        }
        let has = adapter.features().contains(wgpu::Features::SUBGROUP);
        if setup.options.subgroups == Some(true) && !has {
            return Err(unavailable(format!("wgpu:{index} has no subgroups")));
        }
        let subgroups = has && setup.options.subgroups != Some(false);
        let mut features = wgpu::Features::IMMEDIATES;
        features.set(wgpu::Features::SUBGROUP, subgroups);
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("gristmill"),
            required_features: features,
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::Performance,
            ..Default::default()
        });
        let (device, queue) =
            pollster::block_on(request).map_err(|e| unavailable(format!("cannot open wgpu:{index}: {e}")))?;
        if let Some(witness) = setup.witness {
            witness(&device);
        }
        let mut ctx = Context::new(device, queue, subgroups, setup.window_bytes)?;
        if subgroups && !ops::subgroups_are_regular(&mut ctx)? {
            if setup.options.subgroups == Some(true) {
                return Err(unavailable(format!(
                    "the subgroups of wgpu:{index} are not consecutive invocations"
                )));
            }
            ctx.subgroups = false;
        }
        let mut info = probe::describe(index, adapter, ctx.subgroups);
        if let Some(bytes) = setup.window_bytes {
            info.limits
                .iter_mut()
                .filter(|(name, _)| *name == probe::BINDING_BYTES)
                .for_each(|l| l.1 = bytes);
        }
        Ok(Self { info: Arc::new(info), ctx })
    }
}

impl Backend for Wgpu {
    fn info(&self) -> Arc<DeviceInfo> {
        self.info.clone()
    }

    fn alloc(&mut self, bytes: usize) -> Result<Buffer> {
        self.ctx.check()?;
        let buffer = self.ctx.buffer(bytes as u64, USAGES).or_else(|e| {
            if e.code() != Code::OutOfMemory {
                return Err(e);
            }
            self.ctx.free_scratch();
            self.ctx.wait()?;
            self.ctx.buffer(bytes as u64, USAGES)
        })?;
        Ok(Buffer::new(Memory(buffer), bytes))
    }

    fn write(&mut self, dst: &Buffer, offset: usize, src: &[u8]) -> Result<()> {
        self.ctx.check()?;
        self.ctx.upload(&dst.get::<Memory>()?.0, offset, src)
    }

    fn read(&mut self, src: &Buffer, offset: usize, dst: &mut [u8]) -> Result<()> {
        self.ctx.check()?;
        self.ctx.download(&src.get::<Memory>()?.0, offset, dst)
    }

    fn run(&mut self, serial: u64, op: &Op, buffers: &Buffers) -> Result<()> {
        self.ctx.check()?;
        ops::run(&mut self.ctx, serial, op, buffers)
    }

    fn finish(&mut self) -> Result<Vec<Fault>> {
        self.ctx.check()?;
        self.ctx.settle_faults()?;
        Ok(self.ctx.faults.take())
    }
}
