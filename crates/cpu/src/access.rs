use std::cell::RefCell;

use gristmill_core::device::{BufferId, Buffers};
use gristmill_core::ops::Op;
use gristmill_core::{Code, DType, Element, Error, Result, Tensor};

use crate::buffer::Memory;

/// The tensors of one operation as slices.
///
/// An operation has been validated before it arrives: what it writes shares no memory with anything else that it
/// touches. `Access` hands out what the operation says that it reads or writes, and each written tensor once; so
/// slices that are alive together never overlap where one of them is mutable.
pub(crate) struct Access<'a> {
    buffers: &'a Buffers,
    reads: Vec<&'a Tensor>,
    writes: Vec<&'a Tensor>,
    lent: RefCell<Vec<Place>>,
}

/// A tensor's memory: two tensors of one operation with the same place are the same tensor.
type Place = (BufferId, usize, usize);

fn place(t: &Tensor) -> Place {
    (t.buffer(), t.byte_offset(), t.bytes())
}

impl<'a> Access<'a> {
    /// Makes writable what the operation writes.
    pub(crate) fn new(op: &'a Op, buffers: &'a Buffers) -> Result<Self> {
        let writes = op.writes();
        for tensor in &writes {
            buffers.of(tensor)?.get::<Memory>()?.own()?;
        }
        Ok(Self { buffers, reads: op.inputs(), writes, lent: RefCell::default() })
    }

    /// The elements of an input.
    pub(crate) fn input<T: Element>(&self, tensor: &Tensor) -> Result<&'a [T]> {
        self.expect::<T>(tensor, &self.reads)?;
        if tensor.is_empty() {
            return Ok(&[]);
        }
        let bytes = self.buffers.of(tensor)?.get::<Memory>()?.read(tensor.byte_offset(), tensor.bytes())?;
        bytemuck::try_cast_slice(bytes)
            .map_err(|e| Error::new(Code::Internal, format!("a tensor in misaligned memory: {e}")))
    }

    /// The elements of an output or update.
    #[allow(clippy::mut_from_ref)]
    pub(crate) fn output<T: Element>(&self, tensor: &Tensor) -> Result<&'a mut [T]> {
        self.expect::<T>(tensor, &self.writes)?;
        if tensor.is_empty() {
            return Ok(&mut []);
        }
        let mut lent = self.lent.borrow_mut();
        if lent.contains(&place(tensor)) {
            return Err(Error::new(Code::Internal, "an output was asked for twice"));
        }
        let at = self.buffers.of(tensor)?.get::<Memory>()?.write(tensor.byte_offset(), tensor.bytes())?;
        lent.push(place(tensor));
        // SAFETY: `write` found the bytes inside of the memory, which is initialised and aligned to a cache line, and
        // offsets are whole elements. The tensor is among those that the operation writes, none of which shares memory
        // with another operand, and it was not handed out before; so no other slice of these bytes is alive.
        Ok(unsafe { std::slice::from_raw_parts_mut(at.cast().as_ptr(), tensor.len()) })
    }

    /// Indices, such as targets or offsets.
    pub(crate) fn indices(&self, tensor: &Tensor) -> Result<Indices<'a>> {
        match tensor.dtype() {
            DType::U32 => Ok(Indices::U32(self.input(tensor)?)),
            DType::I32 => Ok(Indices::I32(self.input(tensor)?)),
            other => Err(Error::new(Code::Internal, format!("indices of type {other}"))),
        }
    }

    fn expect<T: Element>(&self, tensor: &Tensor, among: &[&Tensor]) -> Result<()> {
        if T::DTYPE != tensor.dtype() {
            return Err(Error::new(Code::Internal, format!("{tensor:?} taken for {}", T::DTYPE)));
        }
        if !among.iter().any(|t| place(t) == place(tensor)) {
            return Err(Error::new(Code::Internal, "a tensor that the operation does not name so"));
        }
        Ok(())
    }
}

/// Indices in either of the types that they come in.
#[derive(Clone, Copy)]
pub(crate) enum Indices<'a> {
    U32(&'a [u32]),
    I32(&'a [i32]),
}

impl Indices<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Indices::U32(v) => v.len(),
            Indices::I32(v) => v.len(),
        }
    }

    pub(crate) fn at(self, i: usize) -> i64 {
        match self {
            Indices::U32(v) => v[i].into(),
            Indices::I32(v) => v[i].into(),
        }
    }

    /// The first row whose index is not one of `0..end`.
    pub(crate) fn first_outside(self, end: usize) -> Option<u64> {
        let end = end as i64;
        (0..self.len()).find(|&i| !(0..end).contains(&self.at(i))).map(|i| i as u64)
    }

    /// The first position whose number is not one of `0..end`, or not above the one before.
    pub(crate) fn first_out_of_order(self, end: usize) -> Option<u64> {
        let end = end as i64;
        let wrong = |&i: &usize| !(0..end).contains(&self.at(i)) || (i > 0 && self.at(i - 1) >= self.at(i));
        (0..self.len()).find(wrong).map(|i| i as u64)
    }

    /// All of them, once they are known to be no less than 0.
    pub(crate) fn places(self) -> Vec<usize> {
        (0..self.len()).map(|i| self.at(i) as usize).collect()
    }

    /// The first segment that these offsets do not cut from `values` values.
    pub(crate) fn first_unordered(self, values: usize) -> Option<u64> {
        let values = values as i64;
        (1..self.len())
            .find(|&i| !(0 <= self.at(i - 1) && self.at(i - 1) <= self.at(i) && self.at(i) <= values))
            .map(|i| i as u64 - 1)
    }
}
