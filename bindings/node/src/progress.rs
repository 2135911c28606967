//! Progress on its way to JavaScript.

use std::time::Duration;

use gristmill_core::{Control, Progress, Unit};
use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;

/// Reports that may wait for the JavaScript thread; the next one is dropped, since a later one says more.
const QUEUE: usize = 16;

/// The least time between two reports, besides the first and the last of each phase.
const INTERVAL: Duration = Duration::from_millis(100);

/// How far a job is.
#[napi(object, object_from_js = true)]
pub struct ProgressEvent {
    /// What is being done.
    pub phase: String,
    /// How much of it is done.
    pub done: f64,
    /// Out of how much, when that is known.
    pub total: Option<f64>,
    /// What `done` and `total` count.
    #[napi(ts_type = "'documents' | 'tokens' | 'bytes' | 'shards' | 'runs'")]
    pub unit: String,
    /// Documents so far in this phase.
    pub documents: f64,
    /// Tokens so far in this phase.
    pub tokens: f64,
}

impl From<&Progress> for ProgressEvent {
    fn from(p: &Progress) -> Self {
        let unit = match p.unit {
            Unit::Documents => "documents",
            Unit::Tokens => "tokens",
            Unit::Bytes => "bytes",
            Unit::Shards => "shards",
            Unit::Runs => "runs",
        };
        Self {
            phase: p.phase.into(),
            done: p.done as f64,
            total: p.total.map(|t| t as f64),
            unit: unit.into(),
            documents: p.documents as f64,
            tokens: p.tokens as f64,
        }
    }
}

// Weak: a job that nobody waits for must not keep the process alive by its progress alone.
type Sink = ThreadsafeFunction<ProgressEvent, (), ProgressEvent, Status, false, true, QUEUE>;

/// Makes `control` report to `callback`, throttled here so that a busy job does not flood the event loop.
pub(crate) fn connect(
    control: Control,
    callback: Option<Function<'_, ProgressEvent, ()>>,
) -> napi::Result<Control> {
    let Some(callback) = callback else { return Ok(control) };
    let sink: Sink = callback
        .build_threadsafe_function::<ProgressEvent>()
        .weak::<true>()
        .max_queue_size::<QUEUE>()
        .build()?;
    Ok(control.on_progress(INTERVAL, move |p| {
        // A full queue or a closing environment: the report is dropped either way.
        let _ = sink.call(p.into(), ThreadsafeFunctionCallMode::NonBlocking);
    }))
}
