//! Columns as tensors on a device, and back.
//!
//! | column | tensor |
//! |---|---|
//! | float32, float64, float16, uint8, int32, uint32 | one dimension, `f32`, `f64`, `f16`, `u8`, `i32`, `u32` |
//! | fixed-size lists of these, to any depth | one dimension more for each |
//! | lists and large lists of any of these | ragged: all values, and offsets into their first dimension, `u32` |
//!
//! A tensor has no nulls, so a column with one is refused by its row. On the CPU the memory of the column is used as
//! it is where it is aligned.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int32Type, UInt8Type, UInt32Type,
};
use arrow_array::{Array, ArrayRef, FixedSizeListArray, ListArray, PrimitiveArray, RecordBatch};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};
use bytes::Bytes;
use gristmill_core::{Code, DType, Device, Element, Error, Result, Tensor};

/// A column on a device.
#[derive(Debug, Clone)]
pub enum TensorColumn {
    /// One entry of the first dimension for each row.
    Dense(Tensor),
    /// As many entries as a row has.
    Ragged {
        /// The entries of all rows, one after the other.
        values: Tensor,
        /// Where each row begins, and where the last one ends; `u32`, one more than there are rows.
        offsets: Tensor,
    },
}

/// Puts a column of a table on a device. Several batches become one tensor.
///
/// # Errors
/// [`Code::CorruptData`], [`Code::MissingColumn`]; [`Code::WrongType`] for a column that is no tensor;
/// [`Code::InvalidValue`] with its row for a null.
pub fn read_tensor(bytes: impl Into<Bytes>, column: &str, device: &Device) -> Result<TensorColumn> {
    let batches = crate::read_ipc(bytes)?;
    let schema = batches.schema().clone();
    let Ok(index) = schema.index_of(column) else {
        let there: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        return Err(Error::new(Code::MissingColumn, format!("no column {column:?}"))
            .at_column(column)
            .hint(format!("the table has: {}", there.join(", "))));
    };
    let arrays: Vec<ArrayRef> = batches.map(|b| Ok(b?.column(index).clone())).collect::<Result<_>>()?;
    let whole = match &arrays[..] {
        [] => arrow_array::new_empty_array(schema.field(index).data_type()),
        [one] => one.clone(),
        many => {
            let many: Vec<&dyn Array> = many.iter().map(AsRef::as_ref).collect();
            arrow_select::concat::concat(&many).map_err(crate::fault::arrow)?
        }
    };
    array_to_tensor(&whole, column, device)
}

/// Puts an array on a device; `name` is for errors.
///
/// # Errors
/// As [`read_tensor`].
pub fn array_to_tensor(array: &ArrayRef, name: &str, device: &Device) -> Result<TensorColumn> {
    let (offsets, values) = match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            (list.offsets().iter().map(|&o| o as usize).collect(), list.values())
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            (list.offsets().iter().map(|&o| o as usize).collect(), list.values())
        }
        _ => return Ok(TensorColumn::Dense(dense(array, name, device, &|row| row)?)),
    };
    ragged(array, offsets, values, name, device)
}

fn ragged(
    array: &ArrayRef,
    offsets: Vec<usize>,
    values: &ArrayRef,
    name: &str,
    device: &Device,
) -> Result<TensorColumn> {
    no_nulls(array, name, &|row| row)?;
    let (first, last) = (offsets[0], offsets[offsets.len() - 1]);
    let short: Option<Vec<u32>> = offsets.iter().map(|o| u32::try_from(o - first).ok()).collect();
    let Some(short) = short else {
        return Err(Error::new(Code::InvalidValue, "the lists have more than 2^32 values together")
            .at_column(name)
            .hint("pass fewer rows at a time"));
    };
    let row_of = |value: usize| offsets.partition_point(|&o| o <= value + first).saturating_sub(1);
    let values = dense(&values.slice(first, last - first), name, device, &row_of)?;
    let segments = short.len();
    Ok(TensorColumn::Ragged { values, offsets: device.tensor(short, [segments])? })
}

