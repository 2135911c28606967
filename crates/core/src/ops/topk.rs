use super::{Cost, Operation, Promise, check};
use crate::{DType, Error, Result, Tensor};

/// The `k` entries of greatest magnitude of every chunk, and where they are. Chunks are of `chunk` consecutive
/// elements; the last may be shorter. For the rows of a matrix, the chunk is its number of columns.
///
/// Entries come in descending order of magnitude, equal magnitudes in ascending order of position; positions count
/// from the start of the chunk. Magnitudes are compared as the bits without the sign, so NaN is greater than infinity
/// (among NaNs, by payload) and nothing is lost to flushing of subnormals. A last chunk of fewer than `k` elements
/// fills up with value 0 at position `u32::MAX`. Exact on every backend.
#[derive(Debug, Clone)]
pub struct Topk {
    /// Elements, `f32`; any shape, taken in order.
    pub x: Tensor,
    /// The values, `[chunks, k]`, `f32`, bit for bit.
    pub values: Tensor,
    /// The positions, `[chunks, k]`, `u32`.
    pub indices: Tensor,
    /// Elements of a chunk, at least 1.
    pub chunk: usize,
    /// Entries of each chunk, from 1 to `chunk`.
    pub k: usize,
}

impl Operation for Topk {
    const NAME: &'static str = "topk";
    const PROMISE: Promise = Promise::Exact;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.values, &self.indices]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &[DType::F32])?;
        sizes(self.chunk, self.k)?;
        let shape = [self.x.len().div_ceil(self.chunk), self.k];
        check::dtype("values", &self.values, &[DType::F32])?;
        check::shape("values", &self.values, &shape)?;
        check::dtype("indices", &self.indices, &[DType::U32])?;
        check::shape("indices", &self.indices, &shape)
    }

    fn cost(&self) -> Cost {
        Cost { flops: self.x.len() as u64, bytes: check::bytes(&[&self.x, &self.values, &self.indices]) }
    }
}

fn sizes(chunk: usize, k: usize) -> Result<()> {
    if chunk == 0 || u32::try_from(chunk).is_err() {
        return Err(Error::invalid_argument("chunk", format!("expected 1 to 2^32 - 1, given {chunk}")));
    }
    if k == 0 || k > chunk {
        return Err(Error::invalid_argument("k", format!("expected 1 to the chunk of {chunk}, given {k}")));
    }
    Ok(())
}

/// What [`Tensor::topk`] gives.
#[derive(Debug, Clone)]
pub struct TopkOutput {
    /// The values, `[chunks, k]`.
    pub values: Tensor,
    /// Their positions in their chunks, `[chunks, k]`.
    pub indices: Tensor,
}

impl Tensor {
    /// The `k` entries of greatest magnitude of every chunk of `chunk` elements; see [`Topk`].
    ///
    /// # Errors
    /// [`crate::Code::InvalidArgument`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`].
    pub fn topk(&self, k: usize, chunk: usize) -> Result<TopkOutput> {
        sizes(chunk, k).map_err(|e| e.in_op(Topk::NAME))?;
        let shape = [self.len().div_ceil(chunk), k];
        let values = self.sibling(DType::F32, &shape)?;
        let indices = self.sibling(DType::U32, &shape)?;
        self.device().run(Topk {
            x: self.clone(),
            values: values.clone(),
            indices: indices.clone(),
            chunk,
            k,
        })?;
        Ok(TopkOutput { values, indices })
    }
}
