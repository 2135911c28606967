//! A walk over Thrift's compact encoding, to check what it claims before anything believes it.
//!
//! Parquet's footers, indexes and page headers are in this encoding. Their readers give memory to a list
//! or a string by the length in front of it, and a request for an impossible amount ends the process: it
//! is no panic that could be caught. The encoding describes itself, so one walk checks them all.

/// What is known after a walk over one struct.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Walked {
    /// Bytes of the struct.
    pub(super) length: usize,
    /// The integers among its own fields, by number.
    pub(super) integers: Vec<(i16, i64)>,
}

/// Why a walk did not end well.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The struct goes on after the bytes at hand.
    Cut,
    /// It is no struct in this encoding, or claims more than there is.
    Bad,
}

const MAX_DEPTH: usize = 48;

/// Walks over the struct at the beginning of `bytes`. Nothing in it may be longer than `available`, which
/// is more than `bytes` where these are only the beginning.
pub(super) fn walk(bytes: &[u8], available: u64) -> Result<Walked, Fault> {
    let mut w = Walker { bytes, pos: 0, available, walked: Walked::default() };
    w.fields(0)?;
    w.walked.length = w.pos;
    Ok(w.walked)
}

struct Walker<'a> {
    bytes: &'a [u8],
    pos: usize,
    available: u64,
    walked: Walked,
}

impl Walker<'_> {
    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.bytes.get(self.pos).ok_or(Fault::Cut)?;
        self.pos += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Bad)
    }

    fn zigzag(&mut self) -> Result<i64, Fault> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A count or length that there must be room for.
    fn length(&mut self) -> Result<u64, Fault> {
        let n = self.varint()?;
        self.fits(n)
    }

    fn fits(&self, n: u64) -> Result<u64, Fault> {
        if n > self.available.saturating_sub(self.pos as u64) { Err(Fault::Bad) } else { Ok(n) }
    }

    fn skip(&mut self, n: u64) -> Result<(), Fault> {
        let end = usize::try_from(n).ok().and_then(|n| self.pos.checked_add(n)).ok_or(Fault::Bad)?;
        if end > self.bytes.len() {
            return Err(Fault::Cut);
        }
        self.pos = end;
        Ok(())
    }

    fn fields(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(Fault::Bad);
        }
        let mut id = 0i16;
        loop {
            let head = self.byte()?;
            let kind = head & 0x0f;
            if kind == 0 {
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.zigzag()? as i16,
                delta => id.wrapping_add(i16::from(delta)),
            };
            match kind {
                // A boolean field has its value in its type.
                1 | 2 => {}
                4..=6 if depth == 0 => {
                    let value = self.zigzag()?;
                    self.walked.integers.push((id, value));
                }
                _ => self.value(kind, depth)?,
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<(), Fault> {
        match kind {
            1..=3 => self.skip(1),
            4..=6 => self.varint().map(drop),
            7 => self.skip(8),
            8 => {
                let n = self.length()?;
                self.skip(n)
            }
            9 | 10 => {
                let head = self.byte()?;
                let n = match head >> 4 {
                    15 => self.length()?,
                    n => self.fits(u64::from(n))?,
                };
                (0..n).try_for_each(|_| self.element(head & 0x0f, depth))
            }
            11 => {
                let n = self.length()?;
                if n == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                (0..n).try_for_each(|_| {
                    self.element(kinds >> 4, depth)?;
                    self.element(kinds & 0x0f, depth)
                })
            }
            12 => self.fields(depth + 1),
            13 => self.skip(16),
            _ => Err(Fault::Bad),
        }
    }

    fn element(&mut self, kind: u8, depth: usize) -> Result<(), Fault> {
        if depth > MAX_DEPTH { Err(Fault::Bad) } else { self.value(kind, depth + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_over_what_is_there_and_no_further() {
        // Field 1: i32 -3; field 3: list of two strings; field 4: struct with a true; then the end.
        let bytes = [0x15, 0x05, 0x29, 0x28, 1, b'a', 2, b'b', b'c', 0x1c, 0x11, 0, 0, 99];
        let walked = walk(&bytes, bytes.len() as u64).unwrap();
        assert_eq!((walked.length, walked.integers), (13, vec![(1, -3)]));
        for end in 0..13 {
            assert_eq!(walk(&bytes[..end], 14), Err(Fault::Cut), "{end}");
        }
    }

    #[test]
    fn refuses_lengths_that_cannot_be() {
        // A string of 2^28 bytes; a list of 2^28 elements; a map of as many.
        for bytes in [
            vec![0x18, 0xff, 0xff, 0xff, 0x7f],
            vec![0x19, 0xf8, 0xff, 0xff, 0xff, 0x7f],
            vec![0x1b, 0xff, 0xff, 0xff, 0x7f, 0x88],
        ] {
            assert_eq!(walk(&bytes, 1000), Err(Fault::Bad));
        }
        assert_eq!(walk(&[0x1c; 100], 100), Err(Fault::Bad), "nested too deep");
        assert_eq!(walk(&[0xff; 100], 100), Err(Fault::Bad));
    }
}
