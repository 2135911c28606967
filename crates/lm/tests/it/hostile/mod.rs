//! Files that lie, each named after the attack, and files with random damage.

mod config;
mod gguf;
mod mutated;
mod safetensors;

use gristmill_core::{Code, Error};

/// The error of something that must be refused, with its code checked.
fn refused<T>(result: Result<T, Error>, code: Code, message: &str) -> Error {
    let Err(error) = result else { panic!("accepted: {message}") };
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(message), "{error}: no {message:?}");
    error
}
