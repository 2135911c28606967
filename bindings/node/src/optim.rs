//! The class of an optimizer. Every method is a promise: a step waits for what the device says of the gradients.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard};

use gristmill::optim::{
    AdamOptions, Algorithm, Group, LostOptions, ModelConfig, Optimizer, OptimizerOptions, lost_memory,
    memory_of,
};
use gristmill_core::{Code, DType, Error, Result, Tensor};
use napi::bindgen_prelude::{ClassInstance, Env, Object, Uint8Array};
use napi_derive::napi;
use serde::Deserialize;

use crate::args::dtype;
use crate::device::DeviceHandle;
use crate::error::{guarded, parse, print, to_js};
use crate::task::spawn;
use crate::tensor::TensorHandle;

const THREAD: &str = "gristmill-optim";

/// The JSON form of an optimizer: its parameters come beside it, those of one group behind those of another.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    groups: Vec<GroupOptions>,
    #[serde(default)]
    options: OptimizerOptions,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupOptions {
    algorithm: Algorithm,
    #[serde(default)]
    adam: AdamOptions,
    names: Vec<String>,
}

/// The JSON form of what [`optimizer_memory`] takes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MemoryOptions {
    /// A name, or the content of a `config.json`.
    config: Config,
    weights: String,
    algorithm: Algorithm,
    #[serde(default)]
    adam: AdamOptions,
    /// That the matrices of attention and MLPs are layers of LOST, of these options.
    #[serde(default)]
    lost: Option<LostOptions>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Config {
    Named(String),
    Sizes(ModelConfig),
}

fn tensors(name: &str, handles: &[ClassInstance<'_, TensorHandle>]) -> Result<Vec<Tensor>> {
    handles.iter().map(|handle| handle.get(name)).collect()
}

/// Parameters in groups, and what is known of their gradients so far.
#[napi]
pub struct OptimizerHandle {
    /// `None` once it was disposed of.
    optimizer: RefCell<Option<Arc<Mutex<Optimizer>>>>,
}

/// An optimizer whose call panicked half-way is in no state to go on from.
fn lock(optimizer: &Mutex<Optimizer>) -> Result<MutexGuard<'_, Optimizer>> {
    optimizer.lock().map_err(|_| {
        Error::new(Code::Internal, "an earlier call of this optimizer panicked")
            .hint("make a new one and load the last state that was saved")
    })
}

#[napi]
impl OptimizerHandle {
    /// An optimizer of these parameters; `options` is JSON text.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        device: &DeviceHandle,
        options: String,
        params: Vec<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<Self> {
        let make = || {
            let Options { groups, options } = parse(&options)?;
            let mut given = tensors("params", &params)?.into_iter();
            let mut all = Vec::new();
            for GroupOptions { algorithm, adam, names } in groups {
                let params: Vec<_> = names.into_iter().zip(given.by_ref()).collect();
                all.push(Group { algorithm, adam, params });
            }
            Optimizer::new(&device.device, all, options)
        };
        guarded(make)
            .map(|optimizer| Self { optimizer: RefCell::new(Some(Arc::new(Mutex::new(optimizer)))) })
            .map_err(|e| to_js(&env, &e))
    }

    /// What was not taken as it was given.
    #[napi]
    pub fn warnings(&self) -> Vec<String> {
        let optimizer = self.optimizer.borrow();
        optimizer.as_ref().and_then(|o| o.lock().ok()).map_or_else(Vec::new, |o| o.warnings())
    }

    /// Releases it; what is under way with it is finished first. Does nothing the second time.
    #[napi]
    pub fn dispose(&self) {
        drop(self.optimizer.take());
    }

