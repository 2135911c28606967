//! Privacy loss distributions: composed numerically, with a bound on every error.
//!
//! The loss `L = ln(P(x) / Q(x))` of an outcome `x ~ P` says all there is to say about a pair of distributions:
//! `delta(epsilon) = E[(1 - exp(epsilon - L))_+]`, and losses of independent steps add. So the loss of a run is a sum of
//! many independent losses, and its distribution a convolution.
//!
//! # How
//!
//! 1. **Where to look** ([`saddle`]). The cumulant function `K(theta) = ln E[exp(theta L)]` of the run, by quadrature,
//!    gives the tilt at which losses near the epsilon in question are typical, and how far around it anything counts.
//! 2. **Grid** ([`grid`]). Every loss is split between its two neighbours on a grid so that the masses under `P` and
//!    under `Q` are both kept. This is the pair whose `delta(epsilon)` is the true one on the grid and the chord of
//!    `exp(epsilon)` between ("Connect the Dots", Doroshenko, Ghazi, Kamath, Kumar and Manurangsi 2022): it dominates
//!    the true pair, so that what follows can only over-state the loss. Infinite ends count as infinite losses.
//! 3. **Composition** ([`compose`]). The masses are tilted by `exp(theta L) / E[exp(theta L)]`, transformed, raised to
//!    the power of the number of steps, transformed back, and the tilt is undone. The window around the tilted mean then
//!    needs some ten standard deviations, not the whole range of losses, and rounding is small *relative* to a tail of
//!    `1e-6` or `1e-60`, where an FFT without a tilt has an absolute floor around `1e-12`.
//! 4. **Again**, where the tilt's epsilon and the density of the loss there turn out to be far from what the grid was made
//!    for, as they are where a rare large loss takes over. All answers are upper bounds; the least one is given.
//!
//! # What is added to the result
//!
//! The mass of infinite losses; a Chernoff bound, of the masses on the grid, on losses above the window; a bound on the
//! rounding of both transforms and of the power, for each cell; a factor for the rounding of tilts. What wraps around from
//! either end of the window adds to a result and takes nothing away. Where the bounds use up the delta that was asked
//! for, the answer is an error.

mod compose;
mod grid;
mod saddle;

use gristmill_core::{Code, Error, Result};

use crate::mechanism::Mechanism;
use crate::normal;
use compose::{Composed, Found};
use saddle::{Direction, Saddle, Window};

/// What the grid may add to epsilon, relative to it; about two thirds of this in practice.
const TOLERANCE: f64 = 2e-4;
/// The most cells of a grid. A run that would need more gets a wider, looser one: still an upper bound.
const MAX_CELLS: f64 = (1 << 20) as f64;
/// The longest transform.
const MAX_WINDOW: usize = 1 << 21;
/// The most grids that are tried, each for what the one before found.
const MAX_PASSES: usize = 5;
/// The most kinds of steps; each has a spectrum in memory.
const MAX_KINDS: usize = 256;
/// Which part of delta goes to the ends that are cut off.
const TAIL: f64 = 1e-9;
/// Deltas below are refused: products of masses around them leave the range of `f64`.
pub(crate) const FLOOR: f64 = 1e-250;

/// The least epsilon that holds at `delta`, rounded up; the larger one of both directions of adjacency.
pub(crate) fn epsilon(steps: &[(Mechanism, u64)], delta: f64) -> Result<f64> {
    let ends = ends(steps, delta)?;
    // Total variation, which adds up over steps, is the delta at an epsilon of 0; a grid would say a part of a cell.
    let varied: f64 = steps.iter().map(|(mechanism, n)| *n as f64 * mechanism.total_variation()).sum();
    if varied * (1.0 + 1e-8) <= delta {
        return Ok(0.0);
    }
    larger(steps, |direction| {
        let saddle = Saddle::at_delta(steps, direction, delta, ends);
        let about = saddle.loss;
        let window = |saddle: &Saddle| saddle.window(delta * TAIL);
        refined(steps, saddle, window, ends, about, |composed| composed.epsilon(delta))
    })
}

/// The least delta at which `epsilon` holds, rounded up; the larger one of both directions of adjacency.
pub(crate) fn delta(steps: &[(Mechanism, u64)], epsilon: f64) -> Result<f64> {
    larger(steps, |direction| {
        let Some(bound) = Saddle::chernoff(steps, direction, epsilon) else {
            return Ok(0.0); // No loss is that large.
        };
        let (mut bound, mut least) = (bound.max(FLOOR), 1.0_f64);
        for _ in 0..MAX_PASSES {
            let ends = ends(steps, bound)?;
            let saddle = Saddle::at_delta(steps, direction, bound, ends);
            let window = |saddle: &Saddle| saddle.window(bound * TAIL).down_to(epsilon);
            let found =
                refined(steps, saddle, window, ends, epsilon, |composed| Ok(composed.delta(epsilon)))?;
            least = least.min(found);
            // The ends, the tilt and the window were chosen by a bound, which is loose where losses have a heavy tail.
            if found > 0.1 * bound || bound <= FLOOR {
                break;
            }
            bound = found.max(FLOOR);
        }
        Ok(least)
    })
}

