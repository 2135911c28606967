//! The CPU backend: what this processor can do, and the operations that run on it.
//!
//! Every operation exists twice under one name. [`mod@reference`] holds the definition: scalar, obvious, slow.
//! [`ops`] holds the fast version, with wide vectors chosen at run time and threads. Each is a device of its own
//! ([`open`], [`open_reference`]); the conformance table holds one against the other.
//!
//! The fast versions promise more than closeness. Each fixes the order of its additions, so the result has the same
//! bits with any number of threads. Sums, conversions, random bits and selections have them on any processor too,
//! whatever vectors that has; matrix products, attention and sums of exponentials use fused operations where there are
//! some, and vary between kinds of processors. What belongs to one row or document has the same bits in whatever batch
//! it comes. In the outputs of `segment_sum` and `loss_reduction` NaN is always the one of `f64::NAN`.
//!
//! ```
//! // Two documents of three and two tokens, with the loss of every token under two models.
//! let prior = [2.0f32, 3.0, 4.0, 1.0, 1.0];
//! let conditional = [1.0f32, 1.0, 1.0, 1.0, 2.0];
//! let mut sums = [[0.0; 2]; 2];
//! let mut score = [0.0; 2];
//! let [p, c] = &mut sums;
//! let out = gristmill_cpu::ops::LossReduction { prior: p, conditional: c, score: &mut score };
//! gristmill_cpu::ops::loss_reduction(&prior, &conditional, &[0, 3, 5], out)?;
//! assert_eq!(sums, [[9.0, 2.0], [3.0, 3.0]]);
//! assert_eq!(score, [2.0, -0.5]);
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod access;
mod backend;
mod buffer;
mod features;
mod float;
mod memory;
mod number;
mod offsets;
pub mod ops;
pub mod reference;

pub use backend::{Cpu, Fast, Host, Kernels, Reference, Scalar, open, open_reference};
pub use features::{Features, features};
pub use memory::{Memory, memory};
pub use offsets::Offset;

/// A number that operations read: `f32` or `f64`. Sums are always in `f64`.
#[allow(private_bounds)]
pub trait Real: number::Number + Into<f64> + sealed::Sealed {}

impl Real for f32 {}
impl Real for f64 {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for i32 {}
    impl Sealed for i64 {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
    impl Sealed for usize {}
}
