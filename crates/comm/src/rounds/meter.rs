//! What the exchange costs.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Bytes, requests and time of an exchange so far. Times are seconds; downloads run at once, so their time is that of
/// all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Meter {
    /// Rounds that were gathered or replayed.
    pub rounds: u64,
    /// Bytes sent, of payloads and manifests.
    pub bytes_up: u64,
    /// Bytes received, of payloads and manifests.
    pub bytes_down: u64,
    /// Requests to the store.
    pub requests: u64,
    /// Requests that were tried again.
    pub retries: u64,
    /// Payloads that were refused.
    pub refused: u64,
    /// Time spent publishing.
    pub publish_seconds: f64,
    /// Time spent looking for manifests and payloads.
    pub list_seconds: f64,
    /// Time spent downloading.
    pub fetch_seconds: f64,
    /// Time spent checking payloads.
    pub verify_seconds: f64,
    /// Time spent committing manifests.
    pub commit_seconds: f64,
    /// Time spent waiting for other peers.
    pub wait_seconds: f64,
}

/// The phases that time is counted in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Phase {
    Publish,
    List,
    Fetch,
    Verify,
    Commit,
    Wait,
}

impl Meter {
    fn add(&mut self, phase: Phase, time: Duration) {
        let seconds = match phase {
            Phase::Publish => &mut self.publish_seconds,
            Phase::List => &mut self.list_seconds,
            Phase::Fetch => &mut self.fetch_seconds,
            Phase::Verify => &mut self.verify_seconds,
            Phase::Commit => &mut self.commit_seconds,
            Phase::Wait => &mut self.wait_seconds,
        };
        *seconds += time.as_secs_f64();
    }
}

/// A meter that several hands add to.
#[derive(Debug, Default)]
pub(super) struct Shared(std::sync::Mutex<Meter>);

impl Shared {
    pub(super) fn with(&self, f: impl FnOnce(&mut Meter)) {
        f(&mut self.0.lock().unwrap_or_else(|e| e.into_inner()));
    }

    pub(super) fn read(&self) -> Meter {
        *self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Runs something and counts its time.
    pub(super) fn time<T>(&self, phase: Phase, f: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let out = f();
        self.with(|m| m.add(phase, started.elapsed()));
        out
    }
}
