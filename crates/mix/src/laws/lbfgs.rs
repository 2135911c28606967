//! Limited-memory BFGS with a weak Wolfe line search.
//!
//! The line search brackets and bisects (Lewis and Overton, 2013), which needs no smoothness beyond what the
//! Huber loss has, and takes a step where the function is not finite for one that is too long.

/// How a minimisation ended.
#[derive(Debug, Clone)]
pub(crate) struct Minimum {
    pub(crate) x: Vec<f64>,
    pub(crate) value: f64,
    /// Whether it stopped because nothing more was to be gained, and not because of the limit of iterations.
    pub(crate) converged: bool,
}

/// Pairs of steps and changes of gradient that are kept.
const MEMORY: usize = 12;

/// Minimises `f`, which writes its gradient into its second argument and returns its value.
///
/// Stops when ten iterations in a row lower the value by less than `1e-10` of it in all, when the gradient
/// vanishes, when no step lowers the value any more, or after `iterations`.
pub(crate) fn minimize(
    start: Vec<f64>,
    iterations: usize,
    mut f: impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Minimum {
    let n = start.len();
    let mut x = start;
    let mut gradient = vec![0.0; n];
    let mut value = f(&x, &mut gradient);
    let mut history: Vec<Pair> = Vec::new();
    let (mut trial, mut trial_gradient) = (vec![0.0; n], vec![0.0; n]);
    let mut marks = std::collections::VecDeque::from([value]);
    if !value.is_finite() {
        return Minimum { x, value, converged: false };
    }
    for iteration in 0..iterations {
        let norm = dot(&gradient, &gradient).sqrt();
        if norm <= 1e-14 * value.abs().max(1e-30) {
            return Minimum { x, value, converged: true };
        }
        let mut direction = descent(&gradient, &history);
        let mut slope = dot(&direction, &gradient);
        if slope.is_nan() || slope >= 0.0 {
            history.clear();
            direction = gradient.iter().map(|g| -g).collect();
            slope = -norm * norm;
        }
        // The first step has no curvature to go by: one tenth of the unit of these (logarithmic) parameters.
        let mut step = if history.is_empty() { 0.1 / norm } else { 1.0 };
        let (mut low, mut high) = (0.0, f64::INFINITY);
        let mut accepted = None;
        for _ in 0..60 {
            for i in 0..n {
                trial[i] = x[i] + step * direction[i];
            }
            let next = f(&trial, &mut trial_gradient);
            if next.is_nan() || next > value + 1e-4 * step * slope {
                high = step;
            } else {
                accepted = Some(next);
                if dot(&trial_gradient, &direction) >= 0.9 * slope {
                    break;
                }
                low = step;
            }
            step = if high.is_finite() { (low + high) / 2.0 } else { 2.0 * low };
            if high - low <= 1e-16 * high {
                break;
            }
        }
        let Some(mut next) = accepted else {
            return Minimum { x, value, converged: true };
        };
        // The last trial may be one that was refused, after a shorter one that only lacked curvature.
        if high == step || next > value {
            step = low;
            for i in 0..n {
                trial[i] = x[i] + step * direction[i];
            }
            next = f(&trial, &mut trial_gradient);
            if next.is_nan() || next >= value {
                return Minimum { x, value, converged: true };
            }
        }
        history.extend(Pair::new(&x, &trial, &gradient, &trial_gradient));
        if history.len() > MEMORY {
            history.remove(0);
        }
        std::mem::swap(&mut x, &mut trial);
        std::mem::swap(&mut gradient, &mut trial_gradient);
        value = next;
        marks.push_back(value);
        if iteration >= 10 && marks.pop_front().is_some_and(|old| old - value <= 1e-10 * old.abs()) {
            return Minimum { x, value, converged: true };
        }
    }
    Minimum { x, value, converged: false }
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    inverse: f64,
}

impl Pair {
    fn new(x: &[f64], next: &[f64], gradient: &[f64], next_gradient: &[f64]) -> Option<Self> {
        let step: Vec<f64> = next.iter().zip(x).map(|(a, b)| a - b).collect();
        let change: Vec<f64> = next_gradient.iter().zip(gradient).map(|(a, b)| a - b).collect();
        let curvature = dot(&step, &change);
        (curvature > 1e-14 * dot(&change, &change).sqrt() * dot(&step, &step).sqrt()).then(|| Self {
            step,
            change,
            inverse: 1.0 / curvature,
        })
    }
}

/// The two-loop recursion.
fn descent(gradient: &[f64], history: &[Pair]) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut weights = vec![0.0; history.len()];
    for (pair, weight) in history.iter().zip(&mut weights).rev() {
        *weight = pair.inverse * dot(&pair.step, &q);
        q.iter_mut().zip(&pair.change).for_each(|(q, y)| *q -= *weight * y);
    }
    if let Some(last) = history.last() {
        let scale = 1.0 / (last.inverse * dot(&last.change, &last.change));
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for (pair, weight) in history.iter().zip(weights) {
        let back = pair.inverse * dot(&pair.change, &q);
        q.iter_mut().zip(&pair.step).for_each(|(q, s)| *q += (weight - back) * s);
    }
    q
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_bottom_of_rosenbrocks_valley() {
        let m = minimize(vec![-1.2, 1.0, -0.7, 0.4], 500, |x, g| {
            g.fill(0.0);
            let mut sum = 0.0;
            for i in (0..4).step_by(2) {
                let (a, b) = (1.0 - x[i], x[i + 1] - x[i] * x[i]);
                sum += a * a + 100.0 * b * b;
                g[i] = -2.0 * a - 400.0 * x[i] * b;
                g[i + 1] = 200.0 * b;
            }
            sum
        });
        assert!(m.converged && m.x.iter().all(|x| (x - 1.0).abs() < 1e-6), "{m:?}");
    }

    #[test]
    fn steps_back_from_where_the_function_ends_and_copes_with_a_kink() {
        let m = minimize(vec![5.0], 200, |x, g| {
            g[0] = 1.0 - 1.0 / x[0];
            if x[0] > 0.0 { x[0] - x[0].ln() } else { f64::NAN }
        });
        assert!((m.x[0] - 1.0).abs() < 1e-5, "{m:?}");
        let m = minimize(vec![3.0, -2.0], 200, |x, g| {
            g[0] = x[0].signum();
            g[1] = 4.0 * x[1];
            x[0].abs() + 2.0 * x[1] * x[1]
        });
        assert!(m.value < 1e-4, "{m:?}");
    }
}
