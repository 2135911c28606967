//! The loss of one step on a grid, pessimistically.
//!
//! A loss `l = g + t` between the grid points `g` and `g + h` gives the share
//! `u = (1 - exp(-t)) / (1 - exp(-h))` of its mass under `P` to the upper one and the rest to the lower one. Then the
//! masses under `P` (`u + (1 - u) = 1`) and under `Q` (`u exp(-g-h) + (1 - u) exp(-g) = exp(-l)`) are both kept.

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
pub(super) fn discretise(mechanism: &Mechanism, direction: Direction, h: f64, ends: f64) -> Discrete {
    let sigma = mechanism.noise_multiplier();
    let (low, high) = (-ends * sigma, 1.0 + ends * sigma);
    let first = (mechanism.loss(low) / h).floor() as i64;
    let last = (mechanism.loss(high) / h).ceil() as i64;
    let mut masses = vec![0.0; (last - first + 1) as usize];
    let whole = (-h).exp_m1();
    let mut from = low;
    for cell in first..last {
        let to =
            if cell + 1 == last { high } else { mechanism.position((cell + 1) as f64 * h).clamp(from, high) };
        let at = (cell - first) as usize;
        integrate(from, to, sigma, |x, weight| {
            let loss = mechanism.loss(x);
            let t = (loss - cell as f64 * h).clamp(0.0, h);
            let mass = weight * mechanism.density_without(x);
            match direction {
                Direction::Remove => {
                    let mass = mass * loss.exp();
                    let upper = (-t).exp_m1() / whole;
                    masses[at + 1] += mass * upper;
                    masses[at] += mass * (1.0 - upper);
                }
                // The loss is the negative one: its upper neighbour is the lower one here.
                Direction::Add => {
                    let upper = (t - h).exp_m1() / whole;
                    masses[at] += mass * upper;
                    masses[at + 1] += mass * (1.0 - upper);
                }
            }
        });
        from = to;
    }
    let (below, above) = (mechanism.upper_tail_without(-low), high);
    match direction {
        Direction::Remove => {
            // Below `low` the loss is at most that of the first cell's upper end.
            masses[1] += (1.0 - mechanism.sample_rate()) * below
                + mechanism.sample_rate() * mechanism.upper_tail_without(1.0 - low);
            Discrete { first, masses, infinite: mechanism.upper_tail_with(above) }
        }
        Direction::Add => {
            let at = masses.len() - 1;
            masses[at] += mechanism.upper_tail_without(above);
            masses.reverse();
            Discrete { first: -last, masses, infinite: below }
        }
    }
}

/// Nodes and weights of a composite rule from `from` to `to` for a function that is smooth on the scale of `sigma`.
fn integrate(from: f64, to: f64, sigma: f64, mut node: impl FnMut(f64, f64)) {
    let smooth = sigma.min(sigma * sigma);
    let (rule, panels): (&[(f64, f64)], f64) = if to - from < smooth / 256.0 {
        (&GAUSS_3, 1.0)
    } else {
        (&GAUSS_8, ((to - from) / (smooth / 4.0)).ceil().max(1.0))
    };
    let half = (to - from) / (2.0 * panels);
    for panel in 0..panels as usize {
        let middle = from + (2 * panel + 1) as f64 * half;
        for &(abscissa, weight) in rule {
            node(middle + abscissa * half, weight * half);
            if abscissa > 0.0 {
                node(middle - abscissa * half, weight * half);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_masses_are_kept() {
        for (sigma, q, h) in
            [(1.0, 0.01, 1e-3), (0.5, 0.3, 1e-2), (2.0, 1.0, 0.1), (5.0, 1e-4, 1e-6), (0.2, 0.5, 0.02)]
        {
            let mechanism = Mechanism::new(sigma, q).unwrap();
            for direction in [Direction::Remove, Direction::Add] {
                let grid = discretise(&mechanism, direction, h, 9.0);
                let under_p: f64 = grid.masses.iter().sum::<f64>() + grid.infinite;
                let loss = |i: usize| (grid.first + i as i64) as f64 * h;
                let under_q: f64 = grid.masses.iter().enumerate().map(|(i, m)| m * (-loss(i)).exp()).sum();
                assert!((under_p - 1.0).abs() < 1e-12, "{sigma} {q} {direction:?}: {under_p}");
                assert!((under_q - 1.0).abs() < 1e-9, "{sigma} {q} {direction:?}: {under_q}");
                assert!(grid.masses.iter().all(|m| *m >= 0.0));
            }
        }
    }

    #[test]
    fn the_grid_dominates_the_gaussian_it_stands_for() {
        let mechanism = Mechanism::new(1.0, 1.0).unwrap();
        let h = 0.3;
        for direction in [Direction::Remove, Direction::Add] {
            let grid = discretise(&mechanism, direction, h, 10.0);
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
}
