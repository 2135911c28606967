//! Logistic regression by coordinate descent in the dual.
//!
//! With rows `x_i`, weights `c_i`, labels `p_i` between 0 and 1 and margins `z_i = w·x_i + b`, what is minimised is
//!
//! ```text
//! λ/2 (|w|² + b²) + Σ_i c_i (ln(1 + e^{z_i}) − p_i z_i)
//! ```
//!
//! The optimum has `w = Σ_i (c_i / λ)(p_i − u_i) x_i` with `u_i = 1 / (1 + e^{−z_i})`. Taking the `u_i` for the
//! unknowns, one at a time and all others fixed, each is the solution of one equation in one number,
//! `z + (c/λ)|x|² (σ(z) − u) = z_now`, which Newton's method solves in a few steps; `w` moves along (Yu, Huang and
//! Lin, *Dual coordinate descent methods for logistic regression and maximum entropy models*, 2011; here in a
//! form in which soft labels are no special case). A pass costs two passes over the rows, needs no step size,
//! holds one number a row and one a feature, and a handful of passes are enough.
//!
//! Where few rows are to count as much as many, they are what the weights depend on most: a row that counts for
//! `k` ordinary ones is visited `k` times in a pass, up to a limit. On 120 documents against 18,559 that takes half
//! as many passes.
//!
//! How far a pass is from the optimum needs no other pass: what `u` promises falls short of what is minimised by
//! `Σ_i c_i KL(u_i ‖ σ(z_i))`, of which each visit knows its term. A row whose term is nothing beside the tolerance is left
//! where it is, which saves half of the visit.
//!
//! Rows that do not fit into memory come in blocks that do: a pass takes the blocks in random order and visits the
//! rows of one in random order before it goes to the next, so that each is read from disk once (Yu, Hsieh, Chang and
//! Lin, *Large linear classification when data cannot fit in memory*, 2010). What is minimised in the dual falls
//! with every visit, whatever the order, so this ends at the same optimum.
//!
//! The descent is sequential, in an order that the seed decides, so the result is the same bits whatever the
//! threads of the caller, and wherever the rows lie.

use std::ops::Range;

use gristmill_core::{Code, Control, Error, Result};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::rows::Rows;
use crate::rng;

/// The most visits of one row in a pass.
const MOST_VISITS: f64 = 32.0;

/// The part of the tolerance that rows may leave which stay where they are, because there is so little to gain.
const NEGLIGIBLE: f64 = 0.25;

/// How [`fit_logistic`] fits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogisticOptions {
    /// The penalty λ; default 1. scikit-learn's `C` is `1/λ`.
    pub l2: f64,
    /// Whether there is a constant `b`, which is penalised like every weight; default true.
    pub intercept: bool,
    /// The fit has converged when what is minimised is at most this part of it above the minimum, as far as the
    /// last pass can tell; default 1e-3.
    pub tolerance: f64,
    /// The most passes over the rows; default 100.
    pub epochs: usize,
    /// Decides the order of the rows; default 0.
    pub seed: u64,
}

impl Default for LogisticOptions {
    fn default() -> Self {
        Self { l2: 1.0, intercept: true, tolerance: 1e-3, epochs: 100, seed: 0 }
    }
}

/// What the rows should be, and how much each counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// The label of each row, 0 to 1.
    pub labels: Vec<f64>,
    /// How much each row counts; positive, or 0 for a row that is left out.
    pub weights: Vec<f64>,
}

impl Targets {
    /// Labels of two classes, each of which counts as much as the other: `n / (2 n_class)` a row, as
    /// scikit-learn's `class_weight="balanced"`.
    ///
    /// # Errors
    /// [`Code::EmptyInput`] when a class has no row.
    pub fn balanced(positive: &[bool]) -> Result<Self> {
        let n = positive.len() as f64;
        let ones = positive.iter().filter(|&&p| p).count() as f64;
        if ones == 0.0 || ones == n {
            let which = if ones == 0.0 { "positive" } else { "negative" };
            return Err(Error::new(Code::EmptyInput, format!("there is no {which} row to learn from")));
        }
        let weights = positive.iter().map(|&p| n / (2.0 * if p { ones } else { n - ones }));
        Ok(Self {
            labels: positive.iter().map(|&p| f64::from(u8::from(p))).collect(),
            weights: weights.collect(),
        })
    }

