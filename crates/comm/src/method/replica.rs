//! What every method has: the shared parameters, and payloads in and out.

use gristmill_core::{Code, DType, Device, Error, Result, ResultExt, Tensor};

use crate::wire::{Address, Codec, DivideBy, Expect, Format, Hash, Payload, TensorEntry, params_hash, seal};

use super::Metering;

/// Parameters by name.
pub(super) type Named = (String, Tensor);

pub(super) struct Replica {
    pub(super) device: Device,
    pub(super) format: Format,
    pub(super) params: Vec<Tensor>,
    pub(super) metering: Metering,
    /// The hash of the parameters, once it was asked for.
    hash: Option<Hash>,
}

impl Replica {
    /// Copies the parameters: those of the caller go on to be trained.
    pub(super) fn new(
        device: &Device,
        params: &[Named],
        chunk: usize,
        codec: Codec,
        divide_by: DivideBy,
    ) -> Result<Self> {
        let mut entries = Vec::new();
        let mut copies = Vec::new();
        for (name, tensor) in params {
            check(name, tensor, device)?;
            entries.push(TensorEntry::of(name, tensor.shape(), chunk)?);
            copies.push(tensor.copy()?);
        }
        let format = Format::new(codec, divide_by, entries)?;
        Ok(Self { device: device.clone(), format, params: copies, metering: Metering::default(), hash: None })
    }

    pub(super) fn name(&self, i: usize) -> &str {
        self.format.tensors()[i].name()
    }

    /// Tensors of another kind, one for each parameter, of zeros.
    pub(super) fn zeros(&self) -> Result<Vec<Tensor>> {
        self.params.iter().map(|p| self.device.zeros(DType::F32, p.shape().to_vec())).collect()
    }

    /// Whether there is a tensor like each parameter.
    pub(super) fn check_given(&self, given: &[Tensor]) -> Result<()> {
        if given.len() != self.params.len() {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!(
                    "expected {} tensors, one for each parameter, given {}",
                    self.params.len(),
                    given.len()
                ),
            ));
        }
        for (i, (given, param)) in given.iter().zip(&self.params).enumerate() {
            check(self.name(i), given, &self.device)?;
            if given.shape() != param.shape() {
                return Err(Error::new(
                    Code::ShapeMismatch,
                    format!("expected shape {}, given {}", param.shape(), given.shape()),
                )
                .at_column(self.name(i)));
            }
        }
        Ok(())
    }

    /// The hash of the parameters as they are.
    fn base(&mut self) -> Result<Hash> {
        if let Some(hash) = self.hash {
            return Ok(hash);
        }
        let values = self.params.iter().map(|p| p.to_vec::<f32>()).collect::<Result<Vec<_>>>()?;
        let hash = params_hash(&self.format, values.iter().map(|v| &v[..]))?;
        self.hash = Some(hash);
        Ok(hash)
    }

    /// Forgets what was known of the parameters: they changed.
    pub(super) fn changed(&mut self) {
        self.hash = None;
    }

    /// Makes a payload of what there is to say of each tensor.
    pub(super) fn seal(&mut self, tensors: &[Vec<u8>]) -> Result<Vec<u8>> {
        let address = Address::open(self.base()?);
        seal(&self.format, &address, tensors.iter().map(|t| &t[..]), None)
    }

    /// Checks payloads, and puts them into the order in which they are added up: by peer, then by hash.
    pub(super) fn open<'a>(&mut self, payloads: &'a [Vec<u8>]) -> Result<Vec<Payload<'a>>> {
        if payloads.is_empty() {
            return Err(Error::new(Code::EmptyInput, "there is no payload to apply"));
        }
        let base = self.base()?;
        let expect = Expect { base: Some(base), ..Expect::format(&self.format) };
        let mut opened = Vec::new();
        for (i, payload) in payloads.iter().enumerate() {
            let payload = Payload::open(payload, &expect).map_err(Error::from).at_row(i as u64)?;
            opened.push(payload);
        }
        opened
            .sort_by(|a, b| (&a.header().address.peer, a.hash()).cmp(&(&b.header().address.peer, b.hash())));
        Ok(opened)
    }
}

/// Waits until these tensors are there: memory that could not be had, or a fault, shows here.
pub(super) fn ready<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<()> {
    tensors.into_iter().try_for_each(|t| t.reshape([t.len()])?.narrow(0, 0)?.read().map(drop))
}

/// Whether a parameter is one that can be exchanged.
fn check(name: &str, tensor: &Tensor, device: &Device) -> Result<()> {
    if !tensor.device().same(device) {
        return Err(Error::new(
            Code::DeviceMismatch,
            format!("it is on {:?}, the method on {device:?}", tensor.device()),
        )
        .at_column(name));
    }
    if tensor.dtype() != DType::F32 {
        return Err(Error::new(Code::DtypeMismatch, format!("expected f32, given {}", tensor.dtype()))
            .at_column(name)
            .hint("exchange the f32 master copies"));
    }
    Ok(())
}
