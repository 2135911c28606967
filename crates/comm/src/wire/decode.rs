//! Payloads read: nothing is taken that is not exactly what it should be.

use ed25519_dalek::{SIGNATURE_LENGTH, Signature, VerifyingKey};

use super::format::{Codec, Format, decode_table};
use super::header::Header;
use super::refusal::{Reason, Refusal};
use super::{BLOCK, HEADER, Hash, TRAILER, block_checksum, blocks_of, to_sign};

/// What a receiver asks of a payload. What is `None` may be anything.
#[derive(Debug, Clone, Copy)]
pub struct Expect<'a> {
    /// The codec and the tensors.
    pub format: &'a Format,
    /// The run.
    pub run: Option<&'a str>,
    /// The round.
    pub round: Option<u64>,
    /// Who made it.
    pub peer: Option<&'a str>,
    /// The hash of the parameters that the round began with.
    pub base: Option<Hash>,
    /// The key that it must be signed with.
    pub key: Option<&'a [u8; 32]>,
}

impl<'a> Expect<'a> {
    /// A payload of this format, of any run, round and peer.
    pub fn format(format: &'a Format) -> Self {
        Self { format, run: None, round: None, peer: None, base: None, key: None }
    }
}

/// The sections of a file, as far as its own header says where they are. Nothing is checked but that they fit.
pub(super) struct Parts<'a> {
    pub(super) header: Header,
    pub(super) table: &'a [u8],
    pub(super) checksums: &'a [u8],
    pub(super) body: &'a [u8],
    /// All that the hash is of.
    pub(super) hashed: &'a [u8],
    pub(super) hash: Hash,
    pub(super) signature: Option<Signature>,
}

impl<'a> Parts<'a> {
    pub(super) fn split(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let header = Header::decode(bytes)?;
        let length =
            || Refusal::new(Reason::Length, format!("{} bytes are not what the header says", bytes.len()));
        let signature_len = if header.key.is_some() { SIGNATURE_LENGTH } else { 0 };
        // All numbers are bounded by the length of the file before any is used.
        let body_len =
            usize::try_from(header.body_len).ok().filter(|&n| n <= bytes.len()).ok_or_else(length)?;
        let lengths = [header.table_len as usize, 8 * blocks_of(body_len), body_len, TRAILER, signature_len];
        if lengths.iter().try_fold(HEADER, |sum, &n| sum.checked_add(n)) != Some(bytes.len()) {
            return Err(length());
        }
        let [table, checksums, body, hash, signature] = {
            let mut rest = &bytes[HEADER..];
            lengths.map(|n| {
                let (part, tail) = rest.split_at(n);
                rest = tail;
                part
            })
        };
        Ok(Self {
            header,
            table,
            checksums,
            body,
            hashed: &bytes[..bytes.len() - TRAILER - signature_len],
            hash: Hash(std::array::from_fn(|i| hash[i])),
            signature: Signature::from_slice(signature).ok(),
        })
    }

    /// Checks the checksums of all blocks, then the hash of the whole: a damaged transfer is told with its place.
    pub(super) fn check_integrity(&self) -> Result<(), Refusal> {
        for (i, (block, sum)) in self.body.chunks(BLOCK).zip(self.checksums.chunks_exact(8)).enumerate() {
            if block_checksum(block).to_le_bytes() != sum {
                return Err(Refusal::new(Reason::BlockChecksum, format!("MiB {i} of the body is damaged")));
            }
        }
        if Hash::of(self.hashed) != self.hash {
            return Err(Refusal::new(Reason::Hash, "the content is not the one that was sent"));
        }
        Ok(())
    }

    /// Checks the signature, where there is one.
    pub(super) fn check_signature(&self) -> Result<(), Refusal> {
        let (Some(key), Some(signature)) = (&self.header.key, &self.signature) else { return Ok(()) };
        let fits = VerifyingKey::from_bytes(key)
            .is_ok_and(|key| key.verify_strict(&to_sign(&self.hash), signature).is_ok());
        if fits { Ok(()) } else { Err(Refusal::new(Reason::Signature, "the signature does not fit")) }
    }

    /// The format that the file itself describes.
    pub(super) fn format(&self) -> Result<Format, Refusal> {
        let bad = |detail: String| Refusal::new(Reason::Counts, detail);
        if Hash::of(self.table) != self.header.table {
            return Err(Refusal::new(
                Reason::TableMismatch,
                "the table is not the one that the header names",
            ));
        }
        let tensors = decode_table(self.table, self.header.tensors)?;
        let format = Format::new(self.header.codec, self.header.divide_by, tensors)
            .map_err(|e| bad(format!("the table is not valid: {e}")))?;
        check_counts(&self.header, &format)?;
        Ok(format)
    }
}

