//! Orthonormal columns, in `f64`, with operations that every machine rounds alike and in a fixed order.

use gristmill_core::{Code, Error, Result};

/// How far from orthonormal columns may be that are taken as they are.
const CLOSE: f64 = 1.0 / (1 << 20) as f64;
/// What is left of a column, of its length, that lies in the span of those before it.
const NOTHING: f64 = 1e-10;

/// A matrix of more rows than columns, by rows.
pub(super) struct Columns {
    pub(super) width: usize,
    pub(super) rank: usize,
    pub(super) values: Vec<f64>,
}

impl Columns {
    pub(super) fn of(width: usize, rank: usize, values: &[f32]) -> Self {
        Self { width, rank, values: values.iter().map(|&x| f64::from(x)).collect() }
    }

    /// Modified Gram–Schmidt, twice, so that the result is orthonormal to rounding whatever the columns were.
    ///
    /// Each column is taken out of all later ones row by row, so that the inner loops run along memory.
    pub(super) fn orthonormalize(&mut self) -> Result<()> {
        for _ in 0..2 {
            let before: Vec<f64> = (0..self.rank).map(|j| self.norm(j)).collect();
            for j in 0..self.rank {
                let norm = self.norm(j);
                let sound = norm.is_finite() && norm > NOTHING * before[j];
                if !sound {
                    return Err(Error::new(
                        Code::InvalidValue,
                        format!("column {j} is not finite, or lies in the span of those before it"),
                    )
                    .at_column("matrix")
                    .hint("give a matrix of full rank"));
                }
                let mut shares = vec![0.0; self.rank];
                for row in self.values.chunks_exact_mut(self.rank) {
                    row[j] /= norm;
                    let q = row[j];
                    shares[j + 1..].iter_mut().zip(&row[j + 1..]).for_each(|(s, x)| *s += q * x);
                }
                for row in self.values.chunks_exact_mut(self.rank) {
                    let q = row[j];
                    row[j + 1..].iter_mut().zip(&shares[j + 1..]).for_each(|(x, s)| *x -= q * s);
                }
            }
        }
        Ok(())
    }

    fn norm(&self, j: usize) -> f64 {
        self.values.iter().skip(j).step_by(self.rank).map(|x| x * x).sum::<f64>().sqrt()
    }

    pub(super) fn are_orthonormal(&self) -> bool {
        let gram = self.gram(self);
        gram.iter().enumerate().all(|(at, &x)| {
            let unit = if at / self.rank == at % self.rank { 1.0 } else { 0.0 };
            (x - unit).abs() <= CLOSE
        })
    }

    /// `selfᵀ · other`, by rows.
    fn gram(&self, other: &Columns) -> Vec<f64> {
        let k = self.rank;
        let mut out = vec![0.0; k * k];
        for (a, b) in self.values.chunks_exact(k).zip(other.values.chunks_exact(k)) {
            for (out, a) in out.chunks_exact_mut(k).zip(a) {
                out.iter_mut().zip(b).for_each(|(o, b)| *o += a * b);
            }
        }
        out
    }
}

/// Of a gradient at an orthonormal matrix, what points along the manifold of such matrices: `g − U sym(Uᵀ g)`.
pub(super) fn tangent(u: &Columns, gradient: &Columns) -> Vec<f64> {
    let k = u.rank;
    let gram = u.gram(gradient);
    let half = |i: usize, j: usize| 0.5 * (gram[i * k + j] + gram[j * k + i]);
    let symmetric: Vec<f64> = (0..k * k).map(|at| half(at / k, at % k)).collect();
    let mut out = gradient.values.clone();
    for (out, u) in out.chunks_exact_mut(k).zip(u.values.chunks_exact(k)) {
        for (row, u) in symmetric.chunks_exact(k).zip(u) {
            out.iter_mut().zip(row).for_each(|(o, s)| *o -= u * s);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(width: usize, rank: usize) -> Columns {
        let values = (0..width * rank).map(|i| ((i * i + 3 * i + 1) as f64 * 0.37).sin()).collect();
        Columns { width, rank, values }
    }

    fn farthest(columns: &Columns) -> f64 {
        let k = columns.rank;
        let unit = |at: usize| if at / k == at % k { 1.0 } else { 0.0 };
        columns.gram(columns).iter().enumerate().map(|(at, x)| (x - unit(at)).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn columns_become_orthonormal_however_close_they_were() {
        for (width, rank) in [(1, 1), (5, 5), (64, 7), (200, 40)] {
            let mut columns = numbers(width, rank);
            columns.orthonormalize().unwrap();
            assert!(farthest(&columns) < 1e-14, "{width} {rank}");
        }
        let mut near = numbers(50, 3);
        for row in near.values.chunks_exact_mut(3) {
            row[2] = row[0] + 1e-7 * row[2];
        }
        near.orthonormalize().unwrap();
        assert!(farthest(&near) < 1e-14);
    }

    #[test]
    fn what_has_no_full_rank_is_refused() {
        let mut same = numbers(50, 3);
        same.values.chunks_exact_mut(3).for_each(|row| row[2] = 2.0 * row[0]);
        let e = same.orthonormalize().unwrap_err();
        assert!(e.code() == Code::InvalidValue && e.to_string().contains("column 2"), "{e}");
        let mut nothing = Columns { width: 4, rank: 1, values: vec![0.0; 4] };
        assert!(nothing.orthonormalize().is_err());
        let mut odd = Columns { width: 4, rank: 1, values: vec![1.0, f64::NAN, 0.0, 0.0] };
        assert!(odd.orthonormalize().is_err());
    }

    #[test]
    fn a_tangent_is_normal_to_what_it_starts_from() {
        let mut u = numbers(30, 4);
        u.orthonormalize().unwrap();
        let along = Columns { width: 30, rank: 4, values: tangent(&u, &numbers(30, 4)) };
        // Uᵀξ is skew: the length of the columns does not change to first order.
        let gram = u.gram(&along);
        for at in 0..16 {
            assert!((gram[at] + gram[at % 4 * 4 + at / 4]).abs() < 1e-12);
        }
    }
}
