//! What this machine and this build can do.

use napi::bindgen_prelude::Env;
use napi_derive::napi;

use crate::error::{guarded, print, to_js};

/// The report of `gristmill doctor`, as JSON text.
#[napi]
pub fn doctor(env: Env) -> napi::Result<String> {
    guarded(|| print(&gristmill::doctor())).map_err(|e| to_js(&env, &e))
}
