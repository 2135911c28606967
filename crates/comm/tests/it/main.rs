//! Methods as users hold them. How peers exchange payloads is in `exchange`,
//! whose program starts itself as the peers that it kills.

mod method;
