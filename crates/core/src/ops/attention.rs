use super::{Contract, Cost, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// Causal attention within each of several documents (Vaswani et al. 2017), which lie one behind the other: for row
/// `t` of a document that begins at row `b`, and head `h` with the kv head `g = h / (heads / kv_heads)`,
///
/// `out[t, h] = Σ_{b ≤ j ≤ t} w_j · v[j, g]` with `w = softmax over j of (scale · q[t, h] · k[j, g])`.
///
/// `q` and `out` are `[rows, heads · head_dim]`, `k` and `v` are `[rows, kv_heads · head_dim]`, all `f32`, `bf16` or
/// `f16` alike; sums are in `f32`, for which matrix units take weights that are rounded to the type of the values. A NaN
/// may spoil all of its document, and no other. `offsets` is `u32` or `i32`, one more than there are documents, and
/// ascends; rows that belong to no document, such as padding behind the last, give 0. Offsets that do not ascend or lead
/// beyond the rows are a fault of the document.
///
/// Scores never are in memory as a whole: tiles of them leave a maximum and a sum of exponentials for each row, by
/// which what was summed before is scaled (Milakov and Gimelshein 2018; Dao et al. 2022). Tiles begin where documents
/// do, so the result of a document has the same bits in whatever batch it comes.
#[derive(Debug, Clone)]
pub struct Attention {
    /// Queries, `[rows, heads · head_dim]`.
    pub q: Tensor,
    /// Keys, `[rows, kv_heads · head_dim]`.
    pub k: Tensor,
    /// Values, `[rows, kv_heads · head_dim]`.
    pub v: Tensor,
    /// Where documents begin and end, `[documents + 1]`.
    pub offsets: Tensor,
    /// What each row sees, `[rows, heads · head_dim]`.
    pub out: Tensor,
    /// Heads of the queries; a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of the keys and values.
    pub kv_heads: usize,
    /// Factor of the products of queries and keys.
    pub scale: f32,
}

impl Attention {
    /// Components of a head at most.
    pub const MOST: usize = 256;

    /// Components of a head.
    pub fn head_dim(&self) -> usize {
        self.q.shape().rows_cols().1 / self.heads.max(1)
    }
}

impl Operation for Attention {
    const NAME: &'static str = "attention";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.q, &self.k, &self.v, &self.offsets]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("q", &self.q, &DType::FLOATS)?;
        check::rank("q", &self.q, 2)?;
        if self.kv_heads == 0 || self.heads == 0 || !self.heads.is_multiple_of(self.kv_heads) {
            return Err(Error::invalid_argument(
                "heads",
                format!("expected a multiple of the {} kv heads, given {}", self.kv_heads, self.heads),
            ));
        }
        let (rows, columns) = self.q.shape().rows_cols();
        let head_dim = self.head_dim();
        if head_dim == 0 || head_dim > Self::MOST || columns != self.heads * head_dim {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!(
                    "expected {} heads of 1 to {} columns each, given shape {}",
                    self.heads,
                    Self::MOST,
                    self.q.shape()
                ),
            )
            .at_column("q"));
        }
        for (name, tensor) in [("k", &self.k), ("v", &self.v)] {
            check::same_dtype(name, tensor, "q", self.q.dtype())?;
            check::shape(name, tensor, &[rows, self.kv_heads * head_dim])?;
        }
        check::offsets(&self.offsets)?;
        check::same_dtype("out", &self.out, "q", self.q.dtype())?;
        check::shape("out", &self.out, self.q.shape())?;
        check::finite("scale", self.scale)
    }

    fn cost(&self) -> Cost {
        // Where documents end is known to the device alone: as if all rows were one.
        let (rows, columns) = self.q.shape().rows_cols();
        let pairs = rows as u64 * (rows as u64 + 1) / 2;
        Cost {
            flops: pairs * (4 * columns + 4 * self.heads) as u64,
            bytes: check::bytes(&[self.inputs(), self.outputs()].concat()),
        }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.q.shape().rows_cols().0, broken: check::offsets_fault }
    }
}

/// The heads that [`Tensor::attention`] works with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionOptions {
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of the keys and values.
    pub kv_heads: usize,
    /// Factor of the products of queries and keys; default `1 / sqrt(head_dim)`.
    pub scale: Option<f32>,
}

impl Tensor {
    /// What these queries see of keys and values in their documents; see [`Attention`].
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::InvalidArgument`], [`Code::Disposed`]; offsets that
    /// do not ascend show at the read, as [`Code::InvalidValue`] with their document.
    pub fn attention(
        &self,
        k: &Tensor,
        v: &Tensor,
        offsets: &Tensor,
        options: AttentionOptions,
    ) -> Result<Tensor> {
        let AttentionOptions { heads, kv_heads, scale } = options;
        let out = self.sibling(self.dtype(), self.shape())?;
        let mut op = Attention {
            q: self.clone(),
            k: k.clone(),
            v: v.clone(),
            offsets: offsets.clone(),
            out: out.clone(),
            heads,
            kv_heads,
            scale: 1.0,
        };
        op.scale = scale.unwrap_or_else(|| 1.0 / (op.head_dim().max(1) as f32).sqrt());
        self.device().run(op)?;
        Ok(out)
    }
}
