//! Integration tests of the crate, in one binary because every binary links for seconds.

mod gguf;
mod hostile;
mod losses;
mod reference;
mod smollm2;
mod tiny;
mod tokenizer;
