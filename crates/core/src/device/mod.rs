//! A device: one thread, a backend, and a queue of work in order.
//!
//! A call validates at once and returns a handle; the work happens later on the device's thread, in the order of the
//! calls, and only a read waits. That order is all the dependency tracking there is. A failed operation poisons what it
//! would have written, everything computed from that is poisoned too, and the error, with the operation's name in it,
//! surfaces where the result is read. Dropping the last handle of a tensor enqueues the release of its memory, so a
//! garbage collector never touches a driver.

mod backend;
mod info;
mod pool;
mod queue;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

pub use backend::{Backend, Buffer, BufferId, Buffers, Fault, HostBytes};
pub use info::{DeviceInfo, DeviceKind, Support};

use crate::ops::{Fill, Op};
use crate::{Code, DType, Element, Error, Result, Shape, Tensor};
use queue::Queue;
pub(crate) use queue::{Command, Reply};

/// How much memory the tensors of a device take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryUse {
    /// Bytes of the tensors that somebody holds.
    pub live_bytes: u64,
    /// Tensors with memory of their own (views apart) that somebody holds.
    pub live_tensors: u64,
    /// Bytes that were given back and wait for another use.
    pub pooled_bytes: u64,
    /// The most that `live_bytes` has been.
    pub peak_bytes: u64,
    /// How often the backend was asked for memory.
    pub allocations: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    live_bytes: AtomicU64,
    live_tensors: AtomicU64,
    pooled_bytes: AtomicU64,
    peak_bytes: AtomicU64,
    allocations: AtomicU64,
}

