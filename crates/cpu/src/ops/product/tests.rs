use half::bf16;

use super::*;

/// Numbers without a pattern between -1 and 1.
fn numbers<T: Float>(count: usize, seed: u32) -> Vec<T> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        T::narrow((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
    };
    (0..count).map(|_| next()).collect()
}

/// Sizes with and without rests of tiles, panels, chunks, squares and blocks of the depth.
const SIZES: [[usize; 3]; 8] = [
    [1, 1, 2],
    [7, 48, 16],
    [8, 49, 34],
    [131, 95, 62],
    [300, 17, 578],
    [5, 3, 2 * (DEPTH + 1)],
    [130, 50, 4 * DEPTH + 6],
    [0, 5, 4],
];

fn check<T: Lanes>(within: f64) {
    for [m, n, k] in SIZES {
        let Some(product) = Product::<T>::of_depth(k) else { return };
        let a: Vec<T> = numbers(m * k, 1);
        for transposed in [false, true] {
            let b: Vec<T> = numbers(k * n, 2);
            let at = |p: usize, j: usize| b[if transposed { j * k + p } else { p * n + j }].widen();
            let matrix = Matrix::new(&b, [k, n], transposed);
            let before: Vec<f32> = numbers(m * n, 3);
            let mut out = before.clone();
            product.matmul([m, n, k], &a, matrix, [0.5, 2.0], &mut out);
            for (i, out) in out.iter().enumerate() {
                let (row, j) = (i / n, i % n);
                let terms = (0..k).map(|p| f64::from(a[row * k + p].widen()) * f64::from(at(p, j)));
                let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                let want = 0.5 * sum + 2.0 * f64::from(before[i]);
                let error = (f64::from(*out) - want).abs();
                assert!(error <= within * (size + 2.0), "{:?} {transposed} at {i}: {error:e}", [m, n, k]);
            }
            // The same rows, one at a time, are the same bits.
            let mut narrow: Vec<bf16> = vec![bf16::ZERO; m * n];
            product.matmul([m, n, k], &a, matrix, [1.0, 0.0], &mut narrow);
            for (row, together) in narrow.chunks(n).enumerate().step_by(37) {
                let mut alone = vec![bf16::ZERO; n];
                product.matmul([1, n, k], &a[row * k..][..k], matrix, [1.0, 0.0], &mut alone);
                assert_eq!(alone, together, "{:?}, row {row}", [m, n, k]);
            }
        }
    }
}

#[test]
fn products_are_those_of_the_definition() {
    check::<f32>(1e-6);
    check::<bf16>(1e-6);
}

#[test]
fn half_a_lane_is_left_to_others() {
    assert!(Product::<bf16>::of_depth(7).is_none());
    assert_eq!(Product::<f32>::of_depth(7).is_some(), <f32 as Lanes>::detected());
}

#[test]
fn what_is_no_number_stays_none() {
    let Some(product) = Product::<bf16>::of_depth(4) else { return };
    let row = |x: f32| [1.0, x, 0.0, 2.0].map(bf16::from_f32);
    let ones = [bf16::ONE; 4];
    for (x, want) in [(f32::NAN, f32::NAN), (f32::INFINITY, f32::INFINITY), (-0.0, 3.0)] {
        let mut out = [0.0f32];
        product.matmul([1, 1, 4], &row(x), Matrix::new(&ones, [4, 1], true), [1.0, 0.0], &mut out);
        assert!(out[0] == want || out[0].is_nan() && want.is_nan(), "{x}: {}", out[0]);
    }
}
