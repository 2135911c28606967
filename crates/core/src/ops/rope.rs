use super::{Contract, Cost, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// Rotary position embedding (Su et al. 2021), in place: turns pairs of components of every head by angles that its
/// row's position decides.
///
/// `x` is `[rows, heads · head_dim]`, `f32`, `bf16` or `f16`. The tables `cos` and `sin` are `f32` and have for each
/// position as many angles as there are pairs, `[positions, pairs]`; row `r` uses row `positions[r]` of them. The
/// first `2 · pairs` components of every head turn, the others stay as they are. Pair `i` are the components `i` and
/// `i + pairs` of its head, as Hugging Face stores weights, or `2i` and `2i + 1` where `interleaved`; a pair `(a, b)`
/// becomes `(a · cos − b · sin, b · cos + a · sin)`, computed in `f32` and rounded once.
///
/// A position outside the tables is a fault of the row.
#[derive(Debug, Clone)]
pub struct Rope {
    /// What is turned, `[rows, heads · head_dim]`.
    pub x: Tensor,
    /// Cosines, `[positions, pairs]`.
    pub cos: Tensor,
    /// Sines, `[positions, pairs]`.
    pub sin: Tensor,
    /// The position of each row, `[rows]`; `u32` or `i32`.
    pub positions: Tensor,
    /// Components of a head.
    pub head_dim: usize,
    /// Whether the components of a pair are neighbours.
    pub interleaved: bool,
}

impl Operation for Rope {
    const NAME: &'static str = "rope";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.cos, &self.sin, &self.positions]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn updates(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn check(&self) -> Result<()> {
        check::dtype("x", &self.x, &DType::FLOATS)?;
        check::rank("x", &self.x, 2)?;
        let (rows, columns) = self.x.shape().rows_cols();
        check::heads("x", columns, self.head_dim)?;
        check::dtype("cos", &self.cos, &[DType::F32])?;
        check::rank("cos", &self.cos, 2)?;
        let (_, pairs) = self.cos.shape().rows_cols();
        if 2 * pairs > self.head_dim {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!("expected at most {} pairs, half of a head, given {pairs}", self.head_dim / 2),
            )
            .at_column("cos"));
        }
        check::dtype("sin", &self.sin, &[DType::F32])?;
        check::shape("sin", &self.sin, self.cos.shape())?;
        check::dtype("positions", &self.positions, &[DType::U32, DType::I32])?;
        check::shape("positions", &self.positions, &[rows])
    }

    fn cost(&self) -> Cost {
        let (rows, columns) = self.x.shape().rows_cols();
        let (_, pairs) = self.cos.shape().rows_cols();
        let turned = (rows * (columns / self.head_dim.max(1)) * 2 * pairs) as u64;
        let tables = (2 * 4 * pairs * rows).min(self.cos.bytes() + self.sin.bytes()) as u64;
        Cost {
            flops: 3 * turned,
            bytes: 2 * turned * self.x.dtype().size() as u64 + tables + self.positions.bytes() as u64,
        }
    }

    fn contract(&self) -> Contract {
        let (bound, _) = self.cos.shape().rows_cols();
        let broken = |row, positions| {
            Error::new(Code::InvalidValue, format!("the position lies outside the tables of {positions}"))
                .at_column("positions")
                .at_row(row)
        };
        Contract { bound, broken }
    }
}

/// The heads that [`Tensor::rope`] turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RopeOptions {
    /// Components of a head.
    pub head_dim: usize,
    /// Whether the components of a pair are neighbours.
    pub interleaved: bool,
}

impl Tensor {
    /// Turns every head of this tensor, in place; see [`Rope`].
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::Disposed`]; a position outside the tables shows at
    /// the read, as [`Code::InvalidValue`] with its row.
    pub fn rope(&self, cos: &Tensor, sin: &Tensor, positions: &Tensor, options: RopeOptions) -> Result<()> {
        self.device().run(Rope {
            x: self.clone(),
            cos: cos.clone(),
            sin: sin.clone(),
            positions: positions.clone(),
            head_dim: options.head_dim,
            interleaved: options.interleaved,
        })
    }
}
