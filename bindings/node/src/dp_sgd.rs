//! The class of an engine of DP-SGD. Recording enqueues; what waits for the device is a promise.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use gristmill::privacy::dp_sgd::{
    Adjacency, Batch, DpSgd, DpSgdOptions, Embedding, Gradient, Linear, Norm, Recorded, Tied,
};
use gristmill_core::{Code, Error, Result};
use napi::bindgen_prelude::{ClassInstance, Env, Object};
use napi_derive::napi;

use crate::args::{norms_method, optional_size, size};
use crate::device::DeviceHandle;
use crate::error::{guarded, parse, print, to_js};
use crate::task::spawn;
use crate::tensor::{TensorHandle, other};

const THREAD: &str = "gristmill-dp-sgd";

/// The gradients of a step.
type Gradients = Vec<(String, Gradient)>;

/// What is there between two calls.
struct Engine {
    dp: DpSgd,
    /// What a step on a thread of its own gave, until it is asked for.
    finished: Option<Gradients>,
}

/// Gradients with noise, by layer.
#[napi(object, object_from_js = false)]
pub struct DpGradients {
    /// The names of the layers.
    pub names: Vec<String>,
    /// Whether each has a bias.
    pub biases: Vec<bool>,
    /// Weight of each, followed by its bias where it has one.
    pub tensors: Vec<TensorHandle>,
}

/// An engine of DP-SGD.
#[napi]
pub struct DpSgdHandle {
    /// `None` once it was disposed of.
    engine: Mutex<Option<Arc<Mutex<Engine>>>>,
}

fn adjacency_of(name: &str) -> Result<Adjacency> {
    match name {
        "add-remove" => Ok(Adjacency::AddRemove),
        "replace-one" => Ok(Adjacency::ReplaceOne),
        _ => Err(Error::invalid_argument("adjacency", format!("no adjacency {name:?}"))
            .hint("one of add-remove, replace-one")),
    }
}

/// The engine, unless another call has it. One whose call panicked half-way is in no state to go on from.
fn now(engine: &Mutex<Engine>) -> Result<MutexGuard<'_, Engine>> {
    engine.try_lock().map_err(|e| match e {
        TryLockError::WouldBlock => {
            Error::invalid_argument("step", "a call that was not awaited is under way")
                .hint("await it before anything else is done with the engine")
        }
        TryLockError::Poisoned(_) => Error::new(Code::Internal, "an earlier call of this engine panicked")
            .hint("make a new one and load the last state that was saved"),
    })
}

fn step(dp: &mut DpSgd, empty: bool) -> Result<Gradients> {
    let gradients = if empty { dp.empty_step() } else { dp.step() };
    gradients.map(|gradients| gradients.into_iter().collect())
}

fn handles(env: &Env, gradients: Gradients) -> DpGradients {
    let (mut names, mut biases, mut tensors) = (Vec::new(), Vec::new(), Vec::new());
    for (name, Gradient { weight, bias }) in gradients {
        names.push(name);
        biases.push(bias.is_some());
        tensors.push(TensorHandle::own(env, weight));
        tensors.extend(bias.map(|bias| TensorHandle::own(env, bias)));
    }
    DpGradients { names, biases, tensors }
}

impl DpSgdHandle {
    fn shared(&self) -> Result<Arc<Mutex<Engine>>> {
        let gone = || Error::new(Code::Disposed, "the engine was disposed of").at_column("this");
        self.engine.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone().ok_or_else(gone)
    }

    fn with<T>(&self, env: &Env, work: impl FnOnce(&mut Engine) -> Result<T>) -> napi::Result<T> {
        guarded(|| {
            let engine = self.shared()?;
            let mut engine = now(&engine)?;
            work(&mut engine)
        })
        .map_err(|e| to_js(env, &e))
    }

    fn record(&self, env: &Env, work: impl FnOnce(&mut DpSgd) -> Result<Recorded>) -> napi::Result<String> {
        self.with(env, |engine| Ok(work(&mut engine.dp)?.name().into()))
    }

    fn work<'env, T: Send + 'static, V: napi::bindgen_prelude::ToNapiValue + 'static>(
        &self,
        env: &'env Env,
        work: impl FnOnce(&mut Engine) -> Result<T> + Send + 'static,
        convert: impl FnOnce(T) -> V + Send + 'static,
    ) -> napi::Result<Object<'env>> {
        let engine = self.shared().map_err(|e| to_js(env, &e))?;
        spawn(env, THREAD, Default::default(), move || work(&mut *now(&engine)?), convert)
    }
}

#[napi]
impl DpSgdHandle {
    /// An engine before its first step; `options` is JSON text.
    #[napi(constructor)]
    pub fn new(env: Env, device: &DeviceHandle, options: String) -> napi::Result<Self> {
        guarded(|| DpSgd::new(&device.device, parse::<DpSgdOptions>(&options)?))
            .map(|dp| Self { engine: Mutex::new(Some(Arc::new(Mutex::new(Engine { dp, finished: None })))) })
            .map_err(|e| to_js(&env, &e))
    }

