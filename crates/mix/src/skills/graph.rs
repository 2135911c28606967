use gristmill_core::{Code, Error, Result};

use crate::Matrix;

/// Which skills help which: entry `(i, j)` says how much training on skill `i` lowers the loss on skill `j`.
///
/// Rows are the skills that can be trained on, columns the ones that are evaluated.
///
/// ```
/// use gristmill_mix::{Matrix, SkillGraph};
///
/// // A chain: each skill helps the next one.
/// let graph = SkillGraph::from_edges(3, &[(0, 1), (1, 2)])?;
/// assert_eq!(graph.weights().row(0), [1.0, 0.5, 0.0]);
/// // Only the last skill counts.
/// assert_eq!(graph.with_targets(&[2])?.weights().column(0), [0.0, 0.5, 1.0]);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct SkillGraph {
    weights: Matrix,
    /// The training skill that each column evaluates, where it is one.
    evaluates: Vec<Option<usize>>,
    targets: bool,
}

/// The form in files.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    weights: Vec<Vec<f64>>,
    evaluates: Vec<Option<usize>>,
    targets: bool,
}

impl SkillGraph {
    /// The graph of `k` skills with these edges `(from, to)`: 1 from each skill to itself and 0.5 along an
    /// edge, as in the published experiments.
    ///
    /// # Errors
    /// No skill, or an edge to or from one that is not there.
    pub fn from_edges(k: usize, edges: &[(usize, usize)]) -> Result<Self> {
        let mut weights = Matrix::zeros(k, k);
        (0..k).for_each(|i| weights.row_mut(i)[i] = 1.0);
        for &(i, j) in edges {
            if i >= k || j >= k {
                return Err(Error::invalid_argument("edges", format!("({i}, {j}) in a graph of {k} skills")));
            }
            if i != j {
                weights.row_mut(i)[j] = 0.5;
            }
        }
        Self::from_weights(weights)
    }

    /// A graph of these weights, used as they are. When it is square, column `j` evaluates skill `j`;
    /// otherwise the columns are skills of their own, none of which is trained on.
    ///
    /// # Errors
    /// An empty graph, or a weight that is negative or not finite.
    pub fn from_weights(weights: Matrix) -> Result<Self> {
        let (k, m) = (weights.rows(), weights.columns());
        let evaluates = (0..m).map(|j| (k == m).then_some(j)).collect();
        Self::checked(weights, evaluates, false)
    }

