use gristmill_core::ops::{AdamwRule, Copy, LowRankAdam, Matmul, MatmulOptions, Moments, Noise};
use gristmill_core::{Code, DType, Device, Error, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::accumulate::Sum;
use crate::channel::{Channels, Scaled};
use crate::kept::{Keeping, Kept};
use crate::linalg::{RangeOptions, f32_of, leading_vectors, range_find, rotate};
use crate::subspace::{Basis, Subspace};
use crate::{ProjType, RandomProjector, Refresh, StateType, moments};

/// Bases whose agreement Q-GaLore looks at.
const QUEUE: usize = 5;

/// Dimensions up to which a step is one operation. Beyond, products of the whole matrix are as fast or faster: a block of
/// rows meets more of the basis than a cache holds.
const AT_ONCE: usize = 256;

/// Which sides of a matrix have a basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sides {
    /// `[rows, rank]`; what is kept is `[columns, rank]`.
    Left,
    /// `[columns, rank]`; what is kept is `[rows, rank]`.
    Right,
    /// Both; what is kept is `[rank, rank]`.
    Both,
}

impl Sides {
    pub(crate) fn of(kind: ProjType, rows: usize, columns: usize) -> Self {
        match kind {
            ProjType::Std if rows >= columns => Sides::Right,
            ProjType::Std => Sides::Left,
            ProjType::ReverseStd if rows >= columns => Sides::Left,
            ProjType::ReverseStd => Sides::Right,
            ProjType::Left => Sides::Left,
            ProjType::Right => Sides::Right,
            ProjType::Full => Sides::Both,
        }
    }

    /// The shapes of bases, and of what is kept.
    pub(crate) fn shapes(self, rows: usize, columns: usize, rank: usize) -> (Vec<[usize; 2]>, [usize; 2]) {
        match self {
            Sides::Left => (vec![[rows, rank]], [columns, rank]),
            Sides::Right => (vec![[columns, rank]], [rows, rank]),
            Sides::Both => (vec![[rows, rank], [columns, rank]], [rank, rank]),
        }
    }

    /// Whether each basis is of the right side.
    pub(crate) fn rights(self) -> &'static [bool] {
        match self {
            Sides::Left => &[false],
            Sides::Right => &[true],
            Sides::Both => &[false, true],
        }
    }
}

/// What of a state in a subspace is no tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Progress {
    /// Bases so far.
    pub(crate) refreshes: u64,
    /// Steps from one basis to the next, which may have grown.
    pub(crate) gap: u64,
    /// Agreement of the last bases.
    pub(crate) cosines: Vec<f64>,
    /// What random bases are drawn with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
}

/// The state of a matrix in a subspace.
pub(crate) struct LowRank {
    pub(crate) sides: Sides,
    pub(crate) rank: usize,
    pub(crate) moments: Moments,
    /// None before the first step.
    pub(crate) bases: Vec<Kept>,
    pub(crate) progress: Progress,
    /// What is done with the direction; it is projected back without.
    pub(crate) channels: Option<Box<Channels>>,
    pub(crate) scale: f64,
    pub(crate) shapes: Vec<[usize; 2]>,
    pub(crate) basis: Basis,
    /// What this one's steps are counted from, so that not all bases of a model are found in one step.
    offset: u64,
}

/// What a step is taken with.
pub(crate) struct Step {
    pub(crate) rule: AdamwRule,
    pub(crate) noise: Option<Noise>,
    /// Steps before this one.
    pub(crate) before: u64,
    /// What random directions are drawn with: of this parameter alone.
    pub(crate) seed: u64,
}

