//! Pieces of a tensor that one binding can show.

use gristmill_core::device::Buffers;
use gristmill_core::{Result, Tensor};

use crate::memory::Memory;

/// Bindings begin at multiples of this many bytes; no adapter asks for more, and the core's buffers are multiples of
/// it in size.
pub(crate) const ALIGNMENT: u64 = 256;

/// Some elements of a buffer, as a binding: the binding begins at an aligned place before them.
#[derive(Clone)]
pub(crate) struct Window {
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// Elements in the binding before the first one that is meant.
    pub(crate) at: u32,
}

impl Window {
    /// The window of `len` elements of a tensor from `first` on.
    pub(crate) fn of(tensor: &Tensor, buffers: &Buffers, first: usize, len: usize) -> Result<Self> {
        let buffer = &buffers.of(tensor)?.get::<Memory>()?.0;
        let size = tensor.dtype().size();
        if len == 0 {
            // Nothing is read, but something must be bound.
            return Ok(Self { buffer: buffer.clone(), offset: 0, size: ALIGNMENT, at: 0 });
        }
        let begin = (tensor.byte_offset() + first * size) as u64;
        Ok(Self::cut(buffer, begin, (len * size) as u64, size as u64))
    }

    /// All of a buffer.
    pub(crate) fn whole(buffer: &wgpu::Buffer) -> Self {
        Self { buffer: buffer.clone(), offset: 0, size: buffer.size(), at: 0 }
    }

    /// Bytes of a buffer that are elements of `size` bytes each.
    pub(crate) fn cut(buffer: &wgpu::Buffer, begin: u64, bytes: u64, size: u64) -> Self {
        let offset = begin / ALIGNMENT * ALIGNMENT;
        let end = (begin + bytes).next_multiple_of(16).min(buffer.size());
        // The distance is below the alignment.
        Self { buffer: buffer.clone(), offset, size: end - offset, at: ((begin - offset) / size) as u32 }
    }
}

/// Cuts `0..len` into consecutive pieces of at most `piece`.
pub(crate) fn pieces(len: usize, piece: usize) -> impl Iterator<Item = (usize, usize)> {
    let piece = piece.max(1);
    (0..len.div_ceil(piece)).map(move |i| (i * piece, piece.min(len - i * piece)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_everything_once() {
        assert_eq!(pieces(0, 4).count(), 0);
        assert_eq!(pieces(9, 4).collect::<Vec<_>>(), [(0, 4), (4, 4), (8, 1)]);
        assert_eq!(pieces(4, 0).count(), 4);
    }
}
