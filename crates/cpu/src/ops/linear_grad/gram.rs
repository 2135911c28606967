//! The norm of a gradient from the products of its rows with each other: see
//! [`PerSampleNorms`](gristmill_core::ops::PerSampleNorms).

use gemm::Parallelism;
use rayon::prelude::*;

use super::samples::Layer;
use crate::float::Float;
use crate::ops::lanes::{dispatch, max};
use crate::ops::matmul::{Matrix, multiply};
#[cfg(target_arch = "x86_64")]
use crate::ops::product::{Product, WIDTH};

/// Rows that are multiplied with themselves and all behind them at a time.
const PANEL: usize = 48;
#[cfg(target_arch = "x86_64")]
const _: () = assert!(PANEL == WIDTH);

/// Columns of which a task has the sums: as many as its cache holds, or fewer where there are other threads; and rows that
/// it centres at the least.
const COLUMNS: usize = 2048;
const FEW_COLUMNS: usize = 256;
const ROWS: usize = 16;

/// Numbers of a cache line.
const LINE: usize = 16;

/// How large the magnitudes of all terms may be beside their sum. Beyond, rounding could make the norm too small by more
/// than a few parts in a million, and the gradient is made instead.
const CANCELLED: f64 = 64.0;

/// What samples are worked on in, one after the other.
#[derive(Default)]
pub(in super::super) struct Gram {
    x: Vec<f32>,
    dy: Vec<f32>,
}

impl Gram {
    /// The square of the norm of the gradient of a sample, which must have rows; `None` if its terms cancel, or are no
    /// finite numbers. Works on all threads if `parallel`; the bits are the same.
    pub(in super::super) fn squared_norm<T: Float>(
        &mut self,
        layer: Layer<T>,
        sample: usize,
        parallel: bool,
    ) -> Option<f64> {
        let rows = layer.rows(sample);
        // Without a split, rayon does all in place.
        let least = if parallel { 1 } else { usize::MAX };
        let (x, dy) = (
            &layer.x[rows.start * layer.d..rows.end * layer.d],
            &layer.dy[rows.start * layer.p..rows.end * layer.p],
        );
        // One after the other: what was just read is still near.
        let Means { sum: u, mean: mu, .. } = Means::of(x, layer.d, least);
        let x = Centred::new(x, &mu, [&u, &mu], &mut self.x, least);
        let Means { mean: nu, rest: q, .. } = Means::of(dy, layer.p, least);
        let dy = Centred::new(dy, &nu, [&nu, &q], &mut self.dy, least);
        // ‖ν uᵀ + q μᵀ + δᵀX̃‖², term by term.
        let mut total = Terms::default();
        total.add(dot(&nu, &nu) * dot(&u, &u));
        total.add(dot(&q, &q) * dot(&mu, &mu));
        total.add(2.0 * dot(&nu, &q) * dot(&u, &mu));
        for (x, dy) in x.products.iter().zip(&dy.products) {
            total.add(2.0 * x[0] * dy[0]);
            total.add(2.0 * x[1] * dy[1]);
        }
        let weights: Vec<f64> = x.weights.iter().zip(&dy.weights).map(|(x, dy)| x * dy).collect();
        let panels = (0..rows.len()).step_by(PANEL).collect::<Vec<_>>();
        let parts: Vec<Terms> = panels
            .into_par_iter()
            .with_min_len(least)
            .with_max_len(least.max(1))
            .map_init(Scratch::default, |scratch, first| {
                let Scratch { panel, of_x, of_dy } = scratch;
                square(x.values, first, x.stride, panel, of_x);
                square(dy.values, first, dy.stride, panel, of_dy);
                reduce(of_x, of_dy, &weights[first..])
            })
            .collect();
        // In the order of the panels, whoever had them.
        parts.into_iter().for_each(|part| total.merge(part));
        let sound = total.size.is_finite() && total.size <= CANCELLED * total.sum;
        sound.then_some(total.sum)
    }
}

/// What a thread needs for one panel after the other.
#[derive(Default)]
struct Scratch {
    panel: Vec<u32>,
    of_x: Vec<f32>,
    of_dy: Vec<f32>,
}