impl LowRank {
    /// A state of zeros, for a subspace of a matrix.
    pub(crate) fn new(
        device: &Device,
        [rows, columns]: [usize; 2],
        subspace: Subspace,
        (state, maps): (StateType, &Tensor),
        offset: u64,
    ) -> Result<Self> {
        let sides = Sides::of(subspace.kind, rows, columns);
        let rank = subspace.rank.min(rows).min(columns);
        if rank < subspace.rank && !subspace.clamp_rank {
            let what =
                format!("{} is more than the smaller side of a {rows} × {columns} matrix", subspace.rank);
            return Err(Error::invalid_argument("rank", what)
                .hint("take a smaller one for this group, or allow it to be clamped"));
        }
        let (shapes, kept) = sides.shapes(rows, columns, rank);
        Ok(Self {
            sides,
            rank,
            moments: moments::zeros(device, state, &kept, maps)?,
            bases: Vec::new(),
            progress: Progress { refreshes: 0, gap: subspace.gap, cosines: Vec::new(), seed: None },
            channels: None,
            scale: subspace.scale,
            shapes,
            basis: subspace.basis,
            offset,
        })
    }

    /// Whether its bases are given, and never found.
    fn is_given(&self) -> bool {
        matches!(
            self.basis,
            Basis::Gradient { refresh: Refresh::Given, .. } | Basis::Random(RandomProjector::Given)
        )
    }

    /// Whether the step after so many finds a new basis.
    pub(crate) fn is_due(&self, before: u64) -> bool {
        !self.is_given()
            && (self.bases.is_empty() || (before + self.offset).is_multiple_of(self.progress.gap))
    }

    /// Whether the next step will have bases.
    pub(crate) fn check_ready(&self, before: u64) -> Result<()> {
        if self.is_due(before) || !self.bases.is_empty() {
            return Ok(());
        }
        Err(Error::new(Code::InvalidArgument, "no basis was given before the first step")
            .hint("set its projector, or choose another refresh"))
    }

    /// Moves the weight.
    pub(crate) fn step(&mut self, weight: &Tensor, sum: &Sum, step: &Step) -> Result<()> {
        let inner = match sum {
            Sum::Inner(inner) => inner.clone(),
            Sum::Full(gradient) => {
                if self.is_due(step.before) {
                    let gradient = &f32_of(gradient)?;
                    match self.basis {
                        Basis::Gradient { refresh, .. } => self.refresh(gradient, refresh, step.seed)?,
                        Basis::Momentum => self.turn(gradient, &step.rule)?,
                        Basis::Random(_) => self.draw(gradient.device(), step.seed)?,
                    }
                }
                if let ([basis], None) = (&self.bases[..], &self.channels)
                    && self.rank <= AT_ONCE
                {
                    return self.step_at_once(weight, gradient, &basis.numbers()?, step);
                }
                self.inner(gradient)?
            }
        };
        let bases = self.wide_bases()?;
        if let Some(channels) = &self.channels {
            let Sum::Full(gradient) = sum else {
                return Err(Error::new(Code::Internal, "channels are scaled without the gradient"));
            };
            let of = Scaled { weight, gradient, inner: &inner, bases: &bases, step };
            return self.scaled_step(channels, &of);
        }
        let (rule, left) = step.rule.direction();
        let direction = moments::direction(&inner, &self.moments, rule, step.noise)?;
        let factor = (-f64::from(left) * self.scale) as f32;
        self.project_back(&direction, &bases, weight, factor, step.rule.keep)
    }

    /// The whole step with a basis of one side, in one operation.
    fn step_at_once(&self, weight: &Tensor, gradient: &Tensor, basis: &Tensor, step: &Step) -> Result<()> {
        let factor = (f64::from(step.rule.step) * self.scale) as f32;
        weight.device().run(LowRankAdam {
            grad: gradient.clone(),
            basis: basis.clone(),
            right: self.sides == Sides::Right,
            weight: weight.clone(),
            moments: self.moments.clone(),
            rule: AdamwRule { step: factor, ..step.rule },
            noise: step.noise,
        })
    }

    /// The gradient in the subspace of its bases.
    pub(crate) fn inner(&self, gradient: &Tensor) -> Result<Tensor> {
        self.project(&f32_of(gradient)?, &self.wide_bases()?)
    }

