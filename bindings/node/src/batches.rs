//! The class that reads what jobs wrote, one Arrow batch at a time.

use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use gristmill_core::{CancelToken, Code, Control, Error, Result};
use napi::bindgen_prelude::{Env, Object, Uint8Array};
use napi_derive::napi;

use crate::cancel::CancelHandle;
use crate::task::spawn;

type Tables = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

enum State {
    Closed(String),
    Open(Tables),
}

/// The rows of a file or directory, batch by batch.
#[napi]
pub struct BatchReader {
    cancel: CancelToken,
    state: Arc<Mutex<State>>,
}

#[napi]
impl BatchReader {
    /// A reader of this path or URL, which is opened by the first `next`.
    #[napi(constructor)]
    pub fn new(path: String, cancel: &CancelHandle) -> Self {
        Self { cancel: cancel.token.clone(), state: Arc::new(Mutex::new(State::Closed(path))) }
    }

    /// The next batch as a complete IPC stream, or `null` after the last.
    #[napi(ts_return_type = "Promise<Uint8Array | null>")]
    pub fn next<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let (state, cancel) = (self.state.clone(), self.cancel.clone());
        let read = move || {
            let control = Control::with_cancel(cancel);
            control.check()?;
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if let State::Closed(path) = &*state {
                let tables = gristmill_data::read_all(path, &control)?;
                *state = State::Open(Box::new(tables));
            }
            let State::Open(tables) = &mut *state else { return Ok(None) };
            tables.next().transpose()?.as_ref().map(to_ipc).transpose()
        };
        spawn(env, "gristmill-read", self.cancel.clone(), read, |bytes| bytes.map(Uint8Array::new))
    }
}

/// One batch as an IPC stream of its own, schema included, so that each can be used without the others.
pub(crate) fn to_ipc(batch: &RecordBatch) -> Result<Vec<u8>> {
    let encode = || {
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
        writer.write(batch)?;
        writer.into_inner()
    };
    encode().map_err(|e| Error::new(Code::Internal, format!("cannot encode a batch: {e}")).with_source(e))
}
