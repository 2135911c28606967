//! The CUDA backend: kernels of our own in CUDA C++, compiled ahead to PTX, and a driver that is found at run time.
//!
//! A build contains the PTX of every kernel (`kernels/ptx`, for compute capability 8.0 and later) and links to nothing
//! of NVIDIA's: a machine needs the driver alone, and one without it is told so. [`probe`] climbs from the library to
//! the devices and answers with what is there, or with one of five reasons, each with its remedy ([`Unavailable`]).
//! cuBLASLt multiplies matrices where it can be loaded, a kernel of ours where it cannot; `features` of the device says
//! which.
//!
//! The code that decides what to launch ([`Cuda`] and the files in `ops`, one for each operation) speaks to a small
//! [`Driver`](driver::Driver): memory, copies, launches. There are two. One is NVIDIA's; the other lives in the tests,
//! runs the same kernel sources on the host (`tests/host`), and takes the whole conformance table over the same launches
//! on a machine without a GPU. What that finds right is the arithmetic and the order of memory; that a kernel ran on a
//! GPU it does not say.
//!
//! # Kernels
//!
//! `kernels/<op>.cu` has an operation's kernels for `f32`, `bf16` and `f16`, templates that a macro instantiates. Inputs
//! are read in 16-byte accesses wherever their addresses allow; rows may begin anywhere. Sums are made in `f64`, or, where
//! they are of exponentials or products, in `f32`, always in an order that the sizes alone fix. Products of `f32` are
//! never made in TF32. Data that breaks an operation's contract is met without an access out of bounds: the lowest row
//! is left in a status word, which [`finish`](gristmill_core::device::Backend::finish) reads.
//!
//! `f64` is left to the CPU.

mod backend;
pub mod driver;
mod kernels;
mod nvidia;
mod ops;
mod probe;

pub use backend::{CACHE, Cuda};
pub use nvidia::{open, probe};
pub use probe::Unavailable;

#[doc(hidden)]
pub use kernels::KERNELS;
