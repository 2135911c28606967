//! Where a loss distribution is looked at: the tilt, the centre and the width of the window.
//!
//! Nothing here has to be exact. It decides how good an answer is, never whether it is an upper bound.

use crate::mechanism::Mechanism;
use crate::rdp::log_sum;

/// Which of two neighbouring data sets the outcome is drawn with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// With the example, seen against without: `x ~ (1 - q) N(0, sigma^2) + q N(1, sigma^2)` and `L = l(x)`.
    Remove,
    /// Without the example, seen against with: `x ~ N(0, sigma^2)` and `L = -l(x)`.
    Add,
}

/// A discrete stand-in for the loss of one kind of step: losses and the logarithms of their masses.
struct Nodes {
    steps: f64,
    losses: Vec<f64>,
    ln_masses: Vec<f64>,
}

impl Nodes {
    fn new(mechanism: &Mechanism, steps: u64, direction: Direction, ends: f64) -> Self {
        let sigma = mechanism.noise_multiplier();
        // With little noise the loss turns within sigma^2 of one place; so near the exact sum does not matter here.
        let step = (sigma / 6.0).min((sigma * sigma / 3.0).max(sigma / 48.0));
        let (low, high) = (-ends * sigma, 1.0 + ends * sigma);
        let count = ((high - low) / step).ceil() as usize;
        let (mut losses, mut ln_masses) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for i in 0..=count {
            let x = low + i as f64 * step;
            let loss = mechanism.loss(x);
            let z = x / sigma;
            let ln_without = -0.5 * z * z + (step / sigma).ln() - crate::normal::LN_SQRT_2PI;
            match direction {
                Direction::Remove => {
                    losses.push(loss);
                    ln_masses.push(ln_without + loss);
                }
                Direction::Add => {
                    losses.push(-loss);
                    ln_masses.push(ln_without);
                }
            }
        }
        Self { steps: steps as f64, losses, ln_masses }
    }

    /// The cumulant function at `theta`, and its derivative.
    fn cumulant(&self, theta: f64) -> (f64, f64) {
        let tilted: Vec<f64> = self.losses.iter().zip(&self.ln_masses).map(|(l, m)| m + theta * l).collect();
        let k = log_sum(&tilted);
        let mean: f64 = tilted.iter().zip(&self.losses).map(|(t, l)| (t - k).exp() * l).sum();
        (k, mean)
    }
}

/// The tilt at which the losses in question are typical.
pub(super) struct Saddle {
    nodes: Vec<Nodes>,
    pub(super) direction: Direction,
    /// The tilt of the best bound.
    pub(super) sharp: f64,
    /// The epsilon of that bound, or that was asked for.
    pub(super) loss: f64,
    /// The tilt that is used.
    pub(super) theta: f64,
}

/// Less than the sharp tilt: where losses have a heavy tail, the sharp one is close to where the tail takes over, and a
/// window that holds most of what it makes typical is many times as wide. Rounding is as small beside delta either way.
const BLUNT: f64 = 0.75;

/// The losses around which something counts.
pub(super) struct Window {
    pub(super) low: f64,
    pub(super) high: f64,
    /// A tilt for the Chernoff bound on losses above `high`.
    pub(super) above: f64,
}

impl Window {
    /// The same, with `loss` in it.
    pub(super) fn down_to(self, loss: f64) -> Self {
        Self { low: self.low.min(loss), ..self }
    }

    pub(super) fn width(&self) -> f64 {
        self.high - self.low
    }
}

/// How much further than the grid's ends the stand-ins reach, in standard deviations.
const SPARE_ENDS: f64 = 1.5;
const MIN_TILT: f64 = 1e-6;
const MAX_TILT: f64 = 1e12;

impl Saddle {
    /// With outcomes up to `ends` standard deviations out: what the grid leaves out must not draw the tilt to itself.
    fn new(steps: &[(Mechanism, u64)], direction: Direction, ends: f64) -> Self {
        let nodes = steps.iter().map(|(m, n)| Nodes::new(m, *n, direction, ends)).collect();
        Self { nodes, direction, sharp: MIN_TILT, loss: 0.0, theta: MIN_TILT }
    }

