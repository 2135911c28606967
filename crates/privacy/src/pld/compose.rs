//! Convolution of tilted losses, and what is read from the result.

use gristmill_core::{Code, Error, Result};
use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

use super::grid::{Discrete, discretise};
use super::saddle::Saddle;
use super::{Cells, below_floor};
use crate::mechanism::Mechanism;
use crate::rdp::log_sum;

/// The distribution of the loss of a run in a window.
pub(super) struct Composed {
    h: f64,
    /// The loss of the window's first cell, in cells.
    first: i64,
    /// Upper bounds on the masses of the cells.
    masses: Vec<f64>,
    /// An upper bound on the mass above the window and of infinite losses.
    beyond: f64,
}

/// An epsilon and a delta that holds at it.
pub(super) struct Found {
    /// The one that was not given.
    pub(super) answer: f64,
    pub(super) epsilon: f64,
    /// The density of the loss there, relative to what delta falls by.
    pub(super) sharp: f64,
    /// Whether the window holds the answer, and does not end above it.
    pub(super) inside: bool,
}

impl Found {
    fn epsilon(epsilon: f64) -> Self {
        let epsilon = epsilon.max(0.0);
        Self { answer: epsilon, epsilon, sharp: 1.0, inside: true }
    }
}

/// One kind of step, tilted.
struct Tilted {
    steps: f64,
    /// The logarithm of the tilted mass that was divided by.
    ln_mass: f64,
    /// The largest exponent that was formed.
    exponent: f64,
    spectrum: Vec<Complex<f64>>,
}

impl Composed {
    pub(super) fn new(
        steps: &[(Mechanism, u64)],
        saddle: &Saddle,
        above_tilt: f64,
        cells: &Cells,
        ends: f64,
    ) -> Result<Self> {
        let Cells { h, first, length } = *cells;
        let theta = saddle.theta;
        let mut planner = RealFftPlanner::<f64>::new();
        let forward = planner.plan_fft_forward(length);
        let mut infinite = 0.0;
        let (mut tilted, mut grids) = (Vec::with_capacity(steps.len()), Vec::with_capacity(steps.len()));
        for (mechanism, count) in steps {
            let grid = discretise(mechanism, saddle.direction, h, ends)?;
            infinite += *count as f64 * grid.infinite;
            let (ln_mass, exponent, mut folded) = grid.tilt(h, theta, length);
            let mut spectrum = forward.make_output_vec();
            forward.process(&mut folded, &mut spectrum).map_err(|e| internal(&e))?;
            tilted.push(Tilted { steps: *count as f64, ln_mass, exponent, spectrum });
            grids.push((*count as f64, grid));
        }
        let beyond = infinite + mass_above(&grids, h, (first + length as i64 - 1) as f64, above_tilt);

        let (mut spectrum, rounding) = power(&tilted, length);
        let mut sums = vec![0.0; length];
        planner.plan_fft_inverse(length).process(&mut spectrum, &mut sums).map_err(|e| internal(&e))?;

        // The tilts are undone. Each of them was rounded, and so were the masses, step by step.
        let ln_mass: f64 = tilted.iter().map(|t| t.steps * t.ln_mass).sum();
        let slack: f64 = tilted.iter().map(|t| t.steps * rounding_of(t.exponent + t.ln_mass.abs())).sum();
        let masses = (0..length as i64)
            .map(|i| {
                let cell = first + i;
                let mass = sums[cell.rem_euclid(length as i64) as usize] / length as f64;
                let exponent = ln_mass - theta * cell as f64 * h;
                let untilted = (exponent + slack + f64::EPSILON * exponent.abs()).exp();
                // Probabilities: where a bound overflowed, or is none, it is one.
                if mass.is_nan() { 1.0 } else { ((mass.max(0.0) + rounding) * untilted).min(1.0) }
            })
            .collect();
        Ok(Self { h, first, masses, beyond })
    }

