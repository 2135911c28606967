//! Activations and their gradients across the boundary of two pipeline stages, as coordinates in a subspace.
//!
//! A boundary of width `d` has an orthonormal basis `U`, `[d, k]`. What a stage sends of its activations `X`, `[tokens, d]`,
//! and what the next one makes of it, is
//!
//! `X̃ = (X − X₀) U`, `X̂ = X̃ Uᵀ + X₀`,
//!
//! and what comes back of the gradient `G` at `X̂` is `G̃ = G U`, which the first stage takes as `G̃ Uᵀ`: `d / k` times fewer
//! numbers each way. `X₀` are the rows of a table (the anchor) at the tokens' ids: both ends have the table, ids travel
//! anyway, and what of the embeddings does not fit into the subspace need not go through it (subspace networks, arXiv
//! 2506.01260; with SparseLoCo between replicas, arXiv 2601.02360).
//!
//! The table is never subtracted in full: `X₀ U` is a lookup in its product with the basis, made once. So sending reads `X`
//! once and moves `k` numbers a token beside it.
//!
//! **A fixed basis** is [`Subspace::random`]; both ends that give the same seed have the same bits. **A learned one** starts
//! there and follows the gradient of the loss ([`Subspace::sender_gradient`] and [`Subspace::receiver_gradient`], each end's
//! part; their sum goes to both) with [`Subspace::step`] on the manifold of orthonormal matrices, in `f64` on the
//! processor: again both ends have the same bits.
//!
//! **Adaptation.** Other replicas train the same embeddings without a boundary, so that an outer step pushes them out of the
//! subspace. [`Subspace::adapt`] then moves what is outside into the table: what the model computes does not change.
//!
//! ```
//! use gristmill_comm::subspace::Subspace;
//! use gristmill_core::DType;
//!
//! let device = gristmill_cpu::open()?;
//! let anchor = device.tensor((0..40).map(|i| (i as f32).sin()).collect(), [5, 8])?;
//! let boundary = Subspace::random(&device, 8, 2, 7, DType::F32)?.anchored(&anchor)?;
//!
//! let ids = device.tensor(vec![4u32, 0, 4], [3])?;
//! let sent = boundary.project(&anchor.gather(&ids, None)?, Some(&ids))?;
//! assert_eq!(&**sent.shape(), [3, 2]);
//! // Activations that are the anchor's rows have no coordinates, and come back.
//! let back = boundary.expand(&sent, Some(&ids))?;
//! assert!(back.to_vec::<f32>()?.iter().zip([4, 0, 4].iter().flat_map(|r| 8 * r..8 * r + 8)).all(
//!     |(x, i)| (x - (i as f32).sin()).abs() < 1e-5
//! ));
//! # Ok::<(), gristmill_core::Error>(())
//! ```

mod orthonormal;

use gristmill_core::ops::{Matmul, MatmulOptions};
use gristmill_core::rng::{Philox, uniform};
use gristmill_core::{Code, DType, Device, Error, Result, Tensor};

use orthonormal::{Columns, tangent};

/// The sequence of random numbers that bases are drawn from.
const STREAM: u64 = 0x5355_4253;

/// An orthonormal basis of a boundary, and what is subtracted before and added after.
#[derive(Debug, Clone)]
pub struct Subspace {
    /// `[d, k]`, `f32`: what is learned.
    basis: Tensor,
    /// The same in the type of the activations.
    rounded: Tensor,
    anchor: Option<Anchor>,
}

#[derive(Debug, Clone)]
struct Anchor {
    /// `[vocabulary, d]`.
    table: Tensor,
    /// Its product with the basis, `[vocabulary, k]`, `f32`.
    inside: Tensor,
}

impl Subspace {
    /// A basis of the span of `rank` random vectors of `width` components, for activations of this type. It depends on the
    /// numbers alone, to the bit, on every machine.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] unless `rank` is 1 to `width`, or for a type that no product has; [`Code::OutOfMemory`].
    pub fn random(device: &Device, width: usize, rank: usize, seed: u64, dtype: DType) -> Result<Self> {
        check_rank(width, rank)?;
        let random = Philox::new(seed, STREAM);
        // Uniform numbers: made without functions that machines compute each in their own way.
        let draw = |i: usize| 2.0 * f64::from(uniform(random.bits(i as u64))) - 1.0;
        let mut values = Vec::new();
        let count = width.checked_mul(rank).filter(|&n| values.try_reserve_exact(n).is_ok());
        let no_room = || format!("no memory for a basis of {width} times {rank} numbers");
        let count = count.ok_or_else(|| Error::new(Code::OutOfMemory, no_room()))?;
        values.extend((0..count).map(draw));
        let mut columns = Columns { width, rank, values };
        columns.orthonormalize()?;
        Self::place(device, &columns, dtype)
    }

