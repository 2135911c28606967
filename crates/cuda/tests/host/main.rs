//! The kernels on the host: the conformance table over the backend's own launches, without a GPU.
//!
//! `shim` compiles `kernels/*.cu` with the C++ compiler, `runtime.cpp` runs their threads as fibers, `driver` is the
//! [`gristmill_cuda::driver::Driver`] over both: a backend that calls itself `cuda-host`. What holds here computes
//! rightly; it has not run on a GPU.
//!
//! Skips where there is no `g++`, unless `GRISTMILL_REQUIRE` has `cuda-host`.

mod clipping;
mod conformance;
mod driver;
mod failures;
mod geometry;
mod shim;
mod sources;