/// The least of what is answered on grids that are each made for what the one before found. All of them are upper bounds,
/// and mostly the first one is as good as wanted.
fn refined(
    steps: &[(Mechanism, u64)],
    mut saddle: Saddle,
    window: impl Fn(&Saddle) -> Window,
    ends: f64,
    about: f64,
    ask: impl Fn(&Composed) -> Result<Found>,
) -> Result<f64> {
    let mut wanted = Wanted { about, sharp: saddle.sharp + 1.0 };
    let (mut least, mut finest) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..MAX_PASSES {
        let window = window(&saddle);
        let cells = cells(steps, &window, ends, wanted);
        if cells.h > 0.8 * finest {
            break; // No finer one is possible.
        }
        let found = ask(&Composed::new(steps, &saddle, window.above, &cells, ends)?)?;
        least = least.min(found.answer);
        wanted = Wanted { about: found.epsilon, sharp: found.sharp };
        if !found.inside {
            saddle.theta *= 0.25; // A window further down.
            continue;
        }
        finest = cells.h;
        if least == 0.0 || finest < 1.25 * wanted.spacing(steps) {
            break;
        }
    }
    Ok(least)
}

/// The larger answer of both directions.
fn larger(steps: &[(Mechanism, u64)], answer: impl Fn(Direction) -> Result<f64> + Sync) -> Result<f64> {
    if steps.len() > MAX_KINDS {
        let message = format!("{} different kinds of steps are more than {MAX_KINDS}", steps.len());
        return Err(Error::new(Code::Unsupported, message).hint(
            "use rdp, or record noise multipliers rounded down and sample rates rounded up to fewer values",
        ));
    }
    let (remove, add) = rayon::join(|| answer(Direction::Remove), || answer(Direction::Add));
    Ok(remove?.max(add?))
}

/// The cells of a window: losses `(first + i) h` for `i` below `length`.
struct Cells {
    h: f64,
    first: i64,
    length: usize,
}

/// How many standard deviations out a step is looked at, for a delta of about the given size.
fn ends(steps: &[(Mechanism, u64)], delta: f64) -> Result<f64> {
    normal::tail_quantile(delta * TAIL / total(steps)).ok_or_else(|| below_floor(delta))
}

/// What a grid is made for.
#[derive(Clone, Copy)]
struct Wanted {
    /// An epsilon of about so much.
    about: f64,
    /// The density of the loss there, relative to what delta falls by: `E[exp(epsilon - L); L > epsilon]`.
    sharp: f64,
}

impl Wanted {
    /// The spacing that adds [`TOLERANCE`] to epsilon: splitting a loss adds at most `h^2/4` to its variance, and so
    /// `n h^2/8` times the density at epsilon to delta.
    fn spacing(&self, steps: &[(Mechanism, u64)]) -> f64 {
        (8.0 * TOLERANCE * self.about.max(1e-3) / (self.sharp * total(steps))).sqrt()
    }
}

fn total(steps: &[(Mechanism, u64)]) -> f64 {
    steps.iter().map(|(_, n)| *n as f64).sum()
}

/// The cells of a window.
fn cells(steps: &[(Mechanism, u64)], window: &Window, ends: f64, wanted: Wanted) -> Cells {
    let range = steps.iter().map(|(m, _)| grid::range(m, ends)).fold(0.0, f64::max);
    // Splitting also spreads the sum, by at most half a cell a step: ten standard deviations of it on either side of the
    // window, so that a bulk of losses close below does not wrap around, and losses that are bounded stay inside.
    let spread = 5.0 * total(steps).sqrt() + 4.0;
    let count = |h: f64| window.width() / h + 2.0 * spread;
    let h = wanted.spacing(steps).max(range / MAX_CELLS);
    let h = h.max(window.width() / (MAX_WINDOW as f64 - 2.0 * spread).max(1e3));
    let length = transform_length(count(h)).clamp(1 << 10, MAX_WINDOW);
    // Room that is left over makes the grid finer, where that is cheap.
    let spare = window.width() / (length as f64 - 2.0 * spread).max(1.0);
    let h = if range / spare < 2.5e4 { spare.clamp(0.25 * h, h) } else { h };
    Cells { h, first: (window.low / h - spread).floor() as i64, length }
}

/// The least length of at least `cells` that transforms well: a power of two, or three halves of one.
fn transform_length(cells: f64) -> usize {
    let power = (cells as usize).next_power_of_two();
    if 0.75 * power as f64 > cells { power / 4 * 3 } else { power }
}

fn below_floor(delta: f64) -> Error {
    let message = format!("a delta of {delta:e} is below what this can bound for these steps");
    Error::new(Code::InvalidArgument, message)
        .at_column("delta")
        .hint("ask for a larger delta; customary is less than one over the number of examples")
}
