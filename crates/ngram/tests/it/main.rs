//! Integration tests of the crate, in one binary because every binary links for seconds.

mod adapt;
mod estimate;
mod hashed;
mod peers;
mod precision;
mod query;
mod text;
mod tokenizers;
