use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;

use crate::device::{BufferId, Device, HostBytes, Storage};
use crate::device::{Command, Reply};
use crate::{Code, DType, Element, Error, Result, Shape};

/// A handle of elements on a device: a dense row-major view of a piece of its memory. Clones and views share that
/// memory, which is released after the last of them.
#[derive(Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    dtype: DType,
    shape: Shape,
    /// Elements before the first, in the memory.
    offset: usize,
}

impl Tensor {
    pub(crate) fn root(storage: Storage, dtype: DType, shape: Shape) -> Self {
        Self { storage: Arc::new(storage), dtype, shape, offset: 0 }
    }

    /// The device that it lives on.
    pub fn device(&self) -> &Device {
        &self.storage.device
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its dimensions.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.shape.len()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.shape.is_empty()
    }

    /// Bytes of its elements.
    pub fn bytes(&self) -> usize {
        self.shape.bytes(self.dtype)
    }

    /// The memory that it is a view of.
    pub fn buffer(&self) -> BufferId {
        self.storage.id
    }

    /// Elements before its first in that memory.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes before its first element in that memory.
    pub fn byte_offset(&self) -> usize {
        self.offset * self.dtype.size()
    }

    /// Whether it is all of that memory.
    pub fn is_whole(&self) -> bool {
        self.bytes() == self.storage.bytes
    }

    /// How often the memory that it is a view of has been written to so far, by operations and by [`write`](Self::write):
    /// who keeps a tensor for later learns from it whether the elements are still the same.
    pub fn version(&self) -> u64 {
        self.storage.writes.load(Ordering::SeqCst)
    }

    /// Counts a write to its memory.
    pub(crate) fn written(&self) {
        self.storage.writes.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether two tensors have memory in common.
    pub fn overlaps(&self, other: &Tensor) -> bool {
        self.buffer() == other.buffer()
            && self.device().same(other.device())
            && self.byte_offset() < other.byte_offset() + other.bytes()
            && other.byte_offset() < self.byte_offset() + self.bytes()
    }

    /// The same elements under another shape, without a copy.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`] when the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Box<[usize]>>) -> Result<Tensor> {
        let shape = Shape::new(shape)?;
        if shape.len() != self.len() {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!(
                    "cannot reshape {} ({} elements) to {shape} ({})",
                    self.shape,
                    self.len(),
                    shape.len()
                ),
            ));
        }
        Ok(Self { shape, ..self.clone() })
    }

    /// A view of `len` entries of the first dimension from `start` on, without a copy.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`] when they are not all there, or the tensor is a scalar.
    pub fn narrow(&self, start: usize, len: usize) -> Result<Tensor> {
        let Some((&rows, rest)) = self.shape.split_first() else {
            return Err(Error::new(Code::ShapeMismatch, "cannot take rows of a scalar"));
        };
        if start.checked_add(len).is_none_or(|end| end > rows) {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!("rows {start}..{} of a tensor that has {rows}", start.saturating_add(len)),
            ));
        }
        let row: usize = rest.iter().product();
        let dims: Vec<usize> = std::iter::once(len).chain(rest.iter().copied()).collect();
        Ok(Self { shape: Shape::new(dims)?, offset: self.offset + start * row, ..self.clone() })
    }

    /// Overwrites all elements with those that these bytes are.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`] when they are not as many; [`Code::Disposed`].
    pub fn write(&self, bytes: HostBytes) -> Result<()> {
        let given = (*bytes).as_ref().len();
        if given != self.bytes() {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!(
                    "{given} bytes for a {} tensor of shape {}, which has {}",
                    self.dtype,
                    self.shape,
                    self.bytes()
                ),
            ));
        }
        self.written();
        self.device().send(Command::Write(self.clone(), bytes))
    }

    /// Asks for the bytes of the elements; `done` is called on the device's thread, whatever happens, and must be
    /// quick.
    pub fn read_with(&self, done: impl FnOnce(Result<Vec<u8>>) + Send + 'static) {
        // When the device is gone, dropping the reply answers it.
        let _ = self.device().send(Command::Read(self.clone(), Reply::new(done)));
    }

    /// Waits for the bytes of the elements.
    ///
    /// # Errors
    /// That of the operation that failed to compute them; [`Code::DeviceLost`]; [`Code::Disposed`].
    pub fn read(&self) -> Result<Vec<u8>> {
        let (done, answer) = channel();
        self.read_with(move |result| drop(done.send(result)));
        answer.recv().unwrap_or_else(|_| Err(crate::device::disposed()))
    }

    /// Waits for the elements.
    ///
    /// # Errors
    /// [`Code::DtypeMismatch`] when they are of another type, and as [`read`](Self::read).
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if T::DTYPE != self.dtype {
            return Err(Error::new(
                Code::DtypeMismatch,
                format!("a {} tensor read as {}", self.dtype, T::DTYPE),
            ));
        }
        Ok(bytemuck::allocation::pod_collect_to_vec(&self.read()?))
    }

    /// An output of this type and shape on the same device, for an operation to write.
    pub(crate) fn sibling(&self, dtype: DType, shape: &[usize]) -> Result<Tensor> {
        self.device().empty(dtype, shape)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} on {:?}", self.dtype, self.shape, self.device())
    }
}