/// A sum, and that of the magnitudes of its terms.
#[derive(Default, Clone, Copy)]
struct Terms {
    sum: f64,
    size: f64,
}

impl Terms {
    fn add(&mut self, term: f64) {
        self.sum += term;
        self.size += term.abs();
    }

    fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.size += other.size;
    }
}

/// Means of rows, and what they leave.
struct Means {
    /// The sum of the rows.
    sum: Vec<f64>,
    /// A number of `f32` about their mean.
    mean: Vec<f64>,
    /// The sum of the rows less that.
    rest: Vec<f64>,
}

impl Means {
    fn of<T: Float>(values: &[T], columns: usize, least: usize) -> Self {
        let rows = (values.len() / columns) as f64;
        let sum = sums(values, columns, least);
        let mean: Vec<f64> = sum.iter().map(|sum| f64::from((sum / rows) as f32)).collect();
        let rest = sum.iter().zip(&mean).map(|(sum, mean)| sum - rows * mean).collect();
        Self { sum, mean, rest }
    }
}

/// Rows less about their mean, each divided by a power of two so that no product of two vanishes or overflows.
struct Centred<'a> {
    /// `[rows, stride]`, with zeros behind the columns.
    values: &'a [f32],
    stride: usize,
    /// What each row was divided by.
    weights: Vec<f64>,
    /// The products of each row, not divided, with two vectors.
    products: Vec<[f64; 2]>,
}

impl<'a> Centred<'a> {
    fn new<T: Float>(
        from: &[T],
        mean: &[f64],
        with: [&[f64]; 2],
        to: &'a mut Vec<f32>,
        least: usize,
    ) -> Self {
        let columns = mean.len();
        // An odd number of cache lines: rows one above the other lie in different places of a cache.
        let stride = (columns.div_ceil(LINE) | 1) * LINE;
        to.resize(from.len() / columns * stride, 0.0);
        let mean: Vec<f32> = mean.iter().map(|&mean| mean as f32).collect();
        let with = with.map(Vector::new);
        let rows = to.par_chunks_mut(stride).zip(from.par_chunks(columns)).with_min_len(least.max(ROWS));
        let (products, weights) = rows
            .map(|(to, from)| {
                dispatch(
                    #[inline(always)]
                    || {
                        let (to, behind) = to.split_at_mut(columns);
                        behind.fill(0.0);
                        for ((to, from), mean) in to.iter_mut().zip(from).zip(&mean) {
                            *to = from.widen() - mean;
                        }
                        let exponent = exponent(max::<f32, f32, 16>(to, 0.0, f32::abs).into());
                        // In two steps, each of which is a normal number.
                        let half = exponent / 2;
                        let scales = [power(-half) as f32, power(half - exponent) as f32];
                        to.iter_mut().for_each(|x| *x = *x * scales[0] * scales[1]);
                        let weight = power(exponent);
                        let products = dots(to, [&with[0].values, &with[1].values]);
                        ([0, 1].map(|which| weight * with[which].weight * products[which]), weight)
                    },
                )
            })
            .unzip();
        Self { values: to, stride, weights, products }
    }
}

/// A vector divided by a power of two, in `f32`.
struct Vector {
    values: Vec<f32>,
    weight: f64,
}

impl Vector {
    fn new(values: &[f64]) -> Self {
        let weight = power(exponent(values.iter().fold(0.0, |most, x| x.abs().max(most))));
        Self { values: values.iter().map(|x| (x / weight) as f32).collect(), weight }
    }
}

/// The power of two at or below a number that `f32` holds, or somewhat more; 0 for what has none.
fn exponent(x: f64) -> i32 {
    if x > 0.0 && x.is_finite() { (x.to_bits() >> 52) as i32 - 1023 } else { 0 }
}

