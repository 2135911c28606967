//! Methods of tensors that layers with few parameters are made of, and parts of outlier-safe pre-training.

use gristmill::optim::osp::{
    Projected, ScaleNorm, SsNormOptions, embedding_projection, excess_kurtosis, merge_embedding_projection,
    ss_norm, ss_norm_grad,
};
use gristmill_core::ops::RtnRule;
use gristmill_core::{Error, Result};
use napi::Either;
use napi::bindgen_prelude::{BigInt, ClassInstance, Env, Object};
use napi_derive::napi;

use crate::args::{activation_kind, index, norm_kind, optional_size, single, size, word};
use crate::device::DeviceHandle;
use crate::error::{guarded, to_js};
use crate::task::spawn;
use crate::tensor::{TensorHandle, other};

const THREAD: &str = "gristmill-osp";

#[napi]
impl TensorHandle {
    /// Columns of this matrix.
    #[napi]
    pub fn gather_columns(&self, env: Env, index: &TensorHandle) -> napi::Result<TensorHandle> {
        Self::of(&env, || self.get("x")?.gather_columns(&index.get("index")?))
    }

    /// Columns added to some of those of this matrix, in place.
    #[napi]
    pub fn scatter_columns(&self, env: Env, y: &TensorHandle, index: &TensorHandle) -> napi::Result<()> {
        self.change(&env, |out| out.scatter_columns(&y.get("y")?, &index.get("index")?))
    }

    /// The gradient of a function of every element.
    #[napi]
    pub fn activation_grad(&self, env: Env, kind: String, dy: &TensorHandle) -> napi::Result<TensorHandle> {
        Self::of(&env, || self.get("x")?.activation_grad(activation_kind(&kind)?, &dy.get("dy")?))
    }

    /// How heavy the tails of every row are.
    #[napi]
    pub fn kurtosis(&self, env: Env, centered: bool) -> napi::Result<TensorHandle> {
        Self::of(&env, || self.get("x")?.kurtosis(centered))
    }

    /// The Walsh-Hadamard transform of blocks of every row.
    #[napi]
    pub fn hadamard(&self, env: Env, block: Option<f64>) -> napi::Result<TensorHandle> {
        Self::of(&env, || self.get("x")?.hadamard(optional_size("block", block)?))
    }

    /// Groups of numbers rounded to a few levels and back.
    #[napi]
    pub fn quantize_rtn(
        &self,
        env: Env,
        bits: f64,
        symmetric: bool,
        clip: f64,
        group: Option<f64>,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            let rule = RtnRule { bits: index("bits", bits)?, symmetric, clip: single("clip", clip)? };
            self.get("x")?.quantize_rtn(rule, optional_size("group", group)?)
        })
    }

    /// The gradient of normalised rows: that at the rows, and inner products.
    #[napi]
    pub fn norm_grad(
        &self,
        env: Env,
        dy: &TensorHandle,
        kind: String,
        eps: f64,
        weight: Option<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<Vec<TensorHandle>> {
        self.several(&env, |x| {
            let weight = other("weight", weight)?;
            let out = x.norm_grad(&dy.get("dy")?, norm_kind(&kind)?, single("eps", eps)?, weight.as_ref())?;
            Ok(vec![out.dx, out.dots])
        })
    }

    /// Single-scale normalisation.
    #[napi]
    pub fn ss_norm(
        &self,
        env: Env,
        gamma: &TensorHandle,
        eps: f64,
        by: String,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || ss_norm(&self.get("x")?, &gamma.get("gamma")?, single_scale(eps, &by)?))
    }

    /// Its gradients: at the rows and at gamma.
    #[napi]
    pub fn ss_norm_grad(
        &self,
        env: Env,
        gamma: &TensorHandle,
        dy: &TensorHandle,
        eps: f64,
        by: String,
    ) -> napi::Result<Vec<TensorHandle>> {
        self.several(&env, |x| {
            let options = single_scale(eps, &by)?;
            let out = ss_norm_grad(x, &gamma.get("gamma")?, &dy.get("dy")?, options)?;
            Ok(vec![out.x, out.gamma])
        })
    }

    /// This table with a projection merged into it.
    #[napi]
    pub fn merge_embedding_projection(
        &self,
        env: Env,
        projection: &TensorHandle,
        head: bool,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            let stands = if head { Projected::Head } else { Projected::Embedding };
            merge_embedding_projection(&self.get("table")?, &projection.get("projection")?, stands)
        })
    }
}

fn single_scale(eps: f64, by: &str) -> Result<SsNormOptions> {
    let by = match by {
        "rms" => ScaleNorm::Rms,
        "length" => ScaleNorm::Length,
        _ => {
            return Err(Error::invalid_argument("by", format!("no kind {by:?}")).hint("one of rms, length"));
        }
    };
    Ok(SsNormOptions { eps: single("eps", eps)?, by })
}

/// An orthogonal matrix to project embeddings with.
#[napi(js_name = "embeddingProjection", ts_return_type = "Promise<TensorHandle>")]
pub fn make_embedding_projection<'env>(
    env: &'env Env,
    device: &DeviceHandle,
    width: f64,
    #[napi(ts_arg_type = "number | bigint")] seed: Either<f64, BigInt>,
) -> napi::Result<Object<'env>> {
    let arguments = || Ok((size("width", width)?, word("seed", seed)?));
    let (width, seed) = guarded(arguments).map_err(|e| to_js(env, &e))?;
    let device = device.device.clone();
    let make = move || embedding_projection(&device, width, seed);
    spawn(env, THREAD, Default::default(), make, TensorHandle::uncharged)
}

/// The mean of what the kurtosis of every token has above 0.
#[napi(js_name = "excessKurtosis", ts_return_type = "Promise<number>")]
pub fn mean_excess_kurtosis<'env>(
    env: &'env Env,
    states: Vec<ClassInstance<'_, TensorHandle>>,
) -> napi::Result<Object<'env>> {
    let arguments = || states.iter().map(|handle| handle.get("states")).collect::<Result<Vec<_>>>();
    let states = guarded(arguments).map_err(|e| to_js(env, &e))?;
    spawn(env, THREAD, Default::default(), move || excess_kurtosis(&states), |mean| mean)
}
