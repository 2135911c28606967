//! A row has the same bits in whatever batch it comes.

use gristmill_core::ops::{MatmulOptions, NllOptions};
use gristmill_core::rng::Philox;
use gristmill_core::{DType, Device, Tensor};

/// Numbers between -1 and 1.
fn numbers(stream: u64, n: usize) -> Vec<f32> {
    let sequence = Philox::new(17, stream);
    (0..n as u64).map(|g| sequence.bits(g) as i32 as f32 / 2f32.powi(31)).collect()
}

fn tensor(device: &Device, stream: u64, shape: [usize; 2], dtype: DType) -> Tensor {
    device.tensor(numbers(stream, shape[0] * shape[1]), shape).unwrap().cast(dtype).unwrap()
}

/// Numbers of rows: one, a few, around the heights of tiles, and many.
const ROWS: [usize; 12] = [1, 2, 3, 4, 5, 7, 16, 17, 64, 65, 255, 1000];

#[test]
fn rows_of_a_product_do_not_depend_on_each_other() {
    let device = gristmill_cpu::open().unwrap();
    let mut wrong = Vec::new();
    for dtype in [DType::F32, DType::Bf16] {
        for [n, k] in [[576, 576], [1536, 576], [576, 1536], [192, 576], [50, 192], [3, 50]] {
            for trans_b in [false, true] {
                let a = tensor(&device, 1, [1000, k], dtype);
                let b = tensor(&device, 2, if trans_b { [n, k] } else { [k, n] }, dtype);
                let options = MatmulOptions { trans_b, dtype: Some(DType::F32), ..Default::default() };
                let whole = a.matmul(&b, options).unwrap().to_vec::<f32>().unwrap();
                for m in ROWS {
                    // The last ones, which are elsewhere in the larger product.
                    let part = a.narrow(1000 - m, m).unwrap().matmul(&b, options).unwrap();
                    if part.to_vec::<f32>().unwrap() != whole[(1000 - m) * n..] {
                        wrong.push(format!("{m} rows of {n}x{k} {dtype} {trans_b}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn losses_of_rows_do_not_depend_on_each_other() {
    let device = gristmill_cpu::open().unwrap();
    let mut wrong = Vec::new();
    for dtype in [DType::F32, DType::Bf16] {
        for [vocab, d] in [[5000, 576], [1000, 50], [600, 768]] {
            let hidden = tensor(&device, 3, [1000, d], dtype);
            let head = tensor(&device, 4, [vocab, d], dtype);
            let targets: Vec<u32> = (0..1000u32).map(|i| i * 7 % vocab as u32).collect();
            let targets = device.tensor(targets, [1000]).unwrap();
            let whole =
                hidden.linear_nll(&head, &targets, NllOptions::default()).unwrap().to_vec::<f32>().unwrap();
            for m in ROWS {
                let part = hidden.narrow(1000 - m, m).unwrap();
                let losses = part
                    .linear_nll(&head, &targets.narrow(1000 - m, m).unwrap(), NllOptions::default())
                    .unwrap();
                if losses.to_vec::<f32>().unwrap() != whole[1000 - m..] {
                    wrong.push(format!("{m} rows of {vocab}x{d} {dtype}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_of_a_document_depends_on_its_batch() {
    let wrong = gristmill_conformance::depend_on_their_batch(&gristmill_cpu::open().unwrap()).unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
