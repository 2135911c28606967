//! The class of a replica of a low-communication method. Everything that reads from the device is a promise.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use gristmill::comm::method::{
    Blocks, DeMo, DeMoOptions, DiLoCo, DiLoCoOptions, Metering, Method, SparseLoCo, SparseLoCoOptions,
};
use gristmill::comm::wire::FormatSpec;
use gristmill_core::{Code, Control, Device, Error, Result, Tensor};
use napi::bindgen_prelude::{ClassInstance, Env, Object, Uint8Array};
use napi_derive::napi;
use serde::Serialize;

use crate::args::{single, size};
use crate::cancel::CancelHandle;
use crate::device::DeviceHandle;
use crate::error::{guarded, print, to_js};
use crate::task::spawn;
use crate::tensor::TensorHandle;

const THREAD: &str = "gristmill-method";

/// The options of all methods; each takes those that it has.
#[napi(object, object_to_js = false)]
pub struct MethodOptions {
    /// The outer learning rate.
    pub outer_lr: Option<f64>,
    /// The outer Nesterov momentum.
    pub momentum: Option<f64>,
    /// The learning rate of `DeMo`.
    pub lr: Option<f64>,
    /// The decay of the momentum of `DeMo`.
    pub decay: Option<f64>,
    /// The decay of what was left unsent.
    pub error_feedback: Option<f64>,
    /// Elements of a chunk.
    pub chunk: Option<f64>,
    /// Entries of a chunk that are sent.
    pub top_k: Option<f64>,
    /// What is kept of each.
    pub quantizer: Option<String>,
    /// How positions are written.
    pub indices: Option<String>,
    /// What a sum is divided by.
    pub divide_by: Option<String>,
    /// Whether peers are scaled down to their median norm.
    pub clip: Option<bool>,
    /// Rows and columns of the blocks of some parameters.
    pub blocks: Option<HashMap<String, Vec<f64>>>,
}

impl MethodOptions {
    fn blocks(&self) -> Result<Blocks> {
        let block = |(name, sides): (&String, &Vec<f64>)| match sides[..] {
            [rows, columns] => Ok((name.clone(), [size("blocks", rows)?, size("blocks", columns)?])),
            _ => Err(Error::invalid_argument("blocks", format!("expected rows and columns for {name:?}"))),
        };
        self.blocks.iter().flatten().map(block).collect()
    }

    fn number(name: &str, given: Option<f64>, default: f32) -> Result<f32> {
        given.map_or(Ok(default), |x| single(name, x))
    }

    fn count(name: &str, given: Option<f64>, default: usize) -> Result<usize> {
        given.map_or(Ok(default), |x| size(name, x))
    }

    fn word<T: std::str::FromStr<Err = Error>>(given: Option<&String>, default: T) -> Result<T> {
        given.map_or(Ok(default), |name| name.parse())
    }

    /// A replica of the method of this name.
    fn open(&self, method: &str, device: &Device, params: &[(String, Tensor)]) -> Result<Box<dyn Method>> {
        Ok(match method {
            "SparseLoCo" => {
                let d = SparseLoCoOptions::default();
                let options = SparseLoCoOptions {
                    outer_lr: Self::number("outerLr", self.outer_lr, d.outer_lr)?,
                    error_feedback: Self::number("errorFeedback", self.error_feedback, d.error_feedback)?,
                    chunk: Self::count("chunk", self.chunk, d.chunk)?,
                    top_k: Self::count("topK", self.top_k, d.top_k)?,
                    quantizer: Self::word(self.quantizer.as_ref(), d.quantizer)?,
                    indices: Self::word(self.indices.as_ref(), d.indices)?,
                    divide_by: Self::word(self.divide_by.as_ref(), d.divide_by)?,
                    clip: self.clip.unwrap_or(d.clip),
                    blocks: self.blocks()?,
                };
                Box::new(SparseLoCo::new(device, params, options)?)
            }
            "DiLoCo" => {
                let d = DiLoCoOptions::default();
                let options = DiLoCoOptions {
                    outer_lr: Self::number("outerLr", self.outer_lr, d.outer_lr)?,
                    momentum: Self::number("momentum", self.momentum, d.momentum)?,
                };
                Box::new(DiLoCo::new(device, params, options)?)
            }
            "DeMo" => {
                let d = DeMoOptions::default();
                let options = DeMoOptions {
                    lr: Self::number("lr", self.lr, d.lr)?,
                    decay: Self::number("decay", self.decay, d.decay)?,
                    chunk: Self::count("chunk", self.chunk, d.chunk)?,
                    top_k: Self::count("topK", self.top_k, d.top_k)?,
                    quantizer: Self::word(self.quantizer.as_ref(), d.quantizer)?,
                    blocks: self.blocks()?,
                };
                Box::new(DeMo::new(device, params, options)?)
            }
            _ => return Err(Error::invalid_argument("method", format!("there is no method {method:?}"))),
        })
    }
}

