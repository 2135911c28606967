//! Gradients of several micro-batches, added up before a step.

use gristmill_core::{Code, Error, Result, Tensor};

use crate::linalg::{f32_of, sum_squares};
use crate::optimizer::{Optimizer, Slot, State, StepReport};

/// What was added up for a parameter.
#[derive(Debug, Clone)]
pub(crate) enum Sum {
    /// The gradient.
    Full(Tensor),
    /// The gradient in the subspace: all that a step needs that finds no new basis.
    Inner(Tensor),
}

impl Sum {
    pub(crate) fn tensor(&self) -> &Tensor {
        match self {
            Sum::Full(t) | Sum::Inner(t) => t,
        }
    }
}

impl Slot {
    /// The gradient as the next step takes it.
    fn reduced(&self, gradient: &Tensor, steps: u64) -> Result<Sum> {
        match &self.state {
            State::LowRank(low_rank) if low_rank.channels.is_none() && !low_rank.is_due(steps) => {
                low_rank.inner(gradient).map(Sum::Inner)
            }
            _ => Ok(Sum::Full(gradient.clone())),
        }
    }

    /// Adds a gradient to what there is.
    fn add(&mut self, gradient: &Tensor, steps: u64) -> Result<()> {
        let next = self.reduced(gradient, steps)?;
        match &self.pending {
            Some(sum) => sum.tensor().axpby(1.0, &f32_of(next.tensor())?, 1.0),
            None => {
                self.pending = Some(match next {
                    // The caller's tensor may change, or go.
                    Sum::Full(t) if t.dtype() == gristmill_core::DType::F32 => Sum::Full(t.copy()?),
                    Sum::Full(t) => Sum::Full(f32_of(&t)?),
                    inner => inner,
                });
                Ok(())
            }
        }
    }
}

impl Optimizer {
    /// Adds gradients to what the next step goes along, for any parameters, by name: those of a micro-batch, or of one layer
    /// as its backward pass comes, so that no more than one layer's need be in memory. Between two bases of
    /// [`crate::Algorithm::GaLore`] and [`crate::Algorithm::Conda`] only the gradient in the subspace is kept, which is a
    /// sum as good as that of the gradients, since projecting is linear; before a step that finds a new basis it is the
    /// gradient itself, as it always is with [`crate::Algorithm::Apollo`] and [`crate::Algorithm::Fira`], whose steps take all
    /// of it. Nothing is divided: gradients are scaled by whoever has them.
    ///
    /// With `max_grad_norm` the next step is clipped by the norm of what was kept. In a subspace that is at most the norm of
    /// the gradient, so less is clipped than by [`step`](Self::step).
    ///
    /// A gradient that is not finite spoils the step, where the options say that it is checked: it is left out and counted.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for a name that is none of a parameter, and those of [`step`](Self::step); nothing is added
    /// then.
    pub fn accumulate(&mut self, gradients: &[(&str, Tensor)]) -> Result<()> {
        let mut places = Vec::new();
        for (name, gradient) in gradients {
            let place = self.slots.iter().position(|s| s.name == *name).ok_or_else(|| {
                Error::invalid_argument("gradients", format!("there is no parameter {name:?}"))
            })?;
            self.check_gradient(&self.slots[place], gradient)?;
            places.push(place);
        }
        if self.options.check_finite {
            let norms =
                gradients.iter().map(|(_, gradient)| sum_squares(gradient)).collect::<Result<Vec<_>>>()?;
            for norm in norms {
                self.spoiled |= !norm.to_vec::<f32>()?[0].is_finite();
            }
        }
        for (place, (name, gradient)) in places.into_iter().zip(gradients) {
            self.slots[place].add(gradient, self.step).map_err(|e| e.at_path(*name))?;
        }
        Ok(())
    }

    /// Takes a step along what was [accumulated](Self::accumulate) for every parameter.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] with the name of a parameter for which nothing was; those of the device.
    pub fn step_accumulated(&mut self) -> Result<StepReport> {
        let nothing = |slot: &&Slot| slot.pending.is_none();
        if let Some(slot) = self.slots.iter().find(nothing) {
            return Err(Error::new(Code::InvalidArgument, "no gradient was accumulated").at_path(&slot.name));
        }
        let sums = self.slots.iter_mut().filter_map(|slot| slot.pending.take()).collect();
        self.step_along(sums)
    }

    /// What the step goes along: these gradients and what was accumulated before.
    pub(crate) fn with_accumulated(&mut self, gradients: &[Tensor]) -> Result<Vec<Sum>> {
        let steps = self.step;
        let of_slot = |(slot, gradient): (&mut Slot, &Tensor)| {
            if slot.pending.is_none() {
                return Ok(Sum::Full(gradient.clone()));
            }
            slot.add(gradient, steps).map_err(|e| e.at_path(&slot.name))?;
            slot.pending.take().ok_or_else(|| Error::new(Code::Internal, "a sum that is gone"))
        };
        self.slots.iter_mut().zip(gradients).map(of_slot).collect()
    }

    /// Refuses what would lose gradients that wait for their step.
    pub(crate) fn refuse_pending(&self, what: &str) -> Result<()> {
        match self.slots.iter().find(|slot| slot.pending.is_some()) {
            None => Ok(()),
            Some(slot) => Err(Error::new(
                Code::InvalidArgument,
                format!("gradients were accumulated that no step has taken, and {what}"),
            )
            .hint("take the step first")
            .at_path(&slot.name)),
        }
    }
}
