//! The rules that operations share.

use crate::payload::{Chunking, PayloadLayout};
use crate::{Code, DType, Error, Result, Tensor};

/// The element type is one of these.
pub(super) fn dtype(name: &str, tensor: &Tensor, allowed: &[DType]) -> Result<()> {
    if allowed.contains(&tensor.dtype()) {
        return Ok(());
    }
    let allowed: Vec<_> = allowed.iter().map(|d| d.name()).collect();
    Err(Error::new(
        Code::DtypeMismatch,
        format!("expected {}, given {}", allowed.join(" or "), tensor.dtype()),
    )
    .at_column(name))
}

/// The element type is that of another operand.
pub(super) fn same_dtype(name: &str, tensor: &Tensor, other: &str, dtype: DType) -> Result<()> {
    if tensor.dtype() == dtype {
        return Ok(());
    }
    Err(Error::new(Code::DtypeMismatch, format!("expected {dtype} as {other} has, given {}", tensor.dtype()))
        .at_column(name))
}

/// The shape is this one.
pub(super) fn shape(name: &str, tensor: &Tensor, expected: &[usize]) -> Result<()> {
    if **tensor.shape() == *expected {
        return Ok(());
    }
    Err(Error::new(Code::ShapeMismatch, format!("expected shape {expected:?}, given {}", tensor.shape()))
        .at_column(name))
}

/// There are this many dimensions.
pub(super) fn rank(name: &str, tensor: &Tensor, expected: usize) -> Result<()> {
    if tensor.shape().rank() == expected {
        return Ok(());
    }
    Err(Error::new(
        Code::ShapeMismatch,
        format!("expected {expected} dimensions, given shape {}", tensor.shape()),
    )
    .at_column(name))
}

/// A scalar is a finite number.
pub(super) fn finite(name: &str, value: f32) -> Result<()> {
    if value.is_finite() {
        return Ok(());
    }
    Err(Error::invalid_argument(name, format!("expected a finite number, given {value}")))
}

/// One `f32` for each column, or nothing.
pub(super) fn columns(name: &str, tensor: Option<&Tensor>, columns: usize) -> Result<()> {
    match tensor {
        Some(tensor) => {
            dtype(name, tensor, &[DType::F32])?;
            shape(name, tensor, &[columns])
        }
        None => Ok(()),
    }
}

/// Columns that are heads side by side.
pub(super) fn heads(name: &str, columns: usize, head_dim: usize) -> Result<()> {
    if head_dim > 0 && columns.is_multiple_of(head_dim) {
        return Ok(());
    }
    Err(Error::new(
        Code::ShapeMismatch,
        format!("expected whole heads of {head_dim} columns, given {columns} columns"),
    )
    .at_column(name))
}

/// Offsets of ragged segments: one dimension, one more than there are segments.
pub(super) fn offsets(tensor: &Tensor) -> Result<usize> {
    dtype("offsets", tensor, &[DType::U32, DType::I32])?;
    rank("offsets", tensor, 1)?;
    tensor.len().checked_sub(1).ok_or_else(|| {
        Error::new(Code::ShapeMismatch, "expected one offset more than there are segments, given none")
            .at_column("offsets")
    })
}

/// What is wrong with offsets at this segment.
pub(super) fn offsets_fault(segment: u64, values: usize) -> Error {
    Error::new(Code::InvalidValue, format!("offsets must ascend and stay within the {values} values"))
        .at_column("offsets")
        .at_row(segment)
}

/// Targets of rows of logits.
pub(super) fn targets(tensor: &Tensor, rows: usize) -> Result<()> {
    dtype("targets", tensor, &[DType::U32, DType::I32])?;
    shape("targets", tensor, &[rows])
}

/// What is wrong with the target of this row.
pub(super) fn target_fault(row: u64, vocab: usize) -> Error {
    Error::new(Code::InvalidValue, format!("the target lies outside the vocabulary of {vocab}"))
        .at_column("targets")
        .at_row(row)
}

/// The part of the logits that is vocabulary; what is behind it is padding.
pub(super) fn vocab(vocab: usize, padded: usize) -> Result<()> {
    if vocab > 0 && vocab <= padded && u32::try_from(padded).is_ok() {
        return Ok(());
    }
    Err(Error::new(
        Code::ShapeMismatch,
        format!("expected a vocabulary of 1 to {padded} (and below 2^32), given {vocab}"),
    )
    .at_column("vocab"))
}

/// A cap for logits is a positive number.
pub(super) fn softcap(softcap: Option<f32>) -> Result<()> {
    match softcap {
        Some(cap) if !(cap.is_finite() && cap > 0.0) => {
            Err(Error::invalid_argument("softcap", format!("expected a positive number, given {cap}")))
        }
        _ => Ok(()),
    }
}

/// Bytes of all these tensors together.
pub(super) fn bytes(tensors: &[&Tensor]) -> u64 {
    tensors.iter().map(|t| t.bytes() as u64).sum()
}

/// A tensor has the elements that are cut into chunks, of a size that the layout has positions for.
pub(super) fn chunked(
    name: &str,
    tensor: &Tensor,
    chunking: &Chunking,
    layout: &PayloadLayout,
) -> Result<()> {
    if tensor.len() != chunking.elements() {
        return Err(Error::new(
            Code::ShapeMismatch,
            format!("expected {} elements as the chunking has, given {}", chunking.elements(), tensor.len()),
        )
        .at_column(name));
    }
    if chunking.block() > layout.chunk() {
        return Err(Error::invalid_argument(
            "chunking",
            format!("chunks of {} in a layout for {}", chunking.block(), layout.chunk()),
        ));
    }
    Ok(())
}

/// How many payloads there are.
pub(super) fn payloads(tensor: &Tensor, chunking: &Chunking, layout: &PayloadLayout) -> Result<usize> {
    /// Where counts of peers take 16 bits.
    const PEERS: usize = 65_535;
    dtype("payloads", tensor, &[DType::U32])?;
    rank("payloads", tensor, 2)?;
    let (peers, _) = tensor.shape().rows_cols();
    if peers > PEERS {
        return Err(Error::invalid_argument("payloads", format!("at most {PEERS}, given {peers}")));
    }
    shape("payloads", tensor, &[peers, layout.words(chunking)])?;
    Ok(peers)
}

/// Numbers of columns, in their order.
pub(super) fn column_index(tensor: &Tensor) -> Result<()> {
    dtype("index", tensor, &[DType::U32, DType::I32])?;
    rank("index", tensor, 1)
}

/// What is wrong with the number of a column at this position.
pub(super) fn column_index_fault(position: u64, columns: usize) -> Error {
    Error::new(Code::InvalidValue, format!("numbers of columns must ascend and stay below {columns}"))
        .at_column("index")
        .at_row(position)
}

/// Columns are whole groups of this many.
pub(super) fn whole_groups(name: &str, group: usize, columns: usize) -> Result<()> {
    if group == 0 {
        return Err(Error::invalid_argument(name, "expected at least 1, given 0"));
    }
    if columns.is_multiple_of(group) {
        return Ok(());
    }
    Err(Error::new(
        Code::ShapeMismatch,
        format!("expected whole groups of {group} columns, given {columns} columns"),
    )
    .at_column(name))
}