    fn checked(weights: Matrix, evaluates: Vec<Option<usize>>, targets: bool) -> Result<Self> {
        if weights.rows() == 0 || weights.columns() == 0 {
            return Err(Error::new(Code::EmptyInput, "a graph without skills"));
        }
        match weights.as_slice().iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            Some(at) => {
                Err(Error::new(Code::InvalidValue, format!("a weight of {}", weights.as_slice()[at]))
                    .at_row((at / weights.columns()) as u64)
                    .at_column(format!("skill {}", at % weights.columns())))
            }
            None => Ok(Self { weights, evaluates, targets }),
        }
    }

    /// Learns the graph from runs of equal length on single skills and on pairs: there is an edge from `i` to
    /// `j` when half a run on `i` and half on `j` leaves skill `j` with a lower loss than a whole run on `j`.
    ///
    /// `alone[j]` is the loss on `j` after training on `j`; `together[(i, j)]` the loss on `j` after training
    /// on both, whose diagonal is not looked at. An edge needs a loss that is lower by more than the share
    /// `margin`, which is there for the noise between two runs; 0 takes any.
    ///
    /// # Errors
    /// Sizes that do not fit, losses that are missing, not finite or negative, a margin outside of 0 to 1.
    pub fn from_pairs(alone: &[f64], together: &Matrix, margin: f64) -> Result<Self> {
        let k = alone.len();
        check_losses(alone, "alone")?;
        if together.rows() != k || together.columns() != k {
            return Err(Error::invalid_argument("together", format!("is not {k} by {k}")));
        }
        if !(0.0..1.0).contains(&margin) {
            return Err(Error::invalid_argument("margin", "must be at least 0 and below 1"));
        }
        let mut edges = Vec::new();
        for i in 0..k {
            for j in (0..k).filter(|&j| j != i) {
                check_losses(&[together.row(i)[j]], "together").map_err(|e| e.at_row(i as u64))?;
                if together.row(i)[j] < alone[j] * (1.0 - margin) {
                    edges.push((i, j));
                }
            }
        }
        Self::from_edges(k, &edges)
    }

    /// Learns the graph from one run per skill: `A_ij = max(0, (before_j - after_ij) / before_j)`, the share by
    /// which training on `i` lowers the loss on `j`. `k` runs instead of the `k²` of
    /// [`from_pairs`](Self::from_pairs); blind to what two skills do only together.
    ///
    /// # Errors
    /// Sizes that do not fit, losses that are not finite or negative, a loss of zero before training.
    pub fn from_single_runs(before: &[f64], after: &Matrix) -> Result<Self> {
        check_losses(before, "before")?;
        if after.columns() != before.len() {
            return Err(Error::invalid_argument("after", format!("has not {} columns", before.len())));
        }
        if let Some(j) = before.iter().position(|b| *b == 0.0) {
            return Err(Error::new(
                Code::InvalidValue,
                "nothing is left to learn: its loss is 0 before training",
            )
            .at_column(format!("skill {j}")));
        }
        let mut weights = Matrix::zeros(after.rows(), after.columns());
        for i in 0..after.rows() {
            check_losses(after.row(i), "after").map_err(|e| e.at_row(i as u64))?;
            for ((w, after), before) in weights.row_mut(i).iter_mut().zip(after.row(i)).zip(before) {
                *w = ((before - after) / before).max(0.0);
            }
        }
        Self::from_weights(weights)
    }

    /// The graph with the columns of these skills only: the others are trained on only for what they do for
    /// these. From here on losses are told for these skills, in this order.
    ///
    /// # Errors
    /// No target, one that is not there or is named twice, or a graph whose columns are not its rows.
    pub fn with_targets(&self, targets: &[usize]) -> Result<Self> {
        let k = self.weights.rows();
        if self.targets || self.weights.columns() != k {
            return Err(Error::invalid_argument("targets", "can be chosen only in a square graph"));
        }
        let mut seen = vec![false; k];
        for &t in targets {
            if t >= k || std::mem::replace(&mut seen[t], true) {
                return Err(Error::invalid_argument("targets", format!("{t} is there twice or is no skill")));
            }
        }
        let data = self.weights.iter_rows().flat_map(|row| targets.iter().map(|&t| row[t])).collect();
        let weights = Matrix::new(k, targets.len(), data)?;
        Self::checked(weights, targets.iter().map(|&t| Some(t)).collect(), true)
    }

    /// The weights: training skills by evaluated skills.
    pub fn weights(&self) -> &Matrix {
        &self.weights
    }

    /// How many skills can be trained on.
    pub fn skills(&self) -> usize {
        self.weights.rows()
    }

    /// How many skills are evaluated.
    pub fn evaluated(&self) -> usize {
        self.weights.columns()
    }

    /// Whether the columns were chosen by [`with_targets`](Self::with_targets).
    pub fn has_targets(&self) -> bool {
        self.targets
    }

    /// Which skills neither help nor are helped by another: `A_ii = 1` and nothing else in row and column.
    pub(super) fn isolated(&self) -> Vec<bool> {
        let k = self.weights.rows();
        let lone = |i: usize| {
            let row: f64 = self.weights.row(i).iter().sum();
            let column: f64 = self.weights.column(i).iter().sum();
            self.weights.row(i)[i] == 1.0 && row == 1.0 && column == 1.0
        };
        (0..k).map(|i| self.weights.columns() == k && !self.targets && lone(i)).collect()
    }

    /// Halves every weight but those from a skill to itself.
    pub(super) fn dampen(&mut self) {
        for i in 0..self.weights.rows() {
            for (w, skill) in self.weights.row_mut(i).iter_mut().zip(&self.evaluates) {
                if *skill != Some(i) {
                    *w /= 2.0;
                }
            }
        }
    }
}

