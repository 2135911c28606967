use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::{Code, Error, Result};

/// A flag that a caller sets once and that work checks between chunks.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Asks all work that holds this token to stop at its next check.
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether a stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// What a phase counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Documents.
    Documents,
    /// Tokens of the model's normaliser.
    Tokens,
    /// Bytes of input as stored.
    Bytes,
    /// Input files.
    Shards,
    /// Training runs.
    Runs,
}

/// One report of progress.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Progress {
    /// What is being done, such as `fit`, `score`, `select` or `write`.
    pub phase: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// Out of how much, when that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What `done` and `total` count.
    pub unit: Unit,
    /// Documents so far in this phase.
    pub documents: u64,
    /// Tokens so far in this phase.
    pub tokens: u64,
}

type Sink = dyn Fn(&Progress) + Send + Sync;

/// Cancellation and throttled progress, handed down to everything that runs long.
///
/// Cheap to clone. The default is never cancelled and silent.
#[derive(Clone, Default)]
pub struct Control {
    cancel: CancelToken,
    progress: Option<Arc<Throttle>>,
}

struct Throttle {
    sink: Box<Sink>,
    interval: Duration,
    started: Instant,
    next_ms: AtomicU64,
    last_phase: Mutex<&'static str>,
}

impl Control {
    /// A control that stops when `cancel` is set and reports nothing.
    pub fn with_cancel(cancel: CancelToken) -> Self {
        Self { cancel, progress: None }
    }

    /// Reports to `sink`, at most once per `interval`, besides the first and last report of each phase.
    pub fn on_progress(
        mut self,
        interval: Duration,
        sink: impl Fn(&Progress) + Send + Sync + 'static,
    ) -> Self {
        self.progress = Some(Arc::new(Throttle {
            sink: Box::new(sink),
            interval,
            started: Instant::now(),
            next_ms: AtomicU64::new(0),
            last_phase: Mutex::new(""),
        }));
        self
    }

    /// The same without reports: for parts of work whose caller reports.
    pub fn silent(&self) -> Self {
        Self::with_cancel(self.cancel.clone())
    }

    /// The token that stops this work.
    pub fn cancel_token(&self) -> &CancelToken {
        &self.cancel
    }

    /// `Err` with [`Code::Aborted`] once a stop was asked for.
    #[inline]
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(Error::new(Code::Aborted, "stopped on request; what was committed stays"));
        }
        Ok(())
    }

    /// Reports progress; drops the report when the last one is too recent.
    pub fn report(&self, progress: &Progress) {
        let Some(t) = &self.progress else { return };
        let now = t.started.elapsed().as_millis() as u64;
        let edge = progress.total == Some(progress.done) || {
            let mut last = t.last_phase.lock().unwrap_or_else(|e| e.into_inner());
            std::mem::replace(&mut *last, progress.phase) != progress.phase
        };
        let due = t.next_ms.load(Relaxed);
        let next = now + t.interval.as_millis() as u64;
        if edge {
            t.next_ms.store(next, Relaxed);
        } else if now < due || t.next_ms.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return;
        }
        (t.sink)(progress);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(phase: &'static str, done: u64) -> Progress {
        Progress { phase, done, total: Some(100), unit: Unit::Documents, documents: done, tokens: 0 }
    }

    #[test]
    fn throttles_between_first_and_last() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let c = Control::default()
            .on_progress(Duration::from_secs(3600), move |p| sink.lock().unwrap().push((p.phase, p.done)));
        for i in 0..=100 {
            c.report(&at("fit", i));
        }
        c.report(&at("score", 0));
        assert_eq!(*seen.lock().unwrap(), [("fit", 0), ("fit", 100), ("score", 0)]);
    }

    #[test]
    fn cancelled_work_stops_with_a_typed_error() {
        let c = Control::default();
        assert!(c.check().is_ok());
        let silent = c.silent();
        c.cancel_token().cancel();
        assert_eq!(c.check().unwrap_err().code(), Code::Aborted);
        assert!(silent.check().is_err());
    }
}
