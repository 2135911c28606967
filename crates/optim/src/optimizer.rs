use std::collections::HashSet;

use gristmill_core::ops::{Adamw, AdamwRule, DecayOrder, EpsPlacement, Moments, Noise};
use gristmill_core::{Code, DType, Device, Error, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::accumulate::Sum;
use crate::kept::Kept;
use crate::linalg::sum_squares;
use crate::low_rank::{LowRank, Step};
use crate::subspace::Subspace;
use crate::{Algorithm, ApolloOptions, FiraOptions, GaLoreOptions, Group, Memory, moments, muon};

/// What all groups of an [`Optimizer`] share.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct OptimizerOptions {
    /// The norm that all gradients together are clipped to, as `clip_grad_norm_` of PyTorch does; not at all by default.
    pub max_grad_norm: Option<f64>,
    /// Whether a step with a gradient that is not finite is left out: nothing changes, and the step is counted as skipped.
    /// So by default. Without it, and without clipping, a step waits for nothing, and single elements without a finite
    /// gradient stay as they are.
    pub check_finite: bool,
    /// Whether details are those of `galore_torch` and of the reference code of Conda rather than those of PyTorch's AdamW:
    /// `eps` beside the uncorrected second moment, and weights that decay after the update. Not by default.
    pub parity: bool,
    /// Whether the refreshes of the parameters of a group are spread over the steps of a gap. Not by default; the reference
    /// implementations do all of them in one step.
    pub stagger: bool,
    /// Whether numbers are rounded to `bf16` at random, so that small updates count on average, rather than to the nearest.
    /// So by default. Moments, and weights of AdamW, of APOLLO, and of those with a basis of one side and at most 256
    /// dimensions; other weights are rounded to the nearest, and so are steps along gradients that were accumulated in a
    /// subspace.
    pub stochastic_rounding: bool,
    /// What random numbers are drawn with.
    pub seed: u64,
}

impl Default for OptimizerOptions {
    fn default() -> Self {
        Self {
            max_grad_norm: None,
            check_finite: true,
            parity: false,
            stagger: false,
            stochastic_rounding: true,
            seed: 0,
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// Steps so far.
    pub step: u64,
    /// Whether this one was taken.
    pub applied: bool,
    /// Steps that were left out so far because a gradient was not finite.
    pub skipped: u64,
    /// The norm of all gradients together before clipping, where it was asked for.
    pub grad_norm: Option<f64>,
    /// Bases that were found anew.
    pub refreshed: usize,
}

/// A parameter and its state.
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) param: Tensor,
    pub(crate) group: usize,
    pub(crate) state: State,
    /// What was accumulated since the last step.
    pub(crate) pending: Option<Sum>,
}

pub(crate) enum State {
    Adam(Moments),
    LowRank(LowRank),
    Momentum(Tensor),
}

/// Parameters in groups, and what is known of their gradients so far.
///
/// Weights are updated in place, on the device where they are.
pub struct Optimizer {
    pub(crate) device: Device,
    pub(crate) groups: Vec<Group>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) options: OptimizerOptions,
    pub(crate) step: u64,
    pub(crate) skipped: u64,
    /// Whether something that was accumulated was not finite.
    pub(crate) spoiled: bool,
}