/// The format that a payload describes, of which nothing else is known.
///
/// # Errors
/// A [`Refusal`] of a payload that is damaged.
pub fn format_of(bytes: &[u8]) -> Result<Format, Refusal> {
    Parts::split(bytes)?.format()
}

fn check_counts(header: &Header, format: &Format) -> Result<(), Refusal> {
    let found = (header.tensors as usize, header.values, header.chunks, header.body_len);
    let expected = (format.tensors().len(), format.values(), format.chunks(), format.body_len() as u64);
    if found == expected && header.table_len as usize == format.table().len() {
        return Ok(());
    }
    Err(Refusal::new(Reason::Counts, format!("counts of {found:?}, where the tensors give {expected:?}")))
}

/// A payload whose every bit was checked.
#[derive(Debug, Clone)]
pub struct Payload<'a> {
    header: Header,
    body: &'a [u8],
    ranges: Vec<std::ops::Range<usize>>,
    hash: Hash,
}

impl<'a> Payload<'a> {
    /// Opens a payload that is what is expected; nothing of any other is used.
    ///
    /// Nothing is allocated before all is checked.
    ///
    /// # Errors
    /// A [`Refusal`] with the first of the [reasons](Reason) that holds.
    pub fn open(bytes: &'a [u8], expect: &Expect<'_>) -> Result<Self, Refusal> {
        let format = expect.format;
        let parts = Parts::split(bytes)?;
        check_header(&parts.header, expect)?;
        if parts.table != format.table() {
            return Err(Refusal::new(
                Reason::TableMismatch,
                "the table is not the one that the header names",
            ));
        }
        parts.check_integrity()?;
        parts.check_signature()?;
        format.check_body(parts.body)?;
        let ranges = (0..format.tensors().len()).map(|i| format.tensor_range(i)).collect();
        Ok(Self { header: parts.header, body: parts.body, ranges, hash: parts.hash })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The hash of the whole, as it stands behind the body.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The bytes of tensor `i`; see [`gristmill_core::payload`].
    pub fn tensor(&self, i: usize) -> &'a [u8] {
        &self.body[self.ranges[i].clone()]
    }

    /// The bytes of all tensors, in order.
    pub fn tensors(&self) -> impl Iterator<Item = &'a [u8]> {
        self.ranges.iter().map(|r| &self.body[r.clone()])
    }
}

fn check_header(header: &Header, expect: &Expect<'_>) -> Result<(), Refusal> {
    let format = expect.format;
    let refuse = |reason, detail: String| Err(Refusal::new(reason, detail));
    match (&header.codec, format.codec()) {
        (Codec::Dense, Codec::Dense) => {}
        (Codec::Sparse(theirs), Codec::Sparse(ours)) if theirs == ours => {}
        (Codec::Sparse(theirs), Codec::Sparse(ours)) => {
            return refuse(Reason::Geometry, format!("{theirs:?}, where this run has {ours:?}"));
        }
        (theirs, ours) => {
            return refuse(Reason::Codec, format!("{}, where this run is {}", theirs.name(), ours.name()));
        }
    }
    if header.divide_by != format.divide_by() {
        return refuse(Reason::DivideBy, format!("divided by {}", header.divide_by.name()));
    }
    let address = &header.address;
    if expect.run.is_some_and(|run| run != address.run) {
        return refuse(Reason::OtherRun, format!("a payload of run {:?}", address.run));
    }
    if expect.round.is_some_and(|round| round != address.round) {
        return refuse(Reason::OtherRound, format!("a payload of round {}", address.round));
    }
    if expect.peer.is_some_and(|peer| peer != address.peer) {
        return refuse(Reason::OtherPeer, format!("a payload of peer {:?}", address.peer));
    }
    if expect.base.is_some_and(|base| base != address.base) {
        return refuse(Reason::BaseMismatch, format!("made from parameters {}", address.base));
    }
    if header.table != format.table_hash() {
        return refuse(Reason::TableMismatch, format!("made for the tensors {}", header.table));
    }
    check_counts(header, format)?;
    match (expect.key, &header.key) {
        (Some(_), None) => refuse(Reason::Unsigned, "not signed, where a signature is asked for".into()),
        (Some(expected), Some(key)) if expected != key => {
            refuse(Reason::Signer, "signed with a key that is not the peer's".into())
        }
        _ => Ok(()),
    }
}
