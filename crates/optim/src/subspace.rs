//! Where the bases of a subspace come from, and how those of a state are kept, drawn and brought back.

use gristmill_core::{DType, Device, Result, Tensor};

use crate::kept::{Keeping, Kept};
use crate::low_rank::{LowRank, Progress};
use crate::{CondaOptions, GaLoreOptions, ProjType, Projector, RandomProjector, Refresh};

/// Where a basis comes from.
#[derive(Clone, Copy)]
pub(crate) enum Basis {
    Gradient {
        refresh: Refresh,
        projector: Projector,
        cos_threshold: Option<f64>,
    },
    /// All of it, of the momentum, which turns with it.
    Momentum,
    /// From nowhere: normal numbers.
    Random(RandomProjector),
}

/// What a subspace is like, before there is one.
pub(crate) struct Subspace {
    pub(crate) kind: ProjType,
    pub(crate) rank: usize,
    pub(crate) clamp_rank: bool,
    pub(crate) gap: u64,
    pub(crate) basis: Basis,
    pub(crate) scale: f64,
}

impl Subspace {
    pub(crate) fn galore(options: &GaLoreOptions) -> Self {
        Self {
            kind: options.proj_type,
            rank: options.rank,
            clamp_rank: options.clamp_rank,
            gap: options.update_proj_gap,
            basis: Basis::Gradient {
                refresh: options.refresh,
                projector: options.projector,
                cos_threshold: options.cos_threshold,
            },
            scale: options.scale,
        }
    }

    pub(crate) fn conda(options: &CondaOptions) -> Self {
        Self {
            kind: ProjType::Std,
            rank: usize::MAX,
            clamp_rank: true,
            gap: options.update_proj_gap,
            basis: Basis::Momentum,
            scale: options.scale,
        }
    }
}

impl LowRank {
    /// How its bases are kept.
    pub(crate) fn keeping(&self) -> Keeping {
        match self.basis {
            Basis::Gradient { projector, .. } => projector.into(),
            Basis::Momentum => Keeping::Plain(DType::F32),
            Basis::Random(projector) => projector.into(),
        }
    }

    /// Whether its bases are orthonormal to rounding.
    pub(crate) fn is_orthonormal(&self) -> bool {
        match self.basis {
            Basis::Gradient { refresh, projector, .. } => {
                refresh != Refresh::Given && projector == Projector::F32
            }
            Basis::Momentum => true,
            Basis::Random(_) => false,
        }
    }

    /// The tensors of its bases in a state, with the ends of their names.
    pub(crate) fn parts(&self) -> Vec<(String, DType, Vec<usize>)> {
        let of_basis = |(i, &shape): (usize, &[usize; 2])| {
            let named = move |(end, dtype, shape)| (format!("{}{end}", basis_name(i)), dtype, shape);
            self.keeping().parts(shape).into_iter().map(named)
        };
        self.shapes.iter().enumerate().flat_map(of_basis).collect()
    }

    /// Takes these tensors, in the order of [`parts`](Self::parts), as its bases, and this progress.
    pub(crate) fn restore(
        &mut self,
        device: &Device,
        mut tensors: impl Iterator<Item = Tensor>,
        progress: Progress,
    ) {
        let keeping = self.keeping();
        self.bases = match (keeping, progress.seed) {
            (Keeping::Seeded, Some(seed)) if progress.refreshes > 0 => {
                self.seeded(device, seed, progress.refreshes)
            }
            _ => self.shapes.iter().filter_map(|&shape| keeping.restore(shape, &mut tensors)).collect(),
        };
        self.progress = progress;
    }

    fn seeded(&self, device: &Device, seed: u64, stream: u64) -> Vec<Kept> {
        let device = device.clone();
        self.shapes
            .iter()
            .map(|&shape| Kept::Seeded { device: device.clone(), shape, seed, stream })
            .collect()
    }

    /// New bases of normal numbers. The moments stay as they are.
    pub(crate) fn draw(&mut self, device: &Device, seed: u64) -> Result<()> {
        let seed = *self.progress.seed.get_or_insert(seed);
        self.progress.refreshes += 1;
        let drawn = self.seeded(device, seed, self.progress.refreshes);
        let keeping = self.keeping();
        self.bases = match keeping {
            Keeping::Seeded => drawn,
            _ => drawn.iter().map(|kept| Kept::new(kept.numbers()?, keeping)).collect::<Result<_>>()?,
        };
        Ok(())
    }
}

/// The name of a basis in checkpoints.
fn basis_name(i: usize) -> String {
    if i == 0 { "proj".into() } else { format!("proj_{}", i + 1) }
}
