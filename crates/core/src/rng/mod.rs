//! Random numbers: [`Philox`] where work must be reproducible on every device, [`SecureRng`] where somebody's privacy
//! rests on them.

mod philox;
mod secure;

pub use philox::{Philox, philox4x32_10, uniform};
pub use secure::SecureRng;
