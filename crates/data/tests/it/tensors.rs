//! Columns as tensors and back, over a device.

use std::sync::Arc;

use arrow_array::types::{Float32Type, Int32Type, UInt8Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, Float32Array, Float64Array, Int64Array, LargeListArray, ListArray,
    RecordBatch, StringArray, UInt32Array,
};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field};
use gristmill_core::{Code, DType, Device, Tensor};
use gristmill_data::{TensorColumn, array_to_tensor, ragged_to_batch, read_tensor, tensor_to_batch};

fn device() -> Device {
    gristmill_cpu::open_reference().unwrap()
}

fn dense(column: TensorColumn) -> Tensor {
    match column {
        TensorColumn::Dense(tensor) => tensor,
        TensorColumn::Ragged { .. } => panic!("ragged"),
    }
}

fn ragged(column: TensorColumn) -> (Tensor, Vec<u32>) {
    match column {
        TensorColumn::Ragged { values, offsets } => (values, offsets.to_vec().unwrap()),
        TensorColumn::Dense(_) => panic!("dense"),
    }
}

fn ipc(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn table(array: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter([("x", array)]).unwrap()
}

#[test]
fn numbers_keep_their_type_and_several_batches_become_one() {
    let device = device();
    let parts = [vec![1.5f32, -2.0], vec![], vec![f32::INFINITY]];
    let batches = parts.map(|part| table(Arc::new(Float32Array::from(part))));
    let tensor = dense(read_tensor(ipc(&batches), "x", &device).unwrap());
    assert_eq!(tensor.to_vec::<f32>().unwrap(), [1.5, -2.0, f32::INFINITY]);
    for (array, dtype) in [
        (Arc::new(Float64Array::from(vec![1.0, 2.0])) as ArrayRef, DType::F64),
        (Arc::new(UInt32Array::from(vec![1, u32::MAX])), DType::U32),
    ] {
        let tensor = dense(array_to_tensor(&array, "x", &device).unwrap());
        assert_eq!((tensor.dtype(), &**tensor.shape()), (dtype, &[2][..]));
        // A slice is what it shows.
        let second = dense(array_to_tensor(&array.slice(1, 1), "x", &device).unwrap());
        assert_eq!(second.read().unwrap(), tensor.read().unwrap()[dtype.size()..]);
        let back = tensor_to_batch(&tensor, "x").unwrap();
        assert_eq!(back.column(0), &array);
    }
}

#[test]
fn lists_become_dimensions_or_offsets() {
    let device = device();
    let rows = vec![Some(vec![Some(1), Some(2)]), Some(vec![]), Some(vec![Some(3)])];
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows.clone()));
    let large: ArrayRef = Arc::new(LargeListArray::from_iter_primitive::<Int32Type, _, _>(rows));
    for array in [&list, &large] {
        let (values, offsets) = ragged(array_to_tensor(array, "x", &device).unwrap());
        assert_eq!((values.to_vec::<i32>().unwrap(), &offsets[..]), (vec![1, 2, 3], &[0, 2, 2, 3][..]));
        let (values, offsets) = ragged(array_to_tensor(&array.slice(1, 2), "x", &device).unwrap());
        assert_eq!((values.to_vec::<i32>().unwrap(), &offsets[..]), (vec![3], &[0, 0, 1][..]));
    }
    let (values, offsets) = ragged(array_to_tensor(&list, "x", &device).unwrap());
    let offsets = device.tensor(offsets, [4]).unwrap();
    let back = ragged_to_batch(&values, &offsets, "x").unwrap();
    let back = ragged(array_to_tensor(back.column(0), "x", &device).unwrap());
    assert_eq!((back.0.to_vec::<i32>().unwrap(), &back.1[..]), (vec![1, 2, 3], &[0, 2, 2, 3][..]));

    let rows = (0..4).map(|r| Some(vec![Some(r), Some(10 + r), Some(20 + r)]));
    let fixed: ArrayRef = Arc::new(FixedSizeListArray::from_iter_primitive::<UInt8Type, _, _>(rows, 3));
    let matrix = dense(array_to_tensor(&fixed.slice(1, 2), "x", &device).unwrap());
    assert_eq!(
        (&**matrix.shape(), matrix.to_vec::<u8>().unwrap()),
        (&[2, 3][..], vec![1, 11, 21, 2, 12, 22])
    );
    let back = tensor_to_batch(&matrix, "x").unwrap();
    assert_eq!(
        dense(array_to_tensor(back.column(0), "x", &device).unwrap()).read().unwrap(),
        matrix.read().unwrap()
    );
    // Lists of fixed-size lists: ragged rows of a matrix.
    let field = Arc::new(Field::new("item", fixed.data_type().clone(), true));
    let offsets = arrow_buffer::OffsetBuffer::new(vec![0, 3, 4].into());
    let nested: ArrayRef = Arc::new(ListArray::try_new(field, offsets, fixed, None).unwrap());
    let (values, offsets) = ragged(array_to_tensor(&nested, "x", &device).unwrap());
    assert_eq!((&**values.shape(), &offsets[..]), (&[4, 3][..], &[0, 3, 4][..]));
}

