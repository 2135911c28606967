//! Random numbers: [`Philox`] where work must be reproducible on every device, [`SecureRng`] where somebody's privacy
//! rests on them.

mod chacha;
mod normal;
mod philox;
mod secure;

pub use chacha::{QUARTERS, chacha20_block, key_words};
pub use normal::normal_pair;
pub use philox::{Philox, philox4x32_10, uniform};
pub use secure::SecureRng;
