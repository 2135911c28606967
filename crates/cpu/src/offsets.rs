use gristmill_core::{Code, Error, Result};

use crate::sealed::Sealed;

/// An integer that can say where a segment begins: those of Arrow's lists, and the unsigned ones.
pub trait Offset: Copy + Send + Sync + std::fmt::Display + Sealed {
    /// The position, if it is one.
    fn position(self) -> Option<usize>;
}

macro_rules! offsets {
    ($($t:ty)*) => {$(
        impl Offset for $t {
            #[inline(always)]
            fn position(self) -> Option<usize> {
                usize::try_from(self).ok()
            }
        }
    )*};
}
offsets!(i32 i64 u32 u64 usize);

/// Refuses offsets that do not cut `values` values into `segments` segments.
pub(crate) fn validate<O: Offset>(offsets: &[O], values: usize, segments: usize) -> Result<()> {
    let refuse = |row: usize, why: String| {
        Err(Error::new(Code::InvalidValue, why).at_column("offsets").at_row(row as u64))
    };
    if offsets.len() != segments + 1 {
        return refuse(
            0,
            format!("{segments} segments need {} offsets, not {}", segments + 1, offsets.len()),
        );
    }
    let mut previous = 0;
    for (row, &offset) in offsets.iter().enumerate() {
        match offset.position() {
            Some(at) if at > values => {
                return refuse(row, format!("offset {offset} lies beyond {values} values"));
            }
            Some(at) if at >= previous => previous = at,
            _ => return refuse(row, format!("offset {offset} is negative or below the one before it")),
        }
    }
    Ok(())
}

/// The bounds of a segment, once the offsets are validated.
#[inline(always)]
pub(crate) fn bounds<O: Offset>(offsets: &[O], segment: usize) -> std::ops::Range<usize> {
    let at = |i: usize| offsets[i].position().unwrap_or(0);
    at(segment)..at(segment + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ascending_offsets_within_the_values_pass() {
        validate(&[0i32, 0, 3, 5], 5, 3).unwrap();
        validate(&[2u64, 4], 5, 1).unwrap();
        validate(&[7i64], 7, 0).unwrap();
        for (offsets, row) in [
            (vec![0i64, 3, 2, 5], 2),
            (vec![-1, 3, 4, 5], 0),
            (vec![0, 3, 4, 6], 3),
            (vec![0, 3, 5], 0),
            (vec![], 0),
            (vec![i64::MIN, 0, 0, i64::MAX], 0),
        ] {
            let e = validate(&offsets, 5, 3).unwrap_err();
            assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(row)), "{offsets:?}");
        }
    }
}