    /// Labels that all count the same.
    pub fn even(labels: Vec<f64>) -> Self {
        let weights = vec![1.0; labels.len()];
        Self { labels, weights }
    }

    fn check(&self, rows: usize) -> Result<()> {
        if self.labels.len() != rows || self.weights.len() != rows {
            let message =
                format!("{} labels and {} weights for {rows} rows", self.labels.len(), self.weights.len());
            return Err(Error::invalid_argument("labels", message));
        }
        let bad = |e: &str, row: usize, value: f64| {
            Err(Error::new(Code::InvalidValue, format!("a {e} of {value}")).at_row(row as u64))
        };
        for (row, (&label, &weight)) in self.labels.iter().zip(&self.weights).enumerate() {
            if !(0.0..=1.0).contains(&label) {
                return bad("label", row, label);
            }
            if !(weight.is_finite() && weight >= 0.0) {
                return bad("weight", row, weight);
            }
        }
        if self.weights.iter().all(|&w| w == 0.0) {
            return Err(Error::new(Code::EmptyInput, "no row to learn from"));
        }
        Ok(())
    }
}

/// A linear function of the features.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// One weight a feature.
    pub weights: Vec<f64>,
    /// The constant.
    pub intercept: f64,
    /// Passes over the rows that it took.
    pub epochs: usize,
    /// Whether the fit stopped because it had converged.
    pub converged: bool,
    /// The `u_i` of each row, of which the weights are a sum: where another fit to nearly the same rows may start.
    pub duals: Vec<f64>,
}

impl Linear {
    /// The margin of a row: the log-odds of label 1, as far as they are not over-confident.
    pub fn margin(&self, rows: &impl Rows, row: usize) -> f64 {
        rows.dot(row, &self.weights) + self.intercept
    }

    /// Adds a multiple of a row to the weights.
    fn step(&mut self, rows: &impl Rows, row: usize, by: f64, constant: f64) {
        if by != 0.0 {
            rows.add(row, by, &mut self.weights);
            self.intercept += by * constant;
        }
    }

    /// The margins of all rows.
    pub fn margins(&self, rows: &impl Rows) -> Vec<f64> {
        let mut margins = Vec::with_capacity(rows.len());
        in_blocks(rows, |row| margins.push(self.margin(rows, row)));
        margins
    }
}

/// `1 / (1 + e^-z)`, by the portable exponential.
#[inline]
pub(crate) fn sigmoid(z: f64) -> f64 {
    if z >= 0.0 {
        1.0 / (1.0 + libm::exp(-z))
    } else {
        let e = libm::exp(z);
        e / (1.0 + e)
    }
}

/// Fits a linear function of the rows to labels: minimises `λ/2 (|w|² + b²) + Σ_i c_i (ln(1 + e^{z_i}) − p_i z_i)` for
/// rows `x_i`, weights `c_i`, labels `p_i` from 0 to 1 and margins `z_i = w·x_i + b`.
///
/// ```
/// use gristmill_core::Control;
/// use gristmill_mix::{Dense, LogisticOptions, Targets, fit_logistic};
///
/// let mut rows = Dense::new(2);
/// for row in [[1.0, 0.2], [0.8, 0.1], [0.1, 1.0], [0.0, 0.7]] {
///     rows.push(&row)?;
/// }
/// let targets = Targets::balanced(&[true, true, false, false])?;
/// let model = fit_logistic(&rows, &targets, &LogisticOptions::default(), &Control::default())?;
/// assert!(model.converged && model.weights[0] > 0.0 && model.weights[1] < 0.0);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// Labels outside of 0 to 1, weights that are negative or not finite, options out of range, no rows.
pub fn fit_logistic(
    rows: &impl Rows,
    targets: &Targets,
    options: &LogisticOptions,
    control: &Control,
) -> Result<Linear> {
    options.check()?;
    targets.check(rows.len())?;
    // With u = p the weights are zero.
    let start = Linear {
        weights: vec![0.0; rows.features()],
        intercept: 0.0,
        epochs: 0,
        converged: false,
        duals: targets.labels.clone(),
    };
    descend(rows, targets, start, options, control)
}

