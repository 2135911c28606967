#![doc = include_str!("../../../../docs/wire.md")]

mod decode;
mod encode;
mod format;
mod hash;
mod header;
mod inspect;
mod refusal;
mod spec;

pub use decode::{Expect, Payload, format_of};
pub use encode::{address, params_hash, seal};
pub use format::{Codec, DivideBy, Format, TensorEntry};
pub use hash::Hash;
pub use header::{Address, Header};
pub(crate) use header::{check_name, is_name};
pub use inspect::{Check, Inspection, TensorReport, inspect};
pub use refusal::{Reason, Refusal};
pub use spec::{FormatSpec, ParamSpec};

/// No text begins like this, and a transfer that changes line ends breaks it.
const MAGIC: [u8; 8] = *b"\x89GRIST\r\n";
const VERSION: u16 = 1;
/// Bytes of the header.
const HEADER: usize = 288;
/// Bytes of the hash behind the body.
const TRAILER: usize = 32;
/// Bytes of the body under one checksum.
const BLOCK: usize = 1 << 20;

/// What is put before the hash that is signed, so that a signature can mean nothing else.
const SIGNED_AS: &[u8] = b"gristmill payload 1\0";

fn blocks_of(body: usize) -> usize {
    body.div_ceil(BLOCK)
}

fn block_checksum(block: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(block)
}

fn to_sign(hash: &Hash) -> Vec<u8> {
    [SIGNED_AS, &hash.0].concat()
}
