//! The facade of Gristmill: the one crate that a Rust program or a binding depends on.
//!
//! It re-exports the floors below it and adds the one thing that needs to see them all: [`doctor`], the report of
//! what this machine and this build can do.
//!
//! ```
//! let report = gristmill::doctor();
//! assert_eq!(report.version, env!("CARGO_PKG_VERSION"));
//! ```

mod doctor;

pub use doctor::{Backend, Cpu, Doctor, Readable, doctor};
pub use gristmill_core as core;
pub use gristmill_cpu as cpu;
pub use gristmill_cpu::Memory;
pub use gristmill_data as data;
pub use gristmill_mix as mix;
pub use gristmill_ngram as ngram;
pub use gristmill_score as score;
pub use gristmill_select as select;
