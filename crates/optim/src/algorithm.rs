use gristmill_core::{Error, Result, Tensor};
use serde::{Deserialize, Serialize};

use crate::linalg::check_iterations;
use crate::{ApolloOptions, FiraOptions, Schedule, StateType};

/// How the parameters of a group are updated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Algorithm {
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW,
    /// Adam in a subspace of the gradient (Zhao et al. 2024, algorithm 2).
    GaLore(GaLoreOptions),
    /// Adam in the rotated basis of the momentum (Wang et al. 2025).
    Conda(CondaOptions),
    /// Momentum, made orthogonal (Jordan et al. 2024).
    Muon(MuonOptions),
    /// The gradient, its channels scaled as Adam would in a random subspace (Zhu et al. 2024).
    Apollo(ApolloOptions),
    /// GaLore, and beside it what its subspace does not have, scaled as Adam scales what it has (Chen et al. 2024).
    Fira(FiraOptions),
}

impl Algorithm {
    /// Its name in options and checkpoints.
    pub const fn name(&self) -> &'static str {
        match self {
            Algorithm::AdamW => "adamw",
            Algorithm::GaLore(_) => "galore",
            Algorithm::Conda(_) => "conda",
            Algorithm::Muon(_) => "muon",
            Algorithm::Apollo(_) => "apollo",
            Algorithm::Fira(_) => "fira",
        }
    }
}

/// Which side of an `m × n` gradient is projected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjType {
    /// The smaller: the right one for `m ≥ n`, the left one otherwise.
    #[default]
    Std,
    /// The other one. (For `m < n` and a rank of at least `m`, `galore_torch` picks the wrong side to project back to, and
    /// fails; here it works.)
    ReverseStd,
    /// Always the left one.
    Left,
    /// Always the right one.
    Right,
    /// Both: what is kept is `rank × rank`.
    Full,
}

/// How a basis is found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Refresh {
    /// By random projections and power passes ([`crate::linalg::range_find`]), and from the second time on from the basis
    /// before: two products of the matrix and its small side instead of a decomposition.
    Randomized,
    /// By an eigendecomposition on the host ([`crate::linalg::leading_vectors`]), as `galore_torch` does.
    Exact,
    /// Never: bases come from [`crate::Optimizer::set_projector`].
    Given,
}

/// Options of [`Algorithm::GaLore`]. Names are those of `galore_torch`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct GaLoreOptions {
    /// Dimensions of the subspace, at least 1; 128 by default.
    pub rank: usize,
    /// Whether a rank of more than the smaller side of a parameter is taken as that side, with a warning
    /// ([`crate::Optimizer::warnings`]), as by default, or refused.
    pub clamp_rank: bool,
    /// Steps from one basis to the next, at least 1; 200 by default.
    pub update_proj_gap: u64,
    /// Factor of the update; 0.25 by default.
    pub scale: f64,
    /// The side; the smaller one by default.
    pub proj_type: ProjType,
    /// How a basis is found; randomised by default.
    pub refresh: Refresh,
    /// How bases are kept; `f32` by default.
    pub projector: Projector,
    /// Q-GaLore (Zhang et al. 2024): once the last five bases agree with those before them, in the mean of the cosines of
    /// their first vectors, to this or more, the gap doubles; off by default, 0.4 in the paper. Cosines count without their
    /// sign, which means nothing; the reference implementation keeps it.
    pub cos_threshold: Option<f64>,
}

impl Default for GaLoreOptions {
    fn default() -> Self {
        Self {
            rank: 128,
            clamp_rank: true,
            update_proj_gap: 200,
            scale: 0.25,
            proj_type: ProjType::Std,
            refresh: Refresh::Randomized,
            projector: Projector::F32,
            cos_threshold: None,
        }
    }
}

/// Types of a basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Projector {
    /// 4 bytes an element.
    #[default]
    F32,
    /// 2 bytes an element.
    Bf16,
    /// Half a byte an element and 8 bytes for every 256: codes of 4 bits as in Q-GaLore, packed
    /// ([`gristmill_core::ops::Int4Pack`]).
    Int4,
}

/// Options of [`Algorithm::Conda`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct CondaOptions {
    /// Steps from one basis to the next, at least 1; 2000 by default.
    pub update_proj_gap: u64,
    /// Factor of the update; 0.25 by default.
    pub scale: f64,
}

impl Default for CondaOptions {
    fn default() -> Self {
        Self { update_proj_gap: 2000, scale: 0.25 }
    }
}

/// How the orthogonal factor is scaled, and what the momentum is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MuonScaling {
    /// `√max(1, rows / columns)`, with `B ← βB + (1 − β)G` (Jordan et al. 2024).
    #[default]
    Spectral,
    /// `0.2 √max(rows, columns)`, so that updates are as large as those of AdamW, with `B ← βB + G` (Liu et al. 2025,
    /// "Moonlight").
    Rms,
}

