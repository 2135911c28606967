//! The facade of Gristmill: the one crate that a Rust program or a binding depends on.
//!
//! It re-exports the floors below it and adds what needs to see them all: [`devices`], which opens one by its name
//! or the best that there is; [`doctor`], the report of what this machine and this build can do; [`check()`], which
//! holds a device against the promises of every operation; [`bench()`], which measures it; [`jobs`], which run models on
//! any of them.
//!
//! ```
//! let report = gristmill::doctor();
//! assert_eq!(report.version, env!("CARGO_PKG_VERSION"));
//! ```

mod bench;
mod check;
pub mod devices;
mod doctor;
pub mod jobs;

pub use bench::{BenchOptions, bench};
pub use check::{CheckOptions, check};
pub use doctor::{Cpu, Doctor, Readable, doctor};
pub use gristmill_comm as comm;
pub use gristmill_conformance as conformance;
pub use gristmill_core as core;
pub use gristmill_cpu as cpu;
pub use gristmill_cpu::Memory;
pub use gristmill_data as data;
pub use gristmill_lm as lm;
pub use gristmill_mix as mix;
pub use gristmill_ngram as ngram;
pub use gristmill_optim as optim;
pub use gristmill_privacy as privacy;
pub use gristmill_score as score;
pub use gristmill_select as select;
