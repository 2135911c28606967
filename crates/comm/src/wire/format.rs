//! What both ends of a payload know without being told: the codec, and the tensors with their chunks.

use std::ops::Range;

use gristmill_core::payload::{Chunking, LARGEST, PayloadLayout};
use gristmill_core::{Code, Error, Result};

use super::header::{Address, Header};
use super::refusal::{Reason, Refusal};
use super::{HEADER, Hash, TRAILER, blocks_of};

/// Tensors of a table at the most.
const MAX_TENSORS: usize = 1 << 20;
/// Bytes of a tensor's name at the most.
const MAX_NAME: usize = 1024;
/// Dimensions of a tensor at the most.
const MAX_RANK: usize = 16;
/// Bytes of a table at the most.
pub(super) const MAX_TABLE: usize = 64 << 20;

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Every value as `f32`: the dense exchange that the others are measured against.
    Dense,
    /// The greatest values of each chunk; see [`gristmill_core::payload`].
    Sparse(PayloadLayout),
}

impl Codec {
    /// The name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Codec::Dense => "dense",
            Codec::Sparse(_) => "sparse",
        }
    }
}

/// What a sum of peers is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DivideBy {
    /// The peers that sent something for the coordinate.
    Contributors,
    /// All peers of the round.
    Peers,
}

impl DivideBy {
    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            DivideBy::Contributors => "contributors",
            DivideBy::Peers => "peers",
        }
    }
}

impl std::str::FromStr for DivideBy {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "contributors" => Ok(DivideBy::Contributors),
            "peers" => Ok(DivideBy::Peers),
            _ => Err(Error::invalid_argument("divideBy", format!("no divisor {name:?}"))
                .hint("one of contributors, peers")),
        }
    }
}

/// A tensor of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    name: String,
    shape: Vec<usize>,
    chunking: Chunking,
}

impl TensorEntry {
    /// A tensor cut into chunks. Under [`Codec::Dense`] the chunks mean nothing, but are part of its identity.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a name of more than 1,024 bytes or more than 16 dimensions;
    /// [`Code::ShapeMismatch`] where the chunks cover another number of elements than the shape has.
    pub fn new(name: impl Into<String>, shape: &[usize], chunking: Chunking) -> Result<Self> {
        let name = name.into();
        if name.is_empty() || name.len() > MAX_NAME || shape.len() > MAX_RANK {
            return Err(Error::invalid_argument(
                "params",
                format!("a tensor needs a name of 1 to {MAX_NAME} bytes and at most {MAX_RANK} dimensions"),
            ));
        }
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if elements != Some(chunking.elements()) {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!("the chunks cover {} elements, not those of {shape:?}", chunking.elements()),
            )
            .at_column(name));
        }
        Ok(Self { name, shape: shape.to_vec(), chunking })
    }

    /// A tensor cut as [`Chunking::of`] does.
    ///
    /// # Errors
    /// As [`new`](Self::new) and [`Chunking::of`].
    pub fn of(name: impl Into<String>, shape: &[usize], chunk: usize) -> Result<Self> {
        Self::new(name, shape, Chunking::of(shape, chunk)?)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its dimensions.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its chunks.
    pub fn chunking(&self) -> &Chunking {
        &self.chunking
    }
}

/// The codec, the divisor and the table of tensors: equal on all peers of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    codec: Codec,
    divide_by: DivideBy,
    tensors: Vec<TensorEntry>,
    table: Vec<u8>,
    hash: Hash,
    ends: Vec<usize>,
}