/// What the metering of a method says, and the norm of what it has left unsent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metered {
    #[serde(flatten)]
    metering: Metering,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_feedback_norm: Option<f64>,
}

type Shared = Arc<Mutex<Box<dyn Method>>>;

/// A method whose call panicked half-way is in no state to go on from.
fn lock(method: &Shared) -> Result<MutexGuard<'_, Box<dyn Method>>> {
    method.lock().map_err(|_| {
        Error::new(Code::Internal, "an earlier call of this method panicked")
            .hint("make a new one and load the last state that was saved")
    })
}

fn tensors(handles: &[ClassInstance<'_, TensorHandle>]) -> Result<Vec<Tensor>> {
    handles.iter().map(|t| t.get("params")).collect()
}

/// A replica of a low-communication method.
#[napi]
pub struct MethodHandle {
    /// `None` once it was disposed of.
    method: RefCell<Option<Shared>>,
    format: String,
}

#[napi]
impl MethodHandle {
    /// A replica of these parameters, which are copied, one tensor for each name.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        device: &DeviceHandle,
        method: String,
        options: MethodOptions,
        names: Vec<String>,
        params: Vec<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<Self> {
        let open = || {
            let params: Vec<_> = names.into_iter().zip(tensors(&params)?).collect();
            let method = options.open(&method, &device.device, &params)?;
            let format = print(&FormatSpec::from(method.format()))?;
            Ok(Self { method: RefCell::new(Some(Arc::new(Mutex::new(method)))), format })
        };
        guarded(open).map_err(|e| to_js(&env, &e))
    }

    /// Releases it; what is under way with it is finished first. Does nothing the second time.
    #[napi]
    pub fn dispose(&self) {
        drop(self.method.take());
    }

    /// The JSON text of its `PayloadFormat`.
    #[napi]
    pub fn format(&self) -> String {
        self.format.clone()
    }

    /// What this replica has to say of these tensors, one for each parameter.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn encode<'env>(
        &self,
        env: &'env Env,
        given: Vec<ClassInstance<'_, TensorHandle>>,
        cancel: &CancelHandle,
    ) -> napi::Result<Object<'env>> {
        let control = Control::with_cancel(cancel.token.clone());
        let given = guarded(|| tensors(&given)).map_err(|e| to_js(env, &e))?;
        self.spawn(env, cancel, move |method| method.encode(&given, &control), Uint8Array::new)
    }

    /// Applies the payloads of all peers.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn apply<'env>(
        &self,
        env: &'env Env,
        payloads: Vec<Uint8Array>,
        cancel: &CancelHandle,
    ) -> napi::Result<Object<'env>> {
        let control = Control::with_cancel(cancel.token.clone());
        // JavaScript may change them while this works.
        let payloads: Vec<Vec<u8>> = payloads.iter().map(|p| p.to_vec()).collect();
        self.spawn(env, cancel, move |method| method.apply(&payloads, &control), |()| ())
    }

    /// Writes the shared parameters into these tensors.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn copy_to<'env>(
        &self,
        env: &'env Env,
        given: Vec<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<Object<'env>> {
        let given = guarded(|| tensors(&given)).map_err(|e| to_js(env, &e))?;
        self.spawn(env, &CancelHandle::default(), move |method| method.copy_to(&given), |()| ())
    }

    /// The hash of the shared parameters.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn hash<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.spawn(env, &CancelHandle::default(), |method| Ok(method.hash()?.to_string()), |hash| hash)
    }

    /// All that a replica needs to go on.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn save<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.spawn(env, &CancelHandle::default(), |method| method.save(), Uint8Array::new)
    }

    /// Goes back to what was saved.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn load<'env>(&self, env: &'env Env, state: Uint8Array) -> napi::Result<Object<'env>> {
        let state = state.to_vec();
        self.spawn(env, &CancelHandle::default(), move |method| method.load(&state), |()| ())
    }

    /// What was exchanged so far: the JSON text of `Metering`.
    #[napi(ts_return_type = "Promise<string>")]
    pub fn metering<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let metering = |method: &mut dyn Method| {
            let error_feedback_norm = method.residual_norm()?;
            print(&Metered { metering: method.metering(), error_feedback_norm })
        };
        self.spawn(env, &CancelHandle::default(), metering, |text| text)
    }
}

impl MethodHandle {
    /// Works with the method on a thread, alone.
    fn spawn<'env, T, V>(
        &self,
        env: &'env Env,
        cancel: &CancelHandle,
        work: impl FnOnce(&mut dyn Method) -> Result<T> + Send + 'static,
        convert: impl FnOnce(T) -> V + Send + 'static,
    ) -> napi::Result<Object<'env>>
    where
        T: Send + 'static,
        V: napi::bindgen_prelude::ToNapiValue + 'static,
    {
        let gone = || Error::new(Code::Disposed, "the method was disposed of").at_column("method");
        let method = self.method.borrow().clone().ok_or_else(gone).map_err(|e| to_js(env, &e))?;
        spawn(env, THREAD, cancel.token.clone(), move || work(&mut **lock(&method)?), convert)
    }
}
