//! The loss of one step on a grid, pessimistically.
//!
//! A loss `l = g + t` between the grid points `g` and `g + h` gives the share
//! `u = (1 - exp(-t)) / (1 - exp(-h))` of its mass under `P` to the upper one and the rest to the lower one. Then the
//! masses under `P` (`u + (1 - u) = 1`) and under `Q` (`u exp(-g-h) + (1 - u) exp(-g) = exp(-l)`) are both kept.

use gristmill_core::{Code, Error, Result};

use super::saddle::Direction;
use crate::mechanism::Mechanism;

/// The loss of one step: masses under `P` on the grid points `first`, `first + 1`, ... times the spacing, and beyond them.
pub(super) struct Discrete {
    pub(super) first: i64,
    pub(super) masses: Vec<f64>,
    pub(super) infinite: f64,
}

/// Abscissas and weights of Gauss and Legendre on [-1, 1], the positive half.
const GAUSS_3: [(f64, f64); 2] = [(0.0, 8.0 / 9.0), (0.774_596_669_241_483_4, 5.0 / 9.0)];
const GAUSS_8: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_5),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_3),
];

/// How far apart the least and the largest loss are, `ends` standard deviations out.
pub(super) fn range(mechanism: &Mechanism, ends: f64) -> f64 {
    let reach = ends * mechanism.noise_multiplier();
    mechanism.loss(1.0 + reach) - mechanism.loss(-reach)
}

/// Puts the loss of one step on the grid with spacing `h`. Outcomes further than `ends` standard deviations out count with
/// the largest loss on their side.
pub(super) fn discretise(mechanism: &Mechanism, direction: Direction, h: f64, ends: f64) -> Result<Discrete> {
    let sigma = mechanism.noise_multiplier();
    let (low, high) = (-ends * sigma, 1.0 + ends * sigma);
    let first = (mechanism.loss(low) / h).floor() as i64;
    // Two cells at least: each end has one of its own.
    let last = ((mechanism.loss(high) / h).ceil() as i64).max(first + 2);
    let mut masses = vec![0.0; (last - first + 1) as usize];
    let whole = (-h).exp_m1();
    let (kink, mut from) = (mechanism.kink(), low);
    for cell in first..last {
        let to =
            if cell + 1 == last { high } else { mechanism.position((cell + 1) as f64 * h).clamp(from, high) };
        let at = (cell - first) as usize;
        integrate(mechanism, kink, from, to, |x, weight| {
            let t = (mechanism.loss(x) - cell as f64 * h).clamp(0.0, h);
            match direction {
                Direction::Remove => {
                    let mass = weight * mechanism.density_with(x);
                    let upper = (-t).exp_m1() / whole;
                    masses[at + 1] += mass * upper;
                    masses[at] += mass * (1.0 - upper);
                }
                // The loss is the negative one: its upper neighbour is the lower one here.
                Direction::Add => {
                    let mass = weight * mechanism.density_without(x);
                    let upper = (t - h).exp_m1() / whole;
                    masses[at] += mass * upper;
                    masses[at + 1] += mass * (1.0 - upper);
                }
            }
        });
        from = to;
    }
    let (below, above) = (mechanism.upper_tail_without(-low), high);
    let grid = match direction {
        Direction::Remove => {
            // Below `low` the loss is at most that of the first cell's upper end.
            masses[1] += (1.0 - mechanism.sample_rate()) * below
                + mechanism.sample_rate() * mechanism.upper_tail_without(1.0 - low);
            Discrete { first, masses, infinite: mechanism.upper_tail_with(above) }
        }
        Direction::Add => {
            // Above `high` the loss is at most that of the last cell's lower end.
            let at = masses.len() - 2;
            masses[at] += mechanism.upper_tail_without(above);
            masses.reverse();
            Discrete { first: -last, masses, infinite: below }
        }
    };
    // What was lost here would be missing from the answer.
    let sum: f64 = grid.masses.iter().sum::<f64>() + grid.infinite;
    if (sum - 1.0).abs() < 1e-10 {
        return Ok(grid);
    }
    let message = format!("the losses of one step have a probability of {sum} in all, not of 1");
    Err(Error::new(Code::Internal, message))
}

