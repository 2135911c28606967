//! What every Gristmill crate shares: errors that say what and where, cancellation and progress, counts
//! that must add up, hashes that never change, columns that need not fit into memory; and tensors on a
//! [`Device`], with the operations that every backend runs as data ([`ops`]), and random numbers ([`rng`]).
//!
//! Nothing here knows a backend, a file format or a method. A crate above returns [`Error`] from every
//! fallible function; the binding turns its [`Code`] and [`Location`] into a typed JavaScript error
//! without parsing a message.
//!
//! ```
//! use gristmill_core::{Code, Error};
//!
//! let e = Error::new(Code::MissingColumn, "no column \"text\"")
//!     .at_path("crawl/a.parquet")
//!     .hint("name the text column with --text; the file has: body, url");
//! assert_eq!(e.code(), Code::MissingColumn);
//! assert_eq!(e.location().path.as_deref(), Some("crawl/a.parquet"));
//! ```

pub mod column;
mod control;
mod counts;
pub mod device;
mod dtype;
mod error;
mod guard;
pub mod hash;
pub mod ops;
pub mod payload;
pub mod rng;
mod shape;
mod tensor;

pub use control::{CancelToken, Control, Progress, Unit};
pub use counts::Counts;
pub use device::{Device, DeviceInfo};
pub use dtype::{DType, Element};
pub use error::{Code, Error, Location, Result, ResultExt};
pub use guard::{guard, panic_text};
pub use shape::Shape;
pub use tensor::Tensor;
