//! Panics of other people's code as errors.
//!
//! Decoders and tokenizers that trust their input panic on hostile files. Where we call one, a panic is not a
//! defect to report on standard error but a fact about the file.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::{Error, Result};

thread_local! {
    /// Whether a panic on this thread is about to become an error.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// A panic that becomes an error is no news for standard error. All others are reported as before.
fn hush_guarded_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                report(info);
            }
        }));
    });
}

/// Runs code that may panic on hostile input; a panic becomes the error that `blame` makes of its text.
///
/// Whatever `code` was changing may be half-changed after a panic: callers drop it, or know that it is not.
///
/// ```
/// use gristmill_core::{Code, Error, guard};
///
/// let head = |bytes: &[u8]| guard(|| Ok(bytes[0]), |why| Error::new(Code::CorruptData, why));
/// assert_eq!(head(b"abc").unwrap(), b'a');
/// assert_eq!(head(b"").unwrap_err().code(), Code::CorruptData);
/// ```
///
/// # Errors
/// Those of `code`, and that of `blame` after a panic.
pub fn guard<T>(code: impl FnOnce() -> Result<T>, blame: impl FnOnce(String) -> Error) -> Result<T> {
    hush_guarded_panics();
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(code));
    GUARDED.set(outer);
    result.unwrap_or_else(|panic| Err(blame(panic_text(&*panic))))
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