    /// The least epsilon at which `delta` holds, at least 0.
    pub(super) fn epsilon(&self, delta: f64) -> Result<Found> {
        // Sums of positive numbers, less than their rounding.
        let room = (delta - self.beyond) * (1.0 - SUMS);
        if room.is_nan() || room <= 0.0 {
            return Err(below_floor(delta));
        }
        // From the top: `used` is delta at the cell above, `scaled` the mass from there on with weights exp(above - loss).
        // Between, delta is used + (1 - exp(epsilon - above)) scaled: nothing cancels.
        let (mut used, mut scaled) = (0.0, 0.0);
        let (shrink, grow) = ((-self.h).exp(), -(-self.h).exp_m1());
        for (i, mass) in self.masses.iter().enumerate().rev() {
            let at = (self.first + i as i64) as f64 * self.h;
            let here = used + grow * scaled;
            // Also where it is no number: that `room` is enough is known of the cell above.
            if here.is_nan() || here > room {
                let above = at + self.h;
                let inside = above + (-(room - used) / scaled).ln_1p();
                let epsilon = if inside.is_nan() { above } else { inside.clamp(at, above) };
                let sharp = self.sharp(*mass, scaled * shrink + mass);
                return Ok(Found { sharp, ..Found::epsilon(epsilon) });
            }
            if at <= 0.0 {
                return Ok(Found::epsilon(0.0));
            }
            (used, scaled) = (here, scaled * shrink + mass);
        }
        // It holds at the bottom of the window already.
        Ok(Found { inside: false, ..Found::epsilon(self.first as f64 * self.h) })
    }

    /// The least delta at which `epsilon`, which is in the window or above, holds.
    pub(super) fn delta(&self, epsilon: f64) -> Found {
        let (mut inside, mut scaled, mut here) = (0.0, 0.0, 0.0);
        for (i, mass) in self.masses.iter().enumerate().rev() {
            let loss = (self.first + i as i64) as f64 * self.h;
            if loss < epsilon {
                break;
            }
            let less = (epsilon - loss).exp_m1();
            inside -= mass * less;
            scaled += mass * (1.0 + less);
            here = *mass;
        }
        let answer = (self.beyond + inside * (1.0 + SUMS)).min(1.0);
        Found { answer, epsilon, sharp: self.sharp(here, scaled), inside: true }
    }

    /// The density of a loss in whose cell there is `mass`, relative to `scaled`.
    fn sharp(&self, mass: f64, scaled: f64) -> f64 {
        (mass / (self.h * scaled)).max(1.0)
    }
}

/// A bound on the relative rounding of sums over a window.
const SUMS: f64 = 2e-9;

/// A bound on the error of the logarithm of one step's mass, by quadrature and of an exponent of the given size.
fn rounding_of(exponent: f64) -> f64 {
    1e-12 + f64::EPSILON * exponent
}

/// A bound on the mass of losses above `top` cells: none where no sum is as large, else Chernoff's, at the given tilt or
/// at smaller ones while those are better.
fn mass_above(grids: &[(f64, Discrete)], h: f64, top: f64, tilt: f64) -> f64 {
    let largest: f64 =
        grids.iter().map(|(n, grid)| n * (grid.first + grid.masses.len() as i64 - 1) as f64).sum();
    if top >= largest {
        return 0.0;
    }
    let bound = |tilt: f64| -> f64 {
        let moment = |(n, grid): &(f64, Discrete)| {
            let (moment, largest) = grid.ln_moment(h, tilt);
            n * (moment + rounding_of(largest + moment.abs()))
        };
        let moment: f64 = grids.iter().map(moment).sum();
        let bound = (moment - tilt * top * h).exp() * (1.0 + 1e-6);
        if bound.is_nan() { f64::INFINITY } else { bound }
    };
    let (mut tilt, mut best) = (tilt, bound(tilt));
    // An overflowing exponent is no bound: smaller tilts follow, down to the trivial one.
    for _ in 0..64 {
        tilt *= 0.5;
        let next = bound(tilt);
        if next >= best && best.is_finite() {
            break;
        }
        best = next;
    }
    best.min(1.0)
}

impl Discrete {
    /// The logarithm of `E[exp(lambda L)]` over finite losses, and the largest of the exponents.
    fn ln_moment(&self, h: f64, lambda: f64) -> (f64, f64) {
        let terms: Vec<f64> = self.exponents(h, lambda).collect();
        let last = self.first + self.masses.len() as i64 - 1;
        let largest = lambda * h * self.first.abs().max(last.abs()) as f64;
        (log_sum(&terms), largest)
    }

