//! The class that scores tables in memory.

use std::sync::{Arc, Mutex, PoisonError};

use gristmill_core::{CancelToken, Control, Device, Result};
use gristmill_score::memory::{MemoryOptions, MemoryScorer, ModelOptions};
use napi::bindgen_prelude::{ClassInstance, Env, Object, Uint8Array};
use napi_derive::napi;

use crate::cancel::CancelHandle;
use crate::device::DeviceHandle;
use crate::error::{parse, to_js};
use crate::task::spawn;

struct Shared {
    options: MemoryOptions,
    models: ModelOptions,
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
    /// A scorer with the JSON text of `MemoryOptions`, that of `ModelOptions` for the models that it needs, and the
    /// device that logits and log-probabilities are scored on.
    #[napi(constructor)]
    pub fn new(
        env: Env,
        options: String,
        models: String,
        cancel: &CancelHandle,
        device: Option<ClassInstance<'_, DeviceHandle>>,
    ) -> napi::Result<Self> {
        let parsed = parse(&options).and_then(|options| Ok((options, parse(&models)?)));
        let (options, models) = parsed.map_err(|e| to_js(&env, &e))?;
        let device = device.map(|handle| handle.device.clone());
        let shared = Shared { options, models, device, scorer: Mutex::default() };
        Ok(Self { cancel: cancel.token.clone(), shared: Arc::new(shared) })
    }

    /// Scores every batch of an Arrow IPC stream or file, and gives a stream of as many batches. The bytes are copied
    /// first: JavaScript may change them while this works.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn score<'env>(&self, env: &'env Env, ipc: &[u8]) -> napi::Result<Object<'env>> {
        let (shared, cancel, bytes) = (self.shared.clone(), self.cancel.clone(), ipc.to_vec());
        let work = move || shared.scorer()?.score_ipc(bytes, &Control::with_cancel(cancel));
        spawn(env, "gristmill-batch", self.cancel.clone(), work, Uint8Array::new)
    }
}

impl Shared {
    fn scorer(&self) -> Result<Arc<MemoryScorer>> {
        let mut slot = self.scorer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scorer) = &*slot {
            return Ok(scorer.clone());
        }
        let model = self.models.load(self.options.method)?;
        let scorer = MemoryScorer::new(self.options.clone(), model)?;
        let scorer = Arc::new(match &self.device {
            Some(device) => scorer.on(device.clone())?,
            None => scorer,
        });
        *slot = Some(scorer.clone());
        Ok(scorer)
    }
}
