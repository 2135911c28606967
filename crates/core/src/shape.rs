use std::fmt;
use std::ops::Deref;

use crate::{Code, DType, Error, Result};

/// The sizes of a tensor's dimensions, outermost first; elements lie in row-major order. No dimensions at all is a
/// scalar, of one element. The number of elements is known not to overflow.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: Box<[usize]>,
    len: usize,
}

impl Shape {
    /// A shape with these sizes.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`] when the elements are more than an address space holds.
    pub fn new(dims: impl Into<Box<[usize]>>) -> Result<Self> {
        let dims = dims.into();
        // A zero anywhere makes the product zero, but a view of another shape could bring the rest to bear.
        let bound = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
        match bound.filter(|&n| n <= isize::MAX as usize / 8) {
            Some(n) => Ok(Self { len: if dims.contains(&0) { 0 } else { n }, dims }),
            None => {
                Err(Error::new(Code::ShapeMismatch, format!("the shape {:?} has too many elements", &*dims)))
            }
        }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many dimensions there are.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// Bytes that the elements take in this type.
    pub fn bytes(&self, dtype: DType) -> usize {
        self.len * dtype.size()
    }

    /// The shape as rows: the product of all dimensions but the last, and the last (of a scalar, 1 and 1).
    pub fn rows_cols(&self) -> (usize, usize) {
        let cols = self.dims.last().copied().unwrap_or(1);
        (self.dims[..self.dims.len().saturating_sub(1)].iter().product(), cols)
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.dims
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.dims, f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.dims, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_elements_and_rows() {
        let s = Shape::new([2, 3, 5]).unwrap();
        assert_eq!((s.len(), s.rows_cols(), s.bytes(DType::Bf16)), (30, (6, 5), 60));
        let scalar = Shape::new([]).unwrap();
        assert_eq!((scalar.len(), scalar.rows_cols()), (1, (1, 1)));
        let empty = Shape::new([0, 7]).unwrap();
        assert_eq!((empty.len(), empty.rows_cols()), (0, (0, 7)));
    }

    #[test]
    fn refuses_what_overflows_even_behind_a_zero() {
        for dims in
            [vec![usize::MAX, 2], vec![1 << 40, 1 << 40], vec![0, usize::MAX, usize::MAX], vec![1 << 62]]
        {
            assert_eq!(Shape::new(dims).unwrap_err().code(), Code::ShapeMismatch);
        }
    }
}
