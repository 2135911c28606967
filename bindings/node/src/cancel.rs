//! The class that stops a job.

use gristmill_core::CancelToken;
use napi_derive::napi;

/// Stops the jobs that it was given to, at their next check between two chunks of work.
#[napi]
#[derive(Default)]
pub struct CancelHandle {
    pub(crate) token: CancelToken,
}

#[napi]
impl CancelHandle {
    /// A handle that nothing has been given to yet.
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the work to stop. Does nothing the second time.
    #[napi]
    pub fn cancel(&self) {
        self.token.cancel();
    }
}
