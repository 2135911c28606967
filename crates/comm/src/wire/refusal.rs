//! Why a payload is not taken.

use std::fmt;

use gristmill_core::payload::Defect;
use gristmill_core::{Code, Error};

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $code:ident;)*) => {
        /// The closed set of reasons for which a payload is refused, whole.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $variant,)* }

        impl Reason {
            /// Every reason, in the order in which they are checked.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The stable text form, such as `BLOCK_CHECKSUM`.
            pub fn as_str(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// Damage is `CORRUPT_DATA`; what belongs to something else is `JOB_MISMATCH`.
            fn code(self) -> Code {
                match self { $(Reason::$variant => Code::$code,)* }
            }
        }
    };
}

refusals! {
    /// The peer is not one of those that this run knows.
    UnknownPeer = "UNKNOWN_PEER", JobMismatch;
    /// Another payload of the same peer was taken for this round.
    Duplicate = "DUPLICATE", JobMismatch;
    /// There are more peers than this run admits.
    Crowded = "CROWDED", JobMismatch;
    /// The size is not the one that the parameters and the codec give.
    Length = "LENGTH", CorruptData;
    /// The first bytes are not those of a payload.
    Magic = "MAGIC", CorruptData;
    /// Another version of the format.
    Version = "VERSION", JobMismatch;
    /// A reserved bit or byte is set, or text is not padded with zeros.
    Reserved = "RESERVED", CorruptData;
    /// Another codec, or none that is known.
    Codec = "CODEC", JobMismatch;
    /// Another chunk length, count, quantiser or index codec.
    Geometry = "GEOMETRY", JobMismatch;
    /// Another divisor of the sum.
    DivideBy = "DIVIDE_BY", JobMismatch;
    /// Another run's payload.
    OtherRun = "OTHER_RUN", JobMismatch;
    /// Another round's payload: sent again, or early.
    OtherRound = "OTHER_ROUND", JobMismatch;
    /// The peer inside is not the one that the object is named after, or no valid name.
    OtherPeer = "OTHER_PEER", JobMismatch;
    /// Made from other parameters than this replica holds.
    BaseMismatch = "BASE_MISMATCH", JobMismatch;
    /// Other tensors: names, shapes or their order.
    TableMismatch = "TABLE_MISMATCH", JobMismatch;
    /// The counts in the header do not follow from the table.
    Counts = "COUNTS", CorruptData;
    /// A block of the body is not the one that was sent.
    BlockChecksum = "BLOCK_CHECKSUM", CorruptData;
    /// The hash of the whole is another.
    Hash = "HASH", CorruptData;
    /// The object's name says another hash than its content has.
    ObjectName = "OBJECT_NAME", CorruptData;
    /// Not signed, where a signature is asked for.
    Unsigned = "UNSIGNED", JobMismatch;
    /// Signed with a key that is not the peer's.
    Signer = "SIGNER", JobMismatch;
    /// The signature does not fit the content.
    Signature = "SIGNATURE", CorruptData;
    /// A chunk does not hold as many positions as the codec says.
    Population = "POPULATION", CorruptData;
    /// The positions in a chunk do not ascend strictly.
    IndicesNotAscending = "INDICES_NOT_ASCENDING", CorruptData;
    /// A position lies outside of its chunk.
    Position = "POSITION", CorruptData;
    /// A magnitude or a step is not finite, is negative or out of bounds.
    Scale = "SCALE", CorruptData;
    /// A value or a level is not finite or out of bounds.
    Value = "VALUE", CorruptData;
    /// A code stands for nothing.
    Code = "CODE", CorruptData;
    /// A bit that the layout leaves unused is set.
    Padding = "PADDING", CorruptData;
}

/// A reason, with the particulars for a person to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What was found, where, and what should have been.
    pub detail: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.detail)
    }
}

impl std::error::Error for Refusal {}

impl From<Defect> for Reason {
    fn from(defect: Defect) -> Self {
        match defect {
            Defect::Length => Reason::Length,
            Defect::Population => Reason::Population,
            Defect::Order => Reason::IndicesNotAscending,
            Defect::Position => Reason::Position,
            Defect::Scale => Reason::Scale,
            Defect::Value => Reason::Value,
            Defect::CodeUnused => Reason::Code,
            // Padding, and what a later layout may find.
            _ => Reason::Padding,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Error::new(refusal.reason.code(), format!("the payload is refused: {refusal}"))
    }
}
