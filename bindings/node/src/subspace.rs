//! The class of a pipeline boundary's subspace. What reads from the device is a promise; everything else enqueues.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gristmill::comm::subspace::Subspace;
use gristmill_core::{Code, Error, Result, Tensor};
use napi::Either;
use napi::bindgen_prelude::{BigInt, ClassInstance, Env, Object};
use napi_derive::napi;

use crate::args::{dtype, single, size, word};
use crate::device::DeviceHandle;
use crate::error::{guarded, to_js};
use crate::task::spawn;
use crate::tensor::{TensorHandle, other};

const THREAD: &str = "gristmill-subspace";

/// `None` once it was disposed of.
type Shared = Arc<Mutex<Option<Subspace>>>;

/// A change replaces the whole, so that one that panicked leaves what was there before.
fn lock(subspace: &Shared) -> MutexGuard<'_, Option<Subspace>> {
    subspace.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gone() -> Error {
    Error::new(Code::Disposed, "the subspace was disposed of").at_column("subspace")
}

/// A pipeline boundary's subspace.
#[napi]
pub struct SubspaceHandle {
    subspace: Shared,
}

impl SubspaceHandle {
    fn of(subspace: Subspace) -> Self {
        Self { subspace: Arc::new(Mutex::new(Some(subspace))) }
    }

    fn get(&self) -> Result<Subspace> {
        lock(&self.subspace).clone().ok_or_else(gone)
    }
}

/// With an anchor or without.
fn anchored(subspace: Subspace, anchor: Option<Tensor>) -> Result<Subspace> {
    match anchor {
        Some(anchor) => subspace.anchored(&anchor),
        None => Ok(subspace),
    }
}

/// A basis of the span of random vectors.
#[napi(ts_return_type = "Promise<SubspaceHandle>")]
pub fn random_subspace<'env>(
    env: &'env Env,
    device: &DeviceHandle,
    width: f64,
    rank: f64,
    #[napi(ts_arg_type = "number | bigint")] seed: Either<f64, BigInt>,
    dtype: String,
    anchor: Option<ClassInstance<'_, TensorHandle>>,
) -> napi::Result<Object<'env>> {
    let arguments = || {
        let sizes = (size("width", width)?, size("rank", rank)?, word("seed", seed)?);
        Ok((sizes, self::dtype(&dtype)?, other("anchor", anchor)?))
    };
    let ((width, rank, seed), dtype, anchor) = guarded(arguments).map_err(|e| to_js(env, &e))?;
    let device = device.device.clone();
    let make = move || anchored(Subspace::random(&device, width, rank, seed, dtype)?, anchor);
    spawn(env, THREAD, Default::default(), make, SubspaceHandle::of)
}

/// A basis of the span of the columns of a matrix.
#[napi(ts_return_type = "Promise<SubspaceHandle>")]
pub fn spanned_subspace<'env>(
    env: &'env Env,
    matrix: &TensorHandle,
    dtype: String,
    anchor: Option<ClassInstance<'_, TensorHandle>>,
) -> napi::Result<Object<'env>> {
    let arguments = || Ok((matrix.get("matrix")?, self::dtype(&dtype)?, other("anchor", anchor)?));
    let (matrix, dtype, anchor) = guarded(arguments).map_err(|e| to_js(env, &e))?;
    let make = move || anchored(Subspace::spanned(&matrix, dtype)?, anchor);
    spawn(env, THREAD, Default::default(), make, SubspaceHandle::of)
}

#[napi]
impl SubspaceHandle {
    /// Releases it. Does nothing the second time.
    #[napi]
    pub fn dispose(&self) {
        drop(lock(&self.subspace).take());
    }

    /// The basis.
    #[napi]
    pub fn basis(&self, env: Env) -> napi::Result<TensorHandle> {
        TensorHandle::of(&env, || self.get()?.basis().copy())
    }

    /// The anchor's table.
    #[napi]
    pub fn anchor(&self, env: Env) -> napi::Result<TensorHandle> {
        TensorHandle::of(&env, || {
            let none = || Error::invalid_argument("anchor", "the subspace has no anchor");
            self.get()?.anchor().ok_or_else(none)?.copy()
        })
    }

    /// What is sent of activations.
    #[napi]
    pub fn project(
        &self,
        env: Env,
        x: &TensorHandle,
        ids: Option<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<TensorHandle> {
        TensorHandle::of(&env, || self.get()?.project(&x.get("x")?, other("ids", ids)?.as_ref()))
    }

    /// What the next stage makes of it.
    #[napi]
    pub fn expand(
        &self,
        env: Env,
        sent: &TensorHandle,
        ids: Option<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<TensorHandle> {
        TensorHandle::of(&env, || self.get()?.expand(&sent.get("sent")?, other("ids", ids)?.as_ref()))
    }

    /// What is sent back of a gradient.
    #[napi]
    pub fn project_gradient(&self, env: Env, gradient: &TensorHandle) -> napi::Result<TensorHandle> {
        TensorHandle::of(&env, || self.get()?.project_gradient(&gradient.get("gradient")?))
    }

    /// What the stage before makes of it.
    #[napi]
    pub fn expand_gradient(&self, env: Env, sent: &TensorHandle) -> napi::Result<TensorHandle> {
        TensorHandle::of(&env, || self.get()?.expand_gradient(&sent.get("sent")?))
    }

    /// The sender's part of the gradient at the basis.
    #[napi]
    pub fn sender_gradient(
        &self,
        env: Env,
        x: &TensorHandle,
        returned: &TensorHandle,
        ids: Option<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<TensorHandle> {
        TensorHandle::of(&env, || {
            let (x, returned) = (x.get("x")?, returned.get("returned")?);
            self.get()?.sender_gradient(&x, other("ids", ids)?.as_ref(), &returned)
        })
    }

    /// The receiver's part.
    #[napi]
    pub fn receiver_gradient(
        &self,
        env: Env,
        gradient: &TensorHandle,
        sent: &TensorHandle,
    ) -> napi::Result<TensorHandle> {
        TensorHandle::of(&env, || {
            self.get()?.receiver_gradient(&gradient.get("gradient")?, &sent.get("sent")?)
        })
    }

    /// A step of the basis. Nothing else may be done with it meanwhile.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn step<'env>(&self, env: &'env Env, gradient: &TensorHandle, lr: f64) -> napi::Result<Object<'env>> {
        let arguments = || Ok((self.get()?, gradient.get("gradient")?, single("lr", lr)?));
        let (mut next, gradient, lr) = guarded(arguments).map_err(|e| to_js(env, &e))?;
        let subspace = self.subspace.clone();
        let work = move || {
            next.step(&gradient, lr)?;
            if let Some(now) = &mut *lock(&subspace) {
                *now = next;
            }
            Ok(())
        };
        spawn(env, THREAD, Default::default(), work, |()| ())
    }

    /// Moves what of embeddings lies outside into the anchor.
    #[napi]
    pub fn adapt(&self, env: Env, embeddings: &TensorHandle) -> napi::Result<()> {
        guarded(|| self.get()?.adapt(&embeddings.get("embeddings")?)).map_err(|e| to_js(&env, &e))
    }
}
