//! CPU features and kernels.
