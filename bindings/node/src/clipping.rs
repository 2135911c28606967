//! Methods of tensors that DP-SGD is made of: norms of samples' gradients, clipping, noise.

use gristmill_core::ops::{ClipLinearOptions, ClipOptions, EmbeddingOptions, NoiseOptions, NormsOptions};
use napi::Either;
use napi::bindgen_prelude::{BigInt, ClassInstance, Env};
use napi_derive::napi;

use crate::args::{
    clip_path, clip_rule, exponent, index, key, noise_generator, norms_method, single, size, word,
};
use crate::error::{guarded, to_js};
use crate::tensor::{TensorHandle, other};

#[napi]
impl TensorHandle {
    /// Squares of the norms of samples' gradients.
    #[napi]
    pub fn per_sample_norms(
        &self,
        env: Env,
        dy: &TensorHandle,
        offsets: &TensorHandle,
        bias: bool,
        method: Option<String>,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            let options = NormsOptions { bias, method: method.as_deref().map(norms_method).transpose()? };
            self.get("x")?.per_sample_norms(&dy.get("dy")?, &offsets.get("offsets")?, options)
        })
    }

    /// Samples' gradients, each scaled, added to those of weight and bias.
    #[napi]
    pub fn clipped_grad(
        &self,
        env: Env,
        dy: &TensorHandle,
        offsets: &TensorHandle,
        factors: &TensorHandle,
        grad: &TensorHandle,
        bias: Option<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<()> {
        self.change(&env, |x| {
            let (dy, offsets) = (dy.get("dy")?, offsets.get("offsets")?);
            let bias = other("bias", bias)?;
            x.clipped_grad(&dy, &offsets, &factors.get("factors")?, &grad.get("grad")?, bias.as_ref())
        })
    }

    /// Both for one layer: norms and factors, and the path that was taken.
    #[napi(ts_return_type = "[TensorHandle[], string]")]
    #[allow(clippy::too_many_arguments)]
    pub fn clip_linear_fused(
        &self,
        env: Env,
        dy: &TensorHandle,
        offsets: &TensorHandle,
        grad: &TensorHandle,
        bias: Option<ClassInstance<'_, TensorHandle>>,
        weights: Option<ClassInstance<'_, TensorHandle>>,
        max_norm: f64,
        rule: String,
        gamma: Option<f64>,
        path: Option<String>,
    ) -> napi::Result<(Vec<TensorHandle>, &'static str)> {
        let clip = || {
            let options = ClipLinearOptions {
                bias: other("bias", bias)?,
                weights: other("weights", weights)?,
                max_norm: single("maxNorm", max_norm)?,
                rule: clip_rule(&rule, gamma)?,
                path: path.as_deref().map(clip_path).transpose()?,
            };
            let (dy, offsets, grad) = (dy.get("dy")?, offsets.get("offsets")?, grad.get("grad")?);
            self.get("x")?.clip_linear_fused(&dy, &offsets, &grad, options)
        };
        let out = guarded(clip).map_err(|e| to_js(&env, &e))?;
        let tensors = [out.norms, out.factors].map(|tensor| Self::own(&env, tensor));
        Ok((tensors.into(), out.path.name()))
    }

    /// Factors that clip gradients with these squares of norms: factors and counts.
    #[napi]
    pub fn clip_factors(
        &self,
        env: Env,
        max_norms: &TensorHandle,
        weights: Option<ClassInstance<'_, TensorHandle>>,
        rule: String,
        gamma: Option<f64>,
    ) -> napi::Result<Vec<TensorHandle>> {
        self.several(&env, |squared| {
            let out = squared.clip_factors(ClipOptions {
                max_norms: max_norms.get("maxNorms")?,
                weights: other("weights", weights)?,
                rule: clip_rule(&rule, gamma)?,
            })?;
            Ok(vec![out.factors, out.counts])
        })
    }

    /// Column sums of samples.
    #[napi]
    pub fn segment_product(
        &self,
        env: Env,
        b: Option<ClassInstance<'_, TensorHandle>>,
        offsets: &TensorHandle,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || self.get("a")?.segment_product(other("b", b)?.as_ref(), &offsets.get("offsets")?))
    }

    /// These rows, scaled, added to a row.
    #[napi]
    pub fn clipped_sum(&self, env: Env, factors: &TensorHandle, out: &TensorHandle) -> napi::Result<()> {
        self.change(&env, |rows| rows.clipped_sum(&factors.get("factors")?, &out.get("out")?))
    }

    /// Squares of the norms of the gradients that samples give a table at these ids.
    #[napi]
    pub fn embedding_norms(
        &self,
        env: Env,
        dy: &TensorHandle,
        offsets: &TensorHandle,
        vocabulary: f64,
        padding_idx: Option<f64>,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            let options = EmbeddingOptions {
                vocabulary: size("vocabulary", vocabulary)?,
                padding_idx: padding_idx.map(|id| index("paddingIdx", id)).transpose()?,
            };
            self.get("ids")?.embedding_norms(&dy.get("dy")?, &offsets.get("offsets")?, options)
        })
    }

    /// These gradients, each scaled, added to that of the table.
    #[napi]
    pub fn clipped_embedding_grad(
        &self,
        env: Env,
        dy: &TensorHandle,
        offsets: &TensorHandle,
        factors: &TensorHandle,
        grad: &TensorHandle,
        padding_idx: Option<f64>,
    ) -> napi::Result<()> {
        self.change(&env, |ids| {
            let padding_idx = padding_idx.map(|id| index("paddingIdx", id)).transpose()?;
            let (dy, offsets) = (dy.get("dy")?, offsets.get("offsets")?);
            ids.clipped_embedding_grad(
                &dy,
                &offsets,
                &factors.get("factors")?,
                &grad.get("grad")?,
                padding_idx,
            )
        })
    }

    /// What a table that is embedding and head adds to the squared norm of each sample, halved.
    #[napi]
    pub fn tied_norms(
        &self,
        env: Env,
        e: &TensorHandle,
        h: &TensorHandle,
        dlogits: &TensorHandle,
        offsets: &TensorHandle,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            let (e, h) = (e.get("e")?, h.get("h")?);
            self.get("ids")?.tied_norms(&e, &h, &dlogits.get("dlogits")?, &offsets.get("offsets")?)
        })
    }

    /// Gaussian noise added in place.
    #[napi]
    #[allow(clippy::too_many_arguments)]
    pub fn add_gaussian_noise(
        &self,
        env: Env,
        generator: String,
        key: &[u8],
        step: Either<f64, BigInt>,
        tensor: f64,
        std: f64,
        scale: f64,
    ) -> napi::Result<()> {
        self.change(&env, |y| {
            y.add_gaussian_noise(NoiseOptions {
                generator: noise_generator(&generator)?,
                key: self::key(key)?,
                step: word("step", step)?,
                tensor: index("tensor", tensor)?,
                std,
                scale,
            })
        })
    }

    /// These rows, scaled and rounded to a grid, added to 64-bit sums.
    #[napi]
    pub fn grid_sum(
        &self,
        env: Env,
        factors: &TensorHandle,
        sums: &TensorHandle,
        exponent: f64,
    ) -> napi::Result<()> {
        self.change(&env, |rows| {
            rows.grid_sum(&factors.get("factors")?, &sums.get("sums")?, self::exponent(exponent)?)
        })
    }
}
