//! The protocol buffer of a `.model` file, as far as cutting text needs it.

use gristmill_core::{Code, Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModelType {
    Unigram,
    Bpe,
    Word,
    Char,
}

pub(super) struct Piece<'a> {
    pub(super) text: &'a str,
    pub(super) score: f32,
    pub(super) kind: Kind,
}

pub(super) struct Proto<'a> {
    pub(super) pieces: Vec<Piece<'a>>,
    pub(super) model_type: ModelType,
    pub(super) charsmap: &'a [u8],
    pub(super) add_dummy_prefix: bool,
    pub(super) remove_extra_whitespaces: bool,
    pub(super) escape_whitespaces: bool,
    pub(super) whitespace_as_suffix: bool,
    pub(super) byte_fallback: bool,
}

impl<'a> Proto<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut proto = Self {
            pieces: Vec::new(),
            model_type: ModelType::Unigram,
            charsmap: &[],
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
            whitespace_as_suffix: false,
            byte_fallback: false,
        };
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(piece)) => proto.pieces.push(Piece::parse(piece)?),
                (2, Value::Bytes(trainer)) => proto.trainer(trainer)?,
                (3, Value::Bytes(normalizer)) => proto.normalizer(normalizer)?,
                _ => {}
            }
        }
        if proto.pieces.is_empty() {
            return Err(invalid("no pieces"));
        }
        Ok(proto)
    }

    fn trainer(&mut self, bytes: &[u8]) -> Result<()> {
        for field in Fields::of(bytes) {
            match field? {
                (3, Value::Number(n)) => {
                    self.model_type = match n {
                        1 => ModelType::Unigram,
                        2 => ModelType::Bpe,
                        3 => ModelType::Word,
                        4 => ModelType::Char,
                        _ => return Err(invalid("an unknown type of model")),
                    }
                }
                (24, Value::Number(n)) => self.whitespace_as_suffix = n != 0,
                (35, Value::Number(n)) => self.byte_fallback = n != 0,
                _ => {}
            }
        }
        Ok(())
    }

    fn normalizer(&mut self, bytes: &'a [u8]) -> Result<()> {
        for field in Fields::of(bytes) {
            match field? {
                (2, Value::Bytes(map)) => self.charsmap = map,
                (3, Value::Number(n)) => self.add_dummy_prefix = n != 0,
                (4, Value::Number(n)) => self.remove_extra_whitespaces = n != 0,
                (5, Value::Number(n)) => self.escape_whitespaces = n != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> Piece<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut piece = Self { text: "", score: 0.0, kind: Kind::Normal };
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(text)) => {
                    piece.text =
                        std::str::from_utf8(text).map_err(|_| invalid("a piece that is not UTF-8"))?;
                }
                (2, Value::Word(bits)) => piece.score = f32::from_bits(bits),
                (3, Value::Number(n)) => {
                    piece.kind = match n {
                        1 => Kind::Normal,
                        2 => Kind::Unknown,
                        3 => Kind::Control,
                        4 => Kind::UserDefined,
                        5 => Kind::Unused,
                        6 => Kind::Byte,
                        _ => return Err(invalid("a piece of an unknown type")),
                    }
                }
                (1..=3, _) => return Err(invalid("a field of the wrong wire type")),
                _ => {}
            }
        }
        Ok(piece)
    }
}

fn invalid(what: &str) -> Error {
    Error::new(Code::InvalidModel, format!("not a SentencePiece model: {what}"))
}

enum Value<'a> {
    Number(u64),
    Word(u32),
    Long,
    Bytes(&'a [u8]),
}

/// The fields of a message, in order.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => self.take(8).map(|_| Value::Long)?,
            2 => {
                let length = self.number()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Word(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        (key >> 3 > 0).then_some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field().ok_or_else(|| invalid("truncated or damaged"));
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}