/// Goes on from duals and the weights that follow from them.
fn descend(
    rows: &impl Rows,
    targets: &Targets,
    start: Linear,
    options: &LogisticOptions,
    control: &Control,
) -> Result<Linear> {
    let mut model = Linear { epochs: 0, converged: false, ..start };
    let visits = visits(&targets.weights);
    let mut blocks = in_turn(&rows.blocks(), &visits);
    let in_all: usize = blocks.iter().map(Vec::len).sum();
    let constant = options.constant();
    let mut negligible = 0.0;
    while model.epochs < options.epochs && !model.converged {
        control.check()?;
        let mut rng = rng::stream(options.seed, "fit_logistic", model.epochs as u64);
        shuffle(&mut blocks, &mut rng);
        let (mut gap, mut loss) = (0.0, 0.0);
        for order in &mut blocks {
            shuffle(order, &mut rng);
            for (at, &i) in order.iter().enumerate() {
                if let Some(&next) = order.get(at + 1) {
                    rows.expect(next);
                }
                let margin = model.margin(rows, i);
                let u = model.duals[i];
                let share = targets.weights[i] / f64::from(visits[i]);
                let here = At::new(margin);
                let to_gain = share * here.divergence(u);
                gap += to_gain;
                loss += share * (here.softplus - targets.labels[i] * margin);
                if to_gain < negligible {
                    continue;
                }
                let scale = targets.weights[i] / options.l2;
                let next = solve(margin, here.sigmoid, (rows.square_norm(i) + constant) * scale, u);
                model.duals[i] = next;
                model.step(rows, i, (u - next) * scale, constant);
            }
            rows.leave_block();
        }
        model.epochs += 1;
        let square: f64 = model.weights.iter().map(|w| w * w).sum();
        let objective = loss + 0.5 * options.l2 * (square + model.intercept.powi(2));
        model.converged = gap <= options.tolerance * objective;
        negligible = NEGLIGIBLE * options.tolerance * objective / in_all as f64;
    }
    Ok(model)
}

/// How often each row is visited in a pass: once for every mean weight that it has, but at least once and at
/// most [`MOST_VISITS`] times; never when it has none. A pass has at most twice as many visits as rows.
fn visits(weights: &[f64]) -> Vec<u8> {
    let counted = weights.iter().filter(|w| **w > 0.0).count();
    let mean = weights.iter().sum::<f64>() / counted as f64;
    let of = |&w: &f64| if w > 0.0 { (w / mean).clamp(1.0, MOST_VISITS) as u8 } else { 0 };
    weights.iter().map(of).collect()
}

/// What a visit finds at a margin `z`, from one exponential.
struct At {
    /// `1 / (1 + e^−z)`.
    sigmoid: f64,
    /// `sigmoid (1 − sigmoid)`.
    variance: f64,
    /// `ln(1 + e^z)`.
    softplus: f64,
}

impl At {
    fn new(z: f64) -> Self {
        let e = libm::exp(-z.abs());
        let large = 1.0 / (1.0 + e);
        Self {
            sigmoid: if z >= 0.0 { large } else { e * large },
            variance: e * large * large,
            softplus: z.max(0.0) + libm::log1p(e),
        }
    }

    /// A little more than the divergence `KL(u ‖ σ)`: `(u − σ)² / (σ (1 − σ))`, a bound from above in which
    /// nothing cancels out.
    fn divergence(&self, u: f64) -> f64 {
        (u - self.sigmoid).powi(2) / self.variance.max(f64::MIN_POSITIVE)
    }
}