impl Format {
    /// A format for these tensors, in this order.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] where there is no tensor, or one of another chunk length than the codec's, or two
    /// of one name; [`Code::ShapeMismatch`] where the payload would not fit in memory.
    pub fn new(codec: Codec, divide_by: DivideBy, tensors: Vec<TensorEntry>) -> Result<Self> {
        if tensors.is_empty() || tensors.len() > MAX_TENSORS {
            return Err(Error::invalid_argument(
                "params",
                format!("expected 1 to {MAX_TENSORS} tensors, given {}", tensors.len()),
            ));
        }
        let mut names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
            return Err(Error::invalid_argument("params", format!("two tensors are named {:?}", twice[0])));
        }
        let mut ends = Vec::with_capacity(tensors.len());
        let mut end = 0usize;
        for tensor in &tensors {
            end = tensor_bytes(&codec, tensor).and_then(|n| end.checked_add(n)).ok_or_else(|| {
                Error::new(Code::ShapeMismatch, "the payload would not fit in memory").at_column(&tensor.name)
            })?;
            ends.push(end);
        }
        if let Codec::Sparse(layout) = codec
            && let Some(t) = tensors.iter().find(|t| t.chunking.block() > layout.chunk())
        {
            return Err(Error::invalid_argument(
                "chunking",
                format!("{} has chunks of more than {} elements", t.name, layout.chunk()),
            ));
        }
        let table = encode_table(&tensors);
        if table.len() > MAX_TABLE {
            return Err(Error::invalid_argument("params", "the names of the tensors take too much room"));
        }
        let hash = Hash::of(&table);
        Ok(Self { codec, divide_by, tensors, table, hash, ends })
    }

    /// How values are written.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// What a sum of peers is divided by.
    pub fn divide_by(&self) -> DivideBy {
        self.divide_by
    }

    /// The tensors.
    pub fn tensors(&self) -> &[TensorEntry] {
        &self.tensors
    }

    /// The hash of the table: names, shapes and chunks of all tensors, in order.
    pub fn table_hash(&self) -> Hash {
        self.hash
    }

    /// The table as it is written.
    pub(super) fn table(&self) -> &[u8] {
        &self.table
    }

    /// The hash of all of it: codec, geometry, divisor and table.
    pub fn hash(&self) -> Hash {
        Hash::of(&Header::of(self, &Address::open(Hash([0; 32])), None).encode())
    }

    /// Values of all tensors.
    pub fn values(&self) -> u64 {
        self.tensors.iter().map(|t| t.chunking.elements() as u64).sum()
    }

    /// Chunks of all tensors; 0 under [`Codec::Dense`].
    pub fn chunks(&self) -> u64 {
        match self.codec {
            Codec::Dense => 0,
            Codec::Sparse(_) => self.tensors.iter().map(|t| t.chunking.chunks() as u64).sum(),
        }
    }

    /// Values that a payload sends.
    pub fn entries(&self) -> u64 {
        match &self.codec {
            Codec::Dense => self.values(),
            Codec::Sparse(layout) => self.tensors.iter().map(|t| t.chunking.entries(layout)).sum(),
        }
    }

    /// Bytes of a payload's body.
    pub fn body_len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Where the bytes of tensor `i` are in the body.
    pub fn tensor_range(&self, i: usize) -> Range<usize> {
        i.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[i]
    }

    /// Bytes of a whole payload, which follow from the tensors and the codec alone.
    pub fn payload_len(&self, signed: bool) -> usize {
        HEADER
            + self.table.len()
            + 8 * blocks_of(self.body_len())
            + self.body_len()
            + TRAILER
            + if signed { ed25519_dalek::SIGNATURE_LENGTH } else { 0 }
    }

    /// Checks every bit of a body of the right length.
    pub(super) fn check_body(&self, body: &[u8]) -> Result<(), Refusal> {
        let each = |i: usize| self.walk(i, &body[self.tensor_range(i)], None);
        (0..self.tensors.len()).try_for_each(each)
    }

    /// The sum of the squares of what tensor `i` decodes to, and how many of its values are not zero. The bytes must
    /// have passed [`check_body`](Self::check_body).
    pub(super) fn tensor_norm(&self, i: usize, bytes: &[u8]) -> Result<(f64, u64), Refusal> {
        let (mut squares, mut nonzero) = (0f64, 0u64);
        let mut add = |x: f32| {
            squares += f64::from(x) * f64::from(x);
            nonzero += u64::from(x != 0.0);
        };
        self.walk(i, bytes, Some(&mut add))?;
        Ok((squares, nonzero))
    }

    /// Checks a tensor's bytes, and gives its values in order to whoever wants them; positions stay here.
    fn walk(&self, i: usize, bytes: &[u8], mut value: Option<&mut dyn FnMut(f32)>) -> Result<(), Refusal> {
        let tensor = &self.tensors[i];
        let refuse = |reason: Reason, place: String| {
            Refusal::new(reason, format!("tensor {:?}, {place}", tensor.name))
        };
        let word = |at: usize| {
            let b = &bytes[4 * at..4 * at + 4];
            u32::from_le_bytes([b[0], b[1], b[2], b[3]])
        };
        let layout = match &self.codec {
            Codec::Dense => {
                for at in 0..tensor.chunking.elements() {
                    let x = f32::from_bits(word(at));
                    if !x.is_finite() || x.abs() > LARGEST {
                        return Err(refuse(Reason::Value, format!("element {at}: {x} is out of bounds")));
                    }
                    if let Some(value) = &mut value {
                        value(x);
                    }
                }
                return Ok(());
            }
            Codec::Sparse(layout) => layout,
        };
        let levels = layout.check_levels(&word).map_err(|d| refuse(d.into(), d.to_string()))?;
        for c in 0..tensor.chunking.chunks() {
            let first = layout.tensor_words() + c * layout.words_per_chunk();
            let elements = tensor.chunking.chunk(c).elements();
            let word = |at| word(first + at);
            let checked = match &mut value {
                Some(value) => layout.decode_chunk(&word, elements, &levels, |_, x| value(x)),
                None => layout.check_chunk(&word, elements),
            };
            checked.map_err(|d| refuse(d.into(), format!("chunk {c}: {d}")))?;
        }
        Ok(())
    }
}