    /// A basis of the span of the columns of `matrix` (`[d, k]`, `f32`), for activations of this type. Columns that are
    /// orthonormal already, to 2⁻²⁰, stay as they are to the bit: so a basis that was saved comes back.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`]; [`Code::InvalidValue`] with the column that lies in the span of
    /// those before it.
    pub fn spanned(matrix: &Tensor, dtype: DType) -> Result<Self> {
        let (width, rank) = matrix_of("matrix", matrix)?;
        only_f32("matrix", matrix)?;
        check_rank(width, rank)?;
        let mut columns = Columns::of(width, rank, &matrix.to_vec::<f32>()?);
        if !columns.are_orthonormal() {
            columns.orthonormalize()?;
        }
        Self::place(matrix.device(), &columns, dtype)
    }

    fn place(device: &Device, columns: &Columns, dtype: DType) -> Result<Self> {
        if !DType::FLOATS.contains(&dtype) {
            return Err(Error::invalid_argument(
                "dtype",
                format!("expected f32, bf16 or f16, given {dtype}"),
            ));
        }
        let values = columns.values.iter().map(|&x| x as f32).collect();
        let basis = device.tensor::<f32>(values, [columns.width, columns.rank])?;
        let rounded = if dtype == DType::F32 { basis.clone() } else { basis.cast(dtype)? };
        Ok(Self { basis, rounded, anchor: None })
    }

    /// The same with the rows of a copy of `table` (`[vocabulary, d]`, `f32`, `bf16` or `f16`) as what is subtracted before
    /// and added after.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::DeviceMismatch`].
    pub fn anchored(mut self, table: &Tensor) -> Result<Self> {
        self.check("table", table, self.width())?;
        if !DType::FLOATS.contains(&table.dtype()) {
            return Err(Error::new(Code::DtypeMismatch, format!("expected floats, given {}", table.dtype()))
                .at_column("table"));
        }
        let (rows, _) = table.shape().rows_cols();
        let inside = self.basis.device().empty(DType::F32, [rows, self.rank()])?;
        self.anchor = Some(Anchor { table: table.copy()?, inside });
        self.settle_anchor()?;
        Ok(self)
    }

    /// Components of an activation, d.
    pub fn width(&self) -> usize {
        self.basis.shape()[0]
    }

    /// Numbers that are sent of it, k.
    pub fn rank(&self) -> usize {
        self.basis.shape()[1]
    }

    /// The basis, `[d, k]`, `f32`.
    pub fn basis(&self) -> &Tensor {
        &self.basis
    }

    /// The table of what is subtracted before and added after, T⊥.
    pub fn anchor(&self) -> Option<&Tensor> {
        self.anchor.as_ref().map(|anchor| &anchor.table)
    }

    /// What is sent of activations, `X̃ = (X − X₀) U`: `x` is `[tokens, d]` of the type of the boundary; `ids` are those of
    /// the tokens, where there is an anchor; the result is `[tokens, k]` of the same type.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::DeviceMismatch`]; [`Code::InvalidArgument`] for ids
    /// without an anchor or the other way round. An id outside the table shows at the read, as [`Code::InvalidValue`].
    pub fn project(&self, x: &Tensor, ids: Option<&Tensor>) -> Result<Tensor> {
        self.check_activations("x", x, self.width())?;
        let Some((anchor, ids)) = self.anchor_of(x, ids)? else { return self.project_gradient(x) };
        let out = anchor.inside.gather(ids, None)?;
        self.product(x, &self.rounded, &out, false, -1.0)?;
        self.as_activations(out)
    }

    /// What the next stage makes of it, `X̂ = X̃ Uᵀ + X₀`, `[tokens, d]`.
    ///
    /// # Errors
    /// As [`project`](Self::project).
    pub fn expand(&self, sent: &Tensor, ids: Option<&Tensor>) -> Result<Tensor> {
        self.check_activations("sent", sent, self.rank())?;
        let Some((anchor, ids)) = self.anchor_of(sent, ids)? else { return self.expand_gradient(sent) };
        // In the type of the table where that is the product's; else in f32, which holds both.
        let dtype = if anchor.table.dtype() == sent.dtype() { sent.dtype() } else { DType::F32 };
        let out = anchor.table.gather(ids, Some(dtype))?;
        self.product(sent, &self.rounded, &out, true, 1.0)?;
        self.as_activations(out)
    }

    /// What is sent back of the gradient at [`expand`](Self::expand), `G̃ = G U`: the gradient at what was sent.
    ///
    /// # Errors
    /// As [`project`](Self::project).
    pub fn project_gradient(&self, gradient: &Tensor) -> Result<Tensor> {
        self.check_activations("gradient", gradient, self.width())?;
        gradient.matmul(&self.rounded, MatmulOptions::default())
    }

