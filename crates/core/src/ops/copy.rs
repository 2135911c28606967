use super::{Cost, Operation, Promise, check};
use crate::{Result, Tensor};

/// `out[i] = x[i]`, bit for bit. Any type and shape.
#[derive(Debug, Clone)]
pub struct Copy {
    /// Elements to copy.
    pub x: Tensor,
    /// Where to.
    pub out: Tensor,
}

impl Operation for Copy {
    const NAME: &'static str = "copy";
    const PROMISE: Promise = Promise::Exact;

    fn inputs(&self) -> Vec<&Tensor> {
        vec![&self.x]
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        check::same_dtype("out", &self.out, "x", self.x.dtype())?;
        check::shape("out", &self.out, self.x.shape())
    }

    fn cost(&self) -> Cost {
        Cost { flops: 0, bytes: check::bytes(&[&self.x, &self.out]) }
    }
}

impl Tensor {
    /// The same elements in memory of their own.
    ///
    /// # Errors
    /// [`crate::Code::Disposed`].
    pub fn copy(&self) -> Result<Tensor> {
        let out = self.sibling(self.dtype(), self.shape())?;
        self.device().run(Copy { x: self.clone(), out: out.clone() })?;
        Ok(out)
    }
}
