use gristmill_core::Result;
use gristmill_core::ops::{ClipLinearFused, ClipPath, NormsMethod};
use rayon::prelude::*;

use super::lanes::dispatch;
use super::linear_grad::{
    COLUMNS, Dispatched, Layer, OUTPUTS, Packed, Take, Tile, add_scaled, ask, fastest, squares, tiles,
};
use super::{clipped_grad, per_sample_norms};
use crate::access::Access;
use crate::float::Float;
use crate::number::with;
use crate::reference::clip_linear_fused::{first_weight_of_neither, norm_and_factor};
use crate::reference::fail_at;

pub(super) fn run(op: &ClipLinearFused, access: &Access) -> Result<()> {
    let sizes = op.sizes();
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(sizes.rows))?;
    let weights = op.weights.as_ref().map(|weights| access.input::<f32>(weights)).transpose()?;
    fail_at(op, weights.and_then(first_weight_of_neither))?;
    let norms = access.output::<f32>(&op.norms)?;
    let factors = access.output::<f32>(&op.factors)?;
    let grad = access.output::<f32>(&op.grad)?;
    let bias = op.bias.as_ref().map(|bias| access.output::<f32>(bias)).transpose()?;
    with!(op.x.dtype(), common T => {
        let (x, dy) = (access.input::<T>(&op.x)?, access.input::<T>(&op.dy)?);
        let layer = Layer { x, dy, offsets, d: sizes.d, p: sizes.p };
        let counts = |sample: usize| weights.is_none_or(|weights| weights[sample] != 0.0);
        let clip = |sample: usize, squared: f32| norm_and_factor(op, squared, counts(sample));
        if op.path == ClipPath::Fused {
            fastest(Fused { layer, counts, clip, norms, factors, grad, bias });
            return Ok(());
        }
        let method = NormsMethod::fewest_operations(sizes);
        per_sample_norms::squared_norms(layer, method, bias.is_some(), counts, norms);
        for (sample, (norm, factor)) in norms.iter_mut().zip(factors.iter_mut()).enumerate() {
            (*norm, *factor) = clip(sample, *norm);
        }
        clipped_grad::add(layer, factors, grad, bias);
        Ok(())
    })
}

/// Each sample's gradient is made a tile at a time, squared, and kept. What was kept of the sample before is scaled and
/// added when its place is needed: the factor is known by then, and the memory is read while others multiply.
struct Fused<'a, T, Counts, Clip> {
    layer: Layer<'a, T>,
    /// Whether a sample counts.
    counts: Counts,
    /// Norm and factor of a sample from the square of its norm.
    clip: Clip,
    norms: &'a mut [f32],
    factors: &'a mut [f32],
    grad: &'a mut [f32],
    bias: Option<&'a mut [f32]>,
}

impl<T: Float, Counts: Fn(usize) -> bool, Clip: Fn(usize, f32) -> (f32, f32)> Dispatched
    for Fused<'_, T, Counts, Clip>
{
    type Output = ();

    fn run<K: Tile>(self) {
        let Self { layer, counts, clip, norms, factors, grad, mut bias } = self;
        let Layer { x, dy, d, p, .. } = layer;
        let mut packed = Packed::default();
        let mut kept = vec![0.0f32; p * d];
        let mut factor_of_kept = 0.0f32;
        for sample in 0..layer.samples() {
            let rows = layer.rows(sample);
            if rows.is_empty() || !counts(sample) {
                (norms[sample], factors[sample]) = clip(sample, 0.0);
                continue;
            }
            let mut squared = 0.0;
            if !grad.is_empty() {
                packed.pack([dy, x], [p, d], rows.clone().map(|row| (row, 1.0)));
                squared = keep::<K>(&packed, d, factor_of_kept, &mut kept, grad);
            }
            let of_bias = bias.as_ref().map(|_| layer.bias(rows.map(|row| (row, 1.0))));
            squared += of_bias.iter().flatten().map(|g| g * g).sum::<f64>();
            let (norm, factor) = clip(sample, squared as f32);
            (norms[sample], factors[sample], factor_of_kept) = (norm, factor, factor);
            if let (Some(bias), Some(sums)) = (&mut bias, of_bias)
                && factor != 0.0
            {
                bias.iter_mut().zip(sums).for_each(|(bias, sum)| *bias += (f64::from(factor) * sum) as f32);
            }
        }
        let tasks = grad.par_chunks_mut(OUTPUTS * d.max(1)).zip(kept.par_chunks(OUTPUTS * d.max(1)));
        tasks.for_each(|(grad, kept)| {
            dispatch(
                #[inline(always)]
                || add_scaled(grad, factor_of_kept, kept),
            );
        });
    }
}

/// Adds what was kept, scaled, to the sum, and puts the gradient of the packed rows in its place; gives the square of its
/// norm.
fn keep<K: Tile>(packed: &Packed, d: usize, factor: f32, kept: &mut [f32], grad: &mut [f32]) -> f64 {
    let tasks = grad.par_chunks_mut(OUTPUTS * d).zip(kept.par_chunks_mut(OUTPUTS * d));
    let parts = tasks.enumerate().with_max_len(1).map(|(task, (grad, kept))| {
        let mut keep = Keep { grad, kept, d, factor, squared: 0.0 };
        tiles::<K>(packed, task * OUTPUTS, &mut keep);
        keep.squared
    });
    // In the order of the tasks, whoever had them.
    parts.collect::<Vec<f64>>().into_iter().sum()
}

/// Some outputs of the sum, and of what is kept.
struct Keep<'a> {
    grad: &'a mut [f32],
    kept: &'a mut [f32],
    d: usize,
    /// That of what was kept.
    factor: f32,
    squared: f64,
}

impl Take for Keep<'_> {
    fn ahead(&self, output: usize, input: usize) {
        ask(self.kept, self.d, output, input);
        if self.factor != 0.0 {
            ask(self.grad, self.d, output, input);
        }
    }

    fn take(&mut self, output: usize, input: usize, sums: &[f32]) {
        let Self { grad, kept, d, factor, squared } = self;
        let width = COLUMNS.min(*d - input);
        let rows = grad[output * *d..].chunks_mut(*d).zip(kept[output * *d..].chunks_mut(*d));
        dispatch(
            #[inline(always)]
            || {
                for ((grad, kept), sums) in rows.zip(sums.chunks_exact(COLUMNS)) {
                    let kept = &mut kept[input..][..width];
                    add_scaled(&mut grad[input..][..width], *factor, kept);
                    kept.copy_from_slice(&sums[..width]);
                }
                *squared += squares(sums);
            },
        );
    }
}