    /// What the stage before makes of it, `G̃ Uᵀ`: the gradient at its activations.
    ///
    /// # Errors
    /// As [`project`](Self::project).
    pub fn expand_gradient(&self, sent: &Tensor) -> Result<Tensor> {
        self.check_activations("sent", sent, self.rank())?;
        sent.matmul(&self.rounded, MatmulOptions { trans_b: true, ..MatmulOptions::default() })
    }

    /// The sender's part of the gradient of the loss at the basis, `(X − X₀)ᵀ G̃`, `[d, k]`, `f32`.
    ///
    /// # Errors
    /// As [`project`](Self::project).
    pub fn sender_gradient(&self, x: &Tensor, ids: Option<&Tensor>, returned: &Tensor) -> Result<Tensor> {
        self.check_activations("x", x, self.width())?;
        self.check_activations("returned", returned, self.rank())?;
        let options = MatmulOptions { trans_a: true, dtype: Some(DType::F32), ..MatmulOptions::default() };
        let out = x.matmul(returned, options)?;
        if let Some((anchor, ids)) = self.anchor_of(x, ids)? {
            let rows = anchor.table.gather(ids, Some(DType::F32))?;
            let rows = if x.dtype() == DType::F32 { rows } else { rows.cast(x.dtype())? };
            let (a, b) = (rows, returned.clone());
            let op = Matmul { a, b, out: out.clone(), trans_a: true, trans_b: false, alpha: -1.0, beta: 1.0 };
            out.device().run(op)?;
        }
        Ok(out)
    }

    /// The receiver's part, `Gᵀ X̃`, `[d, k]`, `f32`.
    ///
    /// # Errors
    /// As [`project`](Self::project).
    pub fn receiver_gradient(&self, gradient: &Tensor, sent: &Tensor) -> Result<Tensor> {
        self.check_activations("gradient", gradient, self.width())?;
        self.check_activations("sent", sent, self.rank())?;
        let options = MatmulOptions { trans_a: true, dtype: Some(DType::F32), ..MatmulOptions::default() };
        gradient.matmul(sent, options)
    }

    /// A step of the basis against the sum `g` of both parts of the gradient, on the manifold of orthonormal matrices: with
    /// `ξ = g − U sym(Uᵀ g)`, its direction along the manifold, `U` becomes the orthonormal factor of `U − lr ξ`
    /// (Absil, Mahony and Sepulchre 2008, sections 3.6 and 4.1). Waits for the gradient. Both ends that hold the same
    /// basis and give the same gradient have the same bits after it.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`]; [`Code::InvalidValue`] for a gradient that is not finite,
    /// [`Code::InvalidArgument`] for such a rate. Nothing changes then.
    pub fn step(&mut self, gradient: &Tensor, lr: f32) -> Result<()> {
        self.check("gradient", gradient, self.rank())?;
        only_f32("gradient", gradient)?;
        if gradient.shape() != self.basis.shape() {
            return Err(shape("gradient", &format!("{}", self.basis.shape()), gradient));
        }
        if !lr.is_finite() {
            return Err(Error::invalid_argument("lr", format!("expected a finite number, given {lr}")));
        }
        let (width, rank) = (self.width(), self.rank());
        let gradient = Columns::of(width, rank, &gradient.to_vec::<f32>()?);
        if let Some(at) = gradient.values.iter().position(|x| !x.is_finite()) {
            return Err(Error::new(Code::InvalidValue, format!("it has a {}", gradient.values[at]))
                .at_column("gradient")
                .at_row((at / rank) as u64));
        }
        let mut columns = Columns::of(width, rank, &self.basis.to_vec::<f32>()?);
        let direction = tangent(&columns, &gradient);
        columns.values.iter_mut().zip(&direction).for_each(|(u, xi)| *u -= f64::from(lr) * xi);
        columns.orthonormalize()?;
        let next = Self::place(self.basis.device(), &columns, self.rounded.dtype())?;
        let mut next = Self { anchor: self.anchor.clone(), ..next };
        if let Some(anchor) = &mut next.anchor {
            anchor.inside = anchor.inside.device().empty(DType::F32, anchor.inside.shape().to_vec())?;
            next.settle_anchor()?;
        }
        *self = next;
        Ok(())
    }