fn tensor_bytes(codec: &Codec, tensor: &TensorEntry) -> Option<usize> {
    let words = match codec {
        Codec::Dense => tensor.chunking.elements(),
        Codec::Sparse(layout) => tensor
            .chunking
            .chunks()
            .checked_mul(layout.words_per_chunk())?
            .checked_add(layout.tensor_words())?,
    };
    words.checked_mul(4)
}

fn encode_table(tensors: &[TensorEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    let number = |out: &mut Vec<u8>, n: usize, bytes: usize| {
        out.extend_from_slice(&(n as u64).to_le_bytes()[..bytes]);
    };
    for t in tensors {
        number(&mut out, t.name.len(), 2);
        number(&mut out, t.shape.len(), 2);
        out.extend_from_slice(t.name.as_bytes());
        t.shape.iter().for_each(|&d| number(&mut out, d, 8));
        let c = &t.chunking;
        number(&mut out, c.rows(), 8);
        number(&mut out, c.columns(), 8);
        number(&mut out, c.block_rows(), 4);
        number(&mut out, c.block_columns(), 4);
    }
    out
}

/// Reads a table of a file that nothing is known of. What it takes is bounded by the length of the table.
pub(super) fn decode_table(table: &[u8], count: u32) -> Result<Vec<TensorEntry>, Refusal> {
    let bad = |what: &str| Refusal::new(Reason::Counts, format!("the table of tensors {what}"));
    let mut rest = table;
    let mut take = |n: usize| -> Result<&[u8], Refusal> {
        let (head, tail) = rest.split_at_checked(n).ok_or_else(|| bad("ends too early"))?;
        rest = tail;
        Ok(head)
    };
    let number = |bytes: &[u8]| {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|_| bad("has a number that is too large"))
    };
    // An entry takes 28 bytes at least.
    if count as usize > table.len() / 28 {
        return Err(bad("is shorter than its count of tensors says"));
    }
    let mut tensors = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (name, rank) = (number(take(2)?)?, number(take(2)?)?);
        let name =
            std::str::from_utf8(take(name)?).map_err(|_| bad("has a name that is not UTF-8"))?.to_string();
        let shape = take(rank * 8)?.chunks_exact(8).map(number).collect::<Result<Vec<_>, _>>()?;
        let [rows, columns] = [number(take(8)?)?, number(take(8)?)?];
        let [block_rows, block_columns] = [number(take(4)?)?, number(take(4)?)?];
        let chunking = Chunking::blocks(rows, columns, block_rows, block_columns);
        let tensor = chunking.and_then(|chunking| TensorEntry::new(name, &shape, chunking));
        tensors.push(tensor.map_err(|e| bad(&format!("is not valid: {e}")))?);
    }
    if !rest.is_empty() {
        return Err(bad("is longer than its tensors"));
    }
    Ok(tensors)
}
