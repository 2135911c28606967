use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::OnceCell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill_core::device::HostBytes;
use gristmill_core::{Code, Error, Result};

/// Tensors begin at a cache line, which is also the widest vector.
pub(crate) const ALIGN: usize = 64;

/// What memory of a caller must be aligned to: that of the widest element type.
const ADOPTABLE: usize = align_of::<f64>();

/// Requests from this size on are compared with what the machine has left at the moment.
const LARGE: u64 = 64 << 20;

/// Where a device's memory comes from: the system's allocator, up to what the machine has. The system promises more
/// than there is and ends the process that believes it; a request beyond the machine is an error here.
#[derive(Clone)]
pub(crate) struct Arena {
    used: Arc<AtomicU64>,
    limit: u64,
}

impl Arena {
    pub(crate) fn new() -> Self {
        Self { used: Arc::default(), limit: crate::memory().usable().unwrap_or(isize::MAX as u64) }
    }

    /// How much it gives at the most.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Zeroed memory of at least one byte.
    fn take(&self, bytes: usize) -> Result<Block> {
        let refuse = |why: String| {
            Error::new(Code::OutOfMemory, format!("cannot have {bytes} bytes: {why}"))
                .hint("work in smaller batches, or dispose of tensors that are no longer needed")
        };
        let size = bytes.max(1) as u64;
        let used = self.used.load(Ordering::Relaxed);
        if used.saturating_add(size) > self.limit {
            return Err(refuse(format!(
                "{used} are in use, and the machine allows this process {}",
                self.limit
            )));
        }
        if size >= LARGE
            && let Some(available) = crate::memory().available.filter(|&available| available < size)
        {
            return Err(refuse(format!("the machine has {available} left")));
        }
        let block = Block::zeroed(bytes.max(1), self.used.clone())
            .ok_or_else(|| refuse("the system has none".into()))?;
        self.used.fetch_add(size, Ordering::Relaxed);
        Ok(block)
    }

    pub(crate) fn alloc(&self, bytes: usize) -> Result<Memory> {
        let own = OnceCell::from(self.take(bytes)?);
        Ok(Memory { lent: None, own, bytes, arena: self.clone() })
    }

    /// Makes the caller's memory a buffer's, if it is aligned for every element type.
    pub(crate) fn adopt(&self, lent: HostBytes) -> Result<Memory, HostBytes> {
        let (at, bytes) = {
            let slice = (*lent).as_ref();
            (slice.as_ptr() as usize, slice.len())
        };
        if bytes == 0 || !at.is_multiple_of(ADOPTABLE) {
            return Err(lent);
        }
        Ok(Memory { lent: Some(lent), own: OnceCell::new(), bytes, arena: self.clone() })
    }
}

/// An allocation of its own.
struct Block {
    allocated: NonNull<u8>,
    layout: Layout,
    bytes: usize,
    used: Arc<AtomicU64>,
}

impl Block {
    /// `None` when the system has no such memory.
    fn zeroed(bytes: usize, used: Arc<AtomicU64>) -> Option<Self> {
        // Asked for with small alignment, zeroed memory comes from the kernel untouched; with a large one it is cleared
        // by hand. So the alignment is made inside of a slightly larger piece.
        let layout = Layout::from_size_align(bytes.checked_add(ALIGN)?, ADOPTABLE).ok()?;
        // SAFETY: the layout has a size of at least ALIGN.
        let allocated = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Self { allocated, layout, bytes, used })
    }

    /// The first aligned byte; `bytes` bytes follow.
    fn start(&self) -> NonNull<u8> {
        let skip = self.allocated.align_offset(ALIGN).min(ALIGN);
        // SAFETY: the allocation has ALIGN bytes more than `bytes`, and `skip` is at most that.
        unsafe { self.allocated.add(skip) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated by `alloc_zeroed` with this layout, and freed only here.
        unsafe { dealloc(self.allocated.as_ptr(), self.layout) };
        self.used.fetch_sub(self.bytes as u64, Ordering::Relaxed);
    }
}

/// The memory of a buffer: its own, or a caller's until something is written to it.
pub(crate) struct Memory {
    lent: Option<HostBytes>,
    own: OnceCell<Block>,
    bytes: usize,
    arena: Arena,
}

impl Memory {
    /// Whether it is still the caller's.
    #[cfg(test)]
    fn is_lent(&self) -> bool {
        self.own.get().is_none()
    }

