//! The class of handles of elements on a device: every operation is a method that enqueues and returns handles at
//! once; only reads are promises.

use std::cell::RefCell;

use gristmill_core::ops::{
    ActivationOptions, AttentionOptions, Copy, Fill, GramOptions, Matmul, MatmulOptions, NllOptions,
    NormOptions, RopeOptions,
};
use gristmill_core::{Code, Error, Result, Tensor};
use gristmill_data::{ragged_to_batch, tensor_to_batch};
use napi::bindgen_prelude::{ClassInstance, Env, Object, ObjectFinalize, Uint8Array};
use napi_derive::napi;

use crate::args::{activation_kind, dtype, norm_kind, optional_size, reduction, shape, single, size};
use crate::batches::to_ipc;
use crate::error::{guarded, to_js};
use crate::task::spawn;

/// A handle of elements on a device.
#[napi(custom_finalize)]
pub struct TensorHandle {
    /// `None` once it was disposed of.
    tensor: RefCell<Option<Tensor>>,
    /// Bytes that the collector was told of.
    charged: i64,
}

/// The collector believes what it is told: of a tensor that will turn out to be too large for its device it is told
/// less.
const MAX_CHARGE: i64 = 1 << 40;

impl TensorHandle {
    /// The handle of a tensor with memory of its own, of which the collector is told.
    pub(crate) fn own(env: &Env, tensor: Tensor) -> Self {
        let charged = i64::try_from(tensor.bytes()).unwrap_or(MAX_CHARGE).min(MAX_CHARGE);
        charge(env, charged);
        Self { tensor: RefCell::new(Some(tensor)), charged }
    }

    /// The same, or the JavaScript error.
    pub(crate) fn of(env: &Env, make: impl FnOnce() -> Result<Tensor>) -> napi::Result<Self> {
        guarded(make).map(|tensor| Self::own(env, tensor)).map_err(|e| to_js(env, &e))
    }

    /// The handle of a tensor of whose memory the collector is not told: that of a layer, or made where it cannot be.
    pub(crate) fn uncharged(tensor: Tensor) -> Self {
        Self { tensor: RefCell::new(Some(tensor)), charged: 0 }
    }

    /// The handle of a view, whose memory is another tensor's.
    fn view(env: &Env, make: impl FnOnce() -> Result<Tensor>) -> napi::Result<Self> {
        guarded(make).map(Self::uncharged).map_err(|e| to_js(env, &e))
    }

    /// The tensor, unless it was disposed of.
    pub(crate) fn get(&self, name: &str) -> Result<Tensor> {
        self.tensor
            .borrow()
            .clone()
            .ok_or_else(|| Error::new(Code::Disposed, "the tensor was disposed of").at_column(name))
    }

    /// Releases it; true the first time.
    fn release(&self, env: &Env) -> bool {
        let held = self.tensor.borrow_mut().take().is_some();
        if held {
            charge(env, -self.charged);
        }
        held
    }
}

/// Tells the collector of memory that it does not see.
fn charge(env: &Env, bytes: i64) {
    if bytes != 0 {
        // What it answers is how much it knows of; it cannot refuse.
        let _ = env.adjust_external_memory(bytes);
    }
}

impl ObjectFinalize for TensorHandle {
    fn finalize(self, env: Env) -> napi::Result<()> {
        // Dropping the tensor only enqueues the release of its memory.
        self.release(&env);
        Ok(())
    }
}

#[napi]
impl TensorHandle {
    /// Releases it. Does nothing the second time.
    #[napi]
    pub fn dispose(&self, env: Env) -> bool {
        self.release(&env)
    }

    /// Its dimensions.
    #[napi]
    pub fn shape(&self, env: Env) -> napi::Result<Vec<f64>> {
        let shape = || Ok(self.get("tensor")?.shape().iter().map(|&dim| dim as f64).collect());
        guarded(shape).map_err(|e| to_js(&env, &e))
    }

    /// The type of its elements.
    #[napi]
    pub fn dtype(&self, env: Env) -> napi::Result<String> {
        guarded(|| Ok(self.get("tensor")?.dtype().name().into())).map_err(|e| to_js(&env, &e))
    }

