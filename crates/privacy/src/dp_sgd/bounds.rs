//! Which layers are clipped together, and to which norms.

use std::collections::BTreeSet;

use gristmill_core::ops::ClipRule;

use super::options::{Clipping, LayerNorms};

/// The name of the only group where all layers are clipped together.
pub(super) const ALL: &str = "all";

/// Norms are measured, added up over the layers and scaled in `f32`. What is clipped is clipped to a little less than its
/// bound, so that all of that together does not lead beyond the bound: measured squares err by up to 1e-5 (which the Gram
/// norms of linear layers are held to), a sum of squares by `2^-24` for every layer, and norms by half of both.
pub(super) fn headroom(layers: usize) -> f64 {
    (1.0 - 2f64.powi(-16) - layers as f64 * 2f64.powi(-25)).max(0.5)
}

/// The groups of the layers of a run, with their bounds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bounds {
    /// Names and bounds, in order.
    pub(super) groups: Vec<(String, f64)>,
    /// How many layers each has.
    pub(super) layers: Vec<usize>,
}

impl Bounds {
    /// Those of these layers. `adapted` is the bound that adaptive clipping has come to.
    pub(super) fn of(clipping: &Clipping, names: &BTreeSet<String>, adapted: f64) -> Self {
        let all = |bound: f64| Self { groups: vec![(ALL.into(), bound)], layers: vec![names.len()] };
        match clipping {
            Clipping::Flat { max_grad_norm }
            | Clipping::Threshold { max_grad_norm }
            | Clipping::Automatic { max_grad_norm, .. } => all(*max_grad_norm),
            Clipping::Unit => all(1.0),
            Clipping::Adaptive { .. } => all(adapted),
            Clipping::PerLayer { max_grad_norm: LayerNorms::Together(norm), .. } => {
                let each = norm / (names.len() as f64).sqrt();
                let groups = names.iter().map(|name| (name.clone(), each)).collect();
                Self { groups, layers: vec![1; names.len()] }
            }
            Clipping::PerLayer { max_grad_norm: LayerNorms::Each(norms), .. } => Self {
                groups: norms.iter().map(|(name, norm)| (name.clone(), *norm)).collect(),
                layers: vec![1; norms.len()],
            },
            Clipping::PerGroup { groups } => Self {
                groups: groups.iter().map(|(name, group)| (name.clone(), group.max_grad_norm)).collect(),
                layers: groups.values().map(|group| group.layers.len()).collect(),
            },
        }
    }

    /// The group that a layer belongs to.
    pub(super) fn group_of(&self, clipping: &Clipping, layer: &str) -> Option<usize> {
        match clipping {
            Clipping::PerLayer { .. } => self.groups.iter().position(|(name, _)| name == layer),
            Clipping::PerGroup { groups } => {
                groups.values().position(|group| group.layers.iter().any(|name| name == layer))
            }
            _ => Some(0),
        }
    }

    /// By how much one sample changes the sum of clipped gradients, added or removed.
    pub(super) fn sensitivity(&self) -> f64 {
        self.groups.iter().map(|(_, bound)| bound * bound).sum::<f64>().sqrt()
    }

    /// What clipping goes by: each bound with its headroom.
    pub(super) fn handed_out(&self) -> Vec<f32> {
        let one = |((_, bound), layers): (&(String, f64), &usize)| (bound * headroom(*layers)) as f32;
        self.groups.iter().zip(&self.layers).map(one).collect()
    }
}

/// The rule by which a norm becomes a factor.
pub(super) fn rule(clipping: &Clipping) -> ClipRule {
    match clipping {
        Clipping::Automatic { gamma, .. } => ClipRule::Automatic { gamma: *gamma as f32 },
        Clipping::Unit => ClipRule::Unit,
        Clipping::Threshold { .. } => ClipRule::Threshold,
        Clipping::Flat { .. }
        | Clipping::PerLayer { .. }
        | Clipping::PerGroup { .. }
        | Clipping::Adaptive { .. } => ClipRule::Flat,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_layers_add_up_to_the_bound_of_all() {
        let names: BTreeSet<String> = ["a", "b", "c"].map(String::from).into();
        let together = Clipping::PerLayer { max_grad_norm: LayerNorms::Together(2.0), eager: true };
        let bounds = Bounds::of(&together, &names, 0.0);
        assert!((bounds.sensitivity() - 2.0).abs() < 1e-12);
        assert_eq!(bounds.group_of(&together, "b"), Some(1));
        let each = [("a".into(), 3.0), ("b".into(), 4.0)].into();
        let each = Clipping::PerLayer { max_grad_norm: LayerNorms::Each(each), eager: true };
        assert_eq!(Bounds::of(&each, &names, 0.0).sensitivity(), 5.0);
        assert_eq!(Bounds::of(&Clipping::Unit, &names, 0.0).sensitivity(), 1.0);
    }

    #[test]
    fn what_is_handed_out_is_smaller_by_more_than_measuring_may_err() {
        let names: BTreeSet<String> = (0..500).map(|i| i.to_string()).collect();
        let flat = Clipping::Flat { max_grad_norm: 1.0 };
        let handed = f64::from(Bounds::of(&flat, &names, 0.0).handed_out()[0]);
        assert!(handed * (1.0 + 0.5e-5 + 500.0 * 2f64.powi(-25)) < 1.0 && handed > 0.9999);
    }
}