    /// Around the tilt whose bound on epsilon is the best: of all `E[(1 - exp(epsilon - L))_+] <= exp(K(theta) + C(theta) -
    /// theta epsilon)` with `C(theta) = theta ln(theta) - (theta + 1) ln(theta + 1)`. Chernoff's bound on losses above
    /// epsilon would lead astray where nearly all losses are just below the largest one.
    pub(super) fn at_delta(steps: &[(Mechanism, u64)], direction: Direction, delta: f64, ends: f64) -> Self {
        let mut saddle = Self::new(steps, direction, ends + SPARE_ENDS);
        let theta = bisect(|theta| {
            let (k, mean) = saddle.cumulant(theta);
            k - theta * mean - theta.ln_1p() <= delta.ln()
        });
        let c = theta * theta.ln() - (theta + 1.0) * theta.ln_1p();
        saddle.loss = (saddle.cumulant(theta).0 + c - delta.ln()) / theta;
        (saddle.sharp, saddle.theta) = (theta, BLUNT * theta);
        saddle
    }

    /// The Chernoff bound on losses of at least `epsilon`; `None` where there are none.
    pub(super) fn chernoff(steps: &[(Mechanism, u64)], direction: Direction, epsilon: f64) -> Option<f64> {
        if direction == Direction::Add && steps.iter().all(|(m, _)| m.sample_rate() < 1.0) {
            let largest: f64 = steps.iter().map(|(m, n)| -(*n as f64) * (-m.sample_rate()).ln_1p()).sum();
            if epsilon >= largest {
                return None;
            }
        }
        let saddle = Self::new(steps, direction, 37.0);
        let theta = bisect(|theta| saddle.cumulant(theta).1 >= epsilon);
        let (k, mean) = saddle.cumulant(theta);
        Some((k - theta * mean).exp().min(1.0))
    }

    /// The cumulant function of the whole run at `theta`, and its derivative.
    fn cumulant(&self, theta: f64) -> (f64, f64) {
        self.nodes.iter().fold((0.0, 0.0), |(k, mean), node| {
            let (one, slope) = node.cumulant(theta);
            (k + node.steps * one, mean + node.steps * slope)
        })
    }

    fn tilt_for(&self, ln_delta: f64) -> f64 {
        bisect(|theta| {
            let (k, mean) = self.cumulant(theta);
            k - theta * mean <= ln_delta
        })
    }

    /// The window above which there is at most about `tail`, and outside of which at most about `1e-7` of the tilted mass,
    /// on either side: what is outside wraps around, where with the tilt undone it may weigh more than in its place.
    pub(super) fn window(&self, tail: f64) -> Window {
        let above = self.tilt_for(tail.ln());
        let (k, _) = self.cumulant(self.theta);
        // Where the best Chernoff bound on the tilted loss is exp(-16). Not the mean under its tilt, which is the same only
        // where it hardly changes with the tilt: where a rare large loss takes over it leaps by hundreds.
        let reach = |sign: f64| {
            let further = bisect(|further| {
                let (there, mean) = self.cumulant(self.theta + sign * further);
                there - k - sign * further * mean <= -16.0
            });
            sign * (self.cumulant(self.theta + sign * further).0 - k + 16.0) / further
        };
        let high = (self.cumulant(above).0 - tail.ln()) / above;
        Window { low: reach(-1.0), high: high.max(reach(1.0)), above }
    }
}

/// The least tilt (to a thousandth, rounded up) at which a condition holds that goes on holding above it.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let mut high = 1.0_f64;
    if holds(high) {
        while high > MIN_TILT && holds(0.25 * high) {
            high *= 0.25;
        }
    } else {
        while high < MAX_TILT && !holds(high) {
            high *= 4.0;
        }
    }
    let mut low = 0.25 * high;
    while high > low * 1.001 {
        let middle = (low * high).sqrt();
        if holds(middle) { high = middle } else { low = middle }
    }
    high
}
