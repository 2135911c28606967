//! States as safetensors files: a length, a header in JSON, and the bytes of tensors. Nothing in one is ever executed, and
//! nothing of an optimizer changes before all of one has been checked.

use std::collections::BTreeMap;

use gristmill_core::{Code, DType, Device, Error, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::kept::Keeping;
use crate::low_rank::Progress;
use crate::optimizer::{Slot, State};
use crate::{AdamOptions, Algorithm, Optimizer, moments};

/// Bytes of a header at the most, as the format has it.
const MAX_HEADER: usize = 100_000_000;
/// The end of the name of what a limiter remembers.
const SIZE: &str = "scaled_grad";
/// What the states here call themselves.
const FORMAT: &str = "gristmill-optim/1";

#[derive(Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) data_offsets: [usize; 2],
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Header {
    #[serde(rename = "__metadata__", default)]
    pub(crate) metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// What of an optimizer is no tensor.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct About {
    step: u64,
    skipped: u64,
    seed: u64,
    params: BTreeMap<String, AboutParam>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AboutParam {
    algorithm: Algorithm,
    options: AdamOptions,
    shape: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low_rank: Option<Progress>,
}

/// The name of a type in the format.
pub(crate) fn type_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::F64 => "F64",
        DType::Bf16 => "BF16",
        DType::F16 => "F16",
        DType::U8 => "U8",
        DType::I32 => "I32",
        DType::U32 => "U32",
    }
}

/// The tensors of a state, with the ends of their names.
fn tensors(state: &State) -> Vec<(String, Tensor)> {
    let named = |moments| moments::named(moments).map(|(name, t)| (name.to_owned(), t.clone())).to_vec();
    match state {
        State::Adam(moments) => named(moments),
        State::LowRank(low_rank) => {
            let mut all = named(&low_rank.moments);
            if let Some(previous) = low_rank.channels.as_ref().and_then(|c| c.previous.as_ref()) {
                all.push((SIZE.into(), previous.clone()));
            }
            let kept = low_rank.bases.iter().flat_map(|basis| basis.tensors());
            all.extend(low_rank.parts().into_iter().zip(kept).map(|((name, ..), (_, t))| (name, t.clone())));
            all
        }
        State::Momentum(momentum) => vec![("momentum_buffer".into(), momentum.clone())],
    }
}

pub(crate) fn corrupt(why: impl Into<String>) -> Error {
    Error::new(Code::CorruptData, format!("no state of an optimizer: {}", why.into()))
}

impl Optimizer {
    /// Everything that is needed to go on from here, as a safetensors file: tensors `<parameter>.exp_avg` and `.exp_avg_sq`,
    /// or `.codes` and `.absmax`, `.proj` (with `.proj_scale` and `.proj_zero` if it is packed), `.momentum_buffer`,
    /// `.scaled_grad`; in the metadata, under `gristmill`, a JSON object with steps,
    /// seed, options, and gap and agreement of the bases. Weights are not in it.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] while accumulated gradients wait for their step; those of reading from the device.
    pub fn save(&self) -> Result<Vec<u8>> {
        self.refuse_pending("a state would be without them")?;
        let mut params = BTreeMap::new();
        let mut all = Vec::new();
        for slot in &self.slots {
            let group = &self.groups[slot.group];
            let low_rank = match &slot.state {
                State::LowRank(low_rank) => Some(low_rank.progress.clone()),
                _ => None,
            };
            let about = AboutParam {
                algorithm: group.algorithm,
                options: group.adam,
                shape: slot.param.shape().to_vec(),
                low_rank,
            };
            params.insert(slot.name.clone(), about);
            let named = tensors(&slot.state).into_iter();
            all.extend(named.map(|(end, tensor)| (format!("{}.{end}", slot.name), tensor)));
        }
        let about = About { step: self.step, skipped: self.skipped, seed: self.options.seed, params };
        write(FORMAT, &about, all)
    }

