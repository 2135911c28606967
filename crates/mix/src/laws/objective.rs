//! The mean Huber loss of a law over points, with its gradient, as a function of unbounded parameters.

use super::fit::Residual;
use super::form::{Base, LawForm};
use crate::Matrix;
use crate::matrix::solve_spd;

/// The parameters that a start draws; the coefficients follow by least squares.
pub(super) struct Start {
    pub(super) exponents: Vec<f64>,
    pub(super) epsilon: f64,
    /// The weight of the second term of `K` in its own units.
    pub(super) weight: f64,
}

/// One base over the points. Points share few distinct values (a handful of sizes, shares and checkpoints), so
/// a power is taken once per level and not once per point.
struct Factor {
    term: usize,
    exponent: usize,
    sign: f64,
    base: Base,
    /// The distinct values, or the two parts of `K`.
    levels: Vec<[f64; 2]>,
    /// The level of each point.
    level: Vec<u32>,
    /// The mean logarithm, taken off a plain variable.
    centre: f64,
}

/// The unbounded parameters are, in this order: `ln E`; for each term the logarithm of its coefficient at the
/// centre of its variables; the logarithms of the exponents; `ln epsilon`; the logit of the weight within `K`.
pub(super) struct Objective {
    form: LawForm,
    residual: Residual,
    measured: Vec<f64>,
    target: Vec<f64>,
    factors: Vec<Factor>,
    /// The geometric means of `k1` and `k2`.
    unit: [f64; 2],
}

/// Buffers of one start.
pub(super) struct Workspace {
    /// For each factor, by level: its power, and the sum of what the points put on it.
    power: Vec<Vec<f64>>,
    pull: Vec<Vec<f64>>,
    log: Vec<Vec<f64>>,
}

