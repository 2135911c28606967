//! What operations share that have a number for each column beside their elements: how those are cut into pieces.

use gristmill_core::{Result, Tensor};

use super::Run;
use crate::window::{Window, pieces};

/// Elements of a matrix, numbered row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The first, and how many.
    pub(super) first: usize,
    pub(super) len: usize,
    /// The column of the first.
    pub(super) column: usize,
}

/// Pieces of a matrix, of at most `fits` elements each; where not even a row fits, parts of single rows.
pub(super) fn cut(rows: usize, columns: usize, fits: usize) -> Vec<Piece> {
    if columns <= fits {
        let whole = pieces(rows * columns, fits);
        return whole.map(|(first, len)| Piece { first, len, column: first % columns }).collect();
    }
    let of_row = |row: usize| {
        pieces(columns, fits).map(move |(column, len)| Piece { first: row * columns + column, len, column })
    };
    (0..rows).flat_map(of_row).collect()
}

/// The numbers of the columns that a piece has, and where among them its first column is: all, where a row fits.
pub(super) fn beside(
    run: &Run,
    numbers: &Tensor,
    columns: usize,
    fits: usize,
    piece: &Piece,
) -> Result<(Window, usize)> {
    if columns <= fits {
        return Ok((Window::of(numbers, run.buffers, 0, columns)?, piece.column));
    }
    Ok((Window::of(numbers, run.buffers, piece.column, piece.len)?, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_runs_of_rows_or_parts_of_one() {
        assert_eq!(cut(0, 5, 3), []);
        let all = cut(3, 4, 5);
        assert_eq!(
            all.iter().map(|p| (p.first, p.len, p.column)).collect::<Vec<_>>(),
            [(0, 5, 0), (5, 5, 1), (10, 2, 2)]
        );
        let parts = cut(2, 7, 5);
        assert_eq!(
            parts.iter().map(|p| (p.first, p.len, p.column)).collect::<Vec<_>>(),
            [(0, 5, 0), (5, 2, 5), (7, 5, 0), (12, 2, 5)]
        );
    }
}
