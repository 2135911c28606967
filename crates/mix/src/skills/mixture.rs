use gristmill_core::{Code, Error, Result};

use super::graph::{SkillGraph, check_losses};
use crate::{Matrix, runs};

/// How [`skill_mixture`] weighs skills.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SkillOptions {
    /// The step: 0 stays at the prior, large values go to the one skill that helps most; default 0.5. Published:
    /// 0.5 for LEGO, 0.1 for addition, 0.8 for fine-tuning on Natural Instructions.
    pub eta: f64,
    /// How many of the latest evaluations count; default 3. These are evaluations, not updates.
    pub window: usize,
    /// The weights to start from, which every update starts from again; default uniform. Any scale.
    pub prior: Option<Vec<f64>>,
    /// Divide each loss by that of the baseline evaluation, so that skills with larger losses do not win by
    /// scale; default false.
    pub normalize: bool,
    /// Divide `eta` by the sum of the latest losses over the sum of the baseline's: steps grow as losses fall;
    /// default false.
    pub scale_eta: bool,
    /// Which evaluation is the baseline; default 0, the first. The published code overwrites it once and ends
    /// up with 1.
    pub baseline: usize,
    /// Keep a skill that neither helps nor is helped by another at `1 / k`; default false.
    pub fix_isolated: bool,
}

impl Default for SkillOptions {
    fn default() -> Self {
        Self {
            eta: 0.5,
            window: 3,
            prior: None,
            normalize: false,
            scale_eta: false,
            baseline: 0,
            fix_isolated: false,
        }
    }
}

/// The mixture of Skill-It after the evaluations in `losses`, one row each, oldest first, one column per
/// evaluated skill.
///
/// `p_i ∝ prior_i · exp(eta · Σ_j A_ij ℓ_j)`, where `ℓ_j` is the sum of the losses of the last `window`
/// evaluations on skill `j`, or their mean when the graph has targets. Weights do not accumulate: each update
/// starts from the prior again. Without any evaluation all `ℓ_j` are 1, which is the mixture to start with.
/// (The published code starts from `ℓ = prior` when a prior is given; with the uniform prior it is the same.)
///
/// ```
/// use gristmill_mix::{Matrix, SkillGraph, SkillOptions, skill_mixture};
///
/// let chain = SkillGraph::from_edges(3, &[(0, 1), (1, 2)])?;
/// let p = skill_mixture(&chain, &Matrix::from_rows(&[[0.1, 2.0, 2.0]]), &SkillOptions::default())?;
/// // Skill 1 is not learnt yet and helps skill 2, which is not either.
/// assert!(p[1] > p[2] && p[2] > p[0]);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// Losses of another width than the graph, missing, infinite or negative; a prior of another length, negative
/// or all zero; options out of range; a baseline that was not evaluated or is zero where it divides.
pub fn skill_mixture(graph: &SkillGraph, losses: &Matrix, options: &SkillOptions) -> Result<Vec<f64>> {
    let evaluations = losses.rows();
    if evaluations > 0 && losses.columns() != graph.evaluated() {
        return Err(Error::new(
            Code::InvalidArgument,
            format!("{} losses for {} evaluated skills", losses.columns(), graph.evaluated()),
        ));
    }
    for (i, row) in losses.iter_rows().enumerate() {
        check_losses(row, "losses").map_err(|e| e.at_row(i as u64))?;
    }
    let window: Vec<&[f64]> = losses.iter_rows().skip(evaluations.saturating_sub(options.window)).collect();
    let baseline = (evaluations > options.baseline).then(|| losses.row(options.baseline));
    mix(graph, &window, baseline, options)
}

