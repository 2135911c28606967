use super::embedding_norms::{fault, rows};
use super::{Contract, Cost, Operation, Promise, check};
use crate::{DType, Result, Tensor};

/// The part of a per-sample squared norm that one table has because it is both embedding and head: twice
/// `out[b] = Σ_{t, s} dlogits[s, ids[t]] · ⟨h[s], e[t]⟩` over the rows `t` and `s` of sample `b`.
///
/// As an embedding the table has the gradient `Σ_t 1[ids[t] = v] · e[t]` in row `v`, as a head `Σ_s dlogits[s, v] · h[s]`;
/// the squared norm of their sum is the sum of their squared norms ([`super::EmbeddingNorms`], and that of a Linear) and
/// twice their inner product, which is this. It may be negative.
///
/// `ids` and `offsets` are `u32` or `i32`; `e` and `h` are `[rows, d]` and `dlogits` is `[rows, vocabulary]`, `f32`,
/// `bf16` or `f16` alike; `out` is `f32`. Sums are in `f32` or better, in a fixed order. Faults are those of
/// [`super::EmbeddingNorms`].
#[derive(Debug, Clone)]
pub struct TiedNorms {
    /// Which row of the table was embedded, `[rows]`.
    pub ids: Tensor,
    /// Gradient of the embedded row, `[rows, d]`.
    pub e: Tensor,
    /// What the head was given, `[rows, d]`.
    pub h: Tensor,
    /// Gradient of the logits, `[rows, vocabulary]`.
    pub dlogits: Tensor,
    /// Where samples begin and end, `[samples + 1]`.
    pub offsets: Tensor,
    /// Inner product of the two gradients of each sample, `[samples]`.
    pub out: Tensor,
}

impl Operation for TiedNorms {
    const NAME: &'static str = "tied_norms";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.ids, &self.e, &self.h, &self.dlogits, &self.offsets]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        let samples = rows(&self.ids, &self.e, &self.offsets)?;
        check::same_dtype("h", &self.h, "e", self.e.dtype())?;
        check::shape("h", &self.h, self.e.shape())?;
        check::same_dtype("dlogits", &self.dlogits, "e", self.e.dtype())?;
        check::rank("dlogits", &self.dlogits, 2)?;
        let (_, vocabulary) = self.dlogits.shape().rows_cols();
        check::shape("dlogits", &self.dlogits, &[self.ids.len(), vocabulary])?;
        super::embedding_norms::vocabulary(vocabulary, None)?;
        check::dtype("out", &self.out, &[DType::F32])?;
        check::shape("out", &self.out, &[samples])
    }

    fn cost(&self) -> Cost {
        // Where samples end is known to the device alone: as if all were equally long.
        let (rows, d) = self.e.shape().rows_cols();
        let pairs = (rows * rows) as u64 / self.out.len().max(1) as u64;
        let picked = pairs * self.dlogits.dtype().size() as u64;
        let bytes = check::bytes(&[&self.ids, &self.e, &self.h, &self.offsets, &self.out]);
        Cost { flops: pairs * (2 * d as u64 + 2), bytes: bytes + picked }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.ids.len(), broken: fault }
    }
}

impl Tensor {
    /// The inner products of the two gradients that a tied table has at these ids; see [`TiedNorms`].
    ///
    /// # Errors
    /// [`crate::Code::ShapeMismatch`], [`crate::Code::DtypeMismatch`], [`crate::Code::Disposed`]; ids outside the
    /// vocabulary and offsets that do not ascend show at the read.
    pub fn tied_norms(&self, e: &Tensor, h: &Tensor, dlogits: &Tensor, offsets: &Tensor) -> Result<Tensor> {
        let samples = check::offsets(offsets).map_err(|e| e.in_op(TiedNorms::NAME))?;
        let out = self.sibling(DType::F32, &[samples])?;
        self.device().run(TiedNorms {
            ids: self.clone(),
            e: e.clone(),
            h: h.clone(),
            dlogits: dlogits.clone(),
            offsets: offsets.clone(),
            out: out.clone(),
        })?;
        Ok(out)
    }
}