    /// After an outer step: what of `embeddings` (T, `[vocabulary, d]`, `f32`) lies outside the subspace moves to the
    /// anchor's table, which must be `f32` too: `T⊥ ← T⊥ + T − T U Uᵀ`, `T ← T U Uᵀ`, in place. Their sum stays what it
    /// was, to rounding.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::DeviceMismatch`]; [`Code::InvalidArgument`] without an
    /// anchor. Nothing changes then.
    pub fn adapt(&self, embeddings: &Tensor) -> Result<()> {
        let Some(anchor) = &self.anchor else {
            return Err(Error::invalid_argument(
                "anchor",
                "there is no table that could take what lies outside",
            ));
        };
        only_f32("embeddings", embeddings)?;
        only_f32("anchor", &anchor.table)?;
        self.check("embeddings", embeddings, self.width())?;
        if embeddings.shape() != anchor.table.shape() {
            return Err(shape("embeddings", &format!("{}", anchor.table.shape()), embeddings));
        }
        let inside = embeddings.matmul(&self.basis, MatmulOptions::default())?;
        let outside = embeddings.copy()?;
        self.product(&inside, &self.basis, embeddings, true, 0.0)?;
        outside.axpy(-1.0, embeddings)?;
        anchor.table.axpy(1.0, &outside)?;
        self.settle_anchor()
    }

    /// Makes the product of the table with the basis anew, rounded as the activations' basis is.
    fn settle_anchor(&self) -> Result<()> {
        let Some(Anchor { table, inside }) = &self.anchor else { return Ok(()) };
        if table.dtype() == self.rounded.dtype() {
            return self.product(table, &self.rounded, inside, false, 0.0);
        }
        let single = |t: &Tensor| if t.dtype() == DType::F32 { Ok(t.clone()) } else { t.cast(DType::F32) };
        self.product(&single(table)?, &single(&self.rounded)?, inside, false, 0.0)
    }

    /// `out = a · b + beta · out`, where `b` is transposed or not.
    fn product(&self, a: &Tensor, b: &Tensor, out: &Tensor, trans_b: bool, beta: f32) -> Result<()> {
        let (a, b, out) = (a.clone(), b.clone(), out.clone());
        out.device().clone().run(Matmul { a, b, out, trans_a: false, trans_b, alpha: 1.0, beta })
    }

    fn as_activations(&self, out: Tensor) -> Result<Tensor> {
        let dtype = self.rounded.dtype();
        if out.dtype() == dtype { Ok(out) } else { out.cast(dtype) }
    }

    /// The anchor and its rows, where there is one.
    fn anchor_of<'a>(
        &'a self,
        x: &Tensor,
        ids: Option<&'a Tensor>,
    ) -> Result<Option<(&'a Anchor, &'a Tensor)>> {
        match (&self.anchor, ids) {
            (None, None) => Ok(None),
            (Some(anchor), Some(ids)) if ids.len() == x.shape()[0] => Ok(Some((anchor, ids))),
            (Some(_), Some(ids)) => Err(shape("ids", &format!("[{}]", x.shape()[0]), ids)),
            (Some(_), None) => Err(Error::invalid_argument("ids", "the anchor needs the ids of the tokens")),
            (None, Some(_)) => {
                Err(Error::invalid_argument("ids", "there is no anchor that they could be ids of"))
            }
        }
    }

    fn check_activations(&self, name: &str, x: &Tensor, columns: usize) -> Result<()> {
        self.check(name, x, columns)?;
        if x.dtype() != self.rounded.dtype() {
            return Err(Error::new(
                Code::DtypeMismatch,
                format!(
                    "expected {} as the boundary was made for, given {}",
                    self.rounded.dtype(),
                    x.dtype()
                ),
            )
            .at_column(name));
        }
        Ok(())
    }

    fn check(&self, name: &str, x: &Tensor, columns: usize) -> Result<()> {
        if !x.device().same(self.basis.device()) {
            return Err(
                Error::new(Code::DeviceMismatch, "it is on another device than the basis").at_column(name)
            );
        }
        if x.shape().rank() != 2 || x.shape()[1] != columns {
            return Err(shape(name, &format!("[rows, {columns}]"), x));
        }
        Ok(())
    }
}

fn shape(name: &str, expected: &str, given: &Tensor) -> Error {
    Error::new(Code::ShapeMismatch, format!("expected {expected}, given {}", given.shape())).at_column(name)
}

fn matrix_of(name: &str, x: &Tensor) -> Result<(usize, usize)> {
    match **x.shape() {
        [rows, columns] => Ok((rows, columns)),
        _ => Err(shape(name, "two dimensions", x)),
    }
}

fn only_f32(name: &str, x: &Tensor) -> Result<()> {
    if x.dtype() == DType::F32 {
        return Ok(());
    }
    Err(Error::new(Code::DtypeMismatch, format!("expected f32, given {}", x.dtype())).at_column(name))
}

fn check_rank(width: usize, rank: usize) -> Result<()> {
    if (1..=width).contains(&rank) {
        return Ok(());
    }
    Err(Error::invalid_argument("rank", format!("expected 1 to the width of {width}, given {rank}")))
}