    fn exponents(&self, h: f64, theta: f64) -> impl Iterator<Item = f64> {
        self.masses
            .iter()
            .enumerate()
            .map(move |(i, mass)| mass.ln() + theta * (self.first + i as i64) as f64 * h)
    }

    /// The tilted masses, folded into `length` cells so that the loss `cell h` is in `cell mod length`; with the logarithm
    /// of what they were divided by, and the largest exponent on the way.
    fn tilt(&self, h: f64, theta: f64, length: usize) -> (f64, f64, Vec<f64>) {
        let exponents: Vec<f64> = self.exponents(h, theta).collect();
        let ln_mass = log_sum(&exponents);
        let mut folded = vec![0.0; length];
        let mut largest = 0.0_f64;
        for (i, exponent) in exponents.iter().enumerate() {
            let mass = (exponent - ln_mass).exp();
            if mass > 0.0 {
                let cell = self.first + i as i64;
                folded[cell.rem_euclid(length as i64) as usize] += mass;
                largest = largest.max(self.masses[i].ln().abs() + theta * (cell as f64 * h).abs());
            }
        }
        (ln_mass, largest, folded)
    }
}

/// The logarithm of a component that is taken as zero: far below the rounding of the others.
const NEGLIGIBLE: f64 = -60.0;

/// The product of the spectra, each to the power of its steps, and a bound on the error of a cell of its inverse transform.
///
/// A transform of masses that sum to one has an error of at most a few ulp times `log2(length)` in every component; a
/// power of `n` multiplies what is relative by `n`; the inverse transform averages the errors of its components and adds its
/// own.
fn power(tilted: &[Tilted], length: usize) -> (Vec<Complex<f64>>, f64) {
    let error = 8.0 * f64::EPSILON * (length as f64).log2();
    let components = length / 2 + 1;
    let (mut out, mut sum_of_errors, mut sum) = (Vec::with_capacity(components), 0.0, 0.0);
    for k in 0..components {
        let ln_bound: f64 =
            tilted.iter().map(|t| t.steps * (t.spectrum[k].norm().min(1.0) + error).ln()).sum();
        if ln_bound < NEGLIGIBLE {
            // Its own bound is its error, and most components are like this where steps are many.
            out.push(Complex::ZERO);
            sum_of_errors += 2.0 * NEGLIGIBLE.exp();
            continue;
        }
        let (mut ln_radius, mut angle, mut relative) = (0.0, 0.0, 0.0);
        for Tilted { steps, spectrum, .. } in tilted {
            let radius = spectrum[k].norm().min(1.0);
            ln_radius += steps * radius.ln();
            angle += steps * spectrum[k].arg();
            // Of the component, of its logarithm and angle, and of their products with the steps.
            relative += steps * (error / (radius + error) + 8.0 * f64::EPSILON);
        }
        let radius = ln_radius.exp();
        sum += 2.0 * radius;
        sum_of_errors += 2.0 * ln_bound.exp() * relative;
        out.push(Complex::from_polar(radius, angle));
    }
    // Both are real in exact arithmetic, and the inverse transform insists.
    out[0].im = 0.0;
    out[components - 1].im = 0.0;
    (out, (sum_of_errors + error * sum) / length as f64)
}

fn internal(error: &realfft::FftError) -> Error {
    Error::new(Code::Internal, format!("the Fourier transform refuses its own buffers: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a bound overflowed, nothing may look as if it cost nothing.
    #[test]
    fn what_is_no_number_counts_as_a_loss() {
        for wrong in [f64::NAN, f64::INFINITY] {
            for at in 0..8 {
                let mut masses = vec![1e-3; 8];
                masses[at] = wrong;
                let composed = Composed { h: 0.5, first: -2, masses, beyond: 1e-9 };
                let epsilon = composed.epsilon(1e-5).unwrap().epsilon;
                assert!(epsilon >= 2.0, "{wrong} in cell {at}: {epsilon}");
                let delta = composed.delta(0.25).answer;
                assert!(at < 5 || delta == 1.0, "{wrong} in cell {at}: {delta}");
            }
            let composed = Composed { h: 0.5, first: -2, masses: vec![1e-3; 8], beyond: wrong };
            assert!(composed.epsilon(1e-5).is_err() && composed.delta(0.0).answer == 1.0);
        }
    }
}