impl Objective {
    pub(super) fn new(form: LawForm, points: &Matrix, measured: &[f64], residual: Residual) -> Self {
        let shape = form.shape();
        let geometric =
            |j: usize| (points.iter_rows().map(|row| row[j].ln()).sum::<f64>() / points.rows() as f64).exp();
        let unit = match shape.terms.iter().flat_map(|t| t.iter()).find_map(|f| match f.base {
            Base::Hardness(a, b) => Some((a, b)),
            _ => None,
        }) {
            Some((a, b)) => [geometric(a), geometric(b)],
            None => [1.0; 2],
        };
        let mut factors = Vec::new();
        for (term, list) in shape.terms.iter().enumerate() {
            for f in *list {
                let key = |row: &[f64]| match f.base {
                    Base::Variable(j) | Base::Shifted(j) => [row[j], 0.0],
                    Base::Hardness(a, b) => [unit[0] / row[a], row[b] / unit[1]],
                };
                let keys: Vec<[f64; 2]> = points.iter_rows().map(key).collect();
                let order = |a: &[f64; 2], b: &[f64; 2]| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1]));
                let mut levels = keys.clone();
                levels.sort_by(order);
                levels.dedup();
                let place = |key: &[f64; 2]| levels.binary_search_by(|l| order(l, key)).unwrap_or(0) as u32;
                let logs = levels.iter().map(|l| l[0].ln()).filter(|l| l.is_finite());
                let centre = match f.base {
                    Base::Variable(_) => logs.clone().sum::<f64>() / logs.count().max(1) as f64,
                    _ => 0.0,
                };
                factors.push(Factor {
                    term,
                    exponent: f.exponent,
                    sign: f.sign,
                    base: f.base,
                    level: keys.iter().map(place).collect(),
                    levels,
                    centre,
                });
            }
        }
        let target = match residual {
            Residual::Log => measured.iter().map(|y| y.ln()).collect(),
            Residual::Plain => measured.to_vec(),
        };
        Self { form, residual, measured: measured.to_vec(), target, factors, unit }
    }

    fn terms(&self) -> usize {
        self.form.shape().terms.len()
    }

    fn epsilon_at(&self) -> usize {
        1 + self.terms() + self.form.shape().exponents.len()
    }

    fn weight_at(&self) -> usize {
        self.epsilon_at() + usize::from(self.form.shape().epsilon.is_some())
    }

    fn len(&self) -> usize {
        self.weight_at() + usize::from(self.form.shape().hardness.is_some())
    }

    pub(super) fn workspace(&self) -> Workspace {
        let empty = || self.factors.iter().map(|f| vec![0.0; f.levels.len()]).collect::<Vec<_>>();
        Workspace { power: empty(), pull: empty(), log: empty() }
    }

    /// The powers of all levels, and the logarithms that they are powers of.
    fn powers(&self, u: &[f64], work: &mut Workspace) {
        let epsilon = u.get(self.epsilon_at()).map_or(0.0, |v| v.exp());
        let weight = u.get(self.weight_at()).map_or(0.0, |v| logistic(*v));
        for (k, f) in self.factors.iter().enumerate() {
            let exponent = f.sign * u[1 + self.terms() + f.exponent].exp();
            for (i, level) in f.levels.iter().enumerate() {
                let base = match f.base {
                    Base::Variable(_) => level[0],
                    Base::Shifted(_) => level[0] + epsilon,
                    Base::Hardness(..) => (1.0 - weight) * level[0] + weight * level[1],
                };
                let log = base.ln() - f.centre;
                work.log[k][i] = log;
                // A share of zero takes its whole term with it, and its exponent has no say there.
                work.power[k][i] = if base > 0.0 { (exponent * log).exp() } else { 0.0 };
            }
        }
    }

    /// The mean Huber loss at `u` with threshold `delta`; its gradient goes to `gradient`.
    pub(super) fn value(&self, u: &[f64], delta: f64, gradient: &mut [f64], work: &mut Workspace) -> f64 {
        self.powers(u, work);
        work.pull.iter_mut().for_each(|p| p.fill(0.0));
        gradient.fill(0.0);
        let terms = self.terms();
        let constant = u[0].exp();
        let mut coefficient = [0.0; 4];
        (0..terms).for_each(|t| coefficient[t] = u[1 + t].exp());
        let mut sum = 0.0;
        for (i, target) in self.target.iter().enumerate() {
            let mut term = coefficient;
            for (f, power) in self.factors.iter().zip(&work.power) {
                term[f.term] *= power[f.level[i] as usize];
            }
            let predicted = constant + term.iter().sum::<f64>();
            let (error, scale) = match self.residual {
                Residual::Log => (predicted.ln() - target, 1.0 / predicted),
                Residual::Plain => (predicted - target, 1.0),
            };
            let clipped = error.clamp(-delta, delta);
            sum += clipped * (error - clipped / 2.0);
            let weight = clipped * scale;
            gradient[0] += weight;
            for (g, t) in gradient[1..=terms].iter_mut().zip(term) {
                *g += weight * t;
            }
            for (f, pull) in self.factors.iter().zip(&mut work.pull) {
                pull[f.level[i] as usize] += weight * term[f.term];
            }
        }
        gradient[0] *= constant;
        self.chain(u, gradient, work);
        let n = self.target.len() as f64;
        gradient.iter_mut().for_each(|g| *g /= n);
        sum / n
    }

    /// The part of the gradient that goes through the powers.
    fn chain(&self, u: &[f64], gradient: &mut [f64], work: &Workspace) {
        let weight = u.get(self.weight_at()).map_or(0.0, |v| logistic(*v));
        for ((f, pull), log) in self.factors.iter().zip(&work.pull).zip(&work.log) {
            let at = 1 + self.terms() + f.exponent;
            let exponent = f.sign * u[at].exp();
            for ((level, pull), log) in f.levels.iter().zip(pull).zip(log) {
                if *pull == 0.0 {
                    continue;
                }
                gradient[at] += pull * exponent * log;
                // Here the logarithm is of the base itself: these bases are not centred.
                match f.base {
                    Base::Variable(_) => {}
                    Base::Shifted(_) => {
                        let epsilon = u[self.epsilon_at()].exp();
                        gradient[self.epsilon_at()] += pull * exponent * epsilon / log.exp();
                    }
                    Base::Hardness(..) => {
                        let slope = weight * (1.0 - weight) * (level[1] - level[0]);
                        gradient[self.weight_at()] += pull * exponent * slope / log.exp();
                    }
                }
            }
        }
    }

    /// The unbounded parameters of a start: coefficients by least squares on the drawn exponents, and small but
    /// positive where least squares would have them negative.
    pub(super) fn start(&self, start: &Start) -> Vec<f64> {
        let terms = self.terms();
        let mut u = vec![0.0; self.len()];
        for (slot, e) in u[1 + terms..].iter_mut().zip(&start.exponents) {
            *slot = e.ln();
        }
        if self.form.shape().epsilon.is_some() {
            u[self.epsilon_at()] = start.epsilon.ln();
        }
        if self.form.shape().hardness.is_some() {
            u[self.weight_at()] = (start.weight / (1.0 - start.weight)).ln();
        }
        let mut work = self.workspace();
        self.powers(&u, &mut work);
        let k = terms + 1;
        let (mut gram, mut right) = (Matrix::zeros(k, k), vec![0.0; k]);
        for (i, y) in self.measured.iter().enumerate() {
            let mut row = [1.0; 5];
            for (f, power) in self.factors.iter().zip(&work.power) {
                row[1 + f.term] *= power[f.level[i] as usize];
            }
            for a in 0..k {
                right[a] += row[a] * y;
                (0..k).for_each(|b| gram.row_mut(a)[b] += row[a] * row[b]);
            }
        }
        let mean = self.measured.iter().sum::<f64>() / self.measured.len() as f64;
        (0..k).for_each(|a| gram.row_mut(a)[a] *= 1.0 + 1e-9);
        let solution = solve_spd(gram, &right, 0.0).unwrap_or_else(|_| vec![mean / k as f64; k]);
        for (slot, c) in u[..k].iter_mut().zip(solution) {
            *slot = c.max(1e-2 * mean).ln();
        }
        u
    }

    /// The parameters as the form names them.
    pub(super) fn parameters(&self, u: &[f64]) -> Vec<f64> {
        let shape = self.form.shape();
        let mut p = vec![0.0; shape.parameters.len()];
        p[0] = u[0].exp();
        for (k, &at) in shape.exponents.iter().enumerate() {
            p[at] = u[1 + self.terms() + k].exp();
        }
        for (t, &at) in shape.coefficients.iter().enumerate() {
            let shift: f64 = self
                .factors
                .iter()
                .filter(|f| f.term == t)
                .map(|f| f.sign * p[shape.exponents[f.exponent]] * f.centre)
                .sum();
            p[at] = (u[1 + t] - shift).exp();
        }
        if let Some(at) = shape.epsilon {
            p[at] = u[self.epsilon_at()].exp();
        }
        if let Some(at) = shape.hardness {
            let weight = logistic(u[self.weight_at()]);
            p[at] = (1.0 - weight) * self.unit[0];
            p[at + 1] = weight / self.unit[1];
        }
        p
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use rand::RngExt;

    /// Points on a grid with a share of zero among them, and losses that are just numbers.
    fn points(form: LawForm) -> (Matrix, Vec<f64>) {
        let mut rng = rng::stream(1, "test", 0);
        let k = form.variables().len();
        let mut data = Vec::new();
        for i in 0..40usize {
            for &name in form.variables() {
                data.push(match name {
                    "r" => (i % 5) as f64 / 4.0,
                    "N" | "x" => [0.5, 1.8, 4.0][i % 3],
                    "k1" => [2.0, 2.5][i % 2],
                    "k2" => [0.1, 0.3, 0.2, 0.4][i % 4],
                    _ => 1.0 + (i % 7) as f64,
                });
            }
        }
        (Matrix::new(40, k, data).unwrap(), (0..40).map(|_| rng.random_range(1.0..3.0)).collect())
    }

    const FORMS: [LawForm; 5] =
        [LawForm::Power, LawForm::Chinchilla, LawForm::Ratio, LawForm::Dcpt, LawForm::CrossDomain];

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let mut rng = rng::stream(2, "test", 0);
        for form in FORMS {
            let (points, losses) = points(form);
            for residual in [Residual::Log, Residual::Plain] {
                let o = Objective::new(form, &points, &losses, residual);
                let mut work = o.workspace();
                for delta in [0.05, 10.0] {
                    let u: Vec<f64> = (0..o.len()).map(|_| rng.random_range(-1.0..0.5)).collect();
                    let (mut gradient, mut unused) = (vec![0.0; o.len()], vec![0.0; o.len()]);
                    o.value(&u, delta, &mut gradient, &mut work);
                    for j in 0..o.len() {
                        let mut at = |step: f64| {
                            let mut v = u.clone();
                            v[j] += step;
                            o.value(&v, delta, &mut unused, &mut work)
                        };
                        let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                        assert!(
                            (slope - gradient[j]).abs() < 1e-6 * (1.0 + slope.abs()),
                            "{form:?} {j} {slope} {}",
                            gradient[j]
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn parameters_are_those_of_the_law() {
        let mut rng = rng::stream(3, "test", 0);
        for form in FORMS {
            let (points, losses) = points(form);
            let o = Objective::new(form, &points, &losses, Residual::Plain);
            let u: Vec<f64> = (0..o.len()).map(|_| rng.random_range(-1.0..0.5)).collect();
            let law = crate::Law::new(form, o.parameters(&u)).unwrap();
            let expected: f64 = points
                .iter_rows()
                .zip(&losses)
                .map(|(row, y)| (law.predict(row).unwrap().loss - y).powi(2) / 2.0)
                .sum();
            let got = o.value(&u, 1e9, &mut vec![0.0; o.len()], &mut o.workspace()) * 40.0;
            assert!((got - expected).abs() < 1e-9 * expected, "{form:?} {got} {expected}");
        }
    }

    #[test]
    fn a_start_with_the_true_exponents_has_the_true_coefficients() {
        let (points, _) = points(LawForm::Dcpt);
        let p = vec![1.1, 0.8, 0.4, 0.9, 0.5, 0.3, 0.2, 0.1, 0.7];
        let law = crate::Law::new(LawForm::Dcpt, p.clone()).unwrap();
        let losses: Vec<f64> = points.iter_rows().map(|row| law.predict(row).unwrap().loss).collect();
        let o = Objective::new(LawForm::Dcpt, &points, &losses, Residual::Log);
        let u = o.start(&Start { exponents: vec![0.4, 0.5, 0.3, 0.7], epsilon: 0.1, weight: 0.5 });
        for (got, expected) in o.parameters(&u).iter().zip(p) {
            assert!((got - expected).abs() < 1e-4, "{got} {expected}");
        }
    }
}
