use gristmill_core::ops::{Axpby, Matmul, MatmulOptions};
use gristmill_core::{DType, Result, Tensor};

use super::Loader;

/// A linear map `y = x · Wᵀ + b`, with `W` stored as `[out, in]`.
#[derive(Debug)]
pub(super) struct Linear {
    pub(super) weight: Tensor,
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn load(loader: &Loader, name: &str, bias: bool) -> Result<Self> {
        Ok(Self {
            weight: loader.matrix(&format!("{name}.weight"))?,
            bias: loader.vector(&format!("{name}.bias"), bias)?,
        })
    }

    /// `x · Wᵀ`, in the type of `x`, without the bias.
    pub(super) fn product(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight, MatmulOptions { trans_b: true, ..MatmulOptions::default() })
    }

    /// `x · Wᵀ + b`, in the type of `x`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.product(x)?;
        if let Some(bias) = &self.bias {
            y.bias_add(bias)?;
        }
        Ok(y)
    }
}

/// A linear map that is the end of a block, and its input: its result goes to the residual stream.
pub(super) struct Pending<'a> {
    pub(super) map: &'a Linear,
    pub(super) x: Tensor,
}

impl Pending<'_> {
    /// Adds the result to the residual stream, within the product.
    pub(super) fn onto(self, h: &Tensor) -> Result<()> {
        let out = h.clone();
        let (a, b) = (self.x, self.map.weight.clone());
        h.device().run(Matmul { a, b, out, trans_a: false, trans_b: true, alpha: 1.0, beta: 1.0 })?;
        match &self.map.bias {
            Some(bias) => h.bias_add(bias),
            None => Ok(()),
        }
    }

    /// The result by itself, in `f32`.
    pub(super) fn alone(self) -> Result<Tensor> {
        let dtype = Some(DType::F32);
        let options = MatmulOptions { trans_b: true, dtype, ..MatmulOptions::default() };
        let out = self.x.matmul(&self.map.weight, options)?;
        if let Some(bias) = &self.map.bias {
            out.bias_add(bias)?;
        }
        Ok(out)
    }
}

/// `h += x`.
pub(super) fn add(x: &Tensor, h: &Tensor) -> Result<()> {
    h.device().run(Axpby { x: x.clone(), y: h.clone(), alpha: 1.0, beta: 1.0 })
}