    /// Its content, as of now. Callers must not hold it while a piece of it that it covers is written.
    pub(crate) fn read(&self, offset: usize, bytes: usize) -> Result<&[u8]> {
        let whole = match (self.own.get(), &self.lent) {
            // SAFETY: the block has `bytes` bytes, initialised; who writes through `write` promises that no slice of
            // the same bytes is alive.
            (Some(block), _) => unsafe {
                std::slice::from_raw_parts(block.start().as_ptr().add(self.check(offset, bytes)?), bytes)
            },
            (None, Some(lent)) => {
                let lent: &[u8] = (**lent).as_ref();
                return lent.get(offset..offset + bytes).ok_or_else(outside);
            }
            (None, None) => return Err(Error::new(Code::Internal, "a buffer without memory")),
        };
        Ok(whole)
    }

    /// Makes it writable: memory of a caller is copied first, and never written to.
    pub(crate) fn own(&self) -> Result<()> {
        if self.own.get().is_none() {
            let block = self.arena.take(self.bytes)?;
            let source = self.read(0, self.bytes)?;
            // SAFETY: the block is new, so nothing else refers to it, and has `bytes` bytes as the source has.
            unsafe { block.start().as_ptr().copy_from_nonoverlapping(source.as_ptr(), self.bytes) };
            // It was empty above, and this type is not shared between threads.
            let _ = self.own.set(block);
        }
        Ok(())
    }

    /// Where a piece of it can be written; [`own`](Self::own) must have succeeded.
    ///
    /// Writing through the pointer is sound as long as no slice of the same bytes is alive.
    pub(crate) fn write(&self, offset: usize, bytes: usize) -> Result<NonNull<u8>> {
        let block = self.own.get().ok_or_else(|| Error::new(Code::Internal, "memory of a caller"))?;
        // SAFETY: `check` found the offset to lie inside of the block.
        Ok(unsafe { block.start().add(self.check(offset, bytes)?) })
    }

    fn check(&self, offset: usize, bytes: usize) -> Result<usize> {
        offset.checked_add(bytes).filter(|&end| end <= self.bytes).map(|_| offset).ok_or_else(outside)
    }
}

fn outside() -> Error {
    Error::new(Code::Internal, "a tensor beyond its memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_requests_are_errors_and_leave_room_for_others() {
        let arena = Arena::new();
        for bytes in [usize::MAX, isize::MAX as usize, 1 << 50] {
            let e = arena.alloc(bytes).err().unwrap();
            assert_eq!(e.code(), Code::OutOfMemory, "{e}");
        }
        let memory = arena.alloc(1000).unwrap();
        assert_eq!(memory.write(0, 1000).unwrap().as_ptr() as usize % ALIGN, 0);
        assert_eq!(memory.read(0, 1000).unwrap(), [0; 1000]);
        assert!(memory.read(999, 2).is_err() && memory.write(usize::MAX, 2).is_err());
        assert_eq!(arena.used.load(Ordering::Relaxed), 1000);
        drop(memory);
        assert_eq!(arena.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn memory_of_a_caller_is_used_in_place_and_never_written_to() {
        let arena = Arena::new();
        let theirs: Arc<[f64]> = Arc::from([1.0, 2.0]);
        struct Shared(Arc<[f64]>);
        impl AsRef<[u8]> for Shared {
            fn as_ref(&self) -> &[u8] {
                bytemuck::cast_slice(&self.0)
            }
        }
        let memory = arena.adopt(Box::new(Shared(theirs.clone()))).ok().unwrap();
        assert_eq!(memory.read(8, 8).unwrap().as_ptr() as usize, &theirs[1] as *const f64 as usize);
        assert!(memory.is_lent() && memory.write(0, 1).is_err());
        memory.own().unwrap();
        // SAFETY: no slice of the memory is alive.
        unsafe { memory.write(0, 8).unwrap().write_bytes(0, 8) };
        assert!(!memory.is_lent());
        assert_eq!(memory.read(0, 8).unwrap(), [0; 8]);
        assert_eq!(memory.read(8, 8).unwrap(), 2.0f64.to_ne_bytes());
        assert_eq!(*theirs, [1.0, 2.0]);
        drop(memory);
        assert_eq!(Arc::strong_count(&theirs), 1);
    }

    #[test]
    fn what_is_not_aligned_or_empty_is_given_back() {
        struct Odd(Vec<u64>);
        impl AsRef<[u8]> for Odd {
            fn as_ref(&self) -> &[u8] {
                &bytemuck::cast_slice(&self.0)[1..]
            }
        }
        let arena = Arena::new();
        assert!(arena.adopt(Box::new(Odd(vec![1, 2]))).is_err());
        assert!(arena.adopt(Box::new(Vec::new())).is_err());
    }
}
