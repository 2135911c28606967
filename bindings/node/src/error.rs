//! Failures as JavaScript errors with fields, so that nobody parses a message.

use std::any::Any;
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use gristmill::devices::Unavailable;
use gristmill_core::{Code, Error, Location, panic_text};
use napi::bindgen_prelude::{Env, JsObjectValue, Object, Unknown};
use napi::{JsValue, Status};

/// The JavaScript error of `error`: `message` says what is wrong, `code` is one of the closed set, `hint` says what
/// to do and `location` says where. Must be called on the JavaScript thread.
pub(crate) fn to_js(env: &Env, error: &Error) -> napi::Error {
    build(env, error).unwrap_or_else(|e| e)
}

fn build(env: &Env, error: &Error) -> napi::Result<napi::Error> {
    let mut object = env.create_error(napi::Error::new(Status::GenericFailure, error.message()))?;
    object.set_named_property("code", error.code().as_str())?;
    if let Some(hint) = error.hint_text() {
        object.set_named_property("hint", hint)?;
    }
    object.set_named_property("location", location(env, error.location())?)?;
    if let Some(unavailable) = error.source().and_then(|source| source.downcast_ref::<Unavailable>()) {
        let reasons = print(&unavailable.reasons).map_err(|e| to_js(env, &e))?;
        object.set_named_property("reasons", reasons)?;
    }
    // Keeps a reference to the object itself, so that it arrives with its properties.
    let unknown: Unknown<'_> = object.to_unknown();
    Ok(napi::Error::from(unknown))
}

fn location<'env>(env: &'env Env, at: &Location) -> napi::Result<Object<'env>> {
    let mut object = Object::new(env)?;
    if let Some(path) = &at.path {
        object.set_named_property("path", path.as_str())?;
    }
    if let Some(column) = &at.column {
        object.set_named_property("column", column.as_str())?;
    }
    for (name, value) in [("rowGroup", at.row_group), ("row", at.row), ("offset", at.offset)] {
        if let Some(value) = value {
            object.set_named_property(name, value as f64)?;
        }
    }
    Ok(object)
}

/// Runs `work`; a panic inside it becomes [`Code::Internal`].
pub(crate) fn guarded<T>(work: impl FnOnce() -> gristmill_core::Result<T>) -> gristmill_core::Result<T> {
    // Whatever `work` captured is dropped with the unwound frames or reported as failed: nobody looks at a
    // half-changed state afterwards.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(panicked(payload.as_ref())))
}

fn panicked(payload: &(dyn Any + Send)) -> Error {
    Error::new(Code::Internal, format!("panicked: {}", panic_text(payload)))
        .hint("this is a defect of Gristmill: please report it with the message and what you ran")
}

/// Parses the JSON text of an options object.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(options: &str) -> gristmill_core::Result<T> {
    serde_json::from_str(options).map_err(|e| {
        Error::new(Code::InvalidArgument, format!("options: {}", without_position(&e.to_string())))
    })
}

/// Drops serde's " at line 1 column 17", which counts characters of a text that the caller never saw.
fn without_position(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |at| &message[..at])
}

/// The JSON text of a summary.
pub(crate) fn print<T: serde::Serialize>(summary: &T) -> gristmill_core::Result<String> {
    serde_json::to_string(summary)
        .map_err(|e| Error::new(Code::Internal, format!("a summary does not serialise: {e}")))
}
