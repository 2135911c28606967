//! Tensors that one binding cannot show: more than 128 MiB on most adapters.

use gristmill_core::DType;
use gristmill_core::ops::Reduction;

/// 144 MiB and a bit.
const LEN: usize = 36 * (1 << 20) + 12_345;

#[test]
fn tensors_above_the_binding_limit_are_cut() {
    let Some(device) = super::open(true, None) else { return };
    // Whole numbers, so that every sum has one right answer.
    let value = |i: usize| ((i * 2_654_435_761) >> 7) as u32 % 17;
    let x = device.tensor((0..LEN).map(|i| value(i) as f32).collect(), [LEN]).unwrap();
    let total: u64 = (0..LEN).map(|i| u64::from(value(i))).sum();
    let sum = x.reshape([1, LEN]).unwrap().row_reduce(Reduction::Sum).unwrap();
    assert_eq!(sum.to_vec::<f32>().unwrap(), [total as f32]);

    let ends = [5, LEN / 2, LEN / 2, LEN - 3].map(|i| i as u32);
    let offsets = device.tensor(ends.to_vec(), [4]).unwrap();
    let sums = x.segment_reduce(&offsets, Reduction::Sum).unwrap().to_vec::<f32>().unwrap();
    for (s, sum) in sums.iter().enumerate() {
        let exact: u64 = (ends[s] as usize..ends[s + 1] as usize).map(|i| u64::from(value(i))).sum();
        assert_eq!(*sum, exact as f32, "segment {s}");
    }

    let narrow = x.cast(DType::Bf16).unwrap().cast(DType::U8).unwrap();
    let bytes = narrow.to_vec::<u8>().unwrap();
    assert!(bytes.iter().enumerate().all(|(i, &b)| u32::from(b) == value(i)));
}

#[test]
fn entries_beyond_a_binding_are_found() {
    let Some(device) = super::open(true, None) else { return };
    let places = [3usize, 40_000, LEN / 2, LEN - 4, LEN - 1];
    let mut values = vec![0.25f32; LEN];
    for (rank, &at) in places.iter().enumerate() {
        values[at] = if rank % 2 == 0 { -2.0 } else { 2.0 }
            - rank as f32 / 8.0 * if rank % 2 == 0 { -1.0 } else { 1.0 };
    }
    let x = device.tensor(values.clone(), [LEN]).unwrap();
    let top = x.topk(8, LEN).unwrap();
    let indices = top.indices.to_vec::<u32>().unwrap();
    // The five in their order, then the lowest positions of the rest.
    let want: Vec<u32> = places.iter().map(|&i| i as u32).chain([0, 1, 2]).collect();
    assert_eq!(indices, want);
    let found = top.values.to_vec::<f32>().unwrap();
    assert!(found.iter().zip(&want).all(|(v, &i)| v.to_bits() == values[i as usize].to_bits()));
}

/// More workgroups than one dimension of a dispatch has.
#[test]
fn millions_of_short_rows_are_reached() {
    let Some(device) = super::open(false, None) else { return };
    let rows = 3_000_001;
    let x = device.tensor((0..rows).map(|i| i as f32).collect(), [rows, 1]).unwrap();
    let max = x.row_reduce(Reduction::Max).unwrap().to_vec::<f32>().unwrap();
    assert!(max.iter().enumerate().all(|(i, &m)| m == i as f32));
}
