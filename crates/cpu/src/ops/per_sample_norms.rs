use gristmill_core::Result;
use gristmill_core::ops::{NormsMethod, PerSampleNorms};
use rayon::prelude::*;

use super::lanes::dispatch;
use super::linear_grad::{Dispatched, Gram, Layer, OUTPUTS, Packed, Take, Tile, fastest, squares, tiles};
use crate::access::Access;
use crate::float::Float;
use crate::number::with;
use crate::reference::fail_at;

pub(super) fn run(op: &PerSampleNorms, access: &Access) -> Result<()> {
    let sizes = op.sizes();
    let offsets = access.indices(&op.offsets)?;
    fail_at(op, offsets.first_unordered(sizes.rows))?;
    let out = access.output::<f32>(&op.out)?;
    with!(op.x.dtype(), common T => {
        let (x, dy) = (access.input::<T>(&op.x)?, access.input::<T>(&op.dy)?);
        let layer = Layer { x, dy, offsets, d: sizes.d, p: sizes.p };
        squared_norms(layer, op.method, op.bias, |_| true, out);
        Ok(())
    })
}

/// The square of the norm of each sample's gradient, with that of the bias if there is one; 0 for samples that do not
/// count.
pub(super) fn squared_norms<T: Float>(
    layer: Layer<T>,
    method: NormsMethod,
    bias: bool,
    counts: impl Fn(usize) -> bool + Sync,
    out: &mut [f32],
) {
    let wanted = |sample: usize| !layer.rows(sample).is_empty() && counts(sample);
    let of_bias = |sample: usize| match bias {
        true => layer.bias(layer.rows(sample).map(|row| (row, 1.0))).iter().map(|g| g * g).sum(),
        false => 0.0,
    };
    let direct = |sample: usize, packed: &mut Packed| fastest(Direct { layer, sample, packed });
    if layer.d * layer.p == 0 || method == NormsMethod::Direct {
        let mut packed = Packed::default();
        for (sample, out) in out.iter_mut().enumerate() {
            *out = if wanted(sample) { (direct(sample, &mut packed) + of_bias(sample)) as f32 } else { 0.0 };
        }
        return;
    }
    // Samples side by side, where there are enough of them for all threads; the bits are the same.
    let side_by_side = layer.samples() >= 4 * rayon::current_num_threads();
    let of_sample = |gram: &mut Gram, (sample, out): (usize, &mut f32)| {
        if !wanted(sample) {
            *out = 0.0;
            return;
        }
        let of_weight = gram.squared_norm(layer, sample, !side_by_side);
        *out = (of_weight.unwrap_or_else(|| direct(sample, &mut Packed::default())) + of_bias(sample)) as f32;
    };
    match side_by_side {
        true => out.par_iter_mut().enumerate().for_each_init(Gram::default, of_sample),
        false => {
            let mut gram = Gram::default();
            out.iter_mut().enumerate().for_each(|pair| of_sample(&mut gram, pair));
        }
    }
}

/// The gradient of a sample, squared a tile at a time.
struct Direct<'a, T> {
    layer: Layer<'a, T>,
    sample: usize,
    packed: &'a mut Packed,
}

impl<T: Float> Dispatched for Direct<'_, T> {
    type Output = f64;

    fn run<K: Tile>(self) -> f64 {
        let Self { layer: Layer { x, dy, d, p, .. }, sample, packed } = self;
        packed.pack([dy, x], [p, d], self.layer.rows(sample).map(|row| (row, 1.0)));
        let tasks = (0..p.div_ceil(OUTPUTS)).into_par_iter().with_max_len(1);
        let parts = tasks.map(|task| {
            let mut squared = Squares(0.0);
            tiles::<K>(packed, task * OUTPUTS, &mut squared);
            squared.0
        });
        // In the order of the tasks, whoever had them.
        parts.collect::<Vec<f64>>().into_iter().sum()
    }
}

/// The sum of the squares of all tiles.
struct Squares(f64);

impl Take for Squares {
    fn take(&mut self, _output: usize, _input: usize, sums: &[f32]) {
        dispatch(
            #[inline(always)]
            || self.0 += squares(sums),
        );
    }
}
