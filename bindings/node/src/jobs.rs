//! The jobs: options in, a promise of the summary out.

use gristmill_core::{Control, Result};
use gristmill_score::jobs::{
    self, CombineOptions, FitOptions, PerplexityOptions, RateOptions, ScoreOptions, SelectOptions,
};
use napi::bindgen_prelude::{Env, Function, Object};
use napi_derive::napi;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cancel::CancelHandle;
use crate::error::{parse, print, to_js};
use crate::progress::{ProgressEvent, connect};
use crate::task::spawn;

/// Estimates a language model. `options` and the summary are the JSON text of `FitOptions` and `FitSummary`.
#[napi(ts_return_type = "Promise<string>")]
pub fn fit<'env>(
    env: &'env Env,
    options: String,
    cancel: &CancelHandle,
    #[napi(ts_arg_type = "(event: ProgressEvent) => void")] on_progress: Option<
        Function<'_, ProgressEvent, ()>,
    >,
) -> napi::Result<Object<'env>> {
    start::<FitOptions, _>(env, "gristmill-fit", options, cancel, on_progress, jobs::fit::run)
}

/// Scores a pool. `options` and the summary are the JSON text of `ScoreOptions` and `ScoreSummary`.
#[napi(ts_return_type = "Promise<string>")]
pub fn score<'env>(
    env: &'env Env,
    options: String,
    cancel: &CancelHandle,
    #[napi(ts_arg_type = "(event: ProgressEvent) => void")] on_progress: Option<
        Function<'_, ProgressEvent, ()>,
    >,
) -> napi::Result<Object<'env>> {
    start::<ScoreOptions, _>(env, "gristmill-score", options, cancel, on_progress, gristmill::jobs::score)
}

/// Selects from a pool. `options` and the summary are the JSON text of `SelectOptions` and `SelectSummary`.
#[napi(ts_return_type = "Promise<string>")]
pub fn select<'env>(
    env: &'env Env,
    options: String,
    cancel: &CancelHandle,
    #[napi(ts_arg_type = "(event: ProgressEvent) => void")] on_progress: Option<
        Function<'_, ProgressEvent, ()>,
    >,
) -> napi::Result<Object<'env>> {
    start::<SelectOptions, _>(env, "gristmill-select", options, cancel, on_progress, gristmill::jobs::select)
}

/// Measures a model on text. `options` and the summary are the JSON text of `PerplexityOptions` and
/// `PerplexitySummary`.
#[napi(ts_return_type = "Promise<string>")]
pub fn perplexity<'env>(
    env: &'env Env,
    options: String,
    cancel: &CancelHandle,
    #[napi(ts_arg_type = "(event: ProgressEvent) => void")] on_progress: Option<
        Function<'_, ProgressEvent, ()>,
    >,
) -> napi::Result<Object<'env>> {
    start::<PerplexityOptions, _>(
        env,
        "gristmill-perplexity",
        options,
        cancel,
        on_progress,
        gristmill::jobs::perplexity,
    )
}

/// Rates a pool by judgements of pairs. `options` and the summary are the JSON text of `RateOptions` and
/// `ScoreSummary`.
#[napi(ts_return_type = "Promise<string>")]
pub fn rate<'env>(
    env: &'env Env,
    options: String,
    cancel: &CancelHandle,
    #[napi(ts_arg_type = "(event: ProgressEvent) => void")] on_progress: Option<
        Function<'_, ProgressEvent, ()>,
    >,
) -> napi::Result<Object<'env>> {
    start::<RateOptions, _>(env, "gristmill-rate", options, cancel, on_progress, jobs::rate::run)
}

/// Combines scores. `options` and the summary are the JSON text of `CombineOptions` and `CombineSummary`.
#[napi(ts_return_type = "Promise<string>")]
pub fn combine<'env>(
    env: &'env Env,
    options: String,
    cancel: &CancelHandle,
    #[napi(ts_arg_type = "(event: ProgressEvent) => void")] on_progress: Option<
        Function<'_, ProgressEvent, ()>,
    >,
) -> napi::Result<Object<'env>> {
    start::<CombineOptions, _>(env, "gristmill-combine", options, cancel, on_progress, jobs::combine::run)
}

/// Starts a job: its options as JSON text, the promise of its summary as JSON text.
pub(crate) fn start<'env, O, S>(
    env: &'env Env,
    thread: &str,
    options: String,
    cancel: &CancelHandle,
    on_progress: Option<Function<'_, ProgressEvent, ()>>,
    run: fn(O, &Control) -> Result<S>,
) -> napi::Result<Object<'env>>
where
    O: DeserializeOwned + Send + 'static,
    S: Serialize + 'static,
{
    let options: O = parse(&options).map_err(|e| to_js(env, &e))?;
    let cancel = cancel.token.clone();
    let control = connect(Control::with_cancel(cancel.clone()), on_progress)?;
    spawn(
        env,
        thread,
        cancel,
        move || run(options, &control).and_then(|summary| print(&summary)),
        |text| text,
    )
}
