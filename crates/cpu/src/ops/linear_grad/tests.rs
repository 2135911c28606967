use super::*;
use crate::access::Indices;

/// Numbers without a pattern between -1 and 1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// One sample, of which all rows are.
fn layer<'a>(x: &'a [f32], dy: &'a [f32], [d, p]: [usize; 2], offsets: &'a [u32; 2]) -> Layer<'a, f32> {
    Layer { x, dy, offsets: Indices::U32(offsets), d, p }
}

/// The square of the norm of the gradient in `f64`.
fn exact(x: &[f32], dy: &[f32], [d, p]: [usize; 2]) -> f64 {
    let mut gradient = vec![0.0f64; p * d];
    for (x, dy) in x.chunks(d).zip(dy.chunks(p)) {
        for (gradient, dy) in gradient.chunks_mut(d).zip(dy) {
            gradient.iter_mut().zip(x).for_each(|(g, x)| *g += f64::from(*dy) * f64::from(*x));
        }
    }
    gradient.iter().map(|g| g * g).sum()
}

/// The same from the products of the rows as they are, in `f32`.
fn naive(x: &[f32], dy: &[f32], [d, p]: [usize; 2]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0f32, |sum, (a, b)| a.mul_add(*b, sum));
    let rows = || x.chunks(d).zip(dy.chunks(p));
    rows().flat_map(|a| rows().map(move |b| f64::from(dot(a.0, b.0) * dot(a.1, b.1)))).sum()
}

/// Takes off the mean of the rows.
fn centre(values: &mut [f32], columns: usize) {
    let rows = values.len() / columns;
    for j in 0..columns {
        let mean = (0..rows).map(|t| f64::from(values[t * columns + j])).sum::<f64>() / rows as f64;
        (0..rows).for_each(|t| values[t * columns + j] -= mean as f32);
    }
}

#[test]
fn what_rows_have_in_common_does_not_make_norms_too_small() {
    const T: usize = 512;
    let sizes @ [d, p] = [192, 160];
    for common_inputs in [true, false] {
        let (mut x, mut dy) = (numbers(T * d, 1), numbers(T * p, 2));
        let (large, small, columns) = if common_inputs { (&mut x, &mut dy, d) } else { (&mut dy, &mut x, p) };
        let common = numbers(columns, 3);
        large.iter_mut().enumerate().for_each(|(i, value)| *value += 1000.0 * common[i % columns]);
        centre(small, if common_inputs { p } else { d });
        let want = exact(&x, &dy, sizes);
        let offsets = [0, T as u32];
        for parallel in [false, true] {
            let got = Gram::default().squared_norm(layer(&x, &dy, sizes, &offsets), 0, parallel).unwrap();
            assert!((got / want - 1.0).abs() < 1e-6, "{got:e} instead of {want:e}");
        }
        // What is avoided.
        assert!((naive(&x, &dy, sizes) / want - 1.0).abs() > 1e-3);
    }
}

#[test]
fn terms_that_cancel_are_noticed() {
    let (sizes, offsets) = ([24, 16], [0, 2]);
    // Two rows, of which one is minus three times the other, and the gradients have it the other way round.
    let (mut x, mut dy) = (numbers(24, 1), numbers(16, 2));
    x.extend_from_within(..);
    dy.extend_from_within(..);
    x[..24].iter_mut().for_each(|x| *x *= 3.0);
    dy[16..].iter_mut().for_each(|dy| *dy *= -3.0);
    x[0] += 1e-3;
    assert_eq!(Gram::default().squared_norm(layer(&x, &dy, sizes, &offsets), 0, false), None);
    x[5] = f32::NAN;
    assert_eq!(Gram::default().squared_norm(layer(&x, &dy, sizes, &offsets), 0, false), None);
}

/// Multiplies with everything that this machine has.
struct Both<'a>(&'a [f32], &'a [f32], &'a [f32]);

impl Dispatched for Both<'_> {
    type Output = [Vec<f32>; 2];

    fn run<K: Tile>(self) -> [Vec<f32>; 2] {
        let mut sums = [self.2.to_vec(), self.2.to_vec()];
        K::multiply(self.0, self.1, &mut sums[0], true);
        tile::Plain::multiply(self.0, self.1, &mut sums[1], true);
        sums
    }
}

#[test]
fn tiles_are_the_same_by_every_way() {
    for rows in [0, 1, 7, 130] {
        let (dy, x) = (numbers(rows * ROWS, 1), numbers(rows * COLUMNS, 2));
        let before = numbers(ROWS * COLUMNS, 3);
        let [fast, plain] = fastest(Both(&dy, &x, &before));
        for (i, (fast, plain)) in fast.iter().zip(&plain).enumerate() {
            let (row, column) = (i / COLUMNS, i % COLUMNS);
            let terms = (0..rows).map(|k| f64::from(dy[k * ROWS + row]) * f64::from(x[k * COLUMNS + column]));
            let want = f64::from(before[i]) + terms.sum::<f64>();
            for got in [fast, plain] {
                assert!((f64::from(*got) - want).abs() < 1e-5, "{rows} rows, element {i}: {got} {want}");
            }
        }
    }
}
