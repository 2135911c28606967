//! Low-communication training: several machines on thin links train one model.
//!
//! Each peer trains on its own for some steps, then tells the others how far it got, compressed a hundred
//! times or more; all of them apply the same sum and end with the same bits. This crate holds the parts
//! of that which are no operations of a device: [`wire`], the payloads as bytes, of which every bit is checked before
//! any is used; [`rounds`], how peers that share nothing but a store agree on what a round is made of; [`method`], what
//! peers say and what they make of it; and [`subspace`], how the stages of one replica say less to each other.

pub mod method;
pub mod rounds;
pub mod subspace;
pub mod wire;
