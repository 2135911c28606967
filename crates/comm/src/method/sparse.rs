//! What the methods share that send the greatest entries of each chunk.

use std::time::Instant;

use gristmill_core::ops::{PayloadNorm, Reduction, TopkAggregate, TopkEncode};
use gristmill_core::payload::{Chunking, IndexCodec, PayloadLayout, Quantizer};
use gristmill_core::{Code, Control, DType, Device, Error, Result, Tensor};

use crate::wire::{Codec, DivideBy, Payload};

use super::clip::weights;
use super::reference::quantize;
use super::replica::{Blocks, Named, Replica, ready};
use super::state;

/// The options that they share.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) chunk: usize,
    pub(super) top_k: usize,
    pub(super) quantizer: Quantizer,
    pub(super) indices: IndexCodec,
    pub(super) lr: f32,
    pub(super) decay: f32,
    pub(super) divide_by: DivideBy,
    pub(super) clip: bool,
    pub(super) blocks: Blocks,
    /// What the options call `lr` and `decay`.
    pub(super) names: [&'static str; 2],
}

pub(super) struct Sparse {
    pub(super) replica: Replica,
    pub(super) residual: Vec<Tensor>,
    pub(super) settings: Settings,
    layout: PayloadLayout,
}

impl Sparse {
    pub(super) fn new(device: &Device, params: &[Named], settings: Settings) -> Result<Self> {
        if !settings.lr.is_finite() || settings.lr < 0.0 {
            return Err(Error::invalid_argument(
                settings.names[0],
                format!("expected a number of 0 or more, given {}", settings.lr),
            ));
        }
        if !(0.0..=1.0).contains(&settings.decay) {
            return Err(Error::invalid_argument(
                settings.names[1],
                format!("expected 0 to 1, given {}", settings.decay),
            ));
        }
        let layout =
            PayloadLayout::new(settings.chunk, settings.top_k, settings.quantizer, settings.indices)?;
        let codec = Codec::Sparse(layout);
        let Settings { chunk, divide_by, .. } = settings;
        let replica = Replica::new(device, params, chunk, &settings.blocks, codec, divide_by)?;
        let residual = replica.zeros()?;
        Ok(Self { replica, residual, settings, layout })
    }

    fn chunking(&self, i: usize) -> Chunking {
        *self.replica.format.tensors()[i].chunking()
    }

    /// The payload of `from[i] − to[i]` and what earlier rounds left unsent.
    pub(super) fn encode(&mut self, from: &[Tensor], to: &[Tensor], control: &Control) -> Result<Vec<u8>> {
        let since = Instant::now();
        let exact = match self.settings.quantizer {
            Quantizer::Reference => PayloadLayout::new(
                self.settings.chunk,
                self.settings.top_k,
                Quantizer::None,
                self.settings.indices,
            )?,
            _ => self.layout,
        };
        let mut encoded = Vec::new();
        for (i, (base, local)) in from.iter().zip(to).enumerate() {
            let chunking = self.chunking(i);
            let payload = self.replica.device.empty(DType::U32, [exact.words(&chunking)])?;
            let residual_out = self.replica.device.empty(DType::F32, base.shape().to_vec())?;
            self.replica.device.run(TopkEncode {
                base: base.clone(),
                local: local.clone(),
                residual: self.residual[i].clone(),
                residual_out: residual_out.clone(),
                payload: payload.clone(),
                chunking,
                layout: exact,
                decay: self.settings.decay,
            })?;
            encoded.push((payload, residual_out));
        }
        let mut tensors = Vec::new();
        let mut residual = Vec::new();
        for (i, (payload, residual_out)) in encoded.into_iter().enumerate() {
            control.check()?;
            let mut words = payload.to_vec::<u32>().map_err(|e| self.fault(i, &e).unwrap_or(e))?;
            if self.settings.quantizer == Quantizer::Reference {
                words = self.reference(i, &words, &exact, &residual_out)?;
            }
            tensors.push(words.iter().flat_map(|w| w.to_le_bytes()).collect());
            residual.push(residual_out);
        }
        let payload = self.replica.seal(&tensors)?;
        self.residual = residual;
        let (values, entries) = (self.replica.format.values(), self.replica.format.entries());
        self.replica.metering.encoded(&payload, values, entries, since);
        Ok(payload)
    }

    /// The fault of a tensor by its name.
    fn fault(&self, i: usize, e: &Error) -> Option<Error> {
        let chunk = e.location().row.filter(|_| e.code() == Code::InvalidValue)?;
        let at = self.chunking(i).chunk(chunk as usize);
        Some(
            Error::new(
                Code::InvalidValue,
                format!(
                    "{} (the {} × {} block from row {}, column {} on)",
                    e.message(),
                    at.rows,
                    at.columns,
                    at.row,
                    at.column
                ),
            )
            .at_column(self.replica.name(i))
            .at_row(chunk)
            .hint(
                "local training diverged: go back to the parameters of the last round; nothing was changed",
            ),
        )
    }