impl Optimizer {
    /// An optimizer of these parameters, with states of zeros.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for an option out of its range, a name given twice, or parameters that share memory;
    /// [`Code::DtypeMismatch`] and [`Code::ShapeMismatch`] for a parameter that the algorithm of its group cannot take, and
    /// [`Code::DeviceMismatch`]; each with the parameter's name.
    pub fn new(device: &Device, groups: Vec<Group>, options: OptimizerOptions) -> Result<Self> {
        if options.max_grad_norm.is_some_and(|norm| !(norm.is_finite() && norm > 0.0)) {
            return Err(Error::invalid_argument("maxGradNorm", "expected a positive number"));
        }
        let maps = moments::maps(device)?;
        let mut slots: Vec<Slot> = Vec::new();
        for (number, group) in groups.iter().enumerate() {
            group.check()?;
            for (i, (name, param)) in group.params.iter().enumerate() {
                let offset = stagger(group, i).filter(|_| options.stagger).unwrap_or(0);
                let state = slot_state(device, group, param, &maps, offset).map_err(|e| e.at_path(name))?;
                if let Some(other) = slots.iter().find(|s| s.param.overlaps(param)) {
                    return Err(Error::new(
                        Code::InvalidArgument,
                        format!("it shares memory with {:?}: one weight would be updated twice", other.name),
                    )
                    .at_path(name));
                }
                slots.push(Slot {
                    name: name.clone(),
                    param: param.clone(),
                    group: number,
                    state,
                    pending: None,
                });
            }
        }
        let mut names = HashSet::new();
        if let Some(twice) = slots.iter().find(|s| !names.insert(&s.name)) {
            return Err(
                Error::new(Code::InvalidArgument, "two parameters have this name").at_path(&twice.name)
            );
        }
        Ok(Self { device: device.clone(), groups, slots, options, step: 0, skipped: 0, spoiled: false })
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Names and tensors of all parameters, in the order in which gradients are given.
    pub fn params(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.slots.iter().map(|slot| (slot.name.as_str(), &slot.param))
    }

    /// What was not taken as it was given, for whoever asked for it to know.
    pub fn warnings(&self) -> Vec<String> {
        let of_slot = |slot: &Slot| match (&slot.state, self.groups[slot.group].algorithm) {
            (
                State::LowRank(low_rank),
                Algorithm::GaLore(GaLoreOptions { rank, .. })
                | Algorithm::Fira(FiraOptions { rank, .. })
                | Algorithm::Apollo(ApolloOptions { rank, .. }),
            ) if low_rank.rank < rank => {
                let (name, used) = (&slot.name, low_rank.rank);
                Some(format!("{name}: a rank of {rank} is more than its smaller side: {used} is used"))
            }
            _ => None,
        };
        self.slots.iter().filter_map(of_slot).collect()
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Sets the learning rate of a group, by its number.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`].
    pub fn set_lr(&mut self, group: usize, lr: f64) -> Result<()> {
        let groups = self.groups.len();
        let group = self
            .groups
            .get_mut(group)
            .ok_or_else(|| Error::invalid_argument("group", format!("there are {groups}, given {group}")))?;
        if !(lr.is_finite() && lr >= 0.0) {
            return Err(Error::invalid_argument(
                "lr",
                format!("expected a number of at least 0, given {lr}"),
            ));
        }
        group.adam.lr = lr;
        Ok(())
    }

    /// Gives a parameter of [`Algorithm::GaLore`] or [`Algorithm::Fira`] its bases: orthonormal columns, `[rows, rank]` for the left side,
    /// `[columns, rank]` for the right one, both for both; or one of [`Algorithm::Apollo`] any basis of its smaller side. They stay until the next
    /// refresh.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a name that is none of such a parameter, [`Code::ShapeMismatch`].
    pub fn set_projector(&mut self, name: &str, bases: &[Tensor]) -> Result<()> {
        self.refuse_pending("another basis would not be theirs")?;
        let slot = self.slots.iter_mut().find(|s| s.name == name);
        match slot.map(|s| &mut s.state) {
            Some(State::LowRank(low_rank)) => low_rank.set_bases(bases).map_err(|e| e.at_path(name)),
            _ => Err(Error::invalid_argument("name", format!("{name:?} is no parameter with a projector"))),
        }
    }

    /// The bases of a parameter, as numbers: none before its first step.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a name that is none of a parameter with bases; those of the device.
    pub fn projector(&self, name: &str) -> Result<Vec<Tensor>> {
        match self.slots.iter().find(|s| s.name == name).map(|s| &s.state) {
            Some(State::LowRank(low_rank)) => low_rank.bases.iter().map(Kept::numbers).collect(),
            _ => Err(Error::invalid_argument("name", format!("{name:?} is no parameter with a projector"))),
        }
    }

    /// Takes a step along the gradients, one for each parameter in the order of [`params`](Self::params), `f32` or `bf16`,
    /// and along what was [accumulated](Self::accumulate) before.
    ///
    /// # Errors
    /// [`Code::ShapeMismatch`], [`Code::DtypeMismatch`], [`Code::DeviceMismatch`] with the parameter's name, before anything
    /// changes; those of the device.
    pub fn step(&mut self, gradients: &[Tensor]) -> Result<StepReport> {
        self.check_gradients(gradients)?;
        let sums = self.with_accumulated(gradients)?;
        self.step_along(sums)
    }

    pub(crate) fn step_along(&mut self, sums: Vec<Sum>) -> Result<StepReport> {
        let norm = match self.options.check_finite || self.options.max_grad_norm.is_some() {
            true => Some(norm(&sums)?),
            false => None,
        };
        if std::mem::take(&mut self.spoiled) || norm.is_some_and(|norm| !norm.is_finite()) {
            self.skipped += 1;
            return Ok(StepReport { applied: false, refreshed: 0, ..self.report(norm) });
        }
        let clip = match (self.options.max_grad_norm, norm) {
            (Some(most), Some(norm)) => (most / (norm + 1e-6)).min(1.0) as f32,
            _ => 1.0,
        };
        let (before, options) = (self.step, self.options);
        self.step += 1;
        let mut refreshed = 0;
        for (i, (slot, sum)) in self.slots.iter_mut().zip(&sums).enumerate() {
            let group = &self.groups[slot.group];
            let noise = options
                .stochastic_rounding
                .then_some(Noise { seed: options.seed, stream: (i as u64) << 40 | self.step });
            let step = Step {
                rule: rule(group, &options, self.step, clip),
                noise,
                before,
                seed: options.seed ^ (i as u64) << 32,
            };
            if let State::LowRank(low_rank) = &slot.state {
                refreshed += usize::from(low_rank.is_due(before));
            }
            move_slot(slot, group, sum, &step, self.step).map_err(|e| e.at_path(&slot.name))?;
        }
        Ok(StepReport { applied: true, refreshed, ..self.report(norm) })
    }

    fn report(&self, grad_norm: Option<f64>) -> StepReport {
        StepReport { step: self.step, applied: true, skipped: self.skipped, grad_norm, refreshed: 0 }
    }

    fn check_gradients(&self, gradients: &[Tensor]) -> Result<()> {
        if gradients.len() != self.slots.len() {
            return Err(Error::invalid_argument(
                "gradients",
                format!("expected {}, one for each parameter, given {}", self.slots.len(), gradients.len()),
            ));
        }
        self.slots.iter().zip(gradients).try_for_each(|(slot, gradient)| self.check_gradient(slot, gradient))
    }

    pub(crate) fn check_gradient(&self, slot: &Slot, gradient: &Tensor) -> Result<()> {
        let named = |e: Error| e.at_path(&slot.name);
        if gradient.shape() != slot.param.shape() {
            let what =
                format!("expected a gradient of shape {}, given {}", slot.param.shape(), gradient.shape());
            return Err(named(Error::new(Code::ShapeMismatch, what)));
        }
        check_tensor(&self.device, gradient).map_err(named)?;
        match &slot.state {
            State::LowRank(low_rank) => low_rank.check_ready(self.step).map_err(named),
            _ => Ok(()),
        }
    }

    /// Bytes on the device: of weights and of all that is kept beside them. Bases count from when they are there.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for slot in &self.slots {
            memory.weights += slot.param.bytes() as u64;
            memory.accumulated += slot.pending.as_ref().map_or(0, |sum| sum.tensor().bytes() as u64);
            let mut of_moments = |moments: &Moments| {
                let (numbers, scales) = moments::bytes(moments);
                memory.moments += numbers;
                memory.scales += scales;
            };
            match &slot.state {
                State::Adam(moments) => of_moments(moments),
                State::LowRank(low_rank) => {
                    of_moments(&low_rank.moments);
                    for basis in &low_rank.bases {
                        // The numbers or codes, then what scales them.
                        for (i, (_, tensor)) in basis.tensors().into_iter().enumerate() {
                            let bytes = if i == 0 { &mut memory.projectors } else { &mut memory.scales };
                            *bytes += tensor.bytes() as u64;
                        }
                    }
                    let limiter = low_rank.channels.as_ref().and_then(|c| c.previous.as_ref());
                    memory.scales += limiter.map_or(0, |size| size.bytes() as u64);
                }
                State::Momentum(momentum) => memory.moments += momentum.bytes() as u64,
            }
        }
        memory
    }
}

fn check_tensor(device: &Device, tensor: &Tensor) -> Result<()> {
    if !matches!(tensor.dtype(), DType::F32 | DType::Bf16) {
        return Err(Error::new(
            Code::DtypeMismatch,
            format!("expected f32 or bf16, given {}", tensor.dtype()),
        ));
    }
    if !tensor.device().same(device) {
        return Err(Error::new(
            Code::DeviceMismatch,
            format!("it is on {:?}, the optimizer on {device:?}", tensor.device()),
        ));
    }
    Ok(())
}

/// How many steps ahead of the others a parameter's refreshes are when they are spread.
fn stagger(group: &Group, i: usize) -> Option<u64> {
    let gap = match group.algorithm {
        Algorithm::GaLore(o) => o.update_proj_gap,
        Algorithm::Conda(o) => o.update_proj_gap,
        Algorithm::Apollo(o) => o.update_proj_gap,
        Algorithm::Fira(o) => o.update_proj_gap,
        Algorithm::AdamW | Algorithm::Muon(_) => return None,
    };
    let share = i as u128 * u128::from(gap) / group.params.len() as u128;
    u64::try_from(share).ok()
}

fn slot_state(device: &Device, group: &Group, param: &Tensor, maps: &Tensor, offset: u64) -> Result<State> {
    check_tensor(device, param)?;
    let matrix = || match **param.shape() {
        [rows, columns] if rows > 0 && columns > 0 => Ok([rows, columns]),
        _ => Err(Error::new(
            Code::ShapeMismatch,
            format!("{} takes matrices, given shape {}", group.algorithm.name(), param.shape()),
        )
        .hint("put it in a group of adamw")),
    };
    let state = (group.adam.state, maps);
    let subspace = |subspace| LowRank::new(device, matrix()?, subspace, state, offset);
    Ok(match group.algorithm {
        Algorithm::AdamW => State::Adam(moments::zeros(device, group.adam.state, param.shape(), maps)?),
        Algorithm::GaLore(o) => State::LowRank(subspace(Subspace::galore(&o))?),
        Algorithm::Conda(o) => State::LowRank(subspace(Subspace::conda(&o))?),
        Algorithm::Apollo(o) => State::LowRank(LowRank::apollo(device, matrix()?, o, state, offset)?),
        Algorithm::Fira(o) => State::LowRank(LowRank::fira(device, matrix()?, o, state, offset)?),
        Algorithm::Muon(o) => {
            if !(o.vectors && param.shape().rank() < 2) {
                matrix()?;
            }
            State::Momentum(device.zeros(DType::F32, param.shape().to_vec())?)
        }
    })
}

/// The norm of all gradients together.
fn norm(sums: &[Sum]) -> Result<f64> {
    let sums = sums.iter().map(|sum| sum_squares(sum.tensor())).collect::<Result<Vec<_>>>()?;
    let mut total = 0.0;
    for sum in sums {
        total += f64::from(sum.to_vec::<f32>()?[0]);
    }
    Ok(total.sqrt())
}

fn rule(group: &Group, options: &OptimizerOptions, t: u64, clip: f32) -> AdamwRule {
    let adam = &group.adam;
    let lr = adam.lr * adam.schedule.factor(t);
    let (placement, order) = match options.parity {
        true => (EpsPlacement::Raw, DecayOrder::After),
        false => (EpsPlacement::Corrected, DecayOrder::Before),
    };
    let rule = AdamwRule::bias_corrected(lr, adam.betas, adam.eps, t, placement);
    AdamwRule { grad_scale: clip, ..rule.decayed(lr * adam.weight_decay, order) }
}

fn move_slot(slot: &mut Slot, group: &Group, sum: &Sum, step: &Step, t: u64) -> Result<()> {
    let param = &slot.param;
    match (&mut slot.state, sum) {
        (State::LowRank(low_rank), sum) => low_rank.step(param, sum, step),
        (State::Adam(moments), Sum::Full(gradient)) => param.device().run(Adamw {
            grad: gradient.clone(),
            param: param.clone(),
            moments: moments.clone(),
            rule: step.rule,
            noise: step.noise,
        }),
        (State::Momentum(momentum), Sum::Full(gradient)) => {
            let Algorithm::Muon(options) = &group.algorithm else {
                return Err(Error::new(Code::Internal, "a momentum that is none of Muon"));
            };
            let lr = group.adam.lr * group.adam.schedule.factor(t);
            let keep = 1.0 - lr * group.adam.weight_decay;
            muon::step(options, param, gradient, momentum, step.rule.grad_scale, [lr, keep])
        }
        (_, Sum::Inner(_)) => {
            Err(Error::new(Code::Internal, "a gradient in the subspace of a state without one"))
        }
    }
}
