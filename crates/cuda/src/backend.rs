use std::sync::Arc;

use gristmill_core::device::{Backend, Buffer, Buffers, Fault, Support};
use gristmill_core::ops::{ClipPath, Op};
use gristmill_core::{Code, DType, DeviceInfo, Error, Result, Tensor};

use crate::driver::{Driver, Launch, Memory};
use crate::ops;

/// How many operations may be under way whose data can turn out to be at fault.
const SLOTS: usize = 512;

/// The name of the limit that says how many bytes the second-level cache has.
pub const CACHE: &str = "l2CacheBytes";

/// The backend over a driver.
pub struct Cuda {
    driver: Box<dyn Driver>,
    /// One word for each operation under way that may fault: `u32::MAX` minus its lowest row at fault, or 0.
    status: Box<dyn Memory>,
    /// Which operation has which slot.
    serials: Vec<u64>,
    /// Faults that were found when the slots ran out.
    faults: Vec<Fault>,
    /// Memory for what kernels of one operation leave for each other. Work is in order, so the next may reuse it.
    scratch: Option<(Box<dyn Memory>, usize)>,
}

impl Cuda {
    /// A backend over this driver.
    ///
    /// # Errors
    /// Those of the driver.
    pub fn new(driver: Box<dyn Driver>) -> Result<Self> {
        let status = driver.alloc(4 * SLOTS)?;
        driver.write(status.address(), &[0; 4 * SLOTS])?;
        Ok(Self { driver, status, serials: Vec::new(), faults: Vec::new(), scratch: None })
    }

    /// Whether the kernels do an operation: all but those below, and not in `f64`.
    pub fn supports(info: &DeviceInfo, op: &Op) -> Support {
        let tensors = [op.inputs(), op.writes()].concat();
        if tensors.iter().any(|t| t.dtype() == DType::F64) {
            return Support::Unsupported("f64 is computed on the CPU alone".into());
        }
        match op {
            Op::ClipLinearFused(op) if op.path == ClipPath::Fused => {
                ops::keeps(op.sizes(), info).map_or_else(Support::Unsupported, |_| Support::Native)
            }
            _ => Support::Native,
        }
    }

    /// Waits, moves the faults from the slots to the list, and frees the slots.
    fn collect(&mut self) -> Result<()> {
        if self.serials.is_empty() {
            return Ok(());
        }
        let mut words = vec![0; 4 * self.serials.len()];
        self.driver.read(self.status.address(), &mut words)?;
        let words = words.chunks_exact(4).map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
        let faults = self.serials.iter().zip(words).filter(|(_, word)| *word != 0);
        self.faults.extend(faults.map(|(&serial, word)| Fault { serial, row: u64::from(u32::MAX - word) }));
        self.driver.write(self.status.address(), &vec![0; 4 * self.serials.len()])?;
        self.serials.clear();
        Ok(())
    }

    fn slot(&mut self, serial: u64) -> Result<u64> {
        if self.serials.len() == SLOTS {
            self.collect()?;
        }
        self.serials.push(serial);
        Ok(self.status.address() + 4 * (self.serials.len() as u64 - 1))
    }
}

/// A tensor's memory, as the queue keeps it.
struct Held(Box<dyn Memory>);

/// What an operation is run with.
pub(crate) struct Context<'a> {
    driver: &'a dyn Driver,
    buffers: &'a Buffers,
    scratch: &'a mut Option<(Box<dyn Memory>, usize)>,
    /// Address of the status word, for operations that may fault.
    pub(crate) status: u64,
}

impl Context<'_> {
    pub(crate) fn driver(&self) -> &dyn Driver {
        self.driver
    }

    /// Where a tensor's elements begin.
    pub(crate) fn at(&self, tensor: &Tensor) -> Result<u64> {
        let Held(memory) = self.buffers.of(tensor)?.get()?;
        Ok(memory.address() + tensor.byte_offset() as u64)
    }

    /// The same, or null.
    pub(crate) fn at_option(&self, tensor: Option<&Tensor>) -> Result<u64> {
        tensor.map_or(Ok(0), |t| self.at(t))
    }

    /// Memory for this operation alone, of these sizes in bytes; each begins at a multiple of 256.
    pub(crate) fn scratch<const N: usize>(&mut self, sizes: [usize; N]) -> Result<[u64; N]> {
        let too_much = || Error::new(Code::OutOfMemory, "intermediate results beyond the address space");
        let mut offsets = [0u64; N];
        let mut total = 0usize;
        for (offset, size) in offsets.iter_mut().zip(sizes) {
            *offset = total as u64;
            total = size
                .checked_next_multiple_of(256)
                .and_then(|size| total.checked_add(size))
                .ok_or_else(too_much)?;
        }
        if self.scratch.as_ref().is_none_or(|(_, size)| *size < total) {
            // The old one first, which a driver does not release before it is idle.
            *self.scratch = None;
            *self.scratch = Some((self.driver.alloc(total.max(256))?, total));
        }
        let base = self.scratch.as_ref().map_or(0, |(memory, _)| memory.address());
        Ok(offsets.map(|offset| base + offset))
    }

    pub(crate) fn launch(
        &self,
        op: &'static str,
        kernel: impl Into<String>,
        grid: [u32; 3],
        shared: usize,
        args: &[u8],
    ) -> Result<()> {
        self.driver.launch(Launch { op, kernel: kernel.into(), grid, shared, args: args.to_vec() })
    }
}

impl Backend for Cuda {
    fn info(&self) -> Arc<DeviceInfo> {
        self.driver.info()
    }

    fn alloc(&mut self, bytes: usize) -> Result<Buffer> {
        let memory = match self.driver.alloc(bytes) {
            Err(e) if e.code() == Code::OutOfMemory && self.scratch.is_some() => {
                self.scratch = None;
                self.driver.alloc(bytes)
            }
            memory => memory,
        };
        Ok(Buffer::new(Held(memory?), bytes))
    }

    fn write(&mut self, dst: &Buffer, offset: usize, src: &[u8]) -> Result<()> {
        let Held(memory) = dst.get()?;
        self.driver.write(memory.address() + offset as u64, src)
    }

    fn read(&mut self, src: &Buffer, offset: usize, dst: &mut [u8]) -> Result<()> {
        let Held(memory) = src.get()?;
        self.driver.read(memory.address() + offset as u64, dst)
    }

    fn run(&mut self, serial: u64, op: &Op, buffers: &Buffers) -> Result<()> {
        let status = if op.may_fault() { self.slot(serial)? } else { 0 };
        let cx = &mut Context { driver: &*self.driver, buffers, scratch: &mut self.scratch, status };
        ops::run(op, cx)
    }

    fn finish(&mut self) -> Result<Vec<Fault>> {
        if self.serials.is_empty() {
            self.driver.synchronize()?;
        }
        self.collect()?;
        Ok(std::mem::take(&mut self.faults))
    }
}
