//! States of other optimizers, where they are plain tensors.
//!
//! A state dictionary of PyTorch goes into a safetensors file with the parameter's name before each key and a point
//! between them, nested keys likewise. What is there says which optimizer it was:
//!
//! | tensors of a parameter | from |
//! |---|---|
//! | `exp_avg`, `exp_avg_sq` | AdamW of PyTorch, Conda |
//! | the same in the subspace, `projector.ortho_matrix` (for both sides `.0` and `.1`) | `galore_torch` |
//! | `state1`, `state2`, and for codes `absmax1`, `absmax2`, `qmap1`, `qmap2`; perhaps a projector | `bitsandbytes` 8-bit Adam, 8-bit GaLore |
//! | `exp_avg.codes`, `exp_avg.scale`, `exp_avg.qmap`, the same of `exp_avg_sq` | `torchao` AdamW8bit |
//! | `momentum_buffer` | Muon |
//!
//! and `step`, a single number, the same for all.

use gristmill_core::ops::{Moments, block_unit, code, dynamic_map, midpoints};
use gristmill_core::{Code, DType, Error, Result, Tensor};
use half::{bf16, f16};

use crate::checkpoint::{Header, corrupt, parse};
use crate::kept::Kept;
use crate::low_rank::{LowRank, Progress, Sides};
use crate::optimizer::{Optimizer, Slot, State};

/// What was found for a parameter: tensors in the order of its state.
struct Found {
    step: u64,
    tensors: Vec<Tensor>,
    progress: Option<Progress>,
}

/// The numbers of a moment, and the codes that they came from if those are codes of ours.
struct Moment {
    values: Vec<f32>,
    codes: Option<(Vec<u8>, Vec<f32>)>,
}

impl Optimizer {
    /// Goes on from the state of another program: see the table in the source of this function's module, or the
    /// documentation of `importState` in TypeScript. `state` is a safetensors file. Moments are converted to the type that
    /// this optimizer keeps; codes of 8 bits in blocks of 256 with the dynamic map stay as they are. Bases of
    /// `galore_torch` are taken over, and the next refresh is when it would have been there.
    ///
    /// # Errors
    /// [`Code::CorruptData`] for what is no such file; [`Code::Unsupported`] for a parameter of APOLLO or Fira;
    /// [`Code::InvalidArgument`] with the parameter's name where tensors are
    /// missing, or differ in their step; [`Code::ShapeMismatch`]; [`Code::InvalidValue`] for numbers that are not finite.
    /// Nothing has changed then.
    pub fn import(&mut self, state: &[u8]) -> Result<()> {
        self.refuse_pending("they are of another state")?;
        let (header, data) = parse(state)?;
        let strangers = header.entries.keys().find(|key| {
            let own = |slot: &Slot| key.strip_prefix(&slot.name).is_some_and(|rest| rest.starts_with('.'));
            !self.slots.iter().any(own)
        });
        if let Some(name) = strangers {
            let what = "the state has a tensor that belongs to no parameter of this optimizer";
            return Err(Error::new(Code::InvalidArgument, what).at_path(name));
        }
        let mut found: Vec<Found> = Vec::new();
        for slot in &self.slots {
            let file = File { header: &header, data, slot };
            let one = file.find(&self.device).map_err(|e| e.at_path(&slot.name))?;
            if let Some(first) = found.first().filter(|first| first.step != one.step) {
                let what = format!("it is at step {}, and others are at step {}", one.step, first.step);
                return Err(Error::new(Code::InvalidArgument, what).at_path(&slot.name));
            }
            found.push(one);
        }
        self.step = found.first().map_or(0, |one| one.step);
        self.skipped = 0;
        for (slot, one) in self.slots.iter_mut().zip(found) {
            slot.state.replace(&self.device, one.tensors, one.progress);
        }
        Ok(())
    }
}

/// The tensors of one parameter in a file.
struct File<'a> {
    header: &'a Header,
    data: &'a [u8],
    slot: &'a Slot,
}