    /// Goes on from a state that [`save`](Self::save) gave, of an optimizer of the same parameters in the same groups; on
    /// whatever device it was. Learning rates, schedules and the like may differ from then on; what says how a state is laid
    /// out may not.
    ///
    /// # Errors
    /// [`Code::CorruptData`] for what is no such file, or damaged; [`Code::InvalidArgument`] for a state of other parameters
    /// or of another algorithm, with the parameter's name; [`Code::ShapeMismatch`]; [`Code::InvalidValue`] for a state with
    /// numbers that are not finite. Nothing has changed then.
    pub fn load(&mut self, state: &[u8]) -> Result<()> {
        self.refuse_pending("they are of another state")?;
        let (header, data) = parse(state)?;
        let about: About = match (header.metadata.get("format"), header.metadata.get("gristmill")) {
            (Some(format), Some(about)) if format == FORMAT => {
                serde_json::from_str(about).map_err(|e| corrupt(format!("its metadata: {e}")))?
            }
            _ => return Err(corrupt(format!("its metadata do not say {FORMAT:?}"))),
        };
        if let Some(stranger) = about.params.keys().find(|name| self.slots.iter().all(|s| s.name != **name)) {
            return Err(Error::new(
                Code::InvalidArgument,
                "the state has a parameter that this optimizer has not",
            )
            .at_path(stranger));
        }
        let mut known = 0;
        let mut loaded = Vec::new();
        for slot in &self.slots {
            let found = about.params.get(&slot.name).ok_or_else(|| {
                Error::new(Code::InvalidArgument, "the state has no such parameter").at_path(&slot.name)
            })?;
            let loading = Loading { header: &header, data, slot };
            let one = loading.check(found, &self.groups[slot.group]).map_err(|e| e.at_path(&slot.name))?;
            known += one.tensors.len();
            loaded.push(one);
        }
        if known != header.entries.len() {
            return Err(corrupt("it has tensors that belong to no parameter"));
        }
        // New tensors first: what can fail for want of memory fails before anything changes.
        let device = self.device.clone();
        let mut all = Vec::new();
        for one in &loaded {
            let make = |(like, bytes): &(Like, Vec<u8>)| {
                device.tensor_from(Box::new(bytes.clone()), like.0, like.1.clone())
            };
            all.push(one.tensors.iter().map(make).collect::<Result<Vec<_>>>()?);
        }
        for ((slot, one), made) in self.slots.iter_mut().zip(loaded).zip(all) {
            slot.state.replace(&device, made, one.progress);
        }
        self.step = about.step;
        self.skipped = about.skipped;
        self.options.seed = about.seed;
        Ok(())
    }
}

impl State {
    /// Takes these tensors, in the order of [`tensors`].
    pub(crate) fn replace(&mut self, device: &Device, made: Vec<Tensor>, progress: Option<Progress>) {
        use gristmill_core::ops::Moments;
        let mut made = made.into_iter();
        let mut next = |old: &mut Tensor| {
            if let Some(tensor) = made.next() {
                *old = tensor;
            }
        };
        let mut of_moments = |moments: &mut Moments| match moments {
            Moments::Full { m, v } => {
                next(m);
                next(v);
            }
            Moments::Int8 { codes, absmax, .. } => {
                next(codes);
                next(absmax);
            }
        };
        match self {
            State::Adam(moments) => of_moments(moments),
            State::Momentum(momentum) => next(momentum),
            State::LowRank(low_rank) => {
                of_moments(&mut low_rank.moments);
                if let Some(previous) = low_rank.channels.as_mut().and_then(|c| c.previous.as_mut()) {
                    next(previous);
                }
                let progress = progress.unwrap_or_else(|| low_rank.progress.clone());
                low_rank.restore(device, made, progress);
            }
        }
    }
}

/// A safetensors file of these tensors, which has in its metadata the format, and under `gristmill` what is no tensor.
pub(crate) fn write(
    format: &str,
    about: &impl Serialize,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
) -> Result<Vec<u8>> {
    let (mut entries, mut data) = (BTreeMap::new(), Vec::new());
    for (name, tensor) in tensors {
        let start = data.len();
        data.extend(tensor.read()?);
        let entry = Entry {
            dtype: type_name(tensor.dtype()).into(),
            shape: tensor.shape().to_vec(),
            data_offsets: [start, data.len()],
        };
        entries.insert(name, entry);
    }
    let json = |e: serde_json::Error| Error::new(Code::Internal, format!("a header that is no JSON: {e}"));
    let about = serde_json::to_string(about).map_err(json)?;
    let metadata = [("format".into(), format.into()), ("gristmill".into(), about)].into();
    let mut header = serde_json::to_vec(&Header { metadata, entries }).map_err(json)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = Vec::with_capacity(8 + header.len() + data.len());
    out.extend((header.len() as u64).to_le_bytes());
    out.extend(header);
    out.extend(data);
    Ok(out)
}

