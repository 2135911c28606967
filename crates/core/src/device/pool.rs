//! Memory that tensors gave back, kept for the next ones: allocation is slow on every device.

use std::collections::BTreeMap;

use super::Buffer;

/// Requests are rounded up to eight sizes for each power of two, so that at most an eighth is wasted and buffers find
/// another use.
pub(super) fn size_class(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() >> 4).max(256);
    bytes.max(1).div_ceil(step).saturating_mul(step)
}

/// Free buffers by size class, up to a limit in total.
#[derive(Default)]
pub(super) struct Pool {
    free: BTreeMap<usize, Vec<Buffer>>,
    bytes: usize,
}

impl Pool {
    /// How much is kept free at most: a step of training frees and asks for the same sizes again, a stream of
    /// batches too; beyond that it is better for others to have it.
    const LIMIT: usize = 1 << 30;

    pub(super) fn take(&mut self, class: usize) -> Option<Buffer> {
        let buffer = self.free.get_mut(&class)?.pop()?;
        self.bytes -= buffer.bytes();
        Some(buffer)
    }

    /// Keeps a buffer, or drops it when it cannot serve again or enough are kept.
    pub(super) fn put(&mut self, buffer: Buffer) {
        if buffer.reusable && self.bytes + buffer.bytes() <= Self::LIMIT {
            self.bytes += buffer.bytes();
            self.free.entry(buffer.bytes()).or_default().push(buffer);
        }
    }

    pub(super) fn clear(&mut self) {
        self.free.clear();
        self.bytes = 0;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_at_most_an_eighth() {
        for bytes in (1..5000).chain([1 << 20, (1 << 20) + 1, 3 << 29, usize::MAX >> 2]) {
            let class = size_class(bytes);
            assert!(class >= bytes, "{bytes}");
            assert!(class - bytes < 256.max(bytes / 8 + 1), "{bytes} became {class}");
            assert_eq!(size_class(class), class, "{bytes}");
        }
    }

    #[test]
    fn a_buffer_serves_again_and_others_memory_does_not() {
        let mut pool = Pool::default();
        pool.put(Buffer::new((), 256));
        pool.put(Buffer::adopted((), 512));
        assert_eq!(pool.bytes(), 256);
        assert!(pool.take(512).is_none());
        assert!(pool.take(256).is_some());
        assert!(pool.take(256).is_none());
        pool.put(Buffer::new((), Pool::LIMIT));
        pool.put(Buffer::new((), 256));
        assert_eq!(pool.bytes(), Pool::LIMIT);
        pool.clear();
        assert_eq!(pool.bytes(), 0);
    }
}
