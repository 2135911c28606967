//! The class of language models on a device: text to ids, ids to losses.

use std::cell::RefCell;
use std::sync::Arc;

use gristmill::lm::{LanguageModel, LoadOptions, Tokens};
use gristmill_core::{Code, Control, Error, Result};
use napi::bindgen_prelude::{Env, Float32Array, Object, Uint32Array};
use napi_derive::napi;
use serde::Serialize;

use crate::args::{dtype, optional_size, size};
use crate::cancel::CancelHandle;
use crate::device::DeviceHandle;
use crate::error::{guarded, print, to_js};
use crate::task::spawn;

/// A language model whose weights are on a device.
#[napi]
pub struct ModelHandle {
    /// `None` once it was disposed of.
    model: RefCell<Option<Arc<LanguageModel>>>,
}

/// What a model is, as its JSON text has it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    architecture: &'static str,
    layers: usize,
    hidden: usize,
    vocab: usize,
    context: usize,
    parameters: usize,
    dtype: &'static str,
    longest: usize,
    fingerprint: &'a str,
    bos: Option<u32>,
    eos: Option<u32>,
}

/// Reads a folder or a GGUF file and puts the weights on the device, on a thread of its own.
#[napi(ts_return_type = "Promise<ModelHandle>")]
pub fn load_model<'env>(
    env: &'env Env,
    path: String,
    device: &DeviceHandle,
    cancel: &CancelHandle,
    dtype: Option<String>,
    longest: Option<f64>,
) -> napi::Result<Object<'env>> {
    let options = || {
        let dtype = dtype.as_deref().map(self::dtype).transpose()?;
        Ok(LoadOptions { dtype, longest: optional_size("longest", longest)?, batch_tokens: None })
    };
    let options = guarded(options).map_err(|e| to_js(env, &e))?;
    let device = device.device.clone();
    let control = Control::with_cancel(cancel.token.clone());
    let load = move || {
        control.check()?;
        let model = LanguageModel::load(path, &device, options)?;
        control.check()?;
        Ok(Arc::new(model))
    };
    spawn(env, "gristmill-model", cancel.token.clone(), load, |model| ModelHandle {
        model: RefCell::new(Some(model)),
    })
}

#[napi]
impl ModelHandle {
    /// Releases it; what is under way with it is finished first. Does nothing the second time.
    #[napi]
    pub fn dispose(&self) {
        drop(self.model.take());
    }

    /// What it is, as JSON text.
    #[napi]
    pub fn describe(&self, env: Env) -> napi::Result<String> {
        guarded(|| self.get("model").and_then(|model| print(&Described::of(&model))))
            .map_err(|e| to_js(&env, &e))
    }

    /// The ids of a text, without markers.
    #[napi(ts_return_type = "Promise<Uint32Array>")]
    pub fn encode<'env>(&self, env: &'env Env, text: String) -> napi::Result<Object<'env>> {
        let model = self.get("model").map_err(|e| to_js(env, &e))?;
        let encode = move || model.tokenizer().encode(&text);
        spawn(env, "gristmill-encode", Default::default(), encode, Uint32Array::new)
    }

    /// The losses of each window's tokens from its `first` on, in nats.
    #[napi(ts_return_type = "Promise<Array<Float32Array>>")]
    pub fn losses<'env>(
        &self,
        env: &'env Env,
        ids: Vec<Uint32Array>,
        first: Vec<f64>,
        cancel: &CancelHandle,
    ) -> napi::Result<Object<'env>> {
        let windows = || {
            let model = self.get("model")?;
            let windows = ids.iter().zip(first).enumerate();
            let windows = windows.map(|(row, (ids, first))| window(&model, row, ids.to_vec(), first));
            Ok((model.clone(), windows.collect::<Result<Vec<_>>>()?))
        };
        let (model, windows) = guarded(windows).map_err(|e| to_js(env, &e))?;
        let control = Control::with_cancel(cancel.token.clone());
        let score = move || {
            let windows: Vec<_> = windows.iter().map(|(ids, first)| Tokens { ids, first: *first }).collect();
            model.losses(&windows, &control)
        };
        let arrays = |losses: Vec<Vec<f32>>| losses.into_iter().map(Float32Array::new).collect::<Vec<_>>();
        spawn(env, "gristmill-losses", cancel.token.clone(), score, arrays)
    }
}

impl ModelHandle {
    /// The model, unless it was disposed of.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<LanguageModel>> {
        let gone = || Error::new(Code::Disposed, "the model was disposed of").at_column(name);
        self.model.borrow().clone().ok_or_else(gone)
    }
}

impl<'a> Described<'a> {
    fn of(model: &'a LanguageModel) -> Self {
        let (transformer, tokenizer) = (model.transformer(), model.tokenizer());
        let config = transformer.config();
        Self {
            architecture: config.architecture.name(),
            layers: config.layers,
            hidden: config.hidden,
            vocab: config.vocab,
            context: config.context,
            parameters: config.parameters(),
            dtype: transformer.dtype().name(),
            longest: transformer.longest(),
            fingerprint: model.fingerprint(),
            bos: tokenizer.bos(),
            eos: tokenizer.eos(),
        }
    }
}

/// The ids of a window, all of which the model has, and the first that is predicted.
fn window(model: &LanguageModel, row: usize, ids: Vec<u32>, first: f64) -> Result<(Vec<u32>, usize)> {
    let vocab = model.transformer().config().vocab;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
        let what = format!("the model has no token {id}: it has {vocab}");
        return Err(Error::new(Code::InvalidValue, what).at_column("ids").at_row(row as u64));
    }
    let first = size("first", first)?;
    if first == 0 {
        let what = "the first token has no context: expected at least 1, given 0";
        return Err(Error::invalid_argument("first", what).at_row(row as u64));
    }
    Ok((ids, first))
}
