//! The table of cases that every backend must pass, and its runner.
//!
//! A [`Case`] names an operation, shapes and types, a generator of inputs (ordinary and adversarial) and a [`Bound`].
//! The runner draws fresh inputs, runs the operation twice on the device under test and once on the scalar reference,
//! and demands that
//!
//! - the results lie within the bound: bit for bit, or with an error that is small beside the size of the terms that
//!   were added up, so that cancellation excuses nothing that a careful implementation would not need excused for;
//! - both runs gave the same bits, although the outputs were filled with different garbage before;
//! - no input changed, and nothing beside an output: operands of some cases are views with odd offsets into larger
//!   memory, which is compared too;
//! - data that breaks the contract of an operation is reported with the first row at fault, and spoils neither the
//!   device nor anything else.
//!
//! The seed of a run is printed with its report, and repeats it exactly.
//!
//! ```
//! use gristmill_conformance::{RunOptions, run};
//!
//! let device = gristmill_cpu::open()?;
//! let options = RunOptions { ops: Some(vec!["topk".into()]), seed: Some(1) };
//! let report = run(&device, &options, |row| println!("{row}"))?;
//! assert!(report.passed() && report.rows.len() > 10);
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod batches;
pub mod bench;
mod case;
mod cases;
mod compare;
mod draw;
mod opened;
mod operand;
mod report;
mod run;
mod sample;
mod values;

pub use batches::depend_on_their_batch;
pub use case::{Bound, Case};
pub use cases::cases;
pub use opened::Opened;
pub use report::{Outcome, Report, Row};
pub use run::{RunOptions, digests, run};
pub use sample::{Data, Sample, samples};