    /// Releases it; what is under way with it is finished first. Does nothing the second time.
    #[napi]
    pub fn dispose(&self) {
        drop(self.engine.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
    }

    /// Says of the next batch where its samples begin and which are padding.
    #[napi]
    pub fn batch(
        &self,
        env: Env,
        offsets: Option<ClassInstance<'_, TensorHandle>>,
        weights: Option<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<()> {
        self.with(&env, |engine| {
            engine
                .dp
                .batch(Batch { offsets: other("offsets", offsets)?, weights: other("weights", weights)? })
        })
    }

    /// Records a linear layer: `kept`, `fused` or `two-phase`.
    #[napi]
    #[allow(clippy::too_many_arguments)]
    pub fn linear(
        &self,
        env: Env,
        name: String,
        x: &TensorHandle,
        dy: &TensorHandle,
        bias: bool,
        offsets: Option<ClassInstance<'_, TensorHandle>>,
        method: Option<String>,
    ) -> napi::Result<String> {
        self.record(&env, |dp| {
            let method = method.as_deref().map(norms_method).transpose()?;
            let (x, dy, offsets) = (x.get("x")?, dy.get("dy")?, other("offsets", offsets)?);
            dp.linear(&name, Linear { x, dy, bias, offsets, method })
        })
    }

    /// Records a table of embeddings.
    #[napi]
    #[allow(clippy::too_many_arguments)]
    pub fn embedding(
        &self,
        env: Env,
        name: String,
        ids: &TensorHandle,
        dy: &TensorHandle,
        vocabulary: Option<f64>,
        padding_idx: Option<f64>,
        offsets: Option<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<String> {
        self.record(&env, |dp| {
            let (ids, dy, offsets) = (ids.get("ids")?, dy.get("dy")?, other("offsets", offsets)?);
            let vocabulary = optional_size("vocabulary", vocabulary)?;
            let padding_idx = padding_idx.map(|id| size("paddingIdx", id)).transpose()?;
            let padding_idx = padding_idx
                .map(u32::try_from)
                .transpose()
                .map_err(|_| Error::invalid_argument("paddingIdx", "it is no row of a table"))?;
            dp.embedding(&name, Embedding { ids, dy, vocabulary, padding_idx, offsets })
        })
    }

    /// Records a normalisation.
    #[napi]
    pub fn norm(
        &self,
        env: Env,
        name: String,
        xhat: &TensorHandle,
        dy: &TensorHandle,
        bias: bool,
        offsets: Option<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<String> {
        self.record(&env, |dp| {
            let (xhat, dy, offsets) = (xhat.get("xhat")?, dy.get("dy")?, other("offsets", offsets)?);
            dp.norm(&name, Norm { xhat, dy, bias, offsets })
        })
    }

    /// Records a table that is both embedding and head.
    #[napi]
    #[allow(clippy::too_many_arguments)]
    pub fn tied(
        &self,
        env: Env,
        name: String,
        ids: &TensorHandle,
        dy: &TensorHandle,
        h: &TensorHandle,
        dlogits: &TensorHandle,
        bias: bool,
        offsets: Option<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<String> {
        self.record(&env, |dp| {
            let (ids, dy) = (ids.get("ids")?, dy.get("dy")?);
            let (h, dlogits, offsets) = (h.get("h")?, dlogits.get("dlogits")?, other("offsets", offsets)?);
            dp.tied(&name, Tied { ids, dy, h, dlogits, bias, offsets })
        })
    }

    /// Ends a micro-batch that is not the last one of its step.
    #[napi]
    pub fn accumulate(&self, env: Env) -> napi::Result<()> {
        self.with(&env, |engine| engine.dp.accumulate())
    }

    /// Ends a step.
    #[napi]
    pub fn step(&self, env: Env, empty: bool) -> napi::Result<DpGradients> {
        let gradients = self.with(&env, |engine| step(&mut engine.dp, empty))?;
        Ok(handles(&env, gradients))
    }

    /// The same on a thread of its own; `finished` then has the gradients.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn step_async<'env>(&self, env: &'env Env, empty: bool) -> napi::Result<Object<'env>> {
        let work = move |engine: &mut Engine| {
            engine.finished = Some(step(&mut engine.dp, empty)?);
            Ok(())
        };
        self.work(env, work, |()| ())
    }

    /// What the last step on a thread of its own gave, once.
    #[napi]
    pub fn finished(&self, env: Env) -> napi::Result<DpGradients> {
        let none = || Error::new(Code::Internal, "no step was taken");
        let gradients = self.with(&env, |engine| engine.finished.take().ok_or_else(none))?;
        Ok(handles(&env, gradients))
    }

    /// Steps so far.
    #[napi]
    pub fn steps(&self, env: Env) -> napi::Result<f64> {
        self.with(&env, |engine| Ok(engine.dp.steps() as f64))
    }

    /// The JSON text of the state of the accountant.
    #[napi]
    pub fn accountant(&self, env: Env) -> napi::Result<String> {
        self.with(&env, |engine| print(engine.dp.accountant()))
    }

    /// By how much one sample changes the sum of clipped gradients.
    #[napi]
    pub fn sensitivity(&self, env: Env, adjacency: String) -> napi::Result<f64> {
        self.with(&env, |engine| engine.dp.sensitivity(adjacency_of(&adjacency)?))
    }

    /// What the samples of the last step came to: the JSON text of `PrivateCounts`.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn private_counts<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.work(env, |engine| print(&engine.dp.private_counts()?), |text| text)
    }

    /// Everything that is needed to go on from here, as JSON text.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn save<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.work(env, |engine| engine.dp.save(), |text| text)
    }

    /// Goes on from such a state.
    #[napi]
    pub fn load(&self, env: Env, state: String) -> napi::Result<()> {
        self.with(&env, |engine| engine.dp.load(&state))
    }
}