/// The update from what it needs: the last evaluations, oldest first, and the baseline.
pub(super) fn mix(
    graph: &SkillGraph,
    window: &[&[f64]],
    baseline: Option<&[f64]>,
    options: &SkillOptions,
) -> Result<Vec<f64>> {
    check(graph, options)?;
    let k = graph.skills();
    let prior = options.prior.clone().unwrap_or_else(|| vec![1.0; k]);
    let mut pull = vec![1.0; graph.evaluated()];
    let mut eta = options.eta;
    if let Some(latest) = window.last() {
        pull.fill(0.0);
        for row in window {
            pull.iter_mut().zip(*row).for_each(|(p, loss)| *p += loss);
        }
        if graph.has_targets() {
            pull.iter_mut().for_each(|p| *p /= window.len() as f64);
        }
        if options.normalize || options.scale_eta {
            let Some(baseline) = baseline else {
                return Err(Error::invalid_argument(
                    "baseline",
                    format!("evaluation {} is not there yet", options.baseline),
                ));
            };
            if options.normalize {
                for (j, (p, base)) in pull.iter_mut().zip(baseline).enumerate() {
                    if *base == 0.0 {
                        let e = Error::new(Code::InvalidValue, "a baseline loss of 0 cannot be divided by");
                        return Err(e.at_column(format!("skill {j}")));
                    }
                    *p /= base;
                }
            }
            if options.scale_eta {
                let ratio = latest.iter().sum::<f64>() / baseline.iter().sum::<f64>();
                if ratio.is_nan() || ratio <= 0.0 || ratio.is_infinite() {
                    return Err(Error::new(Code::InvalidValue, "losses that sum to 0 cannot scale eta"));
                }
                eta /= ratio;
            }
        }
    }
    let exponent: Vec<f64> = graph
        .weights()
        .iter_rows()
        .map(|row| eta * row.iter().zip(&pull).map(|(a, l)| a * l).sum::<f64>())
        .collect();
    let lone = if options.fix_isolated { graph.isolated() } else { vec![false; k] };
    let fixed = lone.iter().filter(|&&l| l).count();
    let free = |i: &usize| !lone[*i] && prior[*i] > 0.0;
    // Only differences matter, so that the largest exponent may be taken off before it overflows.
    let top = (0..k).filter(free).map(|i| exponent[i]).fold(f64::NEG_INFINITY, f64::max);
    let raw: Vec<f64> =
        (0..k).map(|i| if free(&i) { prior[i] * (exponent[i] - top).exp() } else { 0.0 }).collect();
    let (sum, mass) = (raw.iter().sum::<f64>(), 1.0 - fixed as f64 / k as f64);
    if fixed < k && sum == 0.0 {
        return Err(Error::invalid_argument("prior", "is zero for every skill that is not isolated"));
    }
    Ok((0..k).map(|i| if lone[i] { 1.0 / k as f64 } else { mass * raw[i] / sum }).collect())
}

