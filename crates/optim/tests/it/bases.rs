use gristmill_core::ops::MatmulOptions;
use gristmill_core::{Code, DType, Tensor};
use gristmill_optim::linalg::{
    RangeOptions, captured_energy, leading_vectors, newton_schulz, orthonormalize, range_find,
};

use crate::{devices, distance, host, tensor};

/// The greatest entry of `QᵀQ − I`.
fn defect(q: &Tensor) -> f64 {
    let k = q.shape()[1];
    let gram = host(&q.matmul(q, MatmulOptions { trans_a: true, ..Default::default() }).unwrap());
    let entry = |(i, g): (usize, &f32)| (f64::from(*g) - f64::from(u8::from(i / k == i % k))).abs();
    gram.iter().enumerate().map(entry).fold(0.0, f64::max)
}

/// How much of the columns of `x` lies outside of the span of `q`, relative to them.
fn outside(x: &Tensor, q: &Tensor) -> f64 {
    let inner = q.matmul(x, MatmulOptions { trans_a: true, ..Default::default() }).unwrap();
    distance(&host(&q.matmul(&inner, MatmulOptions::default()).unwrap()), &host(x))
}

#[test]
fn columns_become_orthonormal_whatever_they_were() {
    for device in devices() {
        for (rows, columns) in [(1, 1), (7, 7), (300, 40), (1000, 129)] {
            let x = tensor(&device, 1, &[rows, columns]);
            let q = orthonormalize(&x).unwrap();
            assert!(defect(&q) < 1e-5, "{rows}x{columns}: {}", defect(&q));
            assert!(outside(&x, &q) < 1e-5);
        }
        // Columns that all but agree, that agree, that are tiny, and zeros: the fallback.
        let mut values = host(&tensor(&device, 2, &[200, 20]));
        for row in values.chunks_mut(20) {
            row[3] = row[2] + 1e-6 * row[1];
            row[7] = row[6];
            row[8] = 1e-30 * row[9];
            row[15] = 0.0;
        }
        let x = device.tensor(values, [200, 20]).unwrap();
        let q = orthonormalize(&x).unwrap();
        assert!(defect(&q) < 1e-5, "{}", defect(&q));
        assert!(outside(&x, &q) < 1e-4);
        let zeros = orthonormalize(&device.zeros(DType::F32, [9, 4]).unwrap()).unwrap();
        assert!(defect(&zeros) < 1e-6);
        let wrong = device.tensor(vec![1.0, f32::NAN, 0.0, 1.0], [2, 2]).unwrap();
        assert_eq!(orthonormalize(&wrong).unwrap_err().code(), Code::InvalidValue);
        assert_eq!(orthonormalize(&tensor(&device, 1, &[3, 4])).unwrap_err().code(), Code::ShapeMismatch);
    }
}

/// A matrix with singular values `k^-power`.
fn with_spectrum(device: &gristmill_core::Device, rows: usize, columns: usize, power: f64) -> Tensor {
    let k = rows.min(columns);
    let u = orthonormalize(&tensor(device, 11, &[rows, k])).unwrap();
    let v = orthonormalize(&tensor(device, 12, &[columns, k])).unwrap();
    let mut scaled = host(&u);
    for (i, x) in scaled.iter_mut().enumerate() {
        *x *= ((i % k + 1) as f64).powf(-power) as f32;
    }
    let u = device.tensor(scaled, [rows, k]).unwrap();
    u.matmul(&v, MatmulOptions { trans_b: true, ..Default::default() }).unwrap()
}

#[test]
fn a_range_captures_nearly_what_the_best_one_does() {
    for device in devices() {
        for (rows, columns, right) in [(160, 90, true), (160, 90, false), (90, 160, false)] {
            for power in [0.5, 1.0] {
                let x = with_spectrum(&device, rows, columns, power);
                let rank = 20;
                let best = captured_energy(&x, &leading_vectors(&x, rank, right).unwrap(), right).unwrap();
                let energy = |k: usize| (1..=k).map(|i| (i as f64).powf(-2.0 * power)).sum::<f64>();
                assert!((best - energy(rank) / energy(rows.min(columns))).abs() < 1e-4);
                let options = RangeOptions { right, seed: 5, ..RangeOptions::new(rank) };
                let cold = range_find(&x, &options).unwrap();
                assert!(defect(&cold) < 1e-5);
                let share = captured_energy(&x, &cold, right).unwrap() / best;
                assert!(share > 0.97 && share < 1.0 + 1e-5, "cold {share}");
                let start = Some(cold);
                let warm = range_find(&x, &RangeOptions { start, power: 0, ..options }).unwrap();
                let again = captured_energy(&x, &warm, right).unwrap() / best;
                assert!(again >= share - 1e-5, "warm {again} after {share}");
            }
        }
        let x = tensor(&device, 3, &[10, 6]);
        for rank in [0, 7] {
            assert_eq!(range_find(&x, &RangeOptions::new(rank)).unwrap_err().code(), Code::InvalidArgument);
        }
        let zeros = device.zeros(DType::F32, [10, 6]).unwrap();
        assert!(defect(&range_find(&zeros, &RangeOptions::new(3)).unwrap()) < 1e-5);
    }
}