#[test]
fn what_is_no_tensor_is_refused_with_its_place() {
    let device = device();
    let refused = |array: ArrayRef| {
        let e = array_to_tensor(&array, "x", &device).unwrap_err();
        assert_eq!(e.location().column.as_deref(), Some("x"));
        (e.code(), e.location().row)
    };
    assert_eq!(refused(Arc::new(StringArray::from(vec!["a"]))), (Code::WrongType, None));
    assert_eq!(refused(Arc::new(Int64Array::from(vec![1]))), (Code::WrongType, None));
    let holes = Float32Array::from(vec![Some(1.0), None]);
    assert_eq!(refused(Arc::new(holes)), (Code::InvalidValue, Some(1)));
    let list = |rows: Vec<Option<Vec<Option<f32>>>>| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows))
    };
    let first = || Some(vec![Some(1.0), Some(2.0)]);
    assert_eq!(refused(list(vec![first(), None])), (Code::InvalidValue, Some(1)));
    assert_eq!(refused(list(vec![first(), Some(vec![]), Some(vec![None])])), (Code::InvalidValue, Some(2)));
    let fixed = vec![Some(vec![Some(1.0), Some(2.0)]), Some(vec![Some(3.0), None])];
    let fixed: ArrayRef = Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(fixed, 2));
    assert_eq!(refused(fixed), (Code::InvalidValue, Some(1)));

    let bytes = ipc(&[table(Arc::new(Float32Array::from(vec![1.0])))]);
    let e = read_tensor(bytes.clone(), "y", &device).unwrap_err();
    assert_eq!((e.code(), e.hint_text()), (Code::MissingColumn, Some("the table has: x")));
    assert_eq!(read_tensor(bytes[..40].to_vec(), "x", &device).unwrap_err().code(), Code::CorruptData);
    let brain = device.zeros(DType::Bf16, [3]).unwrap();
    assert_eq!(tensor_to_batch(&brain, "x").unwrap_err().code(), Code::Unsupported);
    let (values, offsets) =
        (device.zeros(DType::F32, [3]).unwrap(), device.tensor(vec![0u32, 4], [2]).unwrap());
    assert_eq!(ragged_to_batch(&values, &offsets, "x").unwrap_err().code(), Code::InvalidValue);
    assert_eq!(
        tensor_to_batch(&device.zeros(DType::U8, [2, 0]).unwrap(), "x").unwrap_err().code(),
        Code::Unsupported
    );
    let scalar = tensor_to_batch(&device.zeros(DType::F32, []).unwrap(), "x").unwrap();
    assert_eq!((scalar.num_rows(), scalar.column(0).data_type()), (1, &DataType::Float32));
}
