//! The tables of a device of this machine: whether it keeps its promises, and how fast it is.

use gristmill::{BenchOptions, CheckOptions};
use gristmill_core::{Control, Device, Result};
use napi::Status;
use napi::bindgen_prelude::{Env, Function, Object};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use serde::Serialize;

use crate::cancel::CancelHandle;
use crate::error::{parse, print, to_js};
use crate::task::{self, spawn};

// Weak, and without a limit: a row of the table is not like a report of progress, after which another says more.
type Rows = ThreadsafeFunction<String, (), String, Status, false, true, 0>;

/// Holds the device of this selector against the promises of every operation. `options` is the JSON text of
/// `CheckOptions`, the result that of the report; `on_row` hears the line of every case as soon as it is done.
#[napi(ts_return_type = "Promise<string>")]
pub fn check<'env>(
    env: &'env Env,
    selector: String,
    options: String,
    cancel: &CancelHandle,
    #[napi(ts_arg_type = "(row: string) => void")] on_row: Option<Function<'_, String, ()>>,
) -> napi::Result<Object<'env>> {
    let options: CheckOptions = parse(&options).map_err(|e| to_js(env, &e))?;
    table(env, "gristmill-check", selector, cancel, on_row, move |device, control, say| {
        gristmill::check(device, &options, control, |row| say(row.to_string()))
    })
}

/// Measures the device of this selector. `options` is the JSON text of `BenchOptions`, the result that of the report;
/// `on_row` hears the line of every case as soon as it is done.
#[napi(ts_return_type = "Promise<string>")]
pub fn bench<'env>(
    env: &'env Env,
    selector: String,
    options: String,
    cancel: &CancelHandle,
    #[napi(ts_arg_type = "(row: string) => void")] on_row: Option<Function<'_, String, ()>>,
) -> napi::Result<Object<'env>> {
    let options: BenchOptions = parse(&options).map_err(|e| to_js(env, &e))?;
    table(env, "gristmill-bench", selector, cancel, on_row, move |device, control, say| {
        gristmill::bench(device, &options, control, |row| say(row.to_string()))
    })
}

/// Makes a table on a device of its own, which is told row by row and then as a whole.
fn table<'env, R: Serialize + 'static>(
    env: &'env Env,
    thread: &str,
    selector: String,
    cancel: &CancelHandle,
    on_row: Option<Function<'_, String, ()>>,
    make: impl FnOnce(&Device, &Control, &dyn Fn(String)) -> Result<R> + Send + 'static,
) -> napi::Result<Object<'env>> {
    let devices = task::devices(env)?;
    let token = cancel.token.clone();
    let control = Control::with_cancel(token.clone());
    let rows: Option<Rows> = on_row
        .map(|on_row| {
            on_row.build_threadsafe_function::<String>().weak::<true>().max_queue_size::<0>().build()
        })
        .transpose()?;
    let work = move || {
        let opened = gristmill::devices::open(&selector)?;
        let id = devices.insert(&opened.device);
        let report = make(&opened.device, &control, &|row| {
            if let Some(rows) = &rows {
                // A closing environment: nobody reads the row.
                let _ = rows.call(row, ThreadsafeFunctionCallMode::NonBlocking);
            }
        });
        devices.close(id);
        print(&report?)
    };
    spawn(env, thread, token, work, |text| text)
}