/// Refuses losses that are missing, infinite or negative.
pub(super) fn check_losses(losses: &[f64], name: &str) -> Result<()> {
    if losses.is_empty() {
        return Err(Error::new(Code::EmptyInput, "no losses").at_column(name));
    }
    match losses.iter().position(|l| !(l.is_finite() && *l >= 0.0)) {
        Some(j) => {
            Err(Error::new(Code::InvalidValue, format!("a loss of {} for skill {j}", losses[j]))
                .at_column(name))
        }
        None => Ok(()),
    }
}

impl From<SkillGraph> for Saved {
    fn from(graph: SkillGraph) -> Self {
        let weights = graph.weights.iter_rows().map(<[f64]>::to_vec).collect();
        Self { weights, evaluates: graph.evaluates, targets: graph.targets }
    }
}

impl TryFrom<Saved> for SkillGraph {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let (k, m) = (saved.weights.len(), saved.evaluates.len());
        let known = saved.evaluates.iter().flatten().all(|&skill| skill < k);
        if !known || saved.weights.iter().any(|row| row.len() != m) {
            return Err(Error::new(Code::InvalidModel, "the rows of a skill graph do not fit together"));
        }
        Self::checked(Matrix::new(k, m, saved.weights.concat())?, saved.evaluates, saved.targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_edges_where_company_helps() {
        let together = Matrix::from_rows(&[[9.0, 0.8, 1.2], [1.1, 9.0, 0.99], [1.0, 1.0, 9.0]]);
        let graph = SkillGraph::from_pairs(&[1.0, 1.0, 1.0], &together, 0.0).unwrap();
        assert_eq!(graph, SkillGraph::from_edges(3, &[(0, 1), (1, 2)]).unwrap());
        let strict = SkillGraph::from_pairs(&[1.0, 1.0, 1.0], &together, 0.05).unwrap();
        assert_eq!(strict, SkillGraph::from_edges(3, &[(0, 1)]).unwrap());
    }

    #[test]
    fn single_runs_become_relative_gains() {
        let after = Matrix::from_rows(&[[1.0, 3.0], [2.5, 2.0], [0.5, 5.0]]);
        let graph = SkillGraph::from_single_runs(&[2.0, 4.0], &after).unwrap();
        assert_eq!(graph.weights(), &Matrix::from_rows(&[[0.5, 0.25], [0.0, 0.5], [0.75, 0.0]]));
    }

    #[test]
    fn refuses_graphs_that_make_no_sense() {
        assert_eq!(SkillGraph::from_edges(0, &[]).unwrap_err().code(), Code::EmptyInput);
        assert_eq!(SkillGraph::from_edges(2, &[(0, 2)]).unwrap_err().code(), Code::InvalidArgument);
        let e = SkillGraph::from_weights(Matrix::from_rows(&[[1.0, 0.0], [f64::NAN, 1.0]])).unwrap_err();
        assert_eq!((e.location().row, e.location().column.as_deref()), (Some(1), Some("skill 0")));
        let e = SkillGraph::from_single_runs(&[0.0], &Matrix::from_rows(&[[0.0]])).unwrap_err();
        assert_eq!(e.code(), Code::InvalidValue);
        let square = SkillGraph::from_edges(3, &[]).unwrap();
        assert!(square.with_targets(&[0, 0]).is_err() && square.with_targets(&[3]).is_err());
        assert_eq!(square.with_targets(&[]).unwrap_err().code(), Code::EmptyInput);
        assert!(square.with_targets(&[1]).unwrap().with_targets(&[0]).is_err());
        let e = SkillGraph::from_pairs(&[1.0, -1.0], &Matrix::zeros(2, 2), 0.0).unwrap_err();
        assert_eq!(e.code(), Code::InvalidValue);
        let forged = r#"{"weights":[[1.0],[1.0]],"evaluates":[7],"targets":true}"#;
        assert!(serde_json::from_str::<SkillGraph>(forged).is_err());
    }

    #[test]
    fn damping_spares_what_a_skill_does_for_itself() {
        let mut graph = SkillGraph::from_edges(3, &[(0, 2), (1, 2)]).unwrap().with_targets(&[2]).unwrap();
        graph.dampen();
        assert_eq!(graph.weights().column(0), [0.25, 0.25, 1.0]);
    }
}
