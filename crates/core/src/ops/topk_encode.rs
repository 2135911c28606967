use super::{Contract, Cost, Operation, Promise, check};
use crate::payload::{Chunking, PayloadLayout, Quantizer};
use crate::{Code, DType, Error, Result, Tensor};

/// The pseudo-gradient of local training with error feedback, as the payload of its greatest entries (SparseLoCo,
/// arXiv 2508.15706, algorithm 1): with `settle` of [`crate::payload`],
///
/// `acc = settle(settle(decay · residual) + settle(base − local))`.
///
/// Of each chunk, the `k` elements of greatest magnitude are sent, of equal ones the first; `v` is what the payload
/// says of them, and `residual_out` is `settle(acc − v)` there and `acc` elsewhere. Exact on every backend.
///
/// What a payload says of the values of a chunk is defined without rounding of sums:
/// [`fit_magnitudes`](crate::payload::fit_magnitudes) for `signMagnitude`, [`fit_step`](crate::payload::fit_step) for
/// `int8`; `none` keeps them. `reference` needs statistics of the whole tensor: encode with `none`, quantise what
/// came out, and give the difference back to the residual with [`super::TopkAggregate`].
///
/// A chunk with an element that is NaN or of a magnitude above [`crate::payload::LARGEST`] is a fault at its number:
/// what does not reach the wire is not subtracted either, since `residual` stays what it was.
#[derive(Debug, Clone)]
pub struct TopkEncode {
    /// Parameters before local training, `f32`, of any shape.
    pub base: Tensor,
    /// Parameters after it, of the same shape.
    pub local: Tensor,
    /// What earlier rounds left unsent, of the same shape.
    pub residual: Tensor,
    /// What this round leaves unsent, of the same shape.
    pub residual_out: Tensor,
    /// The payload, `[words]`, `u32`.
    pub payload: Tensor,
    /// How the elements are cut into chunks.
    pub chunking: Chunking,
    /// What is sent of a chunk, and how.
    pub layout: PayloadLayout,
    /// Factor of the residual, from 0 to 1.
    pub decay: f32,
}

impl Operation for TopkEncode {
    const NAME: &'static str = "topk_encode";
    const PROMISE: Promise = Promise::Exact;
    const MAY_FAULT: bool = true;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.base, &self.local, &self.residual]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.residual_out, &self.payload]
    }

    fn check(&self) -> Result<()> {
        for (name, t) in [
            ("base", &self.base),
            ("local", &self.local),
            ("residual", &self.residual),
            ("residualOut", &self.residual_out),
        ] {
            check::dtype(name, t, &[DType::F32])?;
            check::shape(name, t, self.base.shape())?;
        }
        check::chunked("base", &self.base, &self.chunking, &self.layout)?;
        check::dtype("payload", &self.payload, &[DType::U32])?;
        check::shape("payload", &self.payload, &[self.layout.words(&self.chunking)])?;
        if self.layout.quantizer() == Quantizer::Reference {
            return Err(Error::invalid_argument("quantizer", "\"reference\" needs the whole tensor first")
                .hint("encode with \"none\" and quantise the entries"));
        }
        if !(0.0..=1.0).contains(&self.decay) {
            return Err(Error::invalid_argument("decay", format!("expected 0 to 1, given {}", self.decay)));
        }
        Ok(())
    }

    fn cost(&self) -> Cost {
        let tensors = [&self.base, &self.local, &self.residual, &self.residual_out, &self.payload];
        Cost { flops: 4 * self.base.len() as u64, bytes: check::bytes(&tensors) }
    }

    fn contract(&self) -> Contract {
        let broken = |row, _| {
            Error::new(Code::InvalidValue, "a pseudo-gradient of this chunk is not finite, or beyond 2^30")
                .at_column("local")
                .at_row(row)
                .hint("local training diverged: go back to the parameters of the last round")
        };
        Contract { bound: 0, broken }
    }
}
