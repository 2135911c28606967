use std::cmp::Ordering;
use std::collections::BinaryHeap;

use gristmill_core::{Control, Error, Result};
use rand::RngExt;
use rayon::prelude::*;

use super::functions::SubmodularFunction;
use crate::rng;

/// How the best item of each round is found.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(tag = "optimizer", rename_all = "kebab-case")]
pub enum Optimizer {
    /// Every item that is left is evaluated in every round.
    Naive,
    /// An item is evaluated again only when its old gain, which bounds its new one, is the largest (Minoux,
    /// 1978). Chooses exactly what naive greedy chooses.
    #[default]
    Lazy,
    /// Each round looks at `⌈n / budget · ln(1 / epsilon)⌉` random items only: at least `1 - 1/e - epsilon` of
    /// the optimum in expectation (Mirzasoleiman et al., "Lazier Than Lazy Greedy", 2015).
    Stochastic {
        /// Above 0 and below 1; 0.1 is common.
        epsilon: f64,
    },
    /// The same random items, and within them lazy evaluation. Chooses exactly what the stochastic one chooses.
    LazierThanLazy {
        /// Above 0 and below 1; 0.1 is common.
        epsilon: f64,
    },
}

/// What greedy maximisation chose.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    /// The items in the order in which they were chosen; fewer than the budget when no further item may be.
    pub indices: Vec<usize>,
    /// By how much each raised the value when it was chosen.
    pub gains: Vec<f64>,
    /// The value of all of them.
    pub value: f64,
    /// How many gains were computed.
    pub evaluations: u64,
}

/// Adds to the set of `f`, one by one, `budget` items with the largest gain. Ties go to the lowest number. For a
/// monotone function the value is at least `1 - 1/e` of the best that any set of this size has.
///
/// ```
/// use gristmill_core::Control;
/// use gristmill_mix::{FacilityLocation, Optimizer, Points, Similarity, SimilarityOptions, maximize};
///
/// // Two clusters: the point between them comes first, then one of the cluster that it represents less.
/// let data = [1.0, 0.0, 1.0, 0.1, 1.0, 0.2, 0.0, 1.0, 0.1, 1.0];
/// let control = Control::default();
/// let similarity = Similarity::of(Points::new(&data, 2)?, &SimilarityOptions::default(), &control)?;
/// let chosen = maximize(&mut FacilityLocation::new(&similarity), 2, Optimizer::Lazy, 0, &control)?;
/// assert_eq!(chosen.indices, [2, 3]);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// A budget of more items than there are, or an epsilon out of its range.
pub fn maximize(
    f: &mut dyn SubmodularFunction,
    budget: usize,
    optimizer: Optimizer,
    seed: u64,
    control: &Control,
) -> Result<Selection> {
    if budget > f.len() {
        return Err(Error::invalid_argument("budget", format!("{budget} of {} items", f.len())));
    }
    if let Optimizer::Stochastic { epsilon } | Optimizer::LazierThanLazy { epsilon } = optimizer
        && !(epsilon > 0.0 && epsilon < 1.0)
    {
        return Err(Error::invalid_argument("epsilon", "must be above 0 and below 1"));
    }
    let mut run = Run { f, chosen: Selection { indices: vec![], gains: vec![], value: 0.0, evaluations: 0 } };
    match optimizer {
        Optimizer::Naive => run.naive(budget, control)?,
        Optimizer::Lazy => run.lazy(budget, control)?,
        Optimizer::Stochastic { epsilon } => run.stochastic(budget, epsilon, false, seed, control)?,
        Optimizer::LazierThanLazy { epsilon } => run.stochastic(budget, epsilon, true, seed, control)?,
    }
    run.chosen.value = run.f.value();
    Ok(run.chosen)
}

struct Run<'a> {
    f: &'a mut dyn SubmodularFunction,
    chosen: Selection,
}

