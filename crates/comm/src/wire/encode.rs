//! Payloads made.

use ed25519_dalek::{Signer, SigningKey};
use gristmill_core::{Code, Error, Result};

use super::decode::Parts;
use super::format::Format;
use super::header::{Address, Header};
use super::{BLOCK, Hash, block_checksum, to_sign};

/// Makes a payload of the bytes of each tensor, in the order of the format.
///
/// The bytes are not looked at: what no other peer would take shows when they are [opened](super::Payload::open).
///
/// # Errors
/// [`Code::ShapeMismatch`] where a tensor has another number of bytes than the format gives it.
pub fn seal<'a>(
    format: &Format,
    address: &Address,
    tensors: impl IntoIterator<Item = &'a [u8]>,
    key: Option<&SigningKey>,
) -> Result<Vec<u8>> {
    let mut body = Vec::with_capacity(format.body_len());
    let mut tensors = tensors.into_iter();
    for (i, entry) in format.tensors().iter().enumerate() {
        let (bytes, expected) = (tensors.next().unwrap_or_default(), format.tensor_range(i).len());
        if bytes.len() != expected {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!("expected {expected} bytes, given {}", bytes.len()),
            )
            .at_column(entry.name()));
        }
        body.extend_from_slice(bytes);
    }
    if tensors.next().is_some() {
        return Err(Error::new(Code::ShapeMismatch, "there are more tensors than the format has"));
    }
    Ok(assemble(&Header::of(format, address, public(key)), format.table(), &body, key))
}

/// Writes another address into a payload and signs it anew; the content stays.
///
/// # Errors
/// As a [`Refusal`](super::Refusal) of a payload that is damaged.
pub fn address(payload: &[u8], address: &Address, key: Option<&SigningKey>) -> Result<Vec<u8>> {
    let parts = Parts::split(payload)?;
    let header = Header { address: address.clone(), key: public(key), ..parts.header };
    Ok(assemble(&header, parts.table, parts.body, key))
}

fn public(key: Option<&SigningKey>) -> Option<[u8; 32]> {
    key.map(|k| k.verifying_key().to_bytes())
}

fn assemble(header: &Header, table: &[u8], body: &[u8], key: Option<&SigningKey>) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / BLOCK * 8 + table.len() + 512);
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(table);
    body.chunks(BLOCK).for_each(|block| out.extend_from_slice(&block_checksum(block).to_le_bytes()));
    out.extend_from_slice(body);
    let hash = Hash::of(&out);
    out.extend_from_slice(&hash.0);
    if let Some(key) = key {
        out.extend_from_slice(&key.sign(&to_sign(&hash)).to_bytes());
    }
    out
}

/// The hash of parameters: what a payload is made from, and what every replica must hold for it to fit.
///
/// BLAKE3 over the hash of the table and then every value of every tensor, in order, as little-endian `f32`.
///
/// # Errors
/// [`Code::ShapeMismatch`] where a tensor has another number of values than the format says.
pub fn params_hash<'a>(format: &Format, tensors: impl IntoIterator<Item = &'a [f32]>) -> Result<Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&format.table_hash().0);
    let mut tensors = tensors.into_iter();
    let mut buffer = Vec::new();
    for entry in format.tensors() {
        let (values, expected) = (tensors.next().unwrap_or_default(), entry.chunking().elements());
        if values.len() != expected {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!("expected {expected} values, given {}", values.len()),
            )
            .at_column(entry.name()));
        }
        for part in values.chunks(16 << 10) {
            buffer.clear();
            part.iter().for_each(|x| buffer.extend_from_slice(&x.to_le_bytes()));
            hasher.update(&buffer);
        }
    }
    Ok(Hash(*hasher.finalize().as_bytes()))
}