    /// Its elements as bytes, once everything that was enqueued before is done.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn read<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let tensor = self.get("tensor").map_err(|e| to_js(env, &e))?;
        let (deferred, promise) = env.create_deferred()?;
        tensor.read_with(move |result| {
            deferred.resolve(move |env: Env| result.map(Uint8Array::new).map_err(|e| to_js(&env, &e)));
        });
        Ok(promise)
    }

    /// Its elements as a column of an Arrow IPC stream.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn to_arrow<'env>(&self, env: &'env Env, name: String) -> napi::Result<Object<'env>> {
        let tensor = self.get("tensor").map_err(|e| to_js(env, &e))?;
        let write = move || to_ipc(&tensor_to_batch(&tensor, &name)?);
        spawn(env, "gristmill-arrow", Default::default(), write, Uint8Array::new)
    }

    /// Its elements as a column of lists of an Arrow IPC stream.
    #[napi(ts_return_type = "Promise<Uint8Array>")]
    pub fn to_arrow_lists<'env>(
        &self,
        env: &'env Env,
        offsets: &TensorHandle,
        name: String,
    ) -> napi::Result<Object<'env>> {
        let both = self.get("values").and_then(|values| Ok((values, offsets.get("offsets")?)));
        let (values, offsets) = both.map_err(|e| to_js(env, &e))?;
        let write = move || to_ipc(&ragged_to_batch(&values, &offsets, &name)?);
        spawn(env, "gristmill-arrow", Default::default(), write, Uint8Array::new)
    }

    /// Overwrites its elements with those that these bytes are, which are copied.
    #[napi]
    pub fn write(&self, env: Env, bytes: &[u8]) -> napi::Result<()> {
        self.change(&env, |tensor| tensor.write(Box::new(bytes.to_vec())))
    }

    /// The same elements under another shape.
    #[napi]
    pub fn reshape(&self, env: Env, shape: Vec<f64>) -> napi::Result<TensorHandle> {
        Self::view(&env, || self.get("x")?.reshape(self::shape(&shape)?).map_err(|e| e.in_op("reshape")))
    }

    /// Entries of the first dimension.
    #[napi]
    pub fn narrow(&self, env: Env, start: f64, len: f64) -> napi::Result<TensorHandle> {
        Self::view(&env, || {
            let (start, len) = (size("start", start)?, size("length", len)?);
            self.get("x")?.narrow(start, len).map_err(|e| e.in_op("narrow"))
        })
    }

    /// One value everywhere.
    #[napi]
    pub fn fill(&self, env: Env, value: f64) -> napi::Result<()> {
        self.change(&env, |out| out.device().run(Fill { out: out.clone(), value }))
    }

    /// Another element type.
    #[napi]
    pub fn cast(&self, env: Env, dtype: String) -> napi::Result<TensorHandle> {
        Self::of(&env, || self.get("x")?.cast(self::dtype(&dtype)?))
    }

    /// The same elements elsewhere.
    #[napi]
    pub fn copy(&self, env: Env) -> napi::Result<TensorHandle> {
        Self::of(&env, || self.get("x")?.copy())
    }

    /// The elements of another tensor.
    #[napi]
    pub fn copy_from(&self, env: Env, x: &TensorHandle) -> napi::Result<()> {
        self.change(&env, |out| out.device().run(Copy { x: x.get("x")?, out: out.clone() }))
    }

    /// A matrix product.
    #[napi]
    pub fn matmul(
        &self,
        env: Env,
        b: &TensorHandle,
        trans_a: bool,
        trans_b: bool,
        alpha: f64,
        dtype: Option<String>,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            let dtype = dtype.as_deref().map(self::dtype).transpose()?;
            let options = MatmulOptions { trans_a, trans_b, alpha: single("alpha", alpha)?, dtype };
            self.get("a")?.matmul(&b.get("b")?, options)
        })
    }

    /// A matrix product added to what is there.
    #[napi]
    #[allow(clippy::too_many_arguments)]
    pub fn matmul_into(
        &self,
        env: Env,
        a: &TensorHandle,
        b: &TensorHandle,
        trans_a: bool,
        trans_b: bool,
        alpha: f64,
        beta: f64,
    ) -> napi::Result<()> {
        self.change(&env, |out| {
            let (alpha, beta) = (single("alpha", alpha)?, single("beta", beta)?);
            let (a, b, out) = (a.get("a")?, b.get("b")?, out.clone());
            out.device().clone().run(Matmul { a, b, out, trans_a, trans_b, alpha, beta })
        })
    }

    /// The product with its own transpose, and what is added to it.
    #[napi]
    pub fn gram(
        &self,
        env: Env,
        columns: bool,
        alpha: f64,
        c: Option<ClassInstance<'_, TensorHandle>>,
        beta: f64,
        dtype: Option<String>,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            let dtype = dtype.as_deref().map(self::dtype).transpose()?;
            let c = other("c", c)?;
            let (alpha, beta) = (single("alpha", alpha)?, single("beta", beta)?);
            self.get("x")?.gram(GramOptions { columns, alpha, c, beta, dtype })
        })
    }

    /// A sum, maximum or sum of squares of every row.
    #[napi]
    pub fn row_reduce(&self, env: Env, reduction: String) -> napi::Result<TensorHandle> {
        Self::of(&env, || self.get("x")?.row_reduce(self::reduction(&reduction)?))
    }

    /// The norm of every column.
    #[napi]
    pub fn column_norms(&self, env: Env) -> napi::Result<TensorHandle> {
        Self::of(&env, || self.get("x")?.column_norms())
    }

    /// The same of consecutive segments.
    #[napi]
    pub fn segment_reduce(
        &self,
        env: Env,
        offsets: &TensorHandle,
        reduction: String,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            self.get("x")?.segment_reduce(&offsets.get("offsets")?, self::reduction(&reduction)?)
        })
    }

    /// A sum of two scaled tensors, in place.
    #[napi]
    pub fn axpby(&self, env: Env, alpha: f64, x: &TensorHandle, beta: f64) -> napi::Result<()> {
        self.change(&env, |y| y.axpby(single("alpha", alpha)?, &x.get("x")?, single("beta", beta)?))
    }

    /// A scaled tensor.
    #[napi]
    pub fn scale(&self, env: Env, alpha: f64) -> napi::Result<TensorHandle> {
        Self::of(&env, || self.get("x")?.scale(single("alpha", alpha)?))
    }

    /// Maximum and log-sum-exp of every row.
    #[napi]
    pub fn softmax_stats(&self, env: Env) -> napi::Result<Vec<TensorHandle>> {
        self.several(&env, |x| x.softmax_stats().map(|out| vec![out.max, out.lse]))
    }

    /// Negative log-likelihood of targets under these logits.
    #[napi]
    pub fn nll(
        &self,
        env: Env,
        targets: &TensorHandle,
        vocab: Option<f64>,
        softcap: Option<f64>,
        bias: Option<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || self.get("logits")?.nll(&targets.get("targets")?, losses(vocab, softcap, bias)?))
    }

    /// The same from hidden states and a head.
    #[napi]
    pub fn linear_nll(
        &self,
        env: Env,
        head: &TensorHandle,
        targets: &TensorHandle,
        vocab: Option<f64>,
        softcap: Option<f64>,
        bias: Option<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            let (head, targets) = (head.get("head")?, targets.get("targets")?);
            self.get("hidden")?.linear_nll(&head, &targets, losses(vocab, softcap, bias)?)
        })
    }

    /// Loss under a prior minus loss under a conditional model, per document: both sums and the score.
    #[napi]
    pub fn loss_reduction(
        &self,
        env: Env,
        conditional: &TensorHandle,
        offsets: &TensorHandle,
    ) -> napi::Result<Vec<TensorHandle>> {
        self.several(&env, |prior| {
            let out = prior.loss_reduction(&conditional.get("conditional")?, &offsets.get("offsets")?)?;
            Ok(vec![out.prior_sum, out.conditional_sum, out.score])
        })
    }

    /// The entries of greatest magnitude of every chunk: values and positions.
    #[napi]
    pub fn topk(&self, env: Env, k: f64, chunk: f64) -> napi::Result<Vec<TensorHandle>> {
        self.several(&env, |x| {
            let out = x.topk(size("k", k)?, size("chunk", chunk)?)?;
            Ok(vec![out.values, out.indices])
        })
    }

    /// Rows clipped to a norm: norms, factors, and the sum.
    #[napi]
    pub fn row_norm_scale(&self, env: Env, max_norm: f64) -> napi::Result<Vec<TensorHandle>> {
        self.several(&env, |x| {
            let out = x.row_norm_scale(single("maxNorm", max_norm)?)?;
            Ok(vec![out.norms, out.factors, out.out])
        })
    }

    /// Rows of this table.
    #[napi]
    pub fn gather(&self, env: Env, ids: &TensorHandle, dtype: Option<String>) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            let dtype = dtype.as_deref().map(self::dtype).transpose()?;
            self.get("table")?.gather(&ids.get("ids")?, dtype)
        })
    }

    /// Rows brought to a common scale.
    #[napi]
    pub fn norm(
        &self,
        env: Env,
        kind: String,
        eps: f64,
        weight: Option<ClassInstance<'_, TensorHandle>>,
        bias: Option<ClassInstance<'_, TensorHandle>>,
        dtype: Option<String>,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            let options = NormOptions {
                kind: norm_kind(&kind)?,
                eps: single("eps", eps)?,
                weight: other("weight", weight)?,
                bias: other("bias", bias)?,
                dtype: dtype.as_deref().map(self::dtype).transpose()?,
            };
            self.get("x")?.norm(options)
        })
    }

    /// Rotary position embedding, in place.
    #[napi]
    pub fn rope(
        &self,
        env: Env,
        cos: &TensorHandle,
        sin: &TensorHandle,
        positions: &TensorHandle,
        head_dim: f64,
        interleaved: bool,
    ) -> napi::Result<()> {
        self.change(&env, |x| {
            let options = RopeOptions { head_dim: size("headDim", head_dim)?, interleaved };
            x.rope(&cos.get("cos")?, &sin.get("sin")?, &positions.get("positions")?, options)
        })
    }

    /// What these queries see of keys and values in their documents.
    #[napi]
    #[allow(clippy::too_many_arguments)]
    pub fn attention(
        &self,
        env: Env,
        k: &TensorHandle,
        v: &TensorHandle,
        offsets: &TensorHandle,
        heads: f64,
        kv_heads: f64,
        scale: Option<f64>,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            let options = AttentionOptions {
                heads: size("heads", heads)?,
                kv_heads: size("kvHeads", kv_heads)?,
                scale: scale.map(|scale| single("scale", scale)).transpose()?,
            };
            self.get("q")?.attention(&k.get("k")?, &v.get("v")?, &offsets.get("offsets")?, options)
        })
    }

    /// A function of every element.
    #[napi]
    pub fn activation(
        &self,
        env: Env,
        kind: String,
        bias: Option<ClassInstance<'_, TensorHandle>>,
        times: Option<ClassInstance<'_, TensorHandle>>,
    ) -> napi::Result<TensorHandle> {
        Self::of(&env, || {
            let options = ActivationOptions { bias: other("bias", bias)?, times: other("times", times)? };
            self.get("x")?.activation(activation_kind(&kind)?, options)
        })
    }

    /// A number added to every column, in place.
    #[napi]
    pub fn bias_add(&self, env: Env, bias: &TensorHandle) -> napi::Result<()> {
        self.change(&env, |x| x.bias_add(&bias.get("bias")?))
    }

    pub(crate) fn change(&self, env: &Env, change: impl FnOnce(&Tensor) -> Result<()>) -> napi::Result<()> {
        guarded(|| change(&self.get("tensor")?)).map_err(|e| to_js(env, &e))
    }

    pub(crate) fn several(
        &self,
        env: &Env,
        run: impl FnOnce(&Tensor) -> Result<Vec<Tensor>>,
    ) -> napi::Result<Vec<TensorHandle>> {
        let tensors = guarded(|| run(&self.get("x")?)).map_err(|e| to_js(env, &e))?;
        Ok(tensors.into_iter().map(|tensor| Self::own(env, tensor)).collect())
    }
}

fn losses(
    vocab: Option<f64>,
    softcap: Option<f64>,
    bias: Option<ClassInstance<'_, TensorHandle>>,
) -> Result<NllOptions> {
    Ok(NllOptions {
        vocab: optional_size("vocab", vocab)?,
        softcap: softcap.map(|cap| single("softcap", cap)).transpose()?,
        bias: other("bias", bias)?,
    })
}

/// A tensor that may be left out.
pub(crate) fn other(name: &str, tensor: Option<ClassInstance<'_, TensorHandle>>) -> Result<Option<Tensor>> {
    tensor.map(|tensor| tensor.get(name)).transpose()
}