/// A power of two among the normal numbers.
fn power(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// The sum of the rows, `[columns]`.
fn sums<T: Float>(values: &[T], columns: usize, least: usize) -> Vec<f64> {
    let mut sums = vec![0.0; columns];
    let together = if least == 1 { FEW_COLUMNS } else { COLUMNS };
    sums.par_chunks_mut(together).enumerate().with_min_len(least).for_each(|(block, sums)| {
        dispatch(
            #[inline(always)]
            || {
                for row in values.chunks_exact(columns) {
                    let row = &row[block * together..][..sums.len()];
                    sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(x.widen()));
                }
            },
        );
    });
    sums
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The products of a row with two vectors, all of them about 1 at most.
#[inline(always)]
fn dots(row: &[f32], with: [&[f32]; 2]) -> [f64; 2] {
    /// As many as hide the time of an addition.
    const LANES: usize = 64;
    let mut lanes = [[0.0f32; LANES]; 2];
    let whole = row.len() / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        let (row, a, b) = (&row[i..][..LANES], &with[0][i..][..LANES], &with[1][i..][..LANES]);
        for lane in 0..LANES {
            lanes[0][lane] += row[lane] * a[lane];
            lanes[1][lane] += row[lane] * b[lane];
        }
    }
    let rest = |with: &[f32]| -> f64 {
        row[whole..].iter().zip(&with[whole..]).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
    };
    [0, 1].map(|which| lanes[which].iter().map(|&lane| f64::from(lane)).sum::<f64>() + rest(with[which]))
}

/// Numbers that are added up side by side.
const LANES: usize = 8;

/// The products of the rows from `first` on with at most [`PANEL`] of them, `[rows, PANEL]`; those above the diagonal
/// mean nothing.
fn square(values: &[f32], first: usize, k: usize, panel: &mut Vec<u32>, to: &mut Vec<f32>) {
    let rows = values.len() / k - first;
    to.resize(rows * PANEL, 0.0);
    #[cfg(target_arch = "x86_64")]
    if let Some(product) = Product::<f32>::of_depth(k) {
        panel.resize(k * PANEL, 0);
        return product.square(values, first, k, panel, to);
    }
    let _ = panel;
    let columns = rows.min(PANEL);
    let all = Matrix::new(&values[first * k..], [rows, k], false);
    let some = Matrix::new(&values[first * k..][..columns * k], [k, columns], true);
    let mut products = vec![0.0; rows * columns];
    multiply([rows, columns, k], all, some, [1.0, 0.0], &mut products, Parallelism::None);
    for (to, products) in to.chunks_exact_mut(PANEL).zip(products.chunks_exact(columns)) {
        to[..columns].copy_from_slice(products);
    }
}

/// Products of products, those beside the diagonal twice: for the other side of it.
fn reduce(of_x: &[f32], of_dy: &[f32], weights: &[f64]) -> Terms {
    let mut total = Terms::default();
    dispatch(
        #[inline(always)]
        || {
            let rows = of_x.chunks_exact(PANEL).zip(of_dy.chunks_exact(PANEL)).zip(weights);
            for (row, ((x, dy), weight)) in rows.enumerate() {
                let below = row.min(PANEL);
                let mut part = weighted(&x[..below], &dy[..below], weights);
                part = Terms { sum: 2.0 * part.sum, size: 2.0 * part.size };
                if row < PANEL {
                    part.add(f64::from(x[row]) * f64::from(dy[row]) * weight);
                }
                total.merge(Terms { sum: weight * part.sum, size: weight * part.size });
            }
        },
    );
    total
}

#[inline(always)]
fn weighted(x: &[f32], dy: &[f32], weights: &[f64]) -> Terms {
    let (mut sums, mut sizes) = ([0.0; LANES], [0.0; LANES]);
    let whole = x.len() / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        for lane in 0..LANES {
            let term = f64::from(x[i + lane]) * f64::from(dy[i + lane]) * weights[i + lane];
            sums[lane] += term;
            sizes[lane] += term.abs();
        }
    }
    let mut total = Terms { sum: sums.iter().sum(), size: sizes.iter().sum() };
    for i in whole..x.len() {
        total.add(f64::from(x[i]) * f64::from(dy[i]) * weights[i]);
    }
    total
}
