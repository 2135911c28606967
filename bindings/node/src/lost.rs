//! The class of a layer of LOST. What reads from the device is a promise; everything else enqueues.

use std::cell::RefCell;

use gristmill::optim::{LostActivation, LostLinear, LostOptions, LostParts};
use gristmill_core::{Code, Error, Result, Tensor};
use napi::bindgen_prelude::{ClassInstance, Env, Object, Uint8Array};
use napi_derive::napi;

use crate::device::DeviceHandle;
use crate::error::{guarded, parse, to_js};
use crate::task::spawn;
use crate::tensor::{TensorHandle, other};

const THREAD: &str = "gristmill-lost";

/// A linear layer of two thin matrices and a few whole columns.
#[napi]
pub struct LostHandle {
    /// `None` once it was disposed of.
    layer: RefCell<Option<LostLinear>>,
}

impl LostHandle {
    fn of(layer: LostLinear) -> Self {
        Self { layer: RefCell::new(Some(layer)) }
    }

    fn get(&self) -> Result<LostLinear> {
        let gone = || Error::new(Code::Disposed, "the layer was disposed of").at_column("layer");
        self.layer.borrow().clone().ok_or_else(gone)
    }
}

/// The layer that a dense weight becomes; `options` is JSON text.
#[napi(ts_return_type = "Promise<LostHandle>")]
pub fn lost_from_dense<'env>(
    env: &'env Env,
    weight: &TensorHandle,
    bias: Option<ClassInstance<'_, TensorHandle>>,
    options: String,
) -> napi::Result<Object<'env>> {
    let arguments = || Ok((weight.get("weight")?, other("bias", bias)?, parse::<LostOptions>(&options)?));
    let (weight, bias, options) = guarded(arguments).map_err(|e| to_js(env, &e))?;
    let make = move || LostLinear::from_dense(&weight, bias.as_ref(), &options);
    spawn(env, THREAD, Default::default(), make, LostHandle::of)
}

/// The layer of a file that `save` gave.
#[napi(ts_return_type = "Promise<LostHandle>")]
pub fn load_lost<'env>(
    env: &'env Env,
    device: &DeviceHandle,
    file: Uint8Array,
) -> napi::Result<Object<'env>> {
    let (device, file) = (device.device.clone(), file.to_vec());
    spawn(env, THREAD, Default::default(), move || LostLinear::load(&device, &file), LostHandle::of)
}

#[napi]
impl LostHandle {
    /// A layer of these tensors, which it shares.
    #[napi(constructor)]
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        env: Env,
        a: &TensorHandle,
        b: &TensorHandle,
        sparse: &TensorHandle,
        index: &TensorHandle,
        bias: Option<ClassInstance<'_, TensorHandle>>,
        gamma: f64,
        activation: String,
    ) -> napi::Result<Self> {
        let make = || {
            let parts = LostParts {
                a: a.get("a")?,
                b: b.get("b")?,
                sparse: sparse.get("sparse")?,
                index: index.get("index")?,
                bias: other("bias", bias)?,
            };
            LostLinear::from_parts(parts, gamma, self::activation(&activation)?)
        };
        guarded(make).map(Self::of).map_err(|e| to_js(&env, &e))
    }

    /// Releases it. Does nothing the second time.
    #[napi]
    pub fn dispose(&self) {
        drop(self.layer.take());
    }

    /// Weight of the thin part.
    #[napi]
    pub fn gamma(&self, env: Env) -> napi::Result<f64> {
        guarded(|| Ok(self.get()?.gamma())).map_err(|e| to_js(&env, &e))
    }

    /// What stands between the thin matrices.
    #[napi]
    pub fn activation(&self, env: Env) -> napi::Result<String> {
        let name = || {
            Ok(match self.get()?.activation() {
                LostActivation::Silu => "silu".into(),
                LostActivation::Identity => "identity".into(),
            })
        };
        guarded(name).map_err(|e| to_js(&env, &e))
    }

    /// Its tensors: both thin matrices, the whole columns, their numbers, and the bias, if there is one.
    #[napi]
    pub fn parts(&self, env: Env) -> napi::Result<Vec<TensorHandle>> {
        let parts = || {
            let LostParts { a, b, sparse, index, bias } = self.get()?.parts();
            Ok([a, b, sparse, index].into_iter().chain(bias).map(TensorHandle::uncharged).collect())
        };
        guarded(parts).map_err(|e| to_js(&env, &e))
    }

    /// The results, and what `backward` takes.
    #[napi]
    pub fn forward(&self, env: Env, x: &TensorHandle) -> napi::Result<Vec<TensorHandle>> {
        let run = || {
            let out = self.get()?.forward(&x.get("x")?)?;
            Ok(vec![out.y, out.z])
        };
        several(&env, run)
    }

    /// The gradients: at the input, both thin matrices, the whole columns, and the bias, if there is one.
    #[napi]
    pub fn backward(
        &self,
        env: Env,
        x: &TensorHandle,
        z: &TensorHandle,
        dy: &TensorHandle,
    ) -> napi::Result<Vec<TensorHandle>> {
        let run = || {
            let out = self.get()?.backward(&x.get("x")?, &z.get("z")?, &dy.get("dy")?)?;
            Ok([out.x, out.a, out.b, out.sparse].into_iter().chain(out.bias).collect())
        };
        several(&env, run)
    }

    /// All of it, as a safetensors file.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn save<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let layer = self.get().map_err(|e| to_js(env, &e))?;
        spawn(env, THREAD, Default::default(), move || layer.save(), Uint8Array::new)
    }
}

fn several(env: &Env, run: impl FnOnce() -> Result<Vec<Tensor>>) -> napi::Result<Vec<TensorHandle>> {
    let tensors = guarded(run).map_err(|e| to_js(env, &e))?;
    Ok(tensors.into_iter().map(|tensor| TensorHandle::own(env, tensor)).collect())
}

/// What stands between the thin matrices.
fn activation(name: &str) -> Result<LostActivation> {
    match name {
        "silu" => Ok(LostActivation::Silu),
        "identity" => Ok(LostActivation::Identity),
        _ => Err(Error::invalid_argument("activation", format!("no activation {name:?}"))
            .hint("one of silu, identity")),
    }
}