/// Nodes and weights of a composite rule from `from` to `to` for the densities and functions of the loss.
fn integrate(mechanism: &Mechanism, kink: f64, from: f64, to: f64, mut node: impl FnMut(f64, f64)) {
    let sigma = mechanism.noise_multiplier();
    let mut at = from;
    while at < to {
        // Densities change by a factor within sigma / z, at z standard deviations. The loss has the slope 1 / sigma^2 above
        // the kink, and poles pi sigma^2 beside it; below it is flat. Where both densities are zero nothing matters.
        let z = at.abs().min((at - 1.0).abs()) / sigma;
        let of_density = 0.25 * sigma / (z / 8.0).max(1.0);
        let of_loss = (0.25 * sigma * sigma).max(0.2 * (kink - at));
        let smooth = of_density.min(of_loss).max((z - 39.0) * sigma);
        let rest = to - at;
        let (rule, next): (&[(f64, f64)], f64) = if rest < smooth / 64.0 {
            (&GAUSS_3, to)
        } else {
            (&GAUSS_8, if rest <= smooth { to } else { at + smooth })
        };
        let half = 0.5 * (next - at);
        let middle = at + half;
        for &(abscissa, weight) in rule {
            node(middle + abscissa * half, weight * half);
            if abscissa > 0.0 {
                node(middle - abscissa * half, weight * half);
            }
        }
        at = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_masses_are_kept() {
        for (sigma, q, h) in [
            (1.0, 0.01, 1e-3),
            (0.5, 0.3, 1e-2),
            (2.0, 1.0, 0.1),
            (5.0, 1e-4, 1e-6),
            (0.2, 0.5, 0.02),
            (0.01, 0.2, 0.7),
            (1e-3, 0.01, 20.0),
        ] {
            let mechanism = Mechanism::new(sigma, q).unwrap();
            for direction in [Direction::Remove, Direction::Add] {
                let grid = discretise(&mechanism, direction, h, 9.0).unwrap();
                let under_p: f64 = grid.masses.iter().sum::<f64>() + grid.infinite;
                let loss = |i: usize| (grid.first + i as i64) as f64 * h;
                let under_q: f64 = grid.masses.iter().enumerate().map(|(i, m)| m * (-loss(i)).exp()).sum();
                assert!((under_p - 1.0).abs() < 1e-12, "{sigma} {q} {direction:?}: {under_p}");
                // With little noise the factor of the one density overflows where the other one is not zero.
                let all = sigma > 0.1;
                assert!(!all || (under_q - 1.0).abs() < 1e-9, "{sigma} {q} {direction:?}: {under_q}");
                assert!(grid.masses.iter().all(|m| *m >= 0.0));
            }
        }
    }

    #[test]
    fn the_grid_dominates_the_gaussian_it_stands_for() {
        let mechanism = Mechanism::new(1.0, 1.0).unwrap();
        let h = 0.3;
        for direction in [Direction::Remove, Direction::Add] {
            let grid = discretise(&mechanism, direction, h, 10.0).unwrap();
            for i in 0..60 {
                let epsilon = f64::from(i) * 0.05;
                let delta: f64 = grid.infinite
                    + grid
                        .masses
                        .iter()
                        .enumerate()
                        .map(|(i, m)| {
                            let loss = (grid.first + i as i64) as f64 * h;
                            m * (1.0 - (epsilon - loss).exp()).max(0.0)
                        })
                        .sum::<f64>();
                let exact = crate::gaussian::delta(1.0, epsilon);
                assert!(delta >= exact * (1.0 - 1e-9), "{epsilon}: {delta} {exact}");
                // On the grid it is the true one.
                assert!(i % 6 != 0 || delta <= exact * (1.0 + 1e-9), "{epsilon}: {delta} {exact}");
            }
        }
    }

    /// The ends that are cut off count with a loss that is no less than theirs, far down as well.
    #[test]
    fn ends_that_are_cut_off_cost_no_less() {
        let mechanism = Mechanism::new(1.0, 1.0).unwrap();
        for direction in [Direction::Remove, Direction::Add] {
            let grid = discretise(&mechanism, direction, 0.4, 1.0).unwrap();
            for i in -50..50 {
                let epsilon = 0.05 * f64::from(i);
                let above = |(i, mass): (usize, &f64)| {
                    mass * (1.0 - (epsilon - (grid.first + i as i64) as f64 * 0.4).exp()).max(0.0)
                };
                let delta = grid.infinite + grid.masses.iter().enumerate().map(above).sum::<f64>();
                let exact = crate::gaussian::delta(1.0, epsilon);
                assert!(delta >= exact * (1.0 - 1e-9), "{direction:?} {epsilon}: {delta} {exact}");
            }
        }
    }
}
