use serde::{Deserialize, Serialize};

use crate::{GaLoreOptions, ProjType, Projector, Refresh};

/// Options of [`crate::Algorithm::Apollo`]. Names are those of `apollo_torch`, whose `eps` is 10⁻⁶ unless it is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct ApolloOptions {
    /// Dimensions of the subspace, at least 1; 128 by default.
    pub rank: usize,
    /// Whether a rank of more than the smaller side of a parameter is taken as that side, with a warning
    /// ([`crate::Optimizer::warnings`]), as by default, or refused.
    pub clamp_rank: bool,
    /// Steps from one random basis to the next, at least 1; 200 by default.
    pub update_proj_gap: u64,
    /// The square of the factor of the update, at least 0; 1 by default.
    pub scale: f64,
    /// Whether each channel has a factor of its own, as by default, or all have one.
    pub scale_type: ScaleType,
    /// Whether the limiter sees the update with the factor of `scale`; not by default.
    pub scale_front: bool,
    /// Whether there is no limiter of the growth of updates; there is by default.
    pub disable_nl: bool,
    /// How random bases are kept: not at all, by default.
    pub projector: RandomProjector,
}

impl ApolloOptions {
    /// APOLLO-Mini: one dimension, one factor for all of a matrix, and a scale of 128.
    pub fn mini() -> Self {
        Self { rank: 1, scale_type: ScaleType::Tensor, scale: 128.0, ..Self::default() }
    }
}

impl Default for ApolloOptions {
    fn default() -> Self {
        Self {
            rank: 128,
            clamp_rank: true,
            update_proj_gap: 200,
            scale: 1.0,
            scale_type: ScaleType::Channel,
            scale_front: false,
            disable_nl: false,
            projector: RandomProjector::Seeded,
        }
    }
}

/// What has one factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScaleType {
    /// Each row or column along the larger side of a matrix.
    #[default]
    Channel,
    /// All of it.
    Tensor,
}

/// How a basis of normal numbers of variance `1 / rank` is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RandomProjector {
    /// As a seed, from which it is drawn again at every step ([`gristmill_core::ops::Philox`]).
    #[default]
    Seeded,
    /// 4 bytes an element.
    F32,
    /// 2 bytes an element.
    Bf16,
    /// It comes from [`crate::Optimizer::set_projector`], need not be random, and stays; 4 bytes an element.
    Given,
}

/// Options of [`crate::Algorithm::Fira`]: those of [`crate::Algorithm::GaLore`], and one more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct FiraOptions {
    /// As [`GaLoreOptions::rank`].
    pub rank: usize,
    /// As [`GaLoreOptions::clamp_rank`].
    pub clamp_rank: bool,
    /// As [`GaLoreOptions::update_proj_gap`].
    pub update_proj_gap: u64,
    /// As [`GaLoreOptions::scale`]: `alpha` of Fira's reference code, which is also what the projection counts in what is
    /// left of the gradient.
    pub scale: f64,
    /// As [`GaLoreOptions::proj_type`], but for [`ProjType::Full`].
    pub proj_type: ProjType,
    /// As [`GaLoreOptions::refresh`].
    pub refresh: Refresh,
    /// As [`GaLoreOptions::projector`].
    pub projector: Projector,
    /// As [`GaLoreOptions::cos_threshold`].
    pub cos_threshold: Option<f64>,
    /// Whether there is no limiter of the growth of what is outside of the subspace; there is by default.
    pub disable_nl: bool,
}

impl FiraOptions {
    /// Those of GaLore among them.
    pub(crate) fn galore(&self) -> GaLoreOptions {
        let &Self { rank, clamp_rank, update_proj_gap, scale, proj_type, refresh, projector, .. } = self;
        let cos_threshold = self.cos_threshold;
        GaLoreOptions {
            rank,
            clamp_rank,
            update_proj_gap,
            scale,
            proj_type,
            refresh,
            projector,
            cos_threshold,
        }
    }
}

impl Default for FiraOptions {
    fn default() -> Self {
        let GaLoreOptions {
            rank,
            clamp_rank,
            update_proj_gap,
            scale,
            proj_type,
            refresh,
            projector,
            cos_threshold,
        } = GaLoreOptions::default();
        Self {
            rank,
            clamp_rank,
            update_proj_gap,
            scale,
            proj_type,
            refresh,
            projector,
            cos_threshold,
            disable_nl: false,
        }
    }
}
