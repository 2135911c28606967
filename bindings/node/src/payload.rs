//! Payloads of low-communication training: made, opened, looked at.

use gristmill::comm::wire::{
    Address, Expect, Format, FormatSpec, Inspection, Payload, format_of, inspect, params_hash, seal,
};
use gristmill_core::{Error, Result};
use napi::bindgen_prelude::{Env, Float32Array, Object, Uint8Array};
use napi_derive::napi;
use serde::Serialize;

use crate::cancel::CancelHandle;
use crate::error::{parse, print};
use crate::task::spawn;

const THREAD: &str = "gristmill-payload";

fn format(spec: &str) -> Result<Format> {
    parse::<FormatSpec>(spec)?.try_into()
}

/// A payload that was opened.
#[napi(object, object_from_js = false)]
pub struct OpenedPayload {
    /// The JSON text of `PayloadInspection`.
    pub report: String,
    /// The bytes of each tensor, in order.
    pub tensors: Vec<Uint8Array>,
}

/// The hash of parameters, in hexadecimal; `format` is the JSON text of `PayloadFormat`.
#[napi(ts_return_type = "Promise<string>")]
pub fn hash_params<'env>(
    env: &'env Env,
    format: String,
    tensors: Vec<Float32Array>,
) -> napi::Result<Object<'env>> {
    let tensors: Vec<Vec<f32>> = tensors.iter().map(|t| t.to_vec()).collect();
    let work = move || {
        let format = self::format(&format)?;
        Ok(params_hash(&format, tensors.iter().map(Vec::as_slice))?.to_string())
    };
    spawn(env, THREAD, CancelHandle::default().token, work, |hash| hash)
}

/// Makes a payload with an open address of the bytes of each tensor.
#[napi(ts_return_type = "Promise<Uint8Array>")]
pub fn seal_payload<'env>(
    env: &'env Env,
    format: String,
    base: String,
    tensors: Vec<Uint8Array>,
) -> napi::Result<Object<'env>> {
    let tensors: Vec<Vec<u8>> = tensors.iter().map(|t| t.to_vec()).collect();
    let work = move || {
        let format = self::format(&format)?;
        let base = base.parse().map_err(|e: Error| e.at_column("base"))?;
        seal(&format, &Address::open(base), tensors.iter().map(Vec::as_slice), None)
    };
    spawn(env, THREAD, CancelHandle::default().token, work, Uint8Array::new)
}

/// Opens a payload by what it says of itself, with every bit checked.
#[napi(ts_return_type = "Promise<OpenedPayload>")]
pub fn open_payload<'env>(env: &'env Env, payload: Uint8Array) -> napi::Result<Object<'env>> {
    let bytes = payload.to_vec();
    let work = move || {
        let format = format_of(&bytes)?;
        let opened = Payload::open(&bytes, &Expect::format(&format))?;
        let tensors: Vec<Vec<u8>> = opened.tensors().map(<[u8]>::to_vec).collect();
        Ok((print(&inspect(&bytes))?, tensors))
    };
    spawn(env, THREAD, CancelHandle::default().token, work, |(report, tensors)| OpenedPayload {
        report,
        tensors: tensors.into_iter().map(Uint8Array::new).collect(),
    })
}

/// What can be known of a payload: the JSON text of `PayloadInspection`.
#[napi(ts_return_type = "Promise<string>")]
pub fn inspect_payload<'env>(env: &'env Env, payload: Uint8Array) -> napi::Result<Object<'env>> {
    let bytes = payload.to_vec();
    spawn(env, THREAD, CancelHandle::default().token, move || print(&inspect(&bytes)), |text| text)
}

#[derive(Serialize)]
struct File {
    path: String,
    #[serde(flatten)]
    report: Inspection,
}

/// The same of files, one after the other: the JSON text of a list of `PayloadInspection` with `path`.
#[napi(ts_return_type = "Promise<string>")]
pub fn inspect_payload_files<'env>(
    env: &'env Env,
    paths: Vec<String>,
    cancel: &CancelHandle,
) -> napi::Result<Object<'env>> {
    let control = gristmill_core::Control::with_cancel(cancel.token.clone());
    let work = move || {
        let look = |path: String| {
            control.check()?;
            let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
            Ok(File { report: inspect(&bytes), path })
        };
        print(&paths.into_iter().map(look).collect::<Result<Vec<_>>>()?)
    };
    spawn(env, THREAD, cancel.token.clone(), work, |text| text)
}