/// Options of [`Algorithm::Muon`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct MuonOptions {
    /// Decay of the momentum, from 0 to 1; 0.95 by default.
    pub momentum: f64,
    /// Whether the update looks ahead along the momentum (Nesterov); so by default.
    pub nesterov: bool,
    /// Iterations of Newton and Schulz; 5 by default.
    pub ns_steps: usize,
    /// Whether their products are of `bf16`, as published, or of `f32`; `bf16` by default.
    pub bf16: bool,
    /// How the update is scaled.
    pub scaling: MuonScaling,
    /// Whether vectors and single numbers are taken too, and move along their momentum, brought to a length of
    /// `0.2 √elements` (outlier-safe pre-training, arXiv 2506.19697), rather than refused; not by default.
    pub vectors: bool,
}

impl Default for MuonOptions {
    fn default() -> Self {
        Self {
            momentum: 0.95,
            nesterov: true,
            ns_steps: 5,
            bf16: true,
            scaling: MuonScaling::Spectral,
            vectors: false,
        }
    }
}

/// What all algorithms have, those of Adam and how its state is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct AdamOptions {
    /// Learning rate; 0.001 by default.
    pub lr: f64,
    /// Decay of both moments; 0.9 and 0.999 by default.
    pub betas: [f64; 2],
    /// Added to the root of the second moment; 10⁻⁸ by default.
    pub eps: f64,
    /// Decoupled weight decay; 0 by default.
    pub weight_decay: f64,
    /// How moments are kept; `f32` by default.
    pub state: StateType,
    /// What the learning rate is multiplied by; 1 by default.
    pub schedule: Schedule,
}

impl Default for AdamOptions {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            state: StateType::F32,
            schedule: Schedule::default(),
        }
    }
}

/// Parameters that are updated in one way.
#[derive(Debug, Clone)]
pub struct Group {
    /// The way.
    pub algorithm: Algorithm,
    /// Its numbers.
    pub adam: AdamOptions,
    /// Names and tensors, `f32` or `bf16`; all names of an optimizer differ, and no two tensors share memory.
    pub params: Vec<(String, Tensor)>,
}

impl Group {
    /// A group with the defaults.
    pub fn new(algorithm: Algorithm, params: Vec<(String, Tensor)>) -> Self {
        Self { algorithm, adam: AdamOptions::default(), params }
    }

    /// Checks the numbers of its options.
    pub(crate) fn check(&self) -> Result<()> {
        let AdamOptions { lr, betas, eps, weight_decay, schedule, state } = self.adam;
        number("lr", lr, lr >= 0.0, "a number of at least 0")?;
        number("weightDecay", weight_decay, weight_decay >= 0.0, "a number of at least 0")?;
        number("eps", eps, eps > 0.0, "a positive number")?;
        for beta in betas {
            number("betas", beta, (0.0..1.0).contains(&beta), "numbers from 0 to 1")?;
        }
        schedule.check()?;
        match self.algorithm {
            Algorithm::AdamW => Ok(()),
            Algorithm::GaLore(o) => galore(&o),
            Algorithm::Apollo(o) => {
                positive("rank", o.rank as u64)?;
                positive("updateProjGap", o.update_proj_gap)?;
                number("scale", o.scale, o.scale >= 0.0, "a number of at least 0")
            }
            Algorithm::Fira(o) => {
                if o.proj_type == ProjType::Full {
                    let what = "Fira scales channels of one side, and \"full\" projects both";
                    return Err(Error::invalid_argument("projType", what).hint("take another side"));
                }
                galore(&o.galore())
            }
            Algorithm::Conda(o) => {
                positive("updateProjGap", o.update_proj_gap)?;
                if state == StateType::Int8 {
                    return Err(Error::invalid_argument(
                        "state",
                        "Conda turns its momentum, which codes of 8 bits would wear off",
                    )
                    .hint("take f32 or bf16"));
                }
                number("scale", o.scale, true, "a number")
            }
            Algorithm::Muon(o) => {
                positive("nsSteps", o.ns_steps as u64)?;
                check_iterations("nsSteps", o.ns_steps)?;
                number("momentum", o.momentum, (0.0..1.0).contains(&o.momentum), "a number from 0 to 1")
            }
        }
    }
}

fn galore(o: &GaLoreOptions) -> Result<()> {
    positive("rank", o.rank as u64)?;
    positive("updateProjGap", o.update_proj_gap)?;
    if let Some(threshold) = o.cos_threshold {
        number("cosThreshold", threshold, (0.0..=1.0).contains(&threshold), "a number from 0 to 1")?;
    }
    number("scale", o.scale, true, "a number")
}

fn number(name: &str, value: f64, fine: bool, expected: &str) -> Result<()> {
    if fine && value.is_finite() {
        return Ok(());
    }
    Err(Error::invalid_argument(name, format!("expected {expected}, given {value}")))
}

fn positive(name: &str, value: u64) -> Result<()> {
    number(name, value as f64, value > 0, "at least 1")
}
