use super::{Contract, Cost, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// Negative log-likelihood of the target of every row under the softmax of its logits, in nats:
/// `out[r] = ln Σ_{j < vocab} exp(z[r, j]) − z[r, targets[r]]`, with `z = logits + bias`, then, with a soft cap `c`,
/// `c · tanh(z / c)`.
///
/// Columns from `vocab` on are padding and take no part. A NaN among the logits of a row gives NaN. A target outside
/// the vocabulary is a fault of the row.
#[derive(Debug, Clone)]
pub struct Nll {
    /// Logits, `[rows, columns]`; `f32`, `bf16` or `f16`.
    pub logits: Tensor,
    /// Target of each row, `[rows]`; `u32` or `i32`.
    pub targets: Tensor,
    /// What is added to every row of logits, `[vocab]`, `f32`.
    pub bias: Option<Tensor>,
    /// Losses, `[rows]`, `f32`.
    pub out: Tensor,
    /// How many of the columns are vocabulary.
    pub vocab: usize,
    /// The cap of logits as of Gemma 2.
    pub softcap: Option<f32>,
}

impl Operation for Nll {
    const NAME: &'static str = "nll";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        [&self.logits, &self.targets].into_iter().chain(&self.bias).collect()
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("logits", &self.logits, &DType::FLOATS)?;
        check::rank("logits", &self.logits, 2)?;
        let (rows, columns) = self.logits.shape().rows_cols();
        check::targets(&self.targets, rows)?;
        check::vocab(self.vocab, columns)?;
        check::softcap(self.softcap)?;
        check::columns("bias", self.bias.as_ref(), self.vocab)?;
        check::dtype("out", &self.out, &[DType::F32])?;
        check::shape("out", &self.out, &[rows])
    }

    fn cost(&self) -> Cost {
        let (rows, columns) = self.logits.shape().rows_cols();
        let read = (rows * self.vocab.min(columns) * self.logits.dtype().size()) as u64;
        let bias = self.bias.as_ref().map_or(0, |b| b.bytes() as u64);
        Cost {
            flops: 4 * (rows * self.vocab) as u64,
            bytes: read + bias + check::bytes(&[&self.targets, &self.out]),
        }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.vocab, broken: check::target_fault }
    }
}

/// How logits become losses.
#[derive(Debug, Clone, Default)]
pub struct NllOptions {
    /// How many of the columns are vocabulary; default all.
    pub vocab: Option<usize>,
    /// Cap of the logits; default none.
    pub softcap: Option<f32>,
    /// What is added to every row of logits; default nothing.
    pub bias: Option<Tensor>,
}

impl Tensor {
    /// Losses of the targets under these logits; see [`Nll`].
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::InvalidArgument`], [`Code::Disposed`]; a target
    /// outside the vocabulary shows at the read, as [`Code::InvalidValue`] with its row.
    pub fn nll(&self, targets: &Tensor, options: NllOptions) -> Result<Tensor> {
        let [rows, columns] = **self.shape() else {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!("expected 2 dimensions, given {}", self.shape()),
            )
            .at_column("logits")
            .in_op(Nll::NAME));
        };
        let out = self.sibling(DType::F32, &[rows])?;
        self.device().run(Nll {
            logits: self.clone(),
            targets: targets.clone(),
            bias: options.bias,
            out: out.clone(),
            vocab: options.vocab.unwrap_or(columns),
            softcap: options.softcap,
        })?;
        Ok(out)
    }
}