    /// A step along these gradients, in the order of the parameters. The result is the JSON text of `StepReport`.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn step<'env>(
        &self,
        env: &'env Env,
        gradients: Vec<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<Object<'env>> {
        let gradients = guarded(|| tensors("gradients", &gradients)).map_err(|e| to_js(env, &e))?;
        self.work(env, move |optimizer| print(&optimizer.step(&gradients)?), |text| text)
    }

    /// Adds these gradients, of the parameters with these names, to what the next step goes along.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn accumulate<'env>(
        &self,
        env: &'env Env,
        names: Vec<String>,
        gradients: Vec<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<Object<'env>> {
        let gradients = guarded(|| tensors("gradients", &gradients)).map_err(|e| to_js(env, &e))?;
        let add = move |optimizer: &mut Optimizer| {
            let named: Vec<_> = names.iter().map(String::as_str).zip(gradients).collect();
            optimizer.accumulate(&named)
        };
        self.work(env, add, |()| ())
    }

    /// A step along what was accumulated. The result is the JSON text of `StepReport`.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn step_accumulated<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.work(env, |optimizer| print(&optimizer.step_accumulated()?), |text| text)
    }

    /// Bytes on the device: the JSON text of `OptimizerMemory`.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn memory<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.work(env, |optimizer| print(&optimizer.memory()), |text| text)
    }

    /// Everything that is needed to go on from here, as a safetensors file.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn save<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.work(env, |optimizer| optimizer.save(), Uint8Array::new)
    }

    /// Goes on from such a file.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn load<'env>(&self, env: &'env Env, state: Uint8Array) -> napi::Result<Object<'env>> {
        let state = state.to_vec();
        self.work(env, move |optimizer| optimizer.load(&state), |()| ())
    }

    /// Goes on from a state of another program, as a safetensors file.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn import_state<'env>(&self, env: &'env Env, state: Uint8Array) -> napi::Result<Object<'env>> {
        let state = state.to_vec();
        self.work(env, move |optimizer| optimizer.import(&state), |()| ())
    }

    /// Sets the learning rate of all groups.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn set_lr<'env>(&self, env: &'env Env, lr: f64) -> napi::Result<Object<'env>> {
        let set = move |o: &mut Optimizer| (0..o.groups()).try_for_each(|group| o.set_lr(group, lr));
        self.work(env, set, |()| ())
    }

    /// Gives a parameter its bases.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn set_projector<'env>(
        &self,
        env: &'env Env,
        name: String,
        bases: Vec<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<Object<'env>> {
        let bases = guarded(|| tensors("projector", &bases)).map_err(|e| to_js(env, &e))?;
        self.work(env, move |optimizer| optimizer.set_projector(&name, &bases), |()| ())
    }

    fn work<'env, T: Send + 'static, V: napi::bindgen_prelude::ToNapiValue + 'static>(
        &self,
        env: &'env Env,
        work: impl FnOnce(&mut Optimizer) -> Result<T> + Send + 'static,
        convert: impl FnOnce(T) -> V + Send + 'static,
    ) -> napi::Result<Object<'env>> {
        let gone = || Error::new(Code::Disposed, "the optimizer was disposed of").at_column("optimizer");
        let optimizer = self.optimizer.borrow().clone().ok_or_else(gone).map_err(|e| to_js(env, &e))?;
        spawn(env, THREAD, Default::default(), move || work(&mut *lock(&optimizer)?), convert)
    }
}

/// Bytes of a model's weights and of what an optimizer keeps: JSON text in, the JSON text of `OptimizerMemory` out.
#[napi]
pub fn optimizer_memory(env: Env, options: String) -> napi::Result<String> {
    let report = || {
        let MemoryOptions { config, weights, algorithm, adam, lost } = parse(&options)?;
        let config = match config {
            Config::Sizes(config) => config,
            Config::Named(name) => ModelConfig::named(&name).ok_or_else(|| {
                Error::new(Code::InvalidArgument, format!("no sizes of {name:?}"))
                    .at_column("config")
                    .hint(format!("one of {}, or a config.json", ModelConfig::NAMES.join(", ")))
            })?,
        };
        let weights: DType = dtype(&weights)?;
        match lost {
            Some(options) => print(&lost_memory(&config, weights, &options, &adam)?),
            None => print(&memory_of(&config, weights, &algorithm, &adam)?),
        }
    };
    guarded(report).map_err(|e| to_js(&env, &e))
}
