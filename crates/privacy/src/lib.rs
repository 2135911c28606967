//! Differentially private training: the steps themselves, what they cost, and how much noise a budget needs.
//!
//! A step of DP-SGD takes every example with probability `q` (Poisson sampling), clips what each of them adds to the
//! gradient so that one example changes the sum by at most `S`, and adds Gaussian noise of standard deviation
//! `sigma S`. `sigma` is the noise multiplier. Which `(epsilon, delta)` the whole run then guarantees, to somebody whose
//! data is in it or not (add-or-remove-one adjacency), is arithmetic on `q`, `sigma` and the number of steps. This crate
//! does that arithmetic, for steps of whatever training loop, and has such steps itself.
//!
//! - **[`DpSgd`]** clips the gradients of samples, adds them up and adds the noise, on any device: see [`dp_sgd`], which also
//!   says what a claim of privacy needs.
//! - **[`Accountant`]** records steps, which may differ from each other, and answers with epsilon for a delta or with
//!   delta for an epsilon. Its state is plain data that a checkpoint holds.
//! - **[`calibrate_noise`]** turns the question around: the least noise multiplier that keeps a budget, rounded up.
//! - **[`PoissonSampler`]** draws the batches that the arithmetic assumes.
//!
//! Three [`Method`]s answer:
//!
//! | method | what it is | use |
//! | --- | --- | --- |
//! | [`Method::Pld`] | the privacy loss distribution, discretised pessimistically and composed by FFT | the default: an upper bound, within 0.05% of the truth wherever tests know it |
//! | [`Method::Rdp`] | Rényi differential privacy, converted at the best order | an upper bound, 5 to 30% above, several times as much where epsilon is small; the figure that many papers give |
//! | [`Method::Gdp`] | the central limit of Gaussian differential privacy | diagnostics only: it **under-estimates**, and guarantees nothing |
//!
//! # What is guaranteed
//!
//! The first two never answer with less than the true epsilon. Where a result has an error (the grid, the ends that a
//! window cuts off, what wraps around in an FFT, the rounding of floating-point numbers), a bound on the error is added
//! to the result. Where the bound would be worth more than the answer, there is an error in place of an answer.
//!
//! Poisson sampling is part of the guarantee: shuffled batches of a fixed size are not covered by it, and neither are
//! sample rates derived from the size of a data set that is itself private.
//!
//! ```
//! use gristmill_privacy::{Accountant, Budget, Mechanism, Method, calibrate_noise};
//!
//! let mut accountant = Accountant::new();
//! accountant.record(Mechanism::new(1.5, 0.001)?, 20_000);
//! let spent = accountant.epsilon(1e-6, Method::Pld)?;
//! assert!((0.426..0.428).contains(&spent.epsilon));
//!
//! let budget = Budget { epsilon: 8.0, delta: 1e-5, sample_rate: 0.04, steps: 2250 };
//! let sigma = calibrate_noise(&budget, Method::Pld)?;
//! assert!((1.34..1.35).contains(&sigma));
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod accountant;
mod calibrate;
mod discrete_gaussian;
pub mod dp_sgd;
mod gaussian;
mod mechanism;
mod normal;
mod pld;
mod rdp;
mod sampler;

pub use accountant::{Accountant, Method, Recorded, Spent};
pub use calibrate::{Budget, calibrate_noise};
pub use dp_sgd::{DpSgd, DpSgdOptions};
pub use mechanism::Mechanism;
pub use rdp::{DEFAULT_ORDERS, epsilon_at_order};
pub use sampler::{PoissonBatch, PoissonOptions, PoissonSampler};
