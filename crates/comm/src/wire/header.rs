//! The fixed part at the beginning of a payload.

use gristmill_core::payload::{IndexCodec, PayloadLayout, Quantizer};
use gristmill_core::{Error, Result};

use super::format::{Codec, DivideBy, Format};
use super::refusal::{Reason, Refusal};
use super::{HEADER, Hash, MAGIC, VERSION};

/// Bytes of the name of a run or a peer at the most.
const NAME: usize = 64;
const SIGNED: u8 = 1;

/// Where a payload belongs: the run, the round, who made it, and from which parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The run.
    pub run: String,
    /// The round, from 0.
    pub round: u64,
    /// Who made it.
    pub peer: String,
    /// The hash of the parameters that the round began with; see [`params_hash`](super::params_hash).
    pub base: Hash,
}

impl Address {
    /// An address that is still to be written over: payloads are often made before it is known who sends them.
    pub fn open(base: Hash) -> Self {
        Self { run: String::new(), round: 0, peer: String::new(), base }
    }

    /// Whether run and peer are still to be written.
    pub fn is_open(&self) -> bool {
        self.run.is_empty() && self.peer.is_empty()
    }
}

/// The header of a payload, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Where it belongs.
    pub address: Address,
    /// How values are written.
    pub codec: Codec,
    /// What a sum of peers is divided by.
    pub divide_by: DivideBy,
    /// The key that it is signed with.
    pub key: Option<[u8; 32]>,
    /// The hash of the table of tensors.
    pub table: Hash,
    /// How many tensors.
    pub tensors: u32,
    /// Bytes of the table.
    pub table_len: u32,
    /// Values of all tensors.
    pub values: u64,
    /// Chunks of all tensors.
    pub chunks: u64,
    /// Bytes of the body.
    pub body_len: u64,
}

/// Whether a name may stand in an address: 1 to 64 letters, digits, `.`, `_` and `-`, first a letter or a digit.
pub(crate) fn is_name(name: &str) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    name.len() <= NAME
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && name.bytes().all(ok)
}

/// Fails for a name of a run or peer that no payload can carry.
pub(crate) fn check_name(option: &str, name: &str) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::invalid_argument(option, format!("{name:?} cannot be a name of a run or peer"))
        .hint("use 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit"))
}

impl Header {
    /// The header of a payload, of which nothing else is looked at.
    ///
    /// # Errors
    /// A [`Refusal`] where there is none.
    pub fn of_payload(payload: &[u8]) -> std::result::Result<Self, Refusal> {
        Self::decode(payload)
    }

    /// The header of a payload of this format.
    pub(super) fn of(format: &Format, address: &Address, key: Option<[u8; 32]>) -> Self {
        Self {
            address: address.clone(),
            codec: *format.codec(),
            divide_by: format.divide_by(),
            key,
            table: format.table_hash(),
            tensors: format.tensors().len() as u32,
            table_len: format.table().len() as u32,
            values: format.values(),
            chunks: format.chunks(),
            body_len: format.body_len() as u64,
        }
    }

    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        if let Codec::Sparse(layout) = &self.codec {
            put(10, &[1, layout.quantizer().id(), layout.indices().id()]);
            put(16, &(layout.chunk() as u32).to_le_bytes());
            put(20, &(layout.k() as u32).to_le_bytes());
        }
        put(13, &[u8::from(self.divide_by == DivideBy::Peers), if self.key.is_some() { SIGNED } else { 0 }]);
        put(24, &self.tensors.to_le_bytes());
        put(28, &self.table_len.to_le_bytes());
        for (i, n) in [self.values, self.chunks, self.body_len, self.address.round].iter().enumerate() {
            put(32 + 8 * i, &n.to_le_bytes());
        }
        put(64, self.address.run.as_bytes());
        put(128, self.address.peer.as_bytes());
        put(192, &self.address.base.0);
        put(224, &self.table.0);
        put(256, &self.key.unwrap_or_default());
        out
    }

    /// Reads a header; everything in it is well-formed, nothing is yet what was expected.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let refuse = |reason, detail: String| Err(Refusal::new(reason, detail));
        let Some(h) = bytes.get(..HEADER) else {
            if !bytes.starts_with(&MAGIC) {
                return refuse(Reason::Magic, "this is no payload of Gristmill".into());
            }
            return refuse(Reason::Length, format!("{} bytes are less than a header", bytes.len()));
        };
        if h[..8] != MAGIC {
            return refuse(Reason::Magic, "this is no payload of Gristmill".into());
        }
        let version = u16::from_le_bytes([h[8], h[9]]);
        if version != VERSION {
            return refuse(Reason::Version, format!("version {version}; this build reads {VERSION}"));
        }
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| h[at + i]));
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| h[at + i]));
        let hash_at = |at: usize| Hash(std::array::from_fn(|i| h[at + i]));
        if h[14] & !SIGNED != 0 || h[15] != 0 {
            return refuse(Reason::Reserved, "a reserved bit of the header is set".into());
        }
        let divide_by = match h[13] {
            0 => DivideBy::Contributors,
            1 => DivideBy::Peers,
            n => return refuse(Reason::DivideBy, format!("no divisor has the number {n}")),
        };
        let key = (h[14] & SIGNED != 0).then(|| hash_at(256).0);
        if key.is_none() && hash_at(256).0 != [0; 32] {
            return refuse(Reason::Reserved, "a key without a signature".into());
        }
        let name_at = |at: usize| {
            let field = &h[at..at + NAME];
            let len = field.iter().position(|&b| b == 0).unwrap_or(NAME);
            let name = std::str::from_utf8(&field[..len]).unwrap_or("?");
            (field[len..].iter().all(|&b| b == 0) && (name.is_empty() || is_name(name)))
                .then(|| name.to_string())
                .ok_or_else(|| Refusal::new(Reason::Reserved, "the name of the run or peer is no name"))
        };
        Ok(Self {
            codec: codec_of(h[10], h[11], h[12], u32_at(16), u32_at(20))?,
            divide_by,
            key,
            tensors: u32_at(24),
            table_len: u32_at(28),
            values: u64_at(32),
            chunks: u64_at(40),
            body_len: u64_at(48),
            address: Address {
                run: name_at(64)?,
                round: u64_at(56),
                peer: name_at(128)?,
                base: hash_at(192),
            },
            table: hash_at(224),
        })
    }
}

fn codec_of(codec: u8, quantizer: u8, indices: u8, chunk: u32, k: u32) -> Result<Codec, Refusal> {
    match codec {
        0 if (quantizer, indices, chunk, k) == (0, 0, 0, 0) => Ok(Codec::Dense),
        0 => Err(Refusal::new(Reason::Reserved, "a dense payload has no geometry")),
        1 => {
            let (Some(quantizer), Some(indices)) =
                (Quantizer::from_id(quantizer), IndexCodec::from_id(indices))
            else {
                return Err(Refusal::new(
                    Reason::Geometry,
                    format!("quantiser {quantizer} or index codec {indices} is unknown"),
                ));
            };
            PayloadLayout::new(chunk as usize, k as usize, quantizer, indices)
                .map(Codec::Sparse)
                .map_err(|e| Refusal::new(Reason::Geometry, e.to_string()))
        }
        n => Err(Refusal::new(Reason::Codec, format!("no codec has the number {n}"))),
    }
}
