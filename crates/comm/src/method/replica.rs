//! What every method has: the shared parameters, and payloads in and out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use gristmill_core::ops::Copy;
use gristmill_core::{Code, Control, DType, Device, Error, Result, ResultExt, Tensor};

use crate::wire::{
    Address, Codec, DivideBy, Expect, Format, Hash, Header, ParamSpec, Payload, Reason, Refusal, params_hash,
    seal,
};

use super::Metering;

/// Parameters by name.
pub(super) type Named = (String, Tensor);

/// Rows and columns of the blocks of parameters by name, where they are not to be as usual.
pub type Blocks = BTreeMap<String, [usize; 2]>;

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
        blocks: &Blocks,
        codec: Codec,
        divide_by: DivideBy,
    ) -> Result<Self> {
        if let Some(name) = blocks.keys().find(|name| params.iter().all(|(n, _)| n != *name)) {
            return Err(Error::invalid_argument("blocks", format!("there is no parameter {name:?}")));
        }
        let mut entries = Vec::new();
        let mut copies = Vec::new();
        for (name, tensor) in params {
            check(name, tensor, device)?;
            let (shape, block) = (tensor.shape().to_vec(), blocks.get(name).copied());
            entries.push(ParamSpec { name: name.clone(), shape, block }.entry(chunk)?);
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
    pub(super) fn base(&mut self) -> Result<Hash> {
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

    /// Copies the parameters into tensors like them.
    pub(super) fn copy_to(&self, given: &[Tensor]) -> Result<()> {
        self.check_given(given)?;
        let copy = |(x, out): (&Tensor, &Tensor)| self.device.run(Copy { x: x.clone(), out: out.clone() });
        self.params.iter().zip(given).try_for_each(copy)
    }

    /// Makes a payload of what there is to say of each tensor.
    pub(super) fn seal(&mut self, tensors: &[Vec<u8>]) -> Result<Vec<u8>> {
        let since = Instant::now();
        let address = Address::open(self.base()?);
        let payload = seal(&self.format, &address, tensors.iter().map(|t| &t[..]), None)?;
        self.metering.seal_seconds += since.elapsed().as_secs_f64();
        Ok(payload)
    }

    /// Checks payloads, and puts them into the order in which they are added up: by peer, then by hash. All that say where
    /// they belong must belong to one round of one run, each to a peer of its own.
    pub(super) fn open<'a>(
        &mut self,
        payloads: &'a [Vec<u8>],
        control: &Control,
    ) -> Result<Vec<Payload<'a>>> {
        let since = Instant::now();
        if payloads.is_empty() {
            return Err(Error::new(Code::EmptyInput, "there is no payload to apply"));
        }
        let base = self.base()?;
        let (mut opened, mut peers) = (Vec::<Payload<'a>>::new(), BTreeSet::new());
        for (i, payload) in payloads.iter().enumerate() {
            control.check()?;
            let first = opened.iter().map(|p| &p.header().address).find(|address| !address.is_open());
            let mut expect = Expect { base: Some(base), ..Expect::format(&self.format) };
            if !Header::of_payload(payload).is_ok_and(|header| header.address.is_open()) {
                (expect.run, expect.round) = (first.map(|a| &*a.run), first.map(|a| a.round));
            }
            let payload = Payload::open(payload, &expect).map_err(Error::from).at_row(i as u64)?;
            let address = &payload.header().address;
            if !address.is_open() && !peers.insert(address.peer.clone()) {
                let twice = format!("there are two payloads of peer {:?}", address.peer);
                return Err(Error::from(Refusal::new(Reason::Duplicate, twice)).at_row(i as u64));
            }
            opened.push(payload);
        }
        opened
            .sort_by(|a, b| (&a.header().address.peer, a.hash()).cmp(&(&b.header().address.peer, b.hash())));
        self.metering.verify_seconds += since.elapsed().as_secs_f64();
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
