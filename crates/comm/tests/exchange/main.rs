//! Payloads and rounds, end to end: forged and mutated payloads, stores that fail, processes that are killed.

mod faults;
mod forged;
mod fuzz;
mod peers;
mod processes;
mod rounds;
mod s3;
mod store;
mod support;
