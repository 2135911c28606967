//! Bases and polar factors of matrices: functions that compute on a device and wait for small problems on the host.

use gristmill::optim::linalg::{self, RangeOptions};
use gristmill_core::{Result, Tensor};
use napi::Either;
use napi::bindgen_prelude::{BigInt, ClassInstance, Env, Object};
use napi_derive::napi;

use crate::args::{dtype, size, word};
use crate::error::{guarded, to_js};
use crate::task::{spawn, spawn_in};
use crate::tensor::{TensorHandle, other};

const THREAD: &str = "gristmill-linalg";

/// The promise of a tensor.
fn promised<'env>(
    env: &'env Env,
    make: impl FnOnce() -> Result<Tensor> + Send + 'static,
) -> napi::Result<Object<'env>> {
    spawn_in(env, THREAD, Default::default(), make, TensorHandle::own)
}

/// A basis that captures most of the energy of a matrix.
#[napi(ts_return_type = "Promise<TensorHandle>")]
#[allow(clippy::too_many_arguments)] // They are what JavaScript gives, one by one.
pub fn range_find<'env>(
    env: &'env Env,
    x: &TensorHandle,
    rank: f64,
    right: bool,
    oversample: Option<f64>,
    power: Option<f64>,
    start: Option<ClassInstance<'_, TensorHandle>>,
    #[napi(ts_arg_type = "number | bigint")] seed: Either<f64, BigInt>,
) -> napi::Result<Object<'env>> {
    let arguments = || {
        let defaults = RangeOptions::new(size("rank", rank)?);
        let start = other("start", start)?;
        // A start is as good as a pass.
        let passes = if start.is_some() { 0 } else { defaults.power };
        let options = RangeOptions {
            right,
            oversample: oversample.map_or(Ok(defaults.oversample), |n| size("oversample", n))?,
            power: power.map_or(Ok(passes), |n| size("power", n))?,
            start,
            seed: word("seed", seed)?,
            ..defaults
        };
        Ok((x.get("x")?, options))
    };
    let (x, options) = guarded(arguments).map_err(|e| to_js(env, &e))?;
    promised(env, move || linalg::range_find(&x, &options))
}

/// The leading singular vectors, exactly.
#[napi(ts_return_type = "Promise<TensorHandle>")]
pub fn leading_vectors<'env>(
    env: &'env Env,
    x: &TensorHandle,
    rank: f64,
    right: bool,
) -> napi::Result<Object<'env>> {
    let arguments = || Ok((x.get("x")?, size("rank", rank)?));
    let (x, rank) = guarded(arguments).map_err(|e| to_js(env, &e))?;
    promised(env, move || linalg::leading_vectors(&x, rank, right))
}

/// An orthonormal basis of the columns.
#[napi(ts_return_type = "Promise<TensorHandle>")]
pub fn orthonormalize<'env>(env: &'env Env, x: &TensorHandle) -> napi::Result<Object<'env>> {
    let x = guarded(|| x.get("x")).map_err(|e| to_js(env, &e))?;
    promised(env, move || linalg::orthonormalize(&linalg::f32_of(&x)?))
}

/// The orthogonal polar factor, nearly.
#[napi(ts_return_type = "Promise<TensorHandle>")]
pub fn newton_schulz<'env>(
    env: &'env Env,
    x: &TensorHandle,
    steps: f64,
    dtype: String,
) -> napi::Result<Object<'env>> {
    let arguments = || Ok((x.get("x")?, size("steps", steps)?, self::dtype(&dtype)?));
    let (x, steps, dtype) = guarded(arguments).map_err(|e| to_js(env, &e))?;
    promised(env, move || linalg::newton_schulz(&x, steps, dtype))
}

/// The share of the energy that a basis captures.
#[napi(ts_return_type = "Promise<number>")]
pub fn captured_energy<'env>(
    env: &'env Env,
    x: &TensorHandle,
    basis: &TensorHandle,
    right: bool,
) -> napi::Result<Object<'env>> {
    let arguments = || Ok((x.get("x")?, basis.get("basis")?));
    let (x, basis) = guarded(arguments).map_err(|e| to_js(env, &e))?;
    spawn(env, THREAD, Default::default(), move || linalg::captured_energy(&x, &basis, right), |share| share)
}

/// A matrix in the coordinates of a basis, or back from them.
#[napi]
pub fn rotate(
    env: Env,
    x: &TensorHandle,
    basis: &TensorHandle,
    right: bool,
    back: bool,
) -> napi::Result<TensorHandle> {
    TensorHandle::of(&env, || {
        let (x, basis) = (x.get("x")?, basis.get("basis")?);
        if back { linalg::rotate_back(&x, &basis, right) } else { linalg::rotate(&x, &basis, right) }
    })
}
