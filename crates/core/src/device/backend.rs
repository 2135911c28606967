use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use super::DeviceInfo;
use crate::ops::Op;
use crate::{Error, Result, Tensor};

/// Bytes that the caller lends until they are dropped: a vector, a typed array of JavaScript, an Arrow buffer.
pub type HostBytes = Box<dyn AsRef<[u8]> + Send>;

/// A piece of a device's memory, in the type that its backend gave it.
pub struct Buffer {
    inner: Box<dyn Any>,
    bytes: usize,
    /// Whether it may serve again once it is free.
    pub(super) reusable: bool,
}

impl Buffer {
    /// Memory of `bytes` bytes that the backend allocated, and that may serve again for another tensor.
    pub fn new<B: Any>(inner: B, bytes: usize) -> Self {
        Self { inner: Box::new(inner), bytes, reusable: true }
    }

    /// Memory of somebody else, to be given back when its tensor goes.
    pub fn adopted<B: Any>(inner: B, bytes: usize) -> Self {
        Self { inner: Box::new(inner), bytes, reusable: false }
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the backend put in.
    ///
    /// # Errors
    /// [`crate::Code::Internal`] when another backend did.
    pub fn get<B: Any>(&self) -> Result<&B> {
        self.inner
            .downcast_ref()
            .ok_or_else(|| Error::new(crate::Code::Internal, "a buffer of another backend"))
    }
}

/// A name for a tensor's memory, unique on its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub(crate) u64);

/// The memory behind the tensors of a device.
#[derive(Default)]
pub struct Buffers(pub(super) HashMap<BufferId, Buffer>);

impl Buffers {
    /// The memory that a tensor is a view of.
    ///
    /// # Errors
    /// [`crate::Code::Internal`] when it was never allocated; the queue asks first.
    pub fn of(&self, tensor: &Tensor) -> Result<&Buffer> {
        self.0
            .get(&tensor.buffer())
            .ok_or_else(|| Error::new(crate::Code::Internal, "a tensor without memory"))
    }
}

/// An operation that found its data to break its contract after it was under way: a target outside the vocabulary,
/// offsets that do not ascend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The serial number that [`Backend::run`] was given.
    pub serial: u64,
    /// The first row at fault.
    pub row: u64,
}

/// What computes. Everything is called from the one thread of a [`Device`](super::Device), in order; an operation that
/// arrives has been validated, and the memory of its tensors exists.
///
/// A backend may return from [`run`](Self::run) before the work is done, as long as everything happens in the order
/// of the calls. An error with [`crate::Code::DeviceLost`] ends the device.
pub trait Backend {
    /// What it is.
    fn info(&self) -> Arc<DeviceInfo>;

    /// Memory of at least this size (more than 0), with any content, aligned for every element type.
    ///
    /// # Errors
    /// [`crate::Code::OutOfMemory`]; the queue then gives memory back and asks once more.
    fn alloc(&mut self, bytes: usize) -> Result<Buffer>;

    /// Uses the caller's memory itself, where device memory is host memory and the alignment allows; otherwise gives
    /// it back, to be copied.
    fn adopt(&mut self, memory: HostBytes) -> std::result::Result<Buffer, HostBytes> {
        Err(memory)
    }

    /// Copies host bytes to `offset` of `dst`.
    fn write(&mut self, dst: &Buffer, offset: usize, src: &[u8]) -> Result<()>;

    /// Waits for what was enqueued, and copies from `offset` of `src`.
    fn read(&mut self, src: &Buffer, offset: usize, dst: &mut [u8]) -> Result<()>;

    /// Enqueues an operation.
    fn run(&mut self, serial: u64, op: &Op, buffers: &Buffers) -> Result<()>;

    /// Waits for what was enqueued; returns the faults since the last call.
    fn finish(&mut self) -> Result<Vec<Fault>>;
}