pub(super) fn check(graph: &SkillGraph, options: &SkillOptions) -> Result<()> {
    if !(options.eta.is_finite() && options.eta >= 0.0) {
        return Err(Error::invalid_argument("eta", "must be finite and not negative"));
    }
    if options.window == 0 {
        return Err(Error::invalid_argument("window", "must be at least 1"));
    }
    if let Some(prior) = &options.prior {
        if prior.len() != graph.skills() {
            let message = format!("{} weights for {} skills", prior.len(), graph.skills());
            return Err(Error::invalid_argument("prior", message));
        }
        runs::check_shares(prior, &[])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> SkillGraph {
        SkillGraph::from_edges(4, &[(0, 1), (1, 2), (2, 3)]).unwrap()
    }

    fn losses() -> Matrix {
        Matrix::from_rows(&[
            [3.0, 3.1, 3.2, 3.3],
            [2.0, 2.5, 3.0, 3.2],
            [1.0, 2.0, 2.9, 3.1],
            [0.5, 1.5, 2.8, 3.0],
            [0.2, 1.0, 2.5, 3.0],
        ])
    }

    fn close(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        assert!(a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-12), "{a:?} {b:?}");
    }

    fn normalized(raw: &[f64]) -> Vec<f64> {
        let sum: f64 = raw.iter().sum();
        raw.iter().map(|r| r / sum).collect()
    }

    #[test]
    fn identities() {
        let d = SkillOptions::default;
        let identity = SkillGraph::from_edges(4, &[]).unwrap();
        let equal = Matrix::from_rows(&[[2.0; 4], [1.5; 4]]);
        close(&skill_mixture(&identity, &equal, &d()).unwrap(), &[0.25; 4]);

        let prior = vec![4.0, 3.0, 2.0, 1.0];
        let zero = SkillGraph::from_weights(Matrix::zeros(4, 4)).unwrap();
        let still = SkillOptions { prior: Some(prior.clone()), ..d() };
        close(&skill_mixture(&zero, &losses(), &still).unwrap(), &[0.4, 0.3, 0.2, 0.1]);
        let slow = SkillOptions { eta: 0.0, ..still.clone() };
        close(&skill_mixture(&chain(), &losses(), &slow).unwrap(), &[0.4, 0.3, 0.2, 0.1]);

        let scaled = SkillOptions { prior: Some(prior.iter().map(|p| p * 7.3).collect()), ..d() };
        close(
            &skill_mixture(&chain(), &losses(), &scaled).unwrap(),
            &skill_mixture(&chain(), &losses(), &still).unwrap(),
        );
    }

    #[test]
    fn follows_its_formula() {
        // The last three rows sum to (1.7, 4.5, 8.2, 9.1).
        let l = [1.7, 4.5, 8.2, 9.1];
        let pull = [l[0] + 0.5 * l[1], l[1] + 0.5 * l[2], l[2] + 0.5 * l[3], l[3]];
        let expected = normalized(&pull.map(|x| f64::exp(0.5 * x)));
        close(&skill_mixture(&chain(), &losses(), &SkillOptions::default()).unwrap(), &expected);

        let none = Matrix::zeros(0, 4);
        let start = normalized(&[1.5, 1.5, 1.5, 1.0].map(|x| f64::exp(0.5 * x)));
        close(&skill_mixture(&chain(), &none, &SkillOptions::default()).unwrap(), &start);

        let one =
            SkillOptions { window: 1, normalize: true, scale_eta: true, baseline: 1, ..Default::default() };
        let q = [0.2 / 2.0, 1.0 / 2.5, 2.5 / 3.0, 3.0 / 3.2];
        let eta = 0.5 / (6.7 / 10.7);
        let pull = [q[0] + 0.5 * q[1], q[1] + 0.5 * q[2], q[2] + 0.5 * q[3], q[3]];
        let expected = normalized(&pull.map(|x| f64::exp(eta * x)));
        close(&skill_mixture(&chain(), &losses(), &one).unwrap(), &expected);
    }

    #[test]
    fn targets_take_the_mean_of_the_window() {
        let graph = chain().with_targets(&[3]).unwrap();
        let told = Matrix::from_rows(&[[9.0], [3.1], [3.0], [2.9]]);
        let expected = normalized(&[0.0, 0.0, 1.5, 3.0].map(|x| f64::exp(0.5 * x)));
        close(&skill_mixture(&graph, &told, &SkillOptions::default()).unwrap(), &expected);
    }

    #[test]
    fn isolated_skills_keep_their_share() {
        let graph = SkillGraph::from_edges(4, &[(0, 1)]).unwrap();
        let o = SkillOptions { fix_isolated: true, window: 1, ..Default::default() };
        let p = skill_mixture(&graph, &losses(), &o).unwrap();
        assert_eq!((p[2], p[3]), (0.25, 0.25));
        let (a, b) = (f64::exp(0.5 * (0.2 + 0.5 * 1.0)), f64::exp(0.5));
        close(&p[..2], &[0.5 * a / (a + b), 0.5 * b / (a + b)]);
        let all = SkillGraph::from_edges(4, &[]).unwrap();
        close(&skill_mixture(&all, &losses(), &o).unwrap(), &[0.25; 4]);
    }

    #[test]
    fn large_losses_do_not_overflow() {
        let p =
            skill_mixture(&chain(), &Matrix::from_rows(&[[1e6, 1e6, 2e6, 1e6]]), &SkillOptions::default());
        close(&p.unwrap(), &[0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn refuses_what_cannot_be_mixed() {
        let bad = |losses: &Matrix, o: SkillOptions| skill_mixture(&chain(), losses, &o).unwrap_err();
        let d = SkillOptions::default;
        assert_eq!(bad(&Matrix::zeros(1, 3), d()).code(), Code::InvalidArgument);
        assert_eq!(
            bad(&Matrix::from_rows(&[[1.0; 4], [1.0, 1.0, f64::NAN, 1.0]]), d()).location().row,
            Some(1)
        );
        assert_eq!(bad(&losses(), SkillOptions { eta: -1.0, ..d() }).code(), Code::InvalidArgument);
        assert_eq!(bad(&losses(), SkillOptions { window: 0, ..d() }).code(), Code::InvalidArgument);
        assert_eq!(
            bad(&losses(), SkillOptions { prior: Some(vec![1.0]), ..d() }).code(),
            Code::InvalidArgument
        );
        assert_eq!(
            bad(&losses(), SkillOptions { prior: Some(vec![0.0; 4]), ..d() }).code(),
            Code::EmptyInput
        );
        let late = SkillOptions { normalize: true, baseline: 5, ..d() };
        assert_eq!(bad(&losses(), late).location().column.as_deref(), Some("baseline"));
        let zero = Matrix::from_rows(&[[1.0, 0.0, 1.0, 1.0]]);
        assert_eq!(
            bad(&zero, SkillOptions { normalize: true, ..d() }).location().column.as_deref(),
            Some("skill 1")
        );
        assert_eq!(
            bad(&Matrix::zeros(1, 4), SkillOptions { scale_eta: true, ..d() }).code(),
            Code::InvalidValue
        );
    }
}