/// The margin that each row gets from a fit that left out its fold; `folds[i]` is the fold of row `i`, from 0.
///
/// `whole` is the fit to all rows. Each fold starts there, without what its own rows put into the weights, and is
/// mostly done.
///
/// # Errors
/// Those of [`fit_logistic`], such as a fold that holds all the rows.
pub fn held_out_margins(
    rows: &impl Rows,
    targets: &Targets,
    folds: &[usize],
    whole: &Linear,
    options: &LogisticOptions,
    control: &Control,
) -> Result<Vec<f64>> {
    options.check()?;
    let mut margins = vec![0.0; rows.len()];
    for fold in 0..folds.iter().max().map_or(0, |last| last + 1) {
        let mut others = targets.clone();
        let mut start = whole.clone();
        in_blocks(rows, |row| {
            if folds[row] == fold {
                let by = (start.duals[row] - targets.labels[row]) * targets.weights[row] / options.l2;
                start.step(rows, row, by, options.constant());
                start.duals[row] = targets.labels[row];
                others.weights[row] = 0.0;
            }
        });
        others.check(rows.len())?;
        let model = descend(rows, &others, start, options, control)?;
        in_blocks(rows, |row| {
            if folds[row] == fold {
                margins[row] = model.margin(rows, row);
            }
        });
    }
    Ok(margins)
}

/// `σ(z)` where `z + q (σ(z) − u) = m`, given `σ(m)`. The left side grows with a slope of 1 to `1 + q/4`, so its root
/// lies between `m − q (1 − u)` and `m + q u`, and Newton's steps are kept between bounds that close in.
fn solve(m: f64, at_m: f64, q: f64, u: f64) -> f64 {
    let (mut low, mut high) = (m - q * (1.0 - u), m + q * u);
    let (mut z, mut s) = (m, at_m);
    for _ in 0..50 {
        let excess = z + q * (s - u) - m;
        if excess > 0.0 {
            high = z;
        } else {
            low = z;
        }
        let step = excess / (1.0 + q * s * (1.0 - s));
        let newton = z - step;
        let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        let moved = (next - z).abs();
        z = next;
        s = sigmoid(z);
        // Near the root a step leaves about the square of itself.
        if moved <= 1e-7 * (1.0 + z.abs()) {
            break;
        }
    }
    s
}

/// The visits of each block. Those of a row that has several are spread over all blocks: what counts most is not left
/// alone for long.
fn in_turn(blocks: &[Range<usize>], visits: &[u8]) -> Vec<Vec<usize>> {
    let mut turns = vec![Vec::new(); blocks.len()];
    for (own, block) in blocks.iter().enumerate() {
        for row in block.clone() {
            let of_row = usize::from(visits[row]);
            (0..of_row).for_each(|n| turns[(own + n * blocks.len() / of_row) % blocks.len()].push(row));
        }
    }
    turns
}

/// Calls `f` for every row, block by block.
fn in_blocks(rows: &impl Rows, mut f: impl FnMut(usize)) {
    for block in rows.blocks() {
        block.for_each(&mut f);
        rows.leave_block();
    }
}

fn shuffle<T>(order: &mut [T], rng: &mut impl RngExt) {
    for i in (1..order.len()).rev() {
        order.swap(i, rng.random_range(0..=i));
    }
}

impl LogisticOptions {
    /// The value of the constant's own feature.
    fn constant(&self) -> f64 {
        f64::from(u8::from(self.intercept))
    }

