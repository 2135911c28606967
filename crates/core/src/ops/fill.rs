use super::{Cost, Operation, Promise, check};
use crate::{Result, Tensor};

/// `out[i] = value`, converted as [`Cast`](super::Cast) converts from `f64`. Any type and shape.
#[derive(Debug, Clone)]
pub struct Fill {
    /// Where to.
    pub out: Tensor,
    /// The value.
    pub value: f64,
}

impl Operation for Fill {
    const NAME: &'static str = "fill";
    const PROMISE: Promise = Promise::Exact;

    fn inputs(&self) -> Vec<&Tensor> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<&Tensor> {
        vec![&self.out]
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn cost(&self) -> Cost {
        Cost { flops: 0, bytes: check::bytes(&[&self.out]) }
    }
}
