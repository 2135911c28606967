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

/// Columns, and rows, of which a task has the sums, or the centring.
const COLUMNS: usize = 256;
const ROWS: usize = 16;

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
        let x = Centred::new(&layer.x[rows.start * layer.d..rows.end * layer.d], layer.d, &mut self.x, least);
        let dy =
            Centred::new(&layer.dy[rows.start * layer.p..rows.end * layer.p], layer.p, &mut self.dy, least);
        let (of_x, x) = x.scaled(|x| [&x.sum, &x.mean], least);
        let (of_dy, dy) = dy.scaled(|dy| [&dy.mean, &dy.rest], least);
        // ‖ν uᵀ + q μᵀ + δᵀX̃‖², term by term.
        let (u, mu, nu, q) = (&x.sum, &x.mean, &dy.mean, &dy.rest);
        let mut total = Terms::default();
        total.add(dot(nu, nu) * dot(u, u));
        total.add(dot(q, q) * dot(mu, mu));
        total.add(2.0 * dot(nu, q) * dot(u, mu));
        for (x, dy) in of_x.iter().zip(&of_dy) {
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
                square(x.values, first, x.columns, panel, of_x);
                square(dy.values, first, dy.columns, panel, of_dy);
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

/// Rows less their mean.
struct Centred<'a> {
    columns: usize,
    /// `[rows, columns]`.
    values: &'a mut [f32],
    /// About the mean of the rows: what was taken off.
    mean: Vec<f64>,
    /// The sum of the rows as they were.
    sum: Vec<f64>,
    /// The sum of what is left.
    rest: Vec<f64>,
}

/// The same, each row scaled by a power of two so that no product vanishes or overflows.
struct Scaled<'a> {
    columns: usize,
    values: &'a [f32],
    /// What each row was divided by.
    weights: Vec<f64>,
    mean: Vec<f64>,
    sum: Vec<f64>,
    rest: Vec<f64>,
}

impl<'a> Centred<'a> {
    fn new<T: Float>(from: &[T], columns: usize, to: &'a mut Vec<f32>, least: usize) -> Self {
        let rows = from.len() / columns;
        let sum = sums(from, columns, least);
        let mean: Vec<f32> = sum.iter().map(|sum| (sum / rows as f64) as f32).collect();
        to.resize(from.len(), 0.0);
        let tasks =
            to.par_chunks_mut(ROWS * columns).zip(from.par_chunks(ROWS * columns)).with_min_len(least);
        tasks.for_each(|(to, from)| {
            dispatch(
                #[inline(always)]
                || {
                    for (to, from) in to.chunks_exact_mut(columns).zip(from.chunks_exact(columns)) {
                        for ((to, from), mean) in to.iter_mut().zip(from).zip(&mean) {
                            *to = from.widen() - mean;
                        }
                    }
                },
            );
        });
        let rest = sums(to, columns, least);
        let mean = mean.into_iter().map(f64::from).collect();
        Self { columns, values: to, mean, sum, rest }
    }

    /// The products of each row with two vectors of these, and the rows scaled.
    fn scaled(
        self,
        vectors: impl Fn(&Self) -> [&[f64]; 2] + Sync,
        least: usize,
    ) -> (Vec<[f64; 2]>, Scaled<'a>) {
        let with = vectors(&self).map(<[f64]>::to_vec);
        let Self { columns, values, mean, sum, rest } = self;
        let rows = values.par_chunks_mut(columns).with_min_len(least.max(ROWS));
        let (products, weights) = rows
            .map(|row| {
                dispatch(
                    #[inline(always)]
                    || {
                        let products = [dot_of(row, &with[0]), dot_of(row, &with[1])];
                        let most = max::<f32, f32, 16>(row, 0.0, f32::abs);
                        let exponent = exponent(most);
                        // In two steps, each of which is a normal number.
                        let half = -exponent / 2;
                        let scales = [power(half), power(-exponent - half)];
                        row.iter_mut().for_each(|x| *x = *x * scales[0] * scales[1]);
                        (products, f64::from(power(exponent / 2)) * f64::from(power(exponent - exponent / 2)))
                    },
                )
            })
            .unzip();
        (products, Scaled { columns, values, weights, mean, sum, rest })
    }
}

/// The power of two at or below a number; 0 for what has none.
fn exponent(x: f32) -> i32 {
    let bits = f64::from(x).to_bits();
    if x > 0.0 && x.is_finite() { (bits >> 52) as i32 - 1023 } else { 0 }
}

/// A power of two among the normal numbers.
fn power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

/// The sum of the rows, `[columns]`.
fn sums<T: Float>(values: &[T], columns: usize, least: usize) -> Vec<f64> {
    let mut sums = vec![0.0; columns];
    sums.par_chunks_mut(COLUMNS).enumerate().with_min_len(least).for_each(|(block, sums)| {
        dispatch(
            #[inline(always)]
            || {
                for row in values.chunks_exact(columns) {
                    let row = &row[block * COLUMNS..][..sums.len()];
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

/// Numbers that are added up side by side.
const LANES: usize = 8;

#[inline(always)]
fn dot_of(row: &[f32], with: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (pieces, vectors) = (row.chunks_exact(LANES), with.chunks_exact(LANES));
    let rest = pieces.remainder().iter().zip(vectors.remainder()).map(|(x, y)| f64::from(*x) * y);
    let rest: f64 = rest.sum();
    for (piece, vector) in pieces.zip(vectors) {
        for ((lane, x), y) in lanes.iter_mut().zip(piece).zip(vector) {
            *lane += f64::from(*x) * y;
        }
    }
    lanes.iter().sum::<f64>() + rest
}

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