    /// Quantises exact values by the statistics of their tensor, and gives what that loses back to the residual.
    fn reference(
        &self,
        i: usize,
        words: &[u32],
        exact: &PayloadLayout,
        residual: &Tensor,
    ) -> Result<Vec<u32>> {
        let device = &self.replica.device;
        let quantized = quantize(words, exact, &self.layout, &self.chunking(i))
            .map_err(|defect| Error::new(Code::Internal, format!("a payload of one's own: {defect}")))?;
        let len = quantized.rest.len();
        device.run(TopkAggregate {
            payloads: device.tensor(quantized.rest, [1, len])?,
            weights: device.tensor(vec![1f32], [1])?,
            // Less minus one times what is left.
            steps: device.tensor(vec![0f32, -1.0], [2])?,
            theta: residual.clone(),
            chunking: self.chunking(i),
            layout: *exact,
        })?;
        // Before the payload leaves: what was sent and what is left are one state.
        ready([residual])?;
        Ok(quantized.payload)
    }

    /// Adds up payloads and takes the outer step.
    pub(super) fn apply(&mut self, payloads: &[Vec<u8>], control: &Control) -> Result<()> {
        let since = Instant::now();
        let opened = self.replica.open(payloads, control)?;
        let stacked = self.stack(&opened)?;
        let weights = self.weights(&stacked, opened.len())?;
        let steps = self.steps(opened.len())?;
        let mut ops = Vec::new();
        for (i, (payloads, weights)) in stacked.into_iter().zip(weights).enumerate() {
            ops.push(TopkAggregate {
                payloads,
                weights: self.replica.device.tensor(weights, [opened.len()])?,
                steps: steps.clone(),
                theta: self.replica.params[i].clone(),
                chunking: self.chunking(i),
                layout: self.layout,
            });
        }
        // With all memory there, no tensor is left behind when the others have made their step.
        ready(ops.iter().flat_map(|op| [&op.payloads, &op.weights, &op.steps, &op.theta]))?;
        control.check()?;
        self.replica.changed();
        for op in ops {
            self.replica.device.run(op)?;
        }
        self.replica.device.synchronize()?;
        self.replica.metering.applied(payloads, since);
        Ok(())
    }

    /// For each tensor the payloads of all peers, one a row.
    fn stack(&self, opened: &[Payload]) -> Result<Vec<Tensor>> {
        let stack = |i: usize| {
            let words: Vec<u32> = opened
                .iter()
                .flat_map(|p| p.tensor(i).as_chunks::<4>().0)
                .map(|b| u32::from_le_bytes(*b))
                .collect();
            self.replica.device.tensor(words, [opened.len(), self.layout.words(&self.chunking(i))])
        };
        (0..self.replica.params.len()).map(stack).collect()
    }

    /// For each tensor the weights of all peers.
    fn weights(&self, stacked: &[Tensor], peers: usize) -> Result<Vec<Vec<f32>>> {
        if !self.settings.clip || peers < 2 {
            return Ok(vec![vec![1.0; peers]; stacked.len()]);
        }
        let all = self.replica.device.empty(DType::F32, [stacked.len(), peers])?;
        for (i, payloads) in stacked.iter().enumerate() {
            self.replica.device.run(PayloadNorm {
                payloads: payloads.clone(),
                out: all.narrow(i, 1)?.reshape([peers])?,
                chunking: self.chunking(i),
                layout: self.layout,
            })?;
        }
        Ok(all.to_vec::<f32>()?.chunks(peers).map(weights).collect())
    }

    /// The step for each number of peers that have an entry for an element.
    fn steps(&self, peers: usize) -> Result<Tensor> {
        let step = |count: usize| match self.settings.divide_by {
            DivideBy::Contributors => (f64::from(self.settings.lr) / count.max(1) as f64) as f32,
            DivideBy::Peers => (f64::from(self.settings.lr) / peers as f64) as f32,
        };
        self.replica.device.tensor((0..=peers).map(step).collect(), [peers + 1])
    }

    /// The norm of all that was left unsent.
    pub(super) fn residual_norm(&self) -> Result<f64> {
        let mut squares = 0.0;
        for residual in self.residual.iter().filter(|r| !r.is_empty()) {
            let sum = residual.reshape([1, residual.len()])?.row_reduce(Reduction::SumSquares)?;
            squares += f64::from(sum.to_vec::<f32>()?[0]);
        }
        Ok(squares.sqrt())
    }

    /// Parameters and residuals by the names that they have in a state.
    fn named(&self) -> Vec<(String, &Tensor)> {
        let of = |kind: &'static str, tensors: &'_ [Tensor]| -> Vec<String> {
            (0..tensors.len()).map(|i| format!("{kind}/{}", self.replica.name(i))).collect()
        };
        let names = [of("param", &self.replica.params), of("residual", &self.residual)].concat();
        names.into_iter().zip(self.replica.params.iter().chain(&self.residual)).collect()
    }

    fn about(&self, method: &str) -> [(&'static str, String); 2] {
        [("method", method.into()), ("format", self.replica.format.hash().to_string())]
    }

    pub(super) fn save(&self, method: &str) -> Result<Vec<u8>> {
        state::save(&self.about(method), &self.named())
    }

    pub(super) fn load(&mut self, method: &str, state: &[u8]) -> Result<()> {
        let mut params = state::load(state, &self.about(method), &self.named(), &self.replica.device)?;
        self.residual = params.split_off(self.replica.params.len());
        self.replica.params = params;
        self.replica.changed();
        Ok(())
    }
}
