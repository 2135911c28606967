//! What the backend asks of a machine with kernels.

use std::sync::Arc;

use gristmill_core::{DType, DeviceInfo, Result};

/// Memory of a device, released when dropped.
pub trait Memory {
    /// Its address on the device, a multiple of 256.
    fn address(&self) -> u64;
}

/// Arguments of a kernel, laid out as a C++ compiler lays out a struct with these members.
#[derive(Debug, Clone, Default)]
pub struct Args {
    bytes: Vec<u8>,
    alignment: usize,
}

impl Args {
    /// No members yet.
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(128), alignment: 1 }
    }

    fn push(mut self, member: &[u8]) -> Self {
        self.pad(member.len());
        self.alignment = self.alignment.max(member.len());
        self.bytes.extend_from_slice(member);
        self
    }

    fn pad(&mut self, alignment: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0);
    }

    /// A pointer or a `u64`.
    #[must_use]
    pub fn u64(self, x: u64) -> Self {
        self.push(&x.to_ne_bytes())
    }

    /// A size.
    #[must_use]
    pub fn size(self, x: usize) -> Self {
        self.u64(x as u64)
    }

    /// A `u32`.
    #[must_use]
    pub fn u32(self, x: u32) -> Self {
        self.push(&x.to_ne_bytes())
    }

    /// A `float`.
    #[must_use]
    pub fn f32(self, x: f32) -> Self {
        self.push(&x.to_ne_bytes())
    }

    /// Ends a struct of alignment 8 that is a member of this one.
    #[must_use]
    pub fn aligned(mut self) -> Self {
        self.pad(8);
        self
    }

    /// The bytes, padded to the alignment of the widest member.
    pub fn finish(mut self) -> Vec<u8> {
        self.pad(self.alignment);
        self.bytes
    }
}

/// A kernel to run, in blocks of 256 threads.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The file that has it: the name of the operation.
    pub op: &'static str,
    /// Its name.
    pub kernel: String,
    /// Blocks in each dimension, none of them 0.
    pub grid: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: usize,
    /// Its arguments, as [`Args::finish`] gives them.
    pub args: Vec<u8>,
}

/// A matrix product for a library, column-major as BLAS has it:
/// `out = alpha · op(a) · op(b) + beta · out`, `out` of `m` rows and `n` columns.
#[derive(Debug, Clone, Copy)]
pub struct Gemm {
    /// Type of the factors.
    pub dtype: DType,
    /// Type of the product.
    pub out_dtype: DType,
    /// Address of the left factor.
    pub a: u64,
    /// Address of the right factor.
    pub b: u64,
    /// Address of the product.
    pub out: u64,
    /// Whether `a` is stored transposed.
    pub trans_a: bool,
    /// Whether `b` is stored transposed.
    pub trans_b: bool,
    /// Rows of the product.
    pub m: usize,
    /// Columns of the product.
    pub n: usize,
    /// Products in each sum, at least 1.
    pub k: usize,
    /// How many products there are.
    pub batch: usize,
    /// Elements from one of the batch to the next, of `a`, `b` and `out`; 0 where all share one.
    pub strides: [usize; 3],
    /// Factor of the product.
    pub alpha: f32,
    /// Factor of what was in `out`; if 0, that does not matter.
    pub beta: f32,
}

/// A machine with memory and kernels. Everything happens in the order of the calls, on one thread.
///
/// Errors are [`gristmill_core::Code::OutOfMemory`] when there is no memory left, after which everything still works,
/// and [`gristmill_core::Code::DeviceLost`] after which nothing does.
pub trait Driver {
    /// What it is.
    fn info(&self) -> Arc<DeviceInfo>;

    /// Memory of at least this size, more than 0, with any content.
    fn alloc(&self, bytes: usize) -> Result<Box<dyn Memory>>;

    /// Copies host bytes to an address; they may change as soon as it returns.
    fn write(&self, address: u64, bytes: &[u8]) -> Result<()>;

    /// Waits for everything before, and copies from an address.
    fn read(&self, address: u64, bytes: &mut [u8]) -> Result<()>;

    /// Enqueues a kernel.
    fn launch(&self, launch: Launch) -> Result<()>;

    /// Waits for everything before.
    fn synchronize(&self) -> Result<()>;

    /// Enqueues a product, if there is a library that does it; `false` if not.
    fn gemm(&self, gemm: &Gemm) -> Result<bool> {
        let _ = gemm;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_lie_where_a_struct_has_them() {
        #[repr(C)]
        struct Members {
            a: u32,
            b: u64,
            c: f32,
            d: u32,
            e: u32,
        }
        let bytes = Args::new().u32(1).u64(2).f32(3.0).u32(4).u32(5).finish();
        assert_eq!(bytes.len(), size_of::<Members>());
        let member = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        use std::mem::offset_of;
        assert_eq!(member(offset_of!(Members, a)), 1);
        assert_eq!(member(offset_of!(Members, b)), 2);
        assert_eq!(member(offset_of!(Members, c)), 3f32.to_bits());
        assert_eq!((member(offset_of!(Members, d)), member(offset_of!(Members, e))), (4, 5));
    }
}
