//! The jobs from end to end, through their public functions: what they make, that they make the same whatever
//! the threads, workers and interruptions, and what they say about bad input.

mod bad_input;
mod child;
mod classifier;
mod combine;
mod common;
mod fit;
mod mix;
mod neural;
mod rate;
mod ratings;
mod resume;
mod score;
mod select;
mod subset;
