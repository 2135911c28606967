//! One band of chunks at a time: while a chunk is in the nearest cache, it is accumulated, its greatest entries are
//! found, quantised and packed, and what is left goes to the residual. Each number is read once and written once.

mod pack;
mod select;

use gristmill_core::Result;
use gristmill_core::ops::TopkEncode;
use gristmill_core::payload::{Chunking, LARGEST, MAX_CHUNK, settle};
use rayon::prelude::*;

use self::select::Selection;
use super::lanes::{dispatch, prefetch};
use super::{PARALLEL, TASK};
use crate::access::Access;
use crate::reference::fail_at;

pub(super) fn run(op: &TopkEncode, access: &Access) -> Result<()> {
    let (base, local) = (access.input::<f32>(&op.base)?, access.input::<f32>(&op.local)?);
    let residual = access.input::<f32>(&op.residual)?;
    let residual_out = access.output::<f32>(&op.residual_out)?;
    let payload = access.output::<u32>(&op.payload)?;
    let bands = Bands::of(&op.chunking);
    let encode = |(band, (out, words)): (usize, (&mut [f32], &mut [u32]))| {
        let first = bands.element(band);
        let range = first..first + out.len();
        let mut coder = Coder::new(op);
        coder.band(
            bands.chunk(band),
            first,
            [&base[range.clone()], &local[range.clone()], &residual[range]],
            out,
            words,
        )
    };
    let words = bands.chunks * op.layout.words_per_chunk();
    let fault = if base.len() < PARALLEL {
        let outputs = residual_out.chunks_mut(bands.elements).zip(payload.chunks_mut(words));
        outputs.enumerate().filter_map(encode).min()
    } else {
        let outputs = residual_out.par_chunks_mut(bands.elements).zip(payload.par_chunks_mut(words));
        outputs.enumerate().filter_map(encode).min()
    };
    fail_at(op, fault)
}

/// Pieces of a tensor whose elements and chunks are both consecutive: rows of blocks, or several runs.
#[derive(Clone, Copy)]
pub(super) struct Bands {
    /// Elements and chunks of all but the last.
    pub(super) elements: usize,
    pub(super) chunks: usize,
}

impl Bands {
    pub(super) fn of(c: &Chunking) -> Self {
        if c.rows() == 1 {
            let chunks = (TASK / c.block_columns()).max(1);
            return Self { elements: chunks * c.block_columns(), chunks };
        }
        // Of an empty tensor no band is made; sizes of 0 would be refused all the same.
        Self { elements: (c.block_rows() * c.columns()).max(1), chunks: c.across().max(1) }
    }

    /// The first element of a band.
    pub(super) fn element(&self, band: usize) -> usize {
        band * self.elements
    }

    /// The first chunk of a band.
    pub(super) fn chunk(&self, band: usize) -> usize {
        band * self.chunks
    }
}

/// The elements of a chunk, with room for whole vectors.
#[repr(align(64))]
struct Elements([f32; MAX_CHUNK]);

/// What encodes one chunk after the other.
struct Coder<'a> {
    op: &'a TopkEncode,
    acc: Box<Elements>,
    selection: Selection,
    packer: pack::Packer,
}

impl<'a> Coder<'a> {
    fn new(op: &'a TopkEncode) -> Self {
        Self {
            op,
            acc: Box::new(Elements([0.0; MAX_CHUNK])),
            selection: Selection::new(),
            packer: pack::Packer::new(op.layout),
        }
    }

    /// Encodes a band that begins with this chunk and element; `inputs` are its parts of base, local and residual. The
    /// first chunk at fault, if one is.
    fn band(
        &mut self,
        first_chunk: usize,
        first: usize,
        inputs: [&[f32]; 3],
        out: &mut [f32],
        words: &mut [u32],
    ) -> Option<u64> {
        let (op, columns) = (self.op, self.op.chunking.columns());
        let mut fault = None;
        for (i, words) in words.chunks_exact_mut(op.layout.words_per_chunk()).enumerate() {
            let chunk = op.chunking.chunk(first_chunk + i);
            let at = chunk.row * columns + chunk.column - first;
            let acc = &mut self.acc.0;
            let greatest =
                accumulate(op.decay, inputs, at, columns, chunk.columns, &mut acc[..chunk.elements()]);
            if greatest > LARGEST.to_bits() {
                fault = fault.or(Some((first_chunk + i) as u64));
                continue;
            }
            let entries = op.layout.entries(chunk.elements());
            let positions = self.selection.greatest(acc, chunk.elements(), entries, greatest);
            self.packer.pack(acc, positions, words);
            let rows = acc[..chunk.elements()].chunks_exact(chunk.columns);
            for (r, row) in rows.enumerate() {
                out[at + r * columns..][..chunk.columns].copy_from_slice(row);
            }
        }
        fault
    }
}

/// Writes the accumulated elements of a chunk of `width` columns that begins at `at`; the bits of the greatest
/// magnitude, which those of NaN exceed.
fn accumulate(
    decay: f32,
    [base, local, residual]: [&[f32]; 3],
    at: usize,
    columns: usize,
    width: usize,
    acc: &mut [f32],
) -> u32 {
    dispatch(
        #[inline(always)]
        || {
            let mut greatest = 0;
            for (r, acc) in acc.chunks_exact_mut(width).enumerate() {
                let row = at + r * columns..at + r * columns + width;
                if width < columns {
                    // The pieces of rows are too short for a processor to foresee the next block's.
                    for values in [base, local, residual] {
                        prefetch(values, row.end..row.end + width);
                    }
                }
                let inputs = base[row.clone()].iter().zip(&local[row.clone()]).zip(&residual[row]);
                for (acc, ((base, local), residual)) in acc.iter_mut().zip(inputs) {
                    *acc = settle(settle(decay * residual) + settle(base - local));
                    greatest = greatest.max(acc.to_bits() & 0x7FFF_FFFF);
                }
            }
            greatest
        },
    )
}