/// A tensor of primitives or fixed-size lists; `row_of` gives the row of the table in which an entry lies.
fn dense(array: &ArrayRef, name: &str, device: &Device, row_of: &dyn Fn(usize) -> usize) -> Result<Tensor> {
    no_nulls(array, name, row_of)?;
    if let DataType::FixedSizeList(_, size) = array.data_type() {
        let (list, size) = (array.as_fixed_size_list(), *size as usize);
        let entries = dense(list.values(), name, device, &|entry| row_of(entry / size.max(1)))?;
        let shape: Vec<usize> =
            [list.len(), size].into_iter().chain(entries.shape()[1..].iter().copied()).collect();
        return entries.reshape(shape).map_err(|e| e.at_column(name));
    }
    let (dtype, buffer) = match array.data_type() {
        DataType::Float32 => (DType::F32, buffer::<Float32Type>(array)),
        DataType::Float64 => (DType::F64, buffer::<Float64Type>(array)),
        DataType::Float16 => (DType::F16, buffer::<Float16Type>(array)),
        DataType::UInt8 => (DType::U8, buffer::<UInt8Type>(array)),
        DataType::Int32 => (DType::I32, buffer::<Int32Type>(array)),
        DataType::UInt32 => (DType::U32, buffer::<UInt32Type>(array)),
        other => {
            return Err(Error::new(Code::WrongType, format!("a column of {other} is no tensor"))
                .at_column(name)
                .hint("float32, float64, float16, uint8, int32, uint32, or lists of these"));
        }
    };
    struct Lent(Buffer);
    impl AsRef<[u8]> for Lent {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    device.tensor_from(Box::new(Lent(buffer)), dtype, [array.len()])
}

/// The elements of a primitive array, and nothing beside them.
fn buffer<T: ArrowPrimitiveType>(array: &ArrayRef) -> Buffer {
    array.as_primitive::<T>().values().inner().clone()
}

fn no_nulls(array: &ArrayRef, name: &str, row_of: &dyn Fn(usize) -> usize) -> Result<()> {
    let null = array.nulls().filter(|n| n.null_count() > 0).and_then(|n| n.iter().position(|valid| !valid));
    match null {
        None => Ok(()),
        Some(at) => Err(Error::new(Code::InvalidValue, "a null, which a tensor has not")
            .at_column(name)
            .at_row(row_of(at) as u64)),
    }
}

/// A table of one column: the tensor, an entry of its first dimension for each row. Waits for the tensor.
///
/// # Errors
/// What reading the tensor returns; [`Code::Unsupported`] for `bf16`, which Arrow has not.
pub fn tensor_to_batch(tensor: &Tensor, name: &str) -> Result<RecordBatch> {
    let array = to_array(tensor)?;
    one_column(name, array)
}

/// A table of one column of lists. Waits for the tensors.
///
/// # Errors
/// As [`tensor_to_batch`]; [`Code::InvalidValue`] for offsets that do not ascend from 0 or lead beyond the values.
pub fn ragged_to_batch(values: &Tensor, offsets: &Tensor, name: &str) -> Result<RecordBatch> {
    let entries = to_array(values)?;
    let ends: Vec<u32> = match offsets.dtype() {
        DType::I32 => offsets.to_vec::<i32>()?.into_iter().map(|o| o as u32).collect(),
        _ => offsets.to_vec()?,
    };
    let rows = i32::try_from(entries.len()).ok().and_then(|len| {
        let ends: Option<Vec<i32>> = ends.iter().map(|&o| i32::try_from(o).ok()).collect();
        ends.filter(|ends| ends.is_sorted() && ends.first() >= Some(&0) && ends.last() <= Some(&len))
    });
    let Some(rows) = rows else {
        let what = format!("offsets must ascend and stay within the {} values", entries.len());
        return Err(Error::new(Code::InvalidValue, what).at_column("offsets"));
    };
    let field = Arc::new(Field::new("item", entries.data_type().clone(), false));
    let list = ListArray::try_new(field, OffsetBuffer::new(ScalarBuffer::from(rows)), entries, None)
        .map_err(crate::fault::arrow)?;
    one_column(name, Arc::new(list))
}

fn one_column(name: &str, array: ArrayRef) -> Result<RecordBatch> {
    let schema = arrow_schema::Schema::new(vec![Field::new(name, array.data_type().clone(), false)]);
    RecordBatch::try_new(Arc::new(schema), vec![array]).map_err(crate::fault::arrow)
}

fn to_array(tensor: &Tensor) -> Result<ArrayRef> {
    let elements = match tensor.dtype() {
        DType::F32 => elements::<Float32Type>(tensor)?,
        DType::F64 => elements::<Float64Type>(tensor)?,
        DType::F16 => elements::<Float16Type>(tensor)?,
        DType::U8 => elements::<UInt8Type>(tensor)?,
        DType::I32 => elements::<Int32Type>(tensor)?,
        DType::U32 => elements::<UInt32Type>(tensor)?,
        DType::Bf16 => {
            return Err(Error::new(Code::Unsupported, "Arrow has no bf16").hint("cast the tensor to f32"));
        }
    };
    let inner = tensor.shape().iter().skip(1);
    inner.rev().try_fold(elements, |entries, &size| {
        let wide = i32::try_from(size).ok().filter(|&size| size > 0).ok_or_else(|| {
            let what = format!("a tensor of shape {} is no column of lists", tensor.shape());
            Error::new(Code::Unsupported, what)
        })?;
        let field = Arc::new(Field::new("item", entries.data_type().clone(), false));
        let list = FixedSizeListArray::try_new(field, wide, entries, None).map_err(crate::fault::arrow)?;
        Ok(Arc::new(list) as ArrayRef)
    })
}

fn elements<T: ArrowPrimitiveType>(tensor: &Tensor) -> Result<ArrayRef>
where
    T::Native: Element,
{
    Ok(Arc::new(PrimitiveArray::<T>::new(tensor.to_vec::<T::Native>()?.into(), None)))
}
