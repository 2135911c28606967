//! Corpora in and out, end to end on real files.

mod bad_input;
mod inputs;
mod jobs;
mod remote;
mod s3;
mod support;
mod tensors;
mod write;