    fn check(&self) -> Result<()> {
        for (name, value) in [("l2", self.l2), ("tolerance", self.tolerance)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(Error::invalid_argument(name, format!("{value} is not a positive number")));
            }
        }
        if self.epochs == 0 {
            return Err(Error::invalid_argument("epochs", "must be at least 1"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raters::Dense;

    fn control() -> Control {
        Control::default()
    }

    #[derive(serde::Deserialize)]
    struct Fit {
        coefficients: Vec<f64>,
        intercept: f64,
    }

    #[derive(serde::Deserialize)]
    struct Small {
        rows: Vec<Vec<f32>>,
        labels: Vec<u8>,
        fits: std::collections::BTreeMap<String, Fit>,
    }

    #[derive(serde::Deserialize)]
    struct Reference {
        small: Small,
    }

    fn dense(rows: &[Vec<f32>]) -> Dense {
        let mut dense = Dense::new(rows[0].len());
        rows.iter().for_each(|row| dense.push(row).unwrap());
        dense
    }

    /// `test/corpora/sklearn_reference.py` made the figures.
    #[test]
    fn equals_liblinear() {
        let Reference { small } =
            serde_json::from_str(include_str!("../../../../test/corpora/sklearn_reference.json")).unwrap();
        let rows = dense(&small.rows);
        let targets = Targets::balanced(&small.labels.iter().map(|&l| l == 1).collect::<Vec<_>>()).unwrap();
        for (name, fit) in &small.fits {
            let l2 = 1.0 / name[1..].parse::<f64>().unwrap();
            let options = LogisticOptions { l2, tolerance: 1e-20, epochs: 10_000, ..Default::default() };
            let ours = fit_logistic(&rows, &targets, &options, &control()).unwrap();
            assert!(ours.converged, "{name}");
            let pairs = ours.weights.iter().zip(&fit.coefficients).chain([(&ours.intercept, &fit.intercept)]);
            for (a, b) in pairs {
                assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "{name}: {a} {b}");
            }
        }
    }

    /// At the optimum the gradient of what is minimised vanishes, soft labels and unequal weights included.
    #[test]
    fn the_gradient_vanishes_at_the_result() {
        let mut rng = rng::stream(5, "test", 0);
        let table: Vec<Vec<f32>> =
            (0..60).map(|_| (0..5).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
        let rows = dense(&table);
        let targets = Targets {
            labels: (0..60).map(|_| rng.random_range(0.0..=1.0)).collect(),
            weights: (0..60).map(|_| rng.random_range(0.0..30.0)).collect(),
        };
        for intercept in [true, false] {
            let options = LogisticOptions {
                l2: 0.3,
                intercept,
                tolerance: 1e-24,
                epochs: 100_000,
                ..Default::default()
            };
            let m = fit_logistic(&rows, &targets, &options, &control()).unwrap();
            let mut gradient: Vec<f64> = m.weights.iter().map(|w| 0.3 * w).collect();
            gradient.push(0.3 * m.intercept);
            for (i, row) in table.iter().enumerate() {
                let z: f64 =
                    row.iter().zip(&m.weights).map(|(x, w)| f64::from(*x) * w).sum::<f64>() + m.intercept;
                let residual = targets.weights[i] * (1.0 / (1.0 + (-z).exp()) - targets.labels[i]);
                row.iter().enumerate().for_each(|(j, x)| gradient[j] += residual * f64::from(*x));
                gradient[5] += if intercept { residual } else { 0.0 };
            }
            assert!(gradient.iter().all(|g| g.abs() < 1e-7), "{gradient:?}");
        }
    }

    /// A fold that starts from the whole is the fit without its rows.
    #[test]
    fn held_out_margins_are_those_of_fits_from_scratch() {
        let mut rng = rng::stream(6, "test", 0);
        let table: Vec<Vec<f32>> =
            (0..80).map(|_| (0..6).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
        let rows = dense(&table);
        let positive: Vec<bool> = table.iter().map(|r| r[0] + r[1] > rng.random_range(-0.5..0.5)).collect();
        let targets = Targets::balanced(&positive).unwrap();
        let options = LogisticOptions { tolerance: 1e-22, epochs: 100_000, ..Default::default() };
        let whole = fit_logistic(&rows, &targets, &options, &control()).unwrap();
        let folds: Vec<usize> = (0..80).map(|i| i % 4).collect();
        let margins = held_out_margins(&rows, &targets, &folds, &whole, &options, &control()).unwrap();
        for fold in 0..4 {
            let mut others = targets.clone();
            (0..80).filter(|i| i % 4 == fold).for_each(|i| others.weights[i] = 0.0);
            let scratch = fit_logistic(&rows, &others, &options, &control()).unwrap();
            for i in (0..80).filter(|i| i % 4 == fold) {
                assert!((margins[i] - scratch.margin(&rows, i)).abs() < 1e-7, "{i}");
            }
        }
        let all = held_out_margins(&rows, &targets, &[0; 80], &whole, &options, &control());
        assert_eq!(all.unwrap_err().code(), Code::EmptyInput);
    }

    /// Few rows that count as much as many others, as a target beside a pool.
    #[test]
    fn ends_within_its_tolerance_of_the_optimum() {
        let mut rng = rng::stream(8, "test", 0);
        let positive: Vec<bool> = (0..3000).map(|i| i < 30).collect();
        let mut bags = crate::Bags::new(5000);
        for &positive in &positive {
            // Words by Zipf's law, of which the wanted rows have some that others seldom have.
            let word = |_| (5000f64.powf(rng.random_range(0.0..1.0f64)) as u32 - 1) ^ u32::from(positive);
            bags.push(&(0..80).map(word).collect::<Vec<_>>()).unwrap();
        }
        let rows = crate::TfIdf::new(bags.document_frequencies(), 3000, 1.0, true).rows(bags);
        let targets = Targets::balanced(&positive).unwrap();
        let fit = |tolerance| {
            let options = LogisticOptions { tolerance, epochs: 10_000, ..Default::default() };
            fit_logistic(&rows, &targets, &options, &control()).unwrap()
        };
        let objective = |m: &Linear| {
            let loss = |i: usize| {
                let z = m.margin(&rows, i);
                targets.weights[i] * (At::new(z).softplus - targets.labels[i] * z)
            };
            let square: f64 = m.weights.iter().map(|w| w * w).sum();
            (0..3000).map(loss).sum::<f64>() + 0.5 * (square + m.intercept.powi(2))
        };
        let optimum = objective(&fit(1e-16));
        for tolerance in [1e-1, 1e-2, 1e-3, 1e-4] {
            let model = fit(tolerance);
            let above = objective(&model) / optimum - 1.0;
            assert!(model.converged && above <= tolerance && above >= -1e-12, "{tolerance}: {above}");
            assert!(model.epochs <= 12, "{tolerance}: {} passes", model.epochs);
        }
    }

    #[test]
    fn separable_rows_and_rows_of_zeros_have_an_answer() {
        let rows = dense(&[vec![3.0], vec![0.0], vec![-3.0]]);
        let targets = Targets::even(vec![1.0, 1.0, 0.0]);
        let options = LogisticOptions { l2: 1e-6, epochs: 20, ..Default::default() };
        let m = fit_logistic(&rows, &targets, &options, &control()).unwrap();
        assert!(m.weights[0] > 1.0 && m.weights[0].is_finite() && m.intercept > 0.0, "{m:?}");
    }

    #[test]
    fn the_solution_of_one_equation() {
        for (m, q, u) in
            [(0.0, 1.0, 1.0), (-3.0, 50.0, 0.0), (700.0, 1e6, 0.3), (-700.0, 1e-9, 1.0), (1.0, 0.0, 0.5)]
        {
            let s = solve(m, sigmoid(m), q, u);
            let z = m - q * (s - u);
            assert!((sigmoid(z) - s).abs() < 1e-6, "{m} {q} {u}: {s}");
        }
    }

    #[test]
    fn refuses_what_is_no_label_weight_or_option() {
        let rows = dense(&[vec![1.0], vec![2.0]]);
        let fit = |labels: [f64; 2], weights: [f64; 2], o: LogisticOptions| {
            let targets = Targets { labels: labels.to_vec(), weights: weights.to_vec() };
            fit_logistic(&rows, &targets, &o, &control()).unwrap_err()
        };
        let d = LogisticOptions::default;
        let e = fit([0.0, 1.5], [1.0, 1.0], d());
        assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(1)));
        assert_eq!(fit([0.0, 1.0], [-1.0, 1.0], d()).location().row, Some(0));
        assert_eq!(fit([0.0, 1.0], [0.0, 0.0], d()).code(), Code::EmptyInput);
        for o in [
            LogisticOptions { l2: 0.0, ..d() },
            LogisticOptions { l2: f64::NAN, ..d() },
            LogisticOptions { tolerance: -1.0, ..d() },
            LogisticOptions { epochs: 0, ..d() },
        ] {
            assert_eq!(fit([0.0, 1.0], [1.0, 1.0], o).code(), Code::InvalidArgument);
        }
        assert_eq!(Targets::balanced(&[true, true]).unwrap_err().code(), Code::EmptyInput);
    }
}
