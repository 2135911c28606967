use std::time::Instant;

use gristmill_core::payload::MAX_CHUNK;
use gristmill_core::{Code, Control, DType, Device, Error, Result, Tensor};

use crate::wire::{Codec, DivideBy, Format, Hash};

use super::replica::{Blocks, Replica, ready};
use super::{Metering, Method, state};

/// How a [`DiLoCo`] works.
#[derive(Debug, Clone, Copy)]
pub struct DiLoCoOptions {
    /// The outer learning rate; 0.7 by default.
    pub outer_lr: f32,
    /// The outer Nesterov momentum, from 0 to below 1; 0.9 by default.
    pub momentum: f32,
}

impl Default for DiLoCoOptions {
    fn default() -> Self {
        Self { outer_lr: 0.7, momentum: 0.9 }
    }
}

/// Local training, and after it the mean of all pseudo-gradients under Nesterov momentum (DiLoCo, arXiv 2311.08105):
/// nothing is left out, which is what the others are measured against.
///
/// With `g` the mean, `m ← momentum · m + g`, `θ ← θ − lr · (g + momentum · m)`. Replicas on one kind of device have the same
/// bits; between kinds they may differ by rounding.
pub struct DiLoCo {
    replica: Replica,
    momentum: Vec<Tensor>,
    options: DiLoCoOptions,
}

impl DiLoCo {
    /// A replica of these parameters (`f32`), which are copied.
    ///
    /// # Errors
    /// As [`super::SparseLoCo::new`].
    pub fn new(device: &Device, params: &[(String, Tensor)], options: DiLoCoOptions) -> Result<Self> {
        if !options.outer_lr.is_finite() || options.outer_lr < 0.0 {
            return Err(Error::invalid_argument(
                "outerLr",
                format!("expected a number of 0 or more, given {}", options.outer_lr),
            ));
        }
        if !(0.0..1.0).contains(&options.momentum) {
            return Err(Error::invalid_argument(
                "momentum",
                format!("expected 0 to below 1, given {}", options.momentum),
            ));
        }
        let replica = Replica::new(device, params, MAX_CHUNK, &Blocks::new(), Codec::Dense, DivideBy::Peers)?;
        Ok(Self { momentum: replica.zeros()?, replica, options })
    }

    fn about(&self) -> [(&'static str, String); 2] {
        [("method", "DiLoCo".into()), ("format", self.replica.format.hash().to_string())]
    }

    fn named(&self) -> Vec<(String, &Tensor)> {
        let of = |kind: &str, i: usize| format!("{kind}/{}", self.replica.name(i));
        let params = self.replica.params.iter().enumerate().map(|(i, t)| (of("param", i), t));
        params.chain(self.momentum.iter().enumerate().map(|(i, t)| (of("momentum", i), t))).collect()
    }

    /// The step of a tensor by the pseudo-gradients of all peers.
    fn step(&self, i: usize, deltas: &[Tensor]) -> Result<()> {
        let DiLoCoOptions { outer_lr, momentum } = self.options;
        let (theta, buffer) = (&self.replica.params[i], &self.momentum[i]);
        let mean = self.replica.device.zeros(DType::F32, theta.shape().to_vec())?;
        for delta in deltas {
            mean.axpy(1.0 / deltas.len() as f32, delta)?;
        }
        buffer.axpby(1.0, &mean, momentum)?;
        theta.axpy(-outer_lr, &mean)?;
        theta.axpy(-outer_lr * momentum, buffer)
    }
}

impl Method for DiLoCo {
    fn format(&self) -> &Format {
        &self.replica.format
    }

    fn encode(&mut self, given: &[Tensor], control: &Control) -> Result<Vec<u8>> {
        let since = Instant::now();
        self.replica.check_given(given)?;
        let mut tensors = Vec::new();
        for (i, (local, base)) in given.iter().zip(&self.replica.params).enumerate() {
            control.check()?;
            let delta = base.copy()?;
            delta.axpy(-1.0, local)?;
            let values = delta.to_vec::<f32>()?;
            if let Some(at) = values.iter().position(|x| !x.is_finite()) {
                return Err(Error::new(
                    Code::InvalidValue,
                    format!("element {at} of the pseudo-gradient is {}", values[at]),
                )
                .at_column(self.replica.name(i))
                .hint("local training diverged: go back to the parameters of the last round"));
            }
            tensors.push(values.iter().flat_map(|x| x.to_le_bytes()).collect());
        }
        let payload = self.replica.seal(&tensors)?;
        let values = self.replica.format.values();
        self.replica.metering.encoded(&payload, values, values, since);
        Ok(payload)
    }

    fn apply(&mut self, payloads: &[Vec<u8>], control: &Control) -> Result<()> {
        let since = Instant::now();
        let opened = self.replica.open(payloads, control)?;
        let mut deltas = Vec::new();
        for (i, param) in self.replica.params.iter().enumerate() {
            let delta = |bytes: &[u8]| {
                let values = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
                self.replica.device.tensor::<f32>(values, param.shape().to_vec())
            };
            deltas.push(opened.iter().map(|p| delta(p.tensor(i))).collect::<Result<Vec<_>>>()?);
        }
        ready(deltas.iter().flatten().chain(&self.replica.params).chain(&self.momentum))?;
        control.check()?;
        self.replica.changed();
        for (i, deltas) in deltas.iter().enumerate() {
            self.step(i, deltas)?;
        }
        self.replica.device.synchronize()?;
        self.replica.metering.applied(payloads, since);
        Ok(())
    }

    fn params(&self) -> &[Tensor] {
        &self.replica.params
    }

    fn hash(&mut self) -> Result<Hash> {
        self.replica.base()
    }

    fn copy_to(&self, given: &[Tensor]) -> Result<()> {
        self.replica.copy_to(given)
    }

    fn residual_norm(&self) -> Result<Option<f64>> {
        Ok(None)
    }

    fn save(&self) -> Result<Vec<u8>> {
        state::save(&self.about(), &self.named())
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        let mut params = state::load(state, &self.about(), &self.named(), &self.replica.device)?;
        self.momentum = params.split_off(self.replica.params.len());
        self.replica.params = params;
        self.replica.changed();
        Ok(())
    }

    fn metering(&self) -> Metering {
        self.replica.metering
    }
}
