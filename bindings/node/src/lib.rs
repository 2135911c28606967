//! The Node.js face of Gristmill: a napi-rs addon that converts and does nothing else.
//!
//! Options and summaries cross as JSON text, because that is what their Rust types already speak (and it keeps
//! integers above 2^32 integers); Arrow data crosses as IPC bytes; progress crosses as a small object. The typed API
//! that people use is in `ts/`, which wraps every item of this module; nobody imports the addon by itself.
//!
//! # How work runs
//!
//! Nothing here runs on the JavaScript thread for longer than a conversion takes, and nothing runs on libuv's four
//! pool threads, which belong to the file system and to DNS. Every call that works starts one thread of its own
//! ([`task`]), which settles a promise when it is done. A job is stopped by its [`cancel::CancelHandle`]. When
//! a Node environment goes away (the process exits, or a worker thread is terminated) with work under way, that work
//! is cancelled and its threads are joined, so that no thread outlives the environment that it would report to.
//!
//! A device has a thread of its own already. Its operations are enqueued from the JavaScript thread, which costs
//! microseconds and never waits; a read settles its promise from the device's thread. Finalizers of tensors only
//! enqueue the release of memory. The devices of an environment end with it, before their threads could outlive it.
//!
//! # How failures cross
//!
//! An error becomes a JavaScript `Error` with `code`, `hint` and `location` as properties (module `error`). A panic is
//! caught at the edge and becomes one with the code `INTERNAL`.

mod args;
pub mod bar;
pub mod batches;
pub mod cancel;
pub mod check;
pub mod clipping;
pub mod device;
pub mod doctor;
pub mod dp_sgd;
mod error;
pub mod jobs;
pub mod layers;
pub mod linalg;
pub mod lost;
pub mod method;
pub mod mix;
pub mod model;
pub mod optim;
pub mod payload;
pub mod privacy;
pub mod progress;
pub mod scorer;
pub mod subspace;
pub mod sync;
pub mod task;
pub mod tensor;
