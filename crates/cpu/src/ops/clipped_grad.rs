use gristmill_core::Result;
use gristmill_core::ops::ClippedGrad;
use rayon::prelude::*;

use super::lanes::dispatch;
use super::linear_grad::{
    COLUMNS, Dispatched, Layer, OUTPUTS, Packed, Take, Tile, add_scaled, ask, fastest, tiles,
};
use crate::access::Access;
use crate::float::Float;
use crate::number::with;
use crate::reference::fail_at;

/// Rows that are laid out at a time.
const BLOCK: usize = 512;

pub(super) fn run(op: &ClippedGrad, access: &Access) -> Result<()> {
    let sizes = op.sizes();
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(sizes.rows))?;
    let factors = access.input::<f32>(&op.factors)?;
    let grad = access.output::<f32>(&op.grad)?;
    let bias = op.bias.as_ref().map(|bias| access.output::<f32>(bias)).transpose()?;
    with!(op.x.dtype(), common T => {
        let (x, dy) = (access.input::<T>(&op.x)?, access.input::<T>(&op.dy)?);
        add(Layer { x, dy, offsets, d: sizes.d, p: sizes.p }, factors, grad, bias);
        Ok(())
    })
}

/// Adds the gradients of all samples, scaled, to those of weight and bias.
pub(super) fn add<T: Float>(layer: Layer<T>, factors: &[f32], grad: &mut [f32], bias: Option<&mut [f32]>) {
    let kept = (0..layer.samples()).filter(|&sample| factors[sample] != 0.0);
    let rows: Vec<_> =
        kept.flat_map(|sample| layer.rows(sample).map(move |row| (row, factors[sample]))).collect();
    if let Some(bias) = bias {
        let sums = layer.bias(rows.iter().copied());
        bias.iter_mut().zip(sums).for_each(|(bias, sum)| *bias = (f64::from(*bias) + sum) as f32);
    }
    if !grad.is_empty() {
        fastest(Sum { layer, rows: &rows, grad });
    }
}

/// A sum over rows, each with its factor.
struct Sum<'a, T> {
    layer: Layer<'a, T>,
    rows: &'a [(usize, f32)],
    grad: &'a mut [f32],
}

impl<T: Float> Dispatched for Sum<'_, T> {
    type Output = ();

    fn run<K: Tile>(self) {
        let Self { layer: Layer { x, dy, d, p, .. }, rows, grad } = self;
        let mut packed = Packed::default();
        for rows in rows.chunks(BLOCK) {
            packed.pack([dy, x], [p, d], rows.iter().copied());
            let tasks = grad.par_chunks_mut(OUTPUTS * d).enumerate().with_max_len(1);
            tasks.for_each(|(task, grad)| tiles::<K>(&packed, task * OUTPUTS, &mut AddTo { grad, d }));
        }
    }
}

/// Adds tiles to those of a matrix of `d` columns.
struct AddTo<'a> {
    grad: &'a mut [f32],
    d: usize,
}

impl Take for AddTo<'_> {
    fn ahead(&self, output: usize, input: usize) {
        ask(self.grad, self.d, output, input);
    }

    fn take(&mut self, output: usize, input: usize, sums: &[f32]) {
        let width = COLUMNS.min(self.d - input);
        let rows = self.grad[output * self.d..].chunks_mut(self.d).zip(sums.chunks_exact(COLUMNS));
        dispatch(
            #[inline(always)]
            || {
                for (grad, sums) in rows {
                    add_scaled(&mut grad[input..][..width], 1.0, &sums[..width]);
                }
            },
        );
    }
}