pub(crate) fn parse(state: &[u8]) -> Result<(Header, &[u8])> {
    let (length, rest) = state.split_first_chunk::<8>().ok_or_else(|| corrupt("it is too short"))?;
    let length =
        usize::try_from(u64::from_le_bytes(*length)).ok().filter(|&n| n <= MAX_HEADER.min(rest.len()));
    let (header, data) = rest.split_at(length.ok_or_else(|| corrupt("its header is cut off"))?);
    let header: Header = serde_json::from_slice(header).map_err(|e| corrupt(format!("its header: {e}")))?;
    let mut places: Vec<_> = header.entries.values().map(|e| e.data_offsets).collect();
    places.sort_unstable();
    let mut end = 0;
    for place in places {
        if place[0] != end || place[1] < place[0] {
            return Err(corrupt("its tensors do not lie one behind the other"));
        }
        end = place[1];
    }
    if end != data.len() {
        return Err(corrupt(format!("{} bytes of tensors instead of {end}", data.len())));
    }
    Ok((header, data))
}

/// Type and shape of a tensor.
type Like = (DType, Vec<usize>);

/// What was found for a parameter.
struct Loaded {
    tensors: Vec<(Like, Vec<u8>)>,
    progress: Option<Progress>,
}

struct Loading<'a> {
    header: &'a Header,
    data: &'a [u8],
    slot: &'a Slot,
}

impl Loading<'_> {
    fn check(&self, found: &AboutParam, group: &crate::Group) -> Result<Loaded> {
        if found.shape != **self.slot.param.shape() {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!(
                    "the parameter has shape {}, in the state {:?}",
                    self.slot.param.shape(),
                    found.shape
                ),
            ));
        }
        if found.algorithm.name() != group.algorithm.name() {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("it is of {}, the state of {}", group.algorithm.name(), found.algorithm.name()),
            ));
        }
        let mut expected: Vec<(String, Like)> = tensors(&self.slot.state)
            .into_iter()
            .filter(|(name, _)| !name.starts_with("proj"))
            .map(|(name, t)| (name, (t.dtype(), t.shape().to_vec())))
            .collect();
        if let State::LowRank(low_rank) = &self.slot.state {
            let progress =
                found.low_rank.as_ref().ok_or_else(|| corrupt("a subspace without its progress"))?;
            if progress.gap == 0 || progress.cosines.iter().any(|c| !c.is_finite()) {
                return Err(corrupt("a gap of 0, or an agreement that is no number"));
            }
            if progress.refreshes > 0 {
                if low_rank.keeping() == Keeping::Seeded && progress.seed.is_none() {
                    return Err(corrupt("a random basis without its seed"));
                }
                let parts = low_rank.parts().into_iter();
                expected.extend(parts.map(|(name, dtype, shape)| (name, (dtype, shape))));
            }
        }
        let tensors =
            expected.into_iter().map(|(name, like)| self.tensor(&name, like)).collect::<Result<_>>()?;
        Ok(Loaded { tensors, progress: found.low_rank.clone() })
    }

    fn tensor(&self, end: &str, like: Like) -> Result<(Like, Vec<u8>)> {
        let name = format!("{}.{end}", self.slot.name);
        let entry = self.header.entries.get(&name).ok_or_else(|| corrupt(format!("it has no {name:?}")))?;
        let [start, stop] = entry.data_offsets;
        let size = like.1.iter().product::<usize>() * like.0.size();
        if entry.shape != like.1 || entry.dtype != type_name(like.0) || stop - start != size {
            return Err(Error::new(
                Code::ShapeMismatch,
                format!(
                    "expected {} {:?}, in the state {} {:?}",
                    type_name(like.0),
                    like.1,
                    entry.dtype,
                    entry.shape
                ),
            )
            .at_column(end));
        }
        let bytes = self.data[start..stop].to_vec();
        // The exponents of f32 and bf16 lie in the last two bytes of an element.
        let wide = like.0.size();
        let finite =
            |element: &[u8]| u16::from_le_bytes([element[wide - 2], element[wide - 1]]) & 0x7F80 != 0x7F80;
        if like.0.is_float() && !bytes.chunks_exact(wide).all(finite) {
            return Err(
                Error::new(Code::InvalidValue, "the state has numbers that are not finite").at_column(end)
            );
        }
        Ok((like, bytes))
    }
}
