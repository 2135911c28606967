//! The class that scores tables in memory.

use std::sync::{Arc, Mutex, PoisonError};

use gristmill_core::{CancelToken, Control, Device, Result};
use gristmill_score::memory::{LoadedModels, MemoryOptions, MemoryScorer, ModelOptions};
use napi::bindgen_prelude::{ClassInstance, Env, Object, Uint8Array};
use napi_derive::napi;

use crate::cancel::CancelHandle;
use crate::device::DeviceHandle;
use crate::error::{guarded, parse, to_js};
use crate::model::ModelHandle;
use crate::task::spawn;

struct Shared {
    options: MemoryOptions,
    models: ModelOptions,
    loaded: LoadedModels,
    control: Control,
    device: Option<Device>,
    // Reading a model takes a while, so that happens on the thread of the first batch.
    scorer: Mutex<Option<Arc<MemoryScorer>>>,
}

/// Adds score columns to Arrow data.
#[napi]
pub struct BatchScorer {
    cancel: CancelToken,
    shared: Arc<Shared>,
}

#[napi]
impl BatchScorer {
    /// A scorer with the JSON text of `MemoryOptions`, that of `ModelOptions` for the models that it needs, those that
    /// are loaded already (`[model, prior, conditional]`), and the device that logits and log-probabilities are scored
    /// on, or that transformers are put on.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        options: String,
        models: String,
        #[napi(ts_arg_type = "Array<ModelHandle | undefined | null>")] loaded: Vec<
            Option<ClassInstance<'_, ModelHandle>>,
        >,
        cancel: &CancelHandle,
        device: Option<ClassInstance<'_, DeviceHandle>>,
    ) -> napi::Result<Self> {
        let parsed = || Ok((parse(&options)?, parse(&models)?, self::loaded(&loaded)?));
        let (options, models, loaded) = guarded(parsed).map_err(|e| to_js(&env, &e))?;
        let device = device.map(|handle| handle.device.clone());
        let control = Control::with_cancel(cancel.token.clone());
        let shared = Shared { options, models, loaded, control, device, scorer: Mutex::default() };
        Ok(Self { cancel: cancel.token.clone(), shared: Arc::new(shared) })
    }

    /// Scores every batch of an Arrow IPC stream or file, and gives a stream of as many batches. The bytes are copied
    /// first: JavaScript may change them while this works.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn score<'env>(&self, env: &'env Env, ipc: &[u8]) -> napi::Result<Object<'env>> {
        let (shared, bytes) = (self.shared.clone(), ipc.to_vec());
        let work = move || shared.scorer()?.score_ipc(bytes, &shared.control);
        spawn(env, "gristmill-batch", self.cancel.clone(), work, Uint8Array::new)
    }
}

impl Shared {
    fn scorer(&self) -> Result<Arc<MemoryScorer>> {
        let mut slot = self.scorer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scorer) = &*slot {
            return Ok(scorer.clone());
        }
        let open = |selector: &str| match &self.device {
            Some(device) => Ok(device.clone()),
            None => gristmill::devices::open(selector).map(|opened| opened.device),
        };
        let method = self.options.method.or_else(|| self.options.spec.as_ref().map(|spec| spec.name));
        let model = self.models.load(method, &self.loaded, open, &self.control)?;
        let scorer = MemoryScorer::new(self.options.clone(), model)?;
        let scorer = Arc::new(match &self.device {
            Some(device) => scorer.on(device.clone())?,
            None => scorer,
        });
        *slot = Some(scorer.clone());
        Ok(scorer)
    }
}

/// The models by the options in whose place they are.
fn loaded(handles: &[Option<ClassInstance<'_, ModelHandle>>]) -> Result<LoadedModels> {
    let get = |at: usize, name: &str| {
        handles.get(at).and_then(Option::as_ref).map(|handle| handle.get(name)).transpose()
    };
    Ok(LoadedModels { model: get(0, "model")?, prior: get(1, "prior")?, conditional: get(2, "conditional")? })
}