impl File<'_> {
    fn find(&self, device: &gristmill_core::Device) -> Result<Found> {
        if matches!(self.slot.state, State::LowRank(LowRank { channels: Some(_), .. })) {
            let what = "states of APOLLO and Fira of other programs are not known here";
            return Err(Error::new(Code::Unsupported, what).hint("load one that was saved here"));
        }
        let step = match &self.numbers("step")?.ok_or_else(|| missing("step"))?[..] {
            &[step] if step >= 0.0 && step.fract() == 0.0 && step < 16_777_216.0 => step as u64,
            _ => return Err(Error::new(Code::InvalidValue, "expected one number of steps").at_column("step")),
        };
        let (mut tensors, mut progress) = (Vec::new(), None);
        match &self.slot.state {
            State::Momentum(momentum) => {
                let values = self.numbers("momentum_buffer")?.ok_or_else(|| missing("momentum_buffer"))?;
                sized("momentum_buffer", values.len(), momentum.len())?;
                tensors.push(device.tensor(values, momentum.shape().to_vec())?);
            }
            State::Adam(moments) => tensors.extend(self.moments(moments)?),
            State::LowRank(low_rank) => {
                tensors.extend(self.moments(&low_rank.moments)?);
                for basis in self.bases(device, low_rank)? {
                    let kept = Kept::new(basis, low_rank.keeping())?;
                    tensors.extend(kept.tensors().into_iter().map(|(_, tensor)| tensor.clone()));
                }
                progress = Some(Progress { refreshes: 1, ..low_rank.progress.clone() });
            }
        }
        Ok(Found { step, tensors, progress })
    }

    /// The moments, as the optimizer keeps them.
    fn moments(&self, like: &Moments) -> Result<Vec<Tensor>> {
        let elements = match like {
            Moments::Full { m, .. } => m.len(),
            Moments::Int8 { .. } => self.kept(),
        };
        let [m, v] =
            [self.moment(true, elements)?, self.moment(false, elements)?].map(|moment| self.turned(moment));
        let shaped = |t: &Tensor, values: Vec<f32>| -> Result<Tensor> {
            let made = t.device().tensor(values, t.shape().to_vec())?;
            if t.dtype() == DType::F32 { Ok(made) } else { made.cast(t.dtype()) }
        };
        match like {
            Moments::Full { m: old_m, v: old_v } => {
                Ok(vec![shaped(old_m, m.values)?, shaped(old_v, v.values)?])
            }
            Moments::Int8 { codes, absmax, .. } => {
                let (mut words, mut scales) = (Vec::new(), Vec::new());
                for (moment, signed) in [(m, true), (v, false)] {
                    let (codes, absmax) = moment.codes.unwrap_or_else(|| encode(&moment.values, signed));
                    let blocks = codes.chunks(Moments::BLOCK).map(|block| {
                        // Behind the last element come zeros, which have codes too.
                        let mut whole = vec![zero_code(signed); Moments::BLOCK];
                        whole[..block.len()].copy_from_slice(block);
                        whole
                    });
                    words.extend(
                        blocks
                            .flatten()
                            .collect::<Vec<u8>>()
                            .chunks_exact(4)
                            .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]])),
                    );
                    scales.extend(absmax);
                }
                let device = codes.device();
                let codes = device.tensor(words, codes.shape().to_vec())?;
                Ok(vec![codes, device.tensor(scales, absmax.shape().to_vec())?])
            }
        }
    }

    /// A moment with the subspace in its columns: of the left side others have it in the rows.
    fn turned(&self, moment: Moment) -> Moment {
        match &self.slot.state {
            State::LowRank(LowRank { sides: Sides::Left, rank, .. }) => {
                let columns = moment.values.len() / rank;
                let at = |i: usize| moment.values[(i % rank) * columns + i / rank];
                Moment { values: (0..moment.values.len()).map(at).collect(), codes: None }
            }
            _ => moment,
        }
    }

    /// Elements that a state keeps.
    fn kept(&self) -> usize {
        let (rows, columns) = self.slot.param.shape().rows_cols();
        match &self.slot.state {
            State::LowRank(low_rank) => {
                low_rank.sides.shapes(rows, columns, low_rank.rank).1.iter().product()
            }
            _ => self.slot.param.len(),
        }
    }

    fn moment(&self, first: bool, elements: usize) -> Result<Moment> {
        let (plain, theirs) = if first { ("exp_avg", "state1") } else { ("exp_avg_sq", "state2") };
        let number = if first { '1' } else { '2' };
        let coded = [
            (format!("{plain}.codes"), format!("{plain}.scale"), format!("{plain}.qmap")),
            (theirs.to_owned(), format!("absmax{number}"), format!("qmap{number}")),
        ];
        for (codes, scale, map) in coded {
            if self.header.entries.contains_key(&self.key(&scale)) {
                return self.codes(first, elements, [&codes, &scale, &map]);
            }
        }
        for name in [plain, theirs] {
            if let Some(values) = self.numbers(name)? {
                sized(name, values.len(), elements)?;
                return Ok(Moment { values, codes: None });
            }
        }
        Err(missing(plain))
    }

    /// A moment of codes.
    fn codes(&self, signed: bool, elements: usize, [codes, scale, map]: [&str; 3]) -> Result<Moment> {
        let required = |name: &str| self.numbers(name)?.ok_or_else(|| missing(name));
        let (numbers, absmax, qmap) = (required(codes)?, required(scale)?, required(map)?);
        sized(codes, numbers.len(), elements)?;
        sized(map, qmap.len(), 256)?;
        let block = elements.div_ceil(absmax.len().max(1)).next_power_of_two();
        sized(scale, absmax.len(), elements.div_ceil(block.max(1)))?;
        if absmax.iter().any(|&x| x < 0.0) {
            return Err(Error::new(Code::InvalidValue, "a scale below 0").at_column(scale));
        }
        if numbers.iter().any(|x| !(0.0..=255.0).contains(x) || x.fract() != 0.0) {
            return Err(Error::new(Code::InvalidValue, "codes are whole numbers of 8 bits").at_column(codes));
        }
        let bytes: Vec<u8> = numbers.iter().map(|&x| x as u8).collect();
        let values =
            bytes.iter().enumerate().map(|(i, &c)| qmap[usize::from(c)] * absmax[i / block]).collect();
        // Maps that other programs compute in f32 differ from ours in the last bit.
        let same = qmap.iter().zip(dynamic_map(signed)).all(|(a, b)| (a - b).abs() <= 2e-7 * b.abs());
        let ours = same && block == Moments::BLOCK;
        Ok(Moment { values, codes: ours.then_some((bytes, absmax)) })
    }

    /// The bases of a subspace, as columns.
    fn bases(&self, device: &gristmill_core::Device, low_rank: &LowRank) -> Result<Vec<Tensor>> {
        const NAME: &str = "projector.ortho_matrix";
        let (rows, columns) = self.slot.param.shape().rows_cols();
        let (shapes, _) = low_rank.sides.shapes(rows, columns, low_rank.rank);
        let names = if shapes.len() == 1 {
            vec![NAME.into()]
        } else {
            vec![format!("{NAME}.0"), format!("{NAME}.1")]
        };
        let one = |((name, &[side, rank]), &right): ((String, &[usize; 2]), &bool)| {
            let values = self.numbers(&name)?.ok_or_else(|| missing(&name))?;
            sized(&name, values.len(), side * rank)?;
            // Right vectors come as rows.
            let columns = match right {
                true => (0..side * rank).map(|i| values[(i % rank) * side + i / rank]).collect(),
                false => values,
            };
            device.tensor(columns, [side, rank])
        };
        names.into_iter().zip(&shapes).zip(low_rank.sides.rights()).map(one).collect()
    }

    fn key(&self, end: &str) -> String {
        format!("{}.{end}", self.slot.name)
    }

    /// The numbers of a tensor as `f32`; `None` where there is no such.
    fn numbers(&self, end: &str) -> Result<Option<Vec<f32>>> {
        let Some(entry) = self.header.entries.get(&self.key(end)) else { return Ok(None) };
        let bytes = &self.data[entry.data_offsets[0]..entry.data_offsets[1]];
        let values: Vec<f32> = match entry.dtype.as_str() {
            "F32" => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            "BF16" => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            "F16" => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            "U8" => bytes.iter().map(|&b| f32::from(b)).collect(),
            "I64" => {
                let number = |b: &[u8]| b.try_into().map_or(f32::NAN, |b| i64::from_le_bytes(b) as f32);
                bytes.chunks_exact(8).map(number).collect()
            }
            other => {
                let what = format!("a tensor of {other}: there are F32, BF16, F16, U8 and I64");
                return Err(Error::new(Code::Unsupported, what).at_column(end));
            }
        };
        let expected = entry.shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side));
        if expected != Some(values.len()) {
            return Err(corrupt(format!("{end} has not as many bytes as its shape says")));
        }
        if values.iter().any(|x| !x.is_finite()) {
            let what = "the state has numbers that are not finite";
            return Err(Error::new(Code::InvalidValue, what).at_column(end));
        }
        Ok(Some(values))
    }
}

/// Codes and scales of numbers.
fn encode(values: &[f32], signed: bool) -> (Vec<u8>, Vec<f32>) {
    let middle = midpoints(&dynamic_map(signed));
    let (mut codes, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
    for block in values.chunks(Moments::BLOCK) {
        let unit = block_unit(block.iter().fold(0f32, |max, x| max.max(x.abs())));
        codes.extend(block.iter().map(|&x| code(&middle, x, unit)));
        scales.push(unit.0);
    }
    (codes, scales)
}

/// The code of 0.
fn zero_code(signed: bool) -> u8 {
    code(&midpoints(&dynamic_map(signed)), 0.0, block_unit(1.0))
}

fn missing(name: &str) -> Error {
    Error::new(Code::InvalidArgument, format!("the state has no {name:?} of it"))
        .hint("name tensors <parameter>.<key>, as the state dictionary has the keys")
}

fn sized(name: &str, given: usize, expected: usize) -> Result<()> {
    if given == expected {
        return Ok(());
    }
    Err(Error::new(Code::ShapeMismatch, format!("expected {expected} elements, given {given}"))
        .at_column(name))
}