/// An item with a gain that was exact in some round. The greatest is the largest gain, then the lowest number.
#[derive(Clone, Copy, PartialEq)]
struct Bound {
    gain: f64,
    item: usize,
    round: usize,
}

impl Eq for Bound {}

impl Ord for Bound {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain.total_cmp(&other.gain).then(other.item.cmp(&self.item))
    }
}

impl PartialOrd for Bound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Run<'_> {
    /// Chooses an item; false when its gain says that none may be chosen any more.
    fn choose(&mut self, best: Bound) -> bool {
        if best.gain == f64::NEG_INFINITY {
            return false;
        }
        self.f.add(best.item);
        self.chosen.indices.push(best.item);
        self.chosen.gains.push(best.gain);
        true
    }

    fn evaluate(&mut self, items: &[usize], round: usize) -> Vec<Bound> {
        self.chosen.evaluations += items.len() as u64;
        let f = &*self.f;
        items.par_iter().with_min_len(8).map(|&item| Bound { gain: f.gain(item), item, round }).collect()
    }

    fn naive(&mut self, budget: usize, control: &Control) -> Result<()> {
        let mut left: Vec<usize> = (0..self.f.len()).collect();
        for round in 0..budget {
            control.check()?;
            let Some(best) = self.evaluate(&left, round).into_iter().max() else { break };
            if !self.choose(best) {
                break;
            }
            left.retain(|&item| item != best.item);
        }
        Ok(())
    }

    fn lazy(&mut self, budget: usize, control: &Control) -> Result<()> {
        let all: Vec<usize> = (0..self.f.len()).collect();
        let mut heap = BinaryHeap::from(self.evaluate(&all, 0));
        for round in 0..budget {
            control.check()?;
            let Some(best) = self.settle(&mut heap, round) else { break };
            if !self.choose(best) {
                break;
            }
        }
        Ok(())
    }

    /// Takes the item with the largest gain of this round off the heap.
    fn settle(&mut self, heap: &mut BinaryHeap<Bound>, round: usize) -> Option<Bound> {
        loop {
            let top = heap.pop()?;
            if top.round == round {
                return Some(top);
            }
            self.chosen.evaluations += 1;
            heap.push(Bound { gain: self.f.gain(top.item), item: top.item, round });
        }
    }

    fn stochastic(
        &mut self,
        budget: usize,
        epsilon: f64,
        lazy: bool,
        seed: u64,
        control: &Control,
    ) -> Result<()> {
        let n = self.f.len();
        let size = (n as f64 / budget.max(1) as f64 * (1.0 / epsilon).ln()).ceil() as usize;
        let mut rng = rng::stream(seed, "stochastic greedy", 0);
        let mut left: Vec<usize> = (0..n).collect();
        // Before its first evaluation nothing bounds the gain of an item.
        let mut bounds: Vec<Bound> =
            (0..n).map(|item| Bound { gain: f64::INFINITY, item, round: usize::MAX }).collect();
        for round in 0..budget {
            control.check()?;
            let size = size.clamp(1, left.len());
            for i in 0..size {
                let j = rng.random_range(i..left.len());
                left.swap(i, j);
            }
            let best = match lazy {
                false => self.evaluate(&left[..size], round).into_iter().max(),
                true => {
                    let mut heap: BinaryHeap<Bound> = left[..size].iter().map(|&item| bounds[item]).collect();
                    let best = self.settle(&mut heap, round);
                    heap.into_iter().for_each(|bound| bounds[bound.item] = bound);
                    best
                }
            };
            let Some(best) = best else { break };
            if !self.choose(best) {
                break;
            }
            left.retain(|&item| item != best.item);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Concave, FacilityLocation, FeatureBased, GraphCut, Kernel, LogDeterminant, Matrix, Points,
        Similarity, SimilarityOptions,
    };

    fn random(n: usize, d: usize, seed: u64) -> Vec<f32> {
        let mut rng = rng::stream(seed, "test", 0);
        (0..n * d).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    fn similarity(n: usize, kernel: Kernel, neighbors: Option<usize>, seed: u64) -> Similarity {
        let data = random(n, 6, seed);
        let options = SimilarityOptions { kernel, neighbors, ..Default::default() };
        Similarity::of(Points::new(&data, 6).unwrap(), &options, &Control::default()).unwrap()
    }

    fn run(f: &mut dyn SubmodularFunction, budget: usize, optimizer: Optimizer) -> Selection {
        maximize(f, budget, optimizer, 11, &Control::default()).unwrap()
    }

    /// Makes the empty set of a function, anew each time.
    type Make<'a> = dyn FnMut() -> Box<dyn SubmodularFunction> + 'a;

    /// Runs `check` on every function, on similarities of either sign, dense and sparse.
    fn functions(n: usize, seed: u64, check: &mut dyn FnMut(&str, &mut Make<'_>)) {
        for (kernel, neighbors) in
            [(Kernel::Cosine, None), (Kernel::Cosine, Some(7)), (Kernel::Rbf { gamma: 0.4 }, None)]
        {
            let s: &'static Similarity = Box::leak(Box::new(similarity(n, kernel, neighbors, seed)));
            check("facility location", &mut || Box::new(FacilityLocation::new(s)));
            if neighbors.is_none() {
                check("log determinant", &mut || Box::new(LogDeterminant::new(s, 0.1).unwrap()));
            }
            if kernel != Kernel::Cosine {
                check("graph cut", &mut || Box::new(GraphCut::new(s, 2.0).unwrap()));
            }
        }
        let counts = random(n, 6, seed).iter().map(|x| f64::from(x.abs() * 5.0).round()).collect();
        let counts: &'static Matrix = Box::leak(Box::new(Matrix::new(n, 6, counts).unwrap()));
        for concave in [Concave::Sqrt, Concave::Log, Concave::Sigmoid] {
            check("feature based", &mut || Box::new(FeatureBased::new(counts, concave).unwrap()));
        }
    }

    #[test]
    fn lazy_chooses_what_naive_chooses_and_returns_diminish() {
        functions(150, 1, &mut |name, make| {
            let (naive, lazy) =
                (run(&mut *make(), 40, Optimizer::Naive), run(&mut *make(), 40, Optimizer::Lazy));
            assert_eq!((&naive.indices, &naive.gains), (&lazy.indices, &lazy.gains), "{name}");
            assert!(lazy.evaluations <= naive.evaluations, "{name}");
            assert!(lazy.gains.windows(2).all(|g| g[1] <= g[0] + 1e-9), "{name} {:?}", lazy.gains);
            let sum: f64 = lazy.gains.iter().sum();
            assert!((sum - lazy.value).abs() < 1e-4 * (1.0 + sum.abs()), "{name}: {sum} {}", lazy.value);
            assert_eq!(lazy.indices.iter().collect::<std::collections::BTreeSet<_>>().len(), 40);

            let epsilon = 0.1;
            let plain = run(&mut *make(), 40, Optimizer::Stochastic { epsilon });
            let lazier = run(&mut *make(), 40, Optimizer::LazierThanLazy { epsilon });
            assert_eq!((&plain.indices, &plain.gains), (&lazier.indices, &lazier.gains), "{name}");
            assert!(lazier.evaluations <= plain.evaluations && plain.evaluations < naive.evaluations);
            assert!(plain.value <= lazy.value + 0.05 * lazy.value.abs() + 0.1, "{name}");
        });
    }

    #[test]
    fn gains_are_differences_of_values() {
        functions(60, 2, &mut |name, make| {
            let mut f = make();
            for j in [5, 17, 42, 3] {
                let (gain, before) = (f.gain(j), f.value());
                f.add(j);
                assert!((f.value() - before - gain).abs() < 1e-4 * (1.0 + gain.abs()), "{name}");
            }
        });
    }

    #[test]
    fn values_are_those_of_the_definitions() {
        let s = similarity(20, Kernel::Rbf { gamma: 0.4 }, None, 3);
        let set = [4usize, 9, 15];
        let get = |i: usize, j: usize| f64::from(s.get(i, j));
        let fill = |f: &mut dyn SubmodularFunction| {
            set.iter().for_each(|&j| f.add(j));
            f.value()
        };
        let location: f64 = (0..20).map(|i| set.iter().map(|&j| get(i, j)).fold(0.0, f64::max)).sum();
        assert!((fill(&mut FacilityLocation::new(&s)) - location).abs() < 1e-5);
        let pairs = |a: &[usize]| -> f64 {
            a.iter().flat_map(|&i| set.iter().map(move |&j| (i, j))).map(|(i, j)| get(i, j)).sum()
        };
        let all: Vec<usize> = (0..20).collect();
        let cut = 1.5 * pairs(&all) - pairs(&set);
        assert!((fill(&mut GraphCut::new(&s, 1.5).unwrap()) - cut).abs() < 1e-9);
        let k = |a: usize, b: usize| get(set[a], set[b]) + if a == b { 0.1 } else { 0.0 };
        let det = k(0, 0) * (k(1, 1) * k(2, 2) - k(1, 2) * k(2, 1))
            - k(0, 1) * (k(1, 0) * k(2, 2) - k(1, 2) * k(2, 0))
            + k(0, 2) * (k(1, 0) * k(2, 1) - k(1, 1) * k(2, 0));
        assert!((fill(&mut LogDeterminant::new(&s, 0.1).unwrap()) - det.ln()).abs() < 1e-6);
    }

    #[test]
    fn greedy_keeps_its_promise_against_brute_force() {
        for seed in 0..5 {
            for (kernel, neighbors) in
                [(Kernel::Cosine, None), (Kernel::Rbf { gamma: 1.0 }, None), (Kernel::Cosine, Some(4))]
            {
                let s = similarity(14, kernel, neighbors, 20 + seed);
                let mut best = 0.0f64;
                for mask in 0u32..1 << 14 {
                    if mask.count_ones() == 4 {
                        let mut f = FacilityLocation::new(&s);
                        (0..14).filter(|j| mask >> j & 1 == 1).for_each(|j| f.add(j));
                        best = best.max(f.value());
                    }
                }
                let greedy = run(&mut FacilityLocation::new(&s), 4, Optimizer::Lazy);
                assert!(greedy.value >= (1.0 - (-1f64).exp()) * best && greedy.value <= best + 1e-9);
            }
        }
    }

    #[test]
    fn stops_when_nothing_new_is_left() {
        // Three directions only: without a ridge no fourth point adds volume.
        let data = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0];
        let options = SimilarityOptions::default();
        let s = Similarity::of(Points::new(&data, 3).unwrap(), &options, &Control::default()).unwrap();
        for optimizer in [Optimizer::Naive, Optimizer::Lazy] {
            let chosen = run(&mut LogDeterminant::new(&s, 0.0).unwrap(), 5, optimizer);
            assert_eq!(chosen.indices, [0, 1, 2]);
        }
    }

    #[test]
    fn refuses_what_cannot_be_chosen() {
        let s = similarity(10, Kernel::Cosine, None, 4);
        let bad = |budget, optimizer| {
            maximize(&mut FacilityLocation::new(&s), budget, optimizer, 0, &Control::default())
                .unwrap_err()
                .location()
                .column
                .clone()
        };
        assert_eq!(bad(11, Optimizer::Lazy).as_deref(), Some("budget"));
        assert_eq!(bad(5, Optimizer::Stochastic { epsilon: 0.0 }).as_deref(), Some("epsilon"));
        assert!(run(&mut FacilityLocation::new(&s), 0, Optimizer::Lazy).indices.is_empty());
        assert!(GraphCut::new(&s, -1.0).is_err() && LogDeterminant::new(&s, f64::NAN).is_err());
        assert!(FeatureBased::new(&Matrix::from_rows(&[[-1.0]]), Concave::Sqrt).is_err());
    }
}
