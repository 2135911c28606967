//! From stored bytes to a tensor.

use gristmill_core::{Code, DType, Error, Result};
use half::bf16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::names::Place;
use super::source::{Source, Stored, zeroed};
use super::{HostData, HostTensor, Located};
use crate::gguf::Encoding;

/// Elements that one task converts: enough to be worth a task.
const TASK: usize = 1 << 16;

pub(super) fn tensor(source: &Source, located: &Located, to: DType) -> Result<HostTensor> {
    let Located { spec, rows, stored } = located;
    let shape = spec.shape.clone();
    let count = shape.iter().product();
    let data = match to {
        DType::F32 => {
            let mut out = zeroed::<f32>(count)?;
            // Nothing to convert: the file's bytes are the tensor's.
            if rows.encoding == Encoding::F32 && rows.place == Place::Whole && cfg!(target_endian = "little")
            {
                source.fill(stored, 0, bytemuck::cast_slice_mut(&mut out))?;
            } else {
                rows.convert(source, stored, &mut out, <[f32]>::copy_from_slice)?;
            }
            HostData::F32(out)
        }
        DType::Bf16 => {
            let mut out = zeroed::<bf16>(count)?;
            rows.convert(source, stored, &mut out, |out, row| out.convert_from_f32_slice(row))?;
            HostData::Bf16(out)
        }
        other => {
            let message = format!("weights come in f32 or bf16, not in {other}");
            return Err(Error::new(Code::DtypeMismatch, message));
        }
    };
    Ok(HostTensor { shape, data })
}

/// A tensor as rows, and where they are stored.
#[derive(Debug)]
pub(super) struct Rows {
    encoding: Encoding,
    place: Place,
    /// Rows of the tensor.
    count: usize,
    /// Elements of one.
    width: usize,
    /// Bytes of a stored row of this width.
    bytes: usize,
}

impl Rows {
    pub(super) fn of(shape: &[usize], place: Place, encoding: Encoding) -> Result<Self> {
        let (count, width) = match (shape, place) {
            (&[rows, cols], _) => (rows, cols),
            (&[size], Place::Whole) => (1, size),
            _ => (shape[0], 1),
        };
        let bytes = encoding.bytes(width).ok_or_else(|| {
            let message = format!("a tensor in {encoding} cannot be cut in rows of {width}");
            Error::new(Code::Unsupported, message)
        })?;
        Ok(Self { encoding, place, count, width, bytes })
    }

    /// Reads the stored rows and hands each row of the tensor, in f32, to `store`.
    fn convert<T: Send>(
        &self,
        source: &Source,
        stored: &Stored,
        out: &mut [T],
        store: impl Fn(&mut [T], &[f32]) + Sync,
    ) -> Result<()> {
        let first = match self.place {
            Place::Rows { start } => start,
            _ => 0,
        };
        let range = match self.place {
            Place::Rows { .. } => (first * self.bytes) as u64..((first + self.count) * self.bytes) as u64,
            _ => 0..stored.bytes,
        };
        let bytes = source.read(stored, range)?;
        if let Place::Columns { start } = self.place {
            self.transpose(&bytes, start, out, store);
            return Ok(());
        }
        let rows = (TASK / self.width).max(1);
        out.par_chunks_mut(rows * self.width).enumerate().for_each_init(
            || vec![0.0; self.width],
            |row, (task, out)| {
                for (r, out) in out.chunks_exact_mut(self.width).enumerate() {
                    let at = (self.stored_row(task * rows + r) - first) * self.bytes;
                    self.encoding.decode(&bytes[at..at + self.bytes], row);
                    store(out, row);
                }
            },
        );
        Ok(())
    }

    /// The stored row that row `r` of the tensor is.
    fn stored_row(&self, r: usize) -> usize {
        match self.place {
            Place::Whole | Place::Columns { .. } => r,
            Place::Rows { start } => start + r,
            Place::Heads { part, head_dim } => (r / head_dim * 3 + part) * head_dim + r % head_dim,
            Place::Halves { head_dim } => {
                let (head, j) = (r / head_dim, r % head_dim);
                let (second, pair) = (j / (head_dim / 2), j % (head_dim / 2));
                head * head_dim + 2 * pair + second
            }
        }
    }

    /// Stored as `[width, all]`, of which columns from `start` on are the rows of the tensor.
    fn transpose<T: Send>(
        &self,
        bytes: &[u8],
        start: usize,
        out: &mut [T],
        store: impl Fn(&mut [T], &[f32]) + Sync,
    ) {
        /// Columns that are read together, since they share cache lines.
        const TOGETHER: usize = 16;
        let stored_row = bytes.len() / self.width;
        let (_, size) = self.encoding.block();
        out.par_chunks_mut(TOGETHER * self.width).enumerate().for_each(|(task, out)| {
            let rows = out.len() / self.width;
            let mut turned = vec![0.0; out.len()];
            let mut piece = [0.0; TOGETHER];
            for c in 0..self.width {
                let at = c * stored_row + (start + task * TOGETHER) * size;
                self.encoding.decode(&bytes[at..at + rows * size], &mut piece[..rows]);
                for (r, value) in piece[..rows].iter().enumerate() {
                    turned[r * self.width + c] = *value;
                }
            }
            store(out, &turned);
        });
    }
}

/// Checks that two stored tensors are the same, byte by byte.
pub(super) fn same(source: &Source, embed: &Stored, head: &Stored) -> Result<()> {
    let different = || {
        let message = format!("the model is tied, and its file has a head {:?} of its own", head.name);
        Error::new(Code::InvalidModel, message)
    };
    if (&embed.shape, &embed.encoding, embed.bytes) != (&head.shape, &head.encoding, head.bytes) {
        return Err(different());
    }
    const BLOCK: u64 = 1 << 22;
    let mut at = 0;
    while at < embed.bytes {
        let range = at..(at + BLOCK).min(embed.bytes);
        if source.read(embed, range.clone())? != source.read(head, range.clone())? {
            return Err(different());
        }
        at = range.end;
    }
    Ok(())
}