    fn wide_bases(&self) -> Result<Vec<Tensor>> {
        self.bases.iter().map(Kept::wide).collect()
    }

    fn project(&self, gradient: &Tensor, bases: &[Tensor]) -> Result<Tensor> {
        let transposed = MatmulOptions { trans_a: true, ..Default::default() };
        match self.sides {
            Sides::Left => rotate(gradient, &bases[0], false),
            Sides::Right => rotate(gradient, &bases[0], true),
            Sides::Both => {
                bases[0].matmul(&gradient.matmul(&bases[1], MatmulOptions::default())?, transposed)
            }
        }
    }

    /// `weight ← factor · (direction in the space of the weight) + keep · weight`.
    pub(crate) fn project_back(
        &self,
        direction: &Tensor,
        bases: &[Tensor],
        weight: &Tensor,
        factor: f32,
        keep: f32,
    ) -> Result<()> {
        let (a, b) = match self.sides {
            Sides::Left => (bases[0].clone(), direction.clone()),
            Sides::Right => (direction.clone(), bases[0].clone()),
            Sides::Both => (bases[0].matmul(direction, MatmulOptions::default())?, bases[1].clone()),
        };
        if weight.dtype() == DType::F32 {
            let out = weight.clone();
            return weight.device().run(Matmul {
                a,
                b,
                out,
                trans_a: false,
                trans_b: true,
                alpha: factor,
                beta: keep,
            });
        }
        let update = a.matmul(&b, MatmulOptions { trans_b: true, ..Default::default() })?;
        weight.axpby(factor, &update, keep)
    }

    /// New bases of the gradient. The moments stay as they are.
    fn refresh(&mut self, gradient: &Tensor, refresh: Refresh, seed: u64) -> Result<()> {
        let mut bases = Vec::new();
        for (i, &right) in self.sides.rights().iter().enumerate() {
            bases.push(match refresh {
                Refresh::Exact => leading_vectors(gradient, self.rank, right)?,
                _ => {
                    let start = self.bases.get(i).map(Kept::wide).transpose()?;
                    let power = if start.is_none() { RangeOptions::new(self.rank).power } else { 0 };
                    let seed = seed ^ self.progress.refreshes << 8 ^ i as u64;
                    range_find(
                        gradient,
                        &RangeOptions { start, power, right, seed, ..RangeOptions::new(self.rank) },
                    )?
                }
            });
        }
        self.adopt(bases)
    }

    /// Takes these as its bases, in its own type, and counts.
    fn adopt(&mut self, bases: Vec<Tensor>) -> Result<()> {
        let keeping = self.keeping();
        let bases = bases.into_iter().map(|basis| Kept::new(basis, keeping)).collect::<Result<Vec<_>>>()?;
        if let (Basis::Gradient { cos_threshold: Some(threshold), .. }, Some(old)) =
            (self.basis, self.bases.first())
        {
            self.widen(agreement(&old.wide()?, &bases[0].wide()?)?, threshold);
        }
        self.bases = bases;
        self.progress.refreshes += 1;
        Ok(())
    }

    /// Q-GaLore's rule: twice the gap while the last bases agree.
    fn widen(&mut self, cosine: f64, threshold: f64) {
        let Progress { cosines, gap, .. } = &mut self.progress;
        cosines.push(cosine);
        if cosines.len() > QUEUE {
            cosines.remove(0);
        }
        if cosines.len() == QUEUE && cosines.iter().sum::<f64>() / QUEUE as f64 >= threshold {
            *gap = gap.saturating_mul(2);
        }
    }

