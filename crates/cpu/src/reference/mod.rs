//! The definitions: scalar code in the order in which one would write the formula.

mod loss_reduction;
mod segment_sum;

pub use loss_reduction::loss_reduction;
pub use segment_sum::segment_sum;
