use super::{MAX_CHUNK, PayloadLayout};
use crate::{Code, Error, Result};

/// How a tensor is cut into chunks: as a matrix of `rows × columns` in blocks of `block_rows × block_columns`, block
/// rows first. Blocks at the right and lower edge are what is left of the matrix there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Chunking {
    rows: usize,
    columns: usize,
    block_rows: usize,
    block_columns: usize,
}

/// The place of a chunk in its matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The first row.
    pub row: usize,
    /// The first column.
    pub column: usize,
    /// How many rows.
    pub rows: usize,
    /// How many columns.
    pub columns: usize,
}

impl Chunk {
    /// How many elements it has.
    pub fn elements(&self) -> usize {
        self.rows * self.columns
    }
}

impl Chunking {
    /// Blocks of a matrix.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when a block has no element or more than [`MAX_CHUNK`]; [`Code::ShapeMismatch`] when
    /// the elements or chunks are 2³² or more, where positions are counted.
    pub fn blocks(rows: usize, columns: usize, block_rows: usize, block_columns: usize) -> Result<Self> {
        if block_rows == 0 || block_columns == 0 || block_rows.saturating_mul(block_columns) > MAX_CHUNK {
            return Err(Error::invalid_argument(
                "chunking",
                format!("expected blocks of 1 to {MAX_CHUNK} elements, given {block_rows} × {block_columns}"),
            ));
        }
        if rows.checked_mul(columns).is_none_or(|n| u32::try_from(n).is_err()) {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!("expected fewer than 2^32 elements, given {rows} × {columns}"),
            )
            .at_column("chunking")
            .hint("send a tensor of this size in parts"));
        }
        Ok(Self { rows, columns, block_rows, block_columns })
    }

    /// Runs of consecutive elements.
    ///
    /// # Errors
    /// As [`blocks`](Self::blocks).
    pub fn runs(elements: usize, run: usize) -> Result<Self> {
        Self::blocks(1, elements, 1, run)
    }

    /// The chunking of a tensor of this shape when nobody says otherwise: square blocks of `chunk` elements where
    /// `chunk` is a square, the tensor as rows by its last dimension is no narrower or lower than a block, and edges
    /// cost at most an eighth more chunks than runs would; runs of `chunk` elements otherwise.
    ///
    /// # Errors
    /// As [`blocks`](Self::blocks).
    pub fn of(shape: &[usize], chunk: usize) -> Result<Self> {
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(usize::MAX);
        let runs = Self::runs(elements, chunk)?;
        let side = chunk.isqrt();
        let Some((&columns, outer)) = shape.split_last() else { return Ok(runs) };
        let rows: usize = outer.iter().product();
        if side * side != chunk || rows < side || columns < side || elements == 0 {
            return Ok(runs);
        }
        let blocks = Self::blocks(rows, columns, side, side)?;
        Ok(if blocks.chunks() * 8 <= runs.chunks() * 9 { blocks } else { runs })
    }

    /// Rows of the matrix; 1 for runs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows of a block.
    pub fn block_rows(&self) -> usize {
        self.block_rows
    }

    /// Columns of a block.
    pub fn block_columns(&self) -> usize {
        self.block_columns
    }

    /// Elements of the tensor.
    pub fn elements(&self) -> usize {
        self.rows * self.columns
    }

    /// Elements of a chunk at the most.
    pub fn block(&self) -> usize {
        self.block_rows * self.block_columns
    }

    /// Blocks beside each other.
    pub fn across(&self) -> usize {
        self.columns.div_ceil(self.block_columns)
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> usize {
        if self.columns == 0 { 0 } else { self.rows.div_ceil(self.block_rows) * self.across() }
    }

    /// Where a chunk lies; `i` must be less than [`chunks`](Self::chunks).
    #[inline]
    pub fn chunk(&self, i: usize) -> Chunk {
        let (row, column) = (i / self.across() * self.block_rows, i % self.across() * self.block_columns);
        Chunk {
            row,
            column,
            rows: self.block_rows.min(self.rows - row),
            columns: self.block_columns.min(self.columns - column),
        }
    }

    /// Entries that all chunks together send.
    pub fn entries(&self, layout: &PayloadLayout) -> u64 {
        (0..self.chunks()).map(|i| layout.entries(self.chunk(i).elements()) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_have_square_blocks_and_everything_else_has_runs() {
        let of = |shape: &[usize]| Chunking::of(shape, 4096).unwrap();
        let blocks = |rows, columns| Chunking::blocks(rows, columns, 64, 64).unwrap();
        assert_eq!(of(&[640, 1024]), blocks(640, 1024));
        assert_eq!(of(&[4, 160, 1024]), blocks(640, 1024));
        assert_eq!(of(&[50_257, 768]), blocks(50_257, 768));
        assert_eq!(of(&[768]), Chunking::runs(768, 4096).unwrap());
        // Too narrow, and all edge.
        assert_eq!(of(&[100_000, 10]), Chunking::runs(1_000_000, 4096).unwrap());
        assert_eq!(of(&[65, 65]), Chunking::runs(65 * 65, 4096).unwrap());
        assert_eq!(of(&[]), Chunking::runs(1, 4096).unwrap());
        assert_eq!(of(&[0, 70]).chunks(), 0);
        assert_eq!(Chunking::of(&[640, 1024], 1000).unwrap(), Chunking::runs(655_360, 1000).unwrap());
    }

    #[test]
    fn chunks_cover_every_element_once() {
        for c in [
            Chunking::blocks(130, 70, 64, 64).unwrap(),
            Chunking::blocks(9, 10, 4, 3).unwrap(),
            Chunking::runs(10_000, 4096).unwrap(),
            Chunking::runs(0, 4096).unwrap(),
        ] {
            let mut seen = vec![0; c.elements()];
            for i in 0..c.chunks() {
                let at = c.chunk(i);
                assert!(at.elements() > 0 && at.elements() <= c.block());
                for r in 0..at.rows {
                    let first = (at.row + r) * c.columns() + at.column;
                    seen[first..first + at.columns].iter_mut().for_each(|n| *n += 1);
                }
            }
            assert!(seen.iter().all(|&n| n == 1));
        }
    }

    #[test]
    fn refuses_what_has_no_positions() {
        assert_eq!(Chunking::runs(10, 0).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(Chunking::blocks(10, 10, 65, 64).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(Chunking::blocks(10, 10, usize::MAX, 2).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(Chunking::of(&[1 << 16, 1 << 16], 4096).unwrap_err().code(), Code::ShapeMismatch);
        assert_eq!(Chunking::of(&[usize::MAX, 2], 4096).unwrap_err().code(), Code::ShapeMismatch);
    }
}