#[test]
fn a_range_is_turned_to_singular_vectors_and_keeps_the_signs_of_its_start() {
    for device in devices() {
        let (rank, right) = (12, false);
        let x = with_spectrum(&device, 90, 160, 1.0);
        let options = RangeOptions { right, seed: 5, ..RangeOptions::new(rank) };
        let cold = range_find(&x, &options).unwrap();
        let flipped = cold.scale(-1.0).unwrap();
        let warm = |start: &Tensor| {
            range_find(&x, &RangeOptions { start: Some(start.clone()), power: 0, ..options.clone() }).unwrap()
        };
        for basis in [&cold, &warm(&cold)] {
            // Singular values of 1, 1/2, 1/3 in their order, and no vector that has something of another.
            let inner = x.matmul(basis, MatmulOptions { trans_a: true, ..Default::default() }).unwrap();
            let gram =
                host(&inner.matmul(&inner, MatmulOptions { trans_a: true, ..Default::default() }).unwrap());
            for (at, &entry) in gram.iter().enumerate() {
                let (i, j) = (at / rank, at % rank);
                let wanted = if i == j { ((i + 1) as f64).powi(-2) } else { 0.0 };
                let unit = 1.0 / ((i + 1) * (j + 1)) as f64;
                assert!((f64::from(entry) - wanted).abs() < 0.1 * unit, "{i} {j}: {entry}");
            }
        }
        let [one, other] = [&cold, &flipped].map(|start| host(&warm(start)));
        assert!(one.iter().zip(&other).all(|(a, b)| *a == -b));
        assert!(one.iter().zip(host(&cold)).filter(|(a, b)| (**a > 0.0) == (*b > 0.0)).count() > 900);
    }
}

#[test]
fn newton_schulz_brings_singular_values_into_a_band() {
    for device in devices() {
        for (rows, columns) in [(40, 40), (64, 24), (24, 64)] {
            let x = with_spectrum(&device, rows, columns, 0.7);
            let y = newton_schulz(&x, 5, DType::F32).unwrap();
            // All of them: the eigenvalues of the Gram matrix, by the energy of the leading vectors.
            let k = rows.min(columns);
            let right = columns < rows;
            let vectors = leading_vectors(&y, k, right).unwrap();
            let inner = y.matmul(&vectors, MatmulOptions { trans_a: !right, ..Default::default() }).unwrap();
            let inner = host(&inner);
            for j in 0..k {
                let sigma =
                    inner.iter().skip(j).step_by(k).map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
                assert!((0.68..1.21).contains(&sigma), "{rows}x{columns} {j}: {sigma}");
            }
            // Odd, and the same for the transpose.
            let minus = newton_schulz(&x.scale(-1.0).unwrap(), 5, DType::F32).unwrap().scale(-1.0).unwrap();
            assert!(distance(&host(&minus), &host(&y)) < 1e-6);
            let flip = |v: &[f32], rows: usize| -> Vec<f32> {
                let columns = v.len() / rows;
                (0..v.len()).map(|i| v[i % rows * columns + i / rows]).collect()
            };
            let flipped = device.tensor(flip(&host(&x), rows), [columns, rows]).unwrap();
            let other = host(&newton_schulz(&flipped, 5, DType::F32).unwrap());
            assert!(distance(&flip(&other, columns), &host(&y)) < 1e-4);
            // In bf16 within its rounding.
            let half = newton_schulz(&x, 5, DType::Bf16).unwrap().cast(DType::F32).unwrap();
            assert!(distance(&host(&half), &host(&y)) < 0.2, "{}", distance(&host(&half), &host(&y)));
        }
        let zeros = newton_schulz(&device.zeros(DType::F32, [4, 3]).unwrap(), 5, DType::F32).unwrap();
        assert_eq!(host(&zeros), [0.0; 12]);
    }
}
