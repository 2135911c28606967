//! What users hold: methods between replicas, and boundaries within one. How peers exchange payloads is in `exchange`,
//! whose program starts itself as the peers that it kills.

mod method;
mod subspace;