struct Shared {
    info: Arc<DeviceInfo>,
    queue: Sender<Command>,
    counters: Arc<Counters>,
    closed: AtomicBool,
    /// Whether nobody wants the results any more.
    abandoned: Arc<AtomicBool>,
    next: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A handle of a device; clones are the same device.
#[derive(Clone)]
pub struct Device(Arc<Shared>);

impl Device {
    /// Starts the device's thread and makes the backend on it.
    ///
    /// # Errors
    /// What `make` returns; a panic in it becomes [`Code::DeviceUnavailable`], since drivers do.
    pub fn open(make: impl FnOnce() -> Result<Box<dyn Backend>> + Send + 'static) -> Result<Self> {
        let (queue, commands) = channel();
        let (made, answer) = channel();
        let counters = Arc::new(Counters::default());
        let abandoned = Arc::new(AtomicBool::new(false));
        let theirs = (counters.clone(), abandoned.clone());
        let thread = Builder::new()
            .name("gristmill-device".into())
            .spawn(move || {
                let backend = queue::guarded(Code::DeviceUnavailable, make);
                match backend {
                    Ok(backend) => {
                        let _ = made.send(Ok(backend.info()));
                        Queue::new(backend, commands, theirs.0, theirs.1).work();
                    }
                    Err(e) => drop(made.send(Err(e))),
                }
            })
            .map_err(|e| Error::new(Code::OutOfMemory, format!("cannot start a thread: {e}")))?;
        let info = answer.recv().map_err(|_| Error::new(Code::Internal, "the device's thread ended"))??;
        Ok(Self(Arc::new(Shared {
            info,
            queue,
            counters,
            closed: AtomicBool::new(false),
            abandoned,
            next: AtomicU64::new(0),
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// What it is.
    pub fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    /// Whether two handles are of one device.
    pub fn same(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Lets the work that was enqueued finish, ends the thread and gives all memory back. Later calls, and reads of
    /// tensors that still exist, fail with [`Code::Disposed`]. Does nothing the second time.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        let _ = self.0.queue.send(Command::Close);
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // Panics of backends were caught inside.
            let _ = thread.join();
        }
    }

    /// [`close`](Self::close) for one that is in a hurry: operations that were enqueued and not begun are left out,
    /// and reads of what they would have computed fail with [`Code::Disposed`].
    pub fn abandon(&self) {
        self.0.abandoned.store(true, Ordering::SeqCst);
        self.close();
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }

    /// How much memory its tensors take now.
    pub fn memory(&self) -> MemoryUse {
        let c = &self.0.counters;
        let get = |n: &AtomicU64| n.load(Ordering::SeqCst);
        MemoryUse {
            live_bytes: get(&c.live_bytes),
            live_tensors: get(&c.live_tensors),
            pooled_bytes: get(&c.pooled_bytes),
            peak_bytes: get(&c.peak_bytes),
            allocations: get(&c.allocations),
        }
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// As [`empty`](Self::empty).
    pub fn zeros(&self, dtype: DType, shape: impl Into<Box<[usize]>>) -> Result<Tensor> {
        let out = self.empty(dtype, shape)?;
        self.run(Fill { out: out.clone(), value: 0.0 })?;
        Ok(out)
    }

    /// A tensor with any content, for an operation to write.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`] when the size overflows; [`Code::Disposed`] after [`close`](Self::close). A lack of
    /// memory shows when the tensor is read.
    pub fn empty(&self, dtype: DType, shape: impl Into<Box<[usize]>>) -> Result<Tensor> {
        let shape = Shape::new(shape)?;
        let tensor = Tensor::root(self.storage(shape.bytes(dtype)), dtype, shape);
        self.send(Command::Alloc(tensor.buffer(), tensor.bytes()))?;
        Ok(tensor)
    }

    /// A tensor with these elements.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`] when they are not as many as the shape has, and as [`empty`](Self::empty).
    pub fn tensor<T: Element>(&self, values: Vec<T>, shape: impl Into<Box<[usize]>>) -> Result<Tensor> {
        struct Owned<T>(Vec<T>);
        impl<T: Element> AsRef<[u8]> for Owned<T> {
            fn as_ref(&self) -> &[u8] {
                bytemuck::cast_slice(&self.0)
            }
        }
        self.tensor_from(Box::new(Owned(values)), T::DTYPE, shape)
    }

    /// A tensor with the elements that these bytes are, in the machine's byte order. On the CPU the tensor uses the
    /// caller's memory itself if it is aligned for the type; it is never written to.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn tensor_from(
        &self,
        bytes: HostBytes,
        dtype: DType,
        shape: impl Into<Box<[usize]>>,
    ) -> Result<Tensor> {
        let shape = Shape::new(shape)?;
        let (given, needed) = ((*bytes).as_ref().len(), shape.bytes(dtype));
        if given != needed {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!("{given} bytes for a {dtype} tensor of shape {shape}, which has {needed}"),
            ));
        }
        let tensor = Tensor::root(self.storage(needed), dtype, shape);
        self.send(Command::Adopt(tensor.buffer(), bytes))?;
        Ok(tensor)
    }

    /// Validates an operation and enqueues it.
    ///
    /// # Errors
    /// Those of its validation; [`Code::Unsupported`] when this device does not do it; [`Code::Disposed`].
    pub fn run(&self, op: impl Into<Op>) -> Result<()> {
        let op = op.into();
        op.validate(self)?;
        if let Support::Unsupported(why) = self.info().support(&op) {
            return Err(Error::new(Code::Unsupported, why).in_op(op.name()));
        }
        op.writes().into_iter().for_each(Tensor::written);
        self.send(Command::Run(Box::new(op)))
    }

    /// Waits for everything that was enqueued before.
    ///
    /// # Errors
    /// [`Code::DeviceLost`], [`Code::Disposed`]. Failures of single operations stay with their results.
    pub fn synchronize(&self) -> Result<()> {
        let (done, answer) = channel();
        self.send(Command::Synchronize(Reply::new(move |r| drop(done.send(r)))))?;
        answer.recv().unwrap_or_else(|_| Err(disposed()))
    }

    pub(crate) fn send(&self, command: Command) -> Result<()> {
        if self.is_closed() {
            return Err(disposed());
        }
        self.0.queue.send(command).map_err(|_| disposed())
    }

    fn storage(&self, bytes: usize) -> Storage {
        let c = &self.0.counters;
        let live = c.live_bytes.fetch_add(bytes as u64, Ordering::SeqCst) + bytes as u64;
        c.live_tensors.fetch_add(1, Ordering::SeqCst);
        c.peak_bytes.fetch_max(live, Ordering::SeqCst);
        let id = BufferId(self.0.next.fetch_add(1, Ordering::SeqCst));
        Storage { id, bytes, device: self.clone(), writes: AtomicU64::new(0) }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.0.info.selector)
    }
}

pub(crate) fn disposed() -> Error {
    Error::new(Code::Disposed, "the device was disposed of")
}

/// A tensor's memory, as far as its handles know: the name of it, and the wish to be freed at the end.
pub(crate) struct Storage {
    pub(crate) id: BufferId,
    pub(crate) bytes: usize,
    pub(crate) device: Device,
    /// How often it was written to.
    pub(crate) writes: AtomicU64,
}

impl Drop for Storage {
    fn drop(&mut self) {
        let c = &self.device.0.counters;
        c.live_bytes.fetch_sub(self.bytes as u64, Ordering::SeqCst);
        c.live_tensors.fetch_sub(1, Ordering::SeqCst);
        if queue::freed_here(&self.device.0.counters, self.id) {
            return;
        }
        // After the end of the thread there is nothing left to free.
        let _ = self.device.0.queue.send(Command::Free(self.id));
    }
}
