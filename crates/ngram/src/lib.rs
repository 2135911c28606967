//! N-gram language models, the embedded default of Gristmill: estimated natively, read from the files
//! that others publish, queried fast.

pub mod adapt;
pub mod arpa;
pub mod estimate;
pub mod gml;
pub mod hashed;
pub mod kenlm;
pub mod model;
pub mod normalize;
pub mod tables;
pub mod vocab;

mod replace;
mod source;
