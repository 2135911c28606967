use super::{Contract, Cost, NllOptions, Operation, Promise, check};
use crate::{Code, DType, Error, Result, Tensor};

/// [`Nll`](super::Nll) of `logits = hidden · headᵀ` without the logits ever being in memory:
/// `z[r, j] = Σ_i hidden[r, i] · head[j, i] + bias[j]`, capped as there.
///
/// The product is made a tile at a time, in `f32`, and each tile leaves a maximum and a sum of exponentials for each
/// row, which are merged in a fixed order that the rows have no part in: a row has the same bits in whatever batch it
/// comes. Rows of the head from `vocab` on are padding. A target outside the vocabulary is a fault of the row.
#[derive(Debug, Clone)]
pub struct LinearNll {
    /// Hidden states, `[rows, d]`; `f32`, `bf16` or `f16`.
    pub hidden: Tensor,
    /// The head, `[padded vocab, d]`, of the same type.
    pub head: Tensor,
    /// Target of each row, `[rows]`; `u32` or `i32`.
    pub targets: Tensor,
    /// What is added to every row of logits, `[vocab]`, `f32`.
    pub bias: Option<Tensor>,
    /// Losses, `[rows]`, `f32`.
    pub out: Tensor,
    /// How many rows of the head are vocabulary.
    pub vocab: usize,
    /// The cap of logits as of Gemma 2.
    pub softcap: Option<f32>,
}

impl Operation for LinearNll {
    const NAME: &'static str = "linear_nll";
    const PROMISE: Promise = Promise::Tolerance;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        [&self.hidden, &self.head, &self.targets].into_iter().chain(&self.bias).collect()
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::dtype("hidden", &self.hidden, &DType::FLOATS)?;
        check::rank("hidden", &self.hidden, 2)?;
        check::rank("head", &self.head, 2)?;
        check::same_dtype("head", &self.head, "hidden", self.hidden.dtype())?;
        let (rows, d) = self.hidden.shape().rows_cols();
        let (padded, _) = self.head.shape().rows_cols();
        check::shape("head", &self.head, &[padded, d])?;
        check::targets(&self.targets, rows)?;
        check::vocab(self.vocab, padded)?;
        check::softcap(self.softcap)?;
        check::columns("bias", self.bias.as_ref(), self.vocab)?;
        check::dtype("out", &self.out, &[DType::F32])?;
        check::shape("out", &self.out, &[rows])
    }

    fn cost(&self) -> Cost {
        let (rows, d) = self.hidden.shape().rows_cols();
        let head = (self.vocab * d * self.head.dtype().size()) as u64;
        let bias = self.bias.as_ref().map_or(0, |b| b.bytes() as u64);
        Cost {
            flops: (2 * d as u64 + 4) * rows as u64 * self.vocab as u64,
            bytes: head + bias + check::bytes(&[&self.hidden, &self.targets, &self.out]),
        }
    }

    fn contract(&self) -> Contract {
        Contract { bound: self.vocab, broken: check::target_fault }
    }
}

impl Tensor {
    /// Losses of the targets under the logits that `head` gives for these hidden states; see [`LinearNll`].
    ///
    /// # Errors
    /// As [`nll`](Self::nll).
    pub fn linear_nll(&self, head: &Tensor, targets: &Tensor, options: NllOptions) -> Result<Tensor> {
        let ([rows, _], [padded, _]) = (&**self.shape(), &**head.shape()) else {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!("expected 2 dimensions twice, given {} and {}", self.shape(), head.shape()),
            )
            .at_column("hidden")
            .in_op(LinearNll::NAME));
        };
        let out = self.sibling(DType::F32, &[*rows])?;
        self.device().run(LinearNll {
            hidden: self.clone(),
            head: head.clone(),
            targets: targets.clone(),
            bias: options.bias,
            out: out.clone(),
            vocab: options.vocab.unwrap_or(*padded),
            softcap: options.softcap,
        })?;
        Ok(out)
    }
}