    /// Conda's basis: all singular vectors of the momentum with this gradient in it. The first moment turns into it; the
    /// second stays as it is.
    fn turn(&mut self, gradient: &Tensor, rule: &AdamwRule) -> Result<()> {
        let Moments::Full { m, .. } = &self.moments else {
            return Err(Error::new(Code::Internal, "Conda with codes for moments"));
        };
        let [b1, c1, ..] = rule.betas();
        let (rows, columns) = gradient.shape().rows_cols();
        let momentum = gradient.device().zeros(DType::F32, [rows, columns])?;
        if let Some(basis) = self.bases.first() {
            self.project_back(&f32_of(m)?, &[basis.wide()?], &momentum, 1.0, 0.0)?;
        }
        let with_gradient = momentum.copy()?;
        with_gradient.axpby(c1 * rule.grad_scale, gradient, b1)?;
        let right = self.sides == Sides::Right;
        let basis = leading_vectors(&with_gradient, self.rank, right)?;
        if !self.bases.is_empty() {
            let turned = self.project(&momentum, std::slice::from_ref(&basis))?;
            let turned = if m.dtype() == DType::F32 { turned } else { turned.cast(m.dtype())? };
            gradient.device().run(Copy { x: turned, out: m.clone() })?;
        }
        self.bases = vec![Kept::Plain(basis)];
        self.progress.refreshes += 1;
        Ok(())
    }

    /// Takes a basis from elsewhere: for each side, orthonormal columns.
    pub(crate) fn set_bases(&mut self, bases: &[Tensor]) -> Result<()> {
        let shapes = &self.shapes;
        if bases.len() != shapes.len() || bases.iter().zip(shapes).any(|(b, s)| **b.shape() != *s) {
            let given: Vec<_> = bases.iter().map(|b| b.shape().to_string()).collect();
            return Err(Error::new(
                Code::ShapeMismatch,
                format!("expected bases of {shapes:?}, given {}", given.join(" and ")),
            )
            .at_column("projector"));
        }
        if self.keeping() == Keeping::Seeded {
            return Err(Error::invalid_argument("projector", "it is drawn again at every step")
                .hint("choose the projector \"given\""));
        }
        self.adopt(bases.to_vec())
    }
}

/// The cosine of the angle between the first vectors of two bases, without its sign.
fn agreement(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (_, rank) = a.shape().rows_cols();
    let first = |t: &Tensor| -> Result<Vec<f64>> {
        Ok(f32_of(t)?.to_vec::<f32>()?.iter().step_by(rank).map(|&x| f64::from(x)).collect())
    };
    let (a, b) = (first(a)?, first(b)?);
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    Ok((dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()).abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GaLoreOptions;

    #[test]
    fn the_gap_doubles_as_published() {
        // Constant agreement and a gap of 200: Q-GaLore's algorithm gives bases at these steps.
        let device = gristmill_cpu::open().unwrap();
        let maps = moments::maps(&device).unwrap();
        let options = GaLoreOptions { rank: 2, cos_threshold: Some(0.4), ..GaLoreOptions::default() };
        let mut low_rank =
            LowRank::new(&device, [4, 4], Subspace::galore(&options), (StateType::F32, &maps), 0).unwrap();
        let basis = vec![device.tensor(vec![1f32, 0., 0., 1., 0., 0., 0., 0.], [4, 2]).unwrap()];
        let mut steps = Vec::new();
        for before in 0..3300 {
            if low_rank.is_due(before) {
                steps.push(before);
                low_rank.adopt(basis.clone()).unwrap();
            }
        }
        assert_eq!(steps, [0, 200, 400, 600, 800, 1000, 1200, 1600, 3200]);
    }

    #[test]
    fn sides_and_shapes() {
        use ProjType::{Full, Left, ReverseStd, Right, Std};
        for (kind, rows, columns, sides) in [
            (Std, 5, 3, Sides::Right),
            (Std, 4, 4, Sides::Right),
            (Std, 3, 5, Sides::Left),
            (ReverseStd, 5, 3, Sides::Left),
            (ReverseStd, 4, 4, Sides::Left),
            (ReverseStd, 3, 5, Sides::Right),
            (Left, 5, 3, Sides::Left),
            (Right, 3, 5, Sides::Right),
            (Full, 3, 5, Sides::Both),
        ] {
            assert_eq!(Sides::of(kind, rows, columns), sides);
        }
    }
}
