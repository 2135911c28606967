use gristmill_core::{Code, Control, Error, Result};
use rand_distr::{Distribution, Open01};

use super::functions::FacilityLocation;
use super::greedy::{Optimizer, maximize};
use super::points::Points;
use super::similarity::{Kernel, Similarity, SimilarityOptions};
use crate::rng;

/// How [`select_partitioned`] takes items from a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pick {
    /// The first items of plain lazy greedy.
    #[default]
    Greedy,
    /// As INGENIOUS publishes it: lazier-than-lazy greedy orders all items but one, and items are drawn by
    /// [`taylor_softmax_sample`] of their gains. With nearly all items as its budget each round of that greedy
    /// looks at two or three random items, so that the order is close to random, and the weights put nearly all
    /// mass on a few items: on clustered embeddings it closes a tenth to a third of the gap from random to
    /// greedy. It is here to reproduce the method, not as the better choice.
    TaylorSoftmax,
}

/// How [`select_partitioned`] chooses.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PartitionOptions {
    /// How many random partitions; default 1. A partition of `m` items takes `4 m²` bytes.
    pub partitions: usize,
    /// The share of each partition to take, rounded up; default 0.25.
    pub share: f64,
    /// Default: cosine.
    pub kernel: Kernel,
    /// Default: greedy.
    pub pick: Pick,
    /// The epsilon of lazier-than-lazy greedy for [`Pick::TaylorSoftmax`]; default 0.1.
    pub epsilon: f64,
    /// Default 0.
    pub seed: u64,
}

impl Default for PartitionOptions {
    fn default() -> Self {
        Self { partitions: 1, share: 0.25, kernel: Kernel::Cosine, pick: Pick::Greedy, epsilon: 0.1, seed: 0 }
    }
}

/// Chooses a share of the points by facility location within random partitions of equal size, so that memory
/// and time grow with `n²/partitions`; INGENIOUS (Renduchintala et al., 2023) chooses pre-training text so.
/// Returns the chosen points in ascending order.
///
/// ```
/// use gristmill_core::Control;
/// use gristmill_mix::{PartitionOptions, Points, select_partitioned};
///
/// let data: Vec<f32> = (0..200).map(|i| (i as f32).sin()).collect();
/// let options = PartitionOptions { partitions: 4, share: 0.1, ..Default::default() };
/// let chosen = select_partitioned(Points::new(&data, 2)?, &options, &Control::default())?;
/// assert_eq!(chosen.len(), 4 * 3); // the tenth part of 25, rounded up, of each
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// More partitions than points, a share or epsilon out of its range, partitions too large for the memory of
/// [`SimilarityOptions`].
pub fn select_partitioned(
    points: Points<'_>,
    options: &PartitionOptions,
    control: &Control,
) -> Result<Vec<usize>> {
    let n = points.len();
    if options.partitions == 0 || options.partitions > n {
        return Err(Error::invalid_argument("partitions", format!("{} of {n} points", options.partitions)));
    }
    if !(options.share > 0.0 && options.share <= 1.0) {
        return Err(Error::invalid_argument("share", "must be above 0 and at most 1"));
    }
    let order = rng::choose(&mut rng::stream(options.seed, "partitions", 0), n, n);
    let mut chosen = Vec::new();
    for p in 0..options.partitions {
        // Sizes differ by at most one.
        let members = &order[p * n / options.partitions..(p + 1) * n / options.partitions];
        let data: Vec<f32> = members.iter().flat_map(|&i| points.row(i)).copied().collect();
        let wanted = SimilarityOptions { kernel: options.kernel, ..Default::default() };
        let similarity = Similarity::of(points.with(&data)?, &wanted, control)?;
        let take = ((members.len() as f64 * options.share).ceil() as usize).clamp(1, members.len());
        let mut location = FacilityLocation::new(&similarity);
        let seed = options.seed.wrapping_add(p as u64);
        let picked = match options.pick {
            Pick::Greedy => maximize(&mut location, take, Optimizer::Lazy, seed, control)?.indices,
            // With a single item there is nothing to order.
            Pick::TaylorSoftmax if take == members.len() => (0..take).collect(),
            Pick::TaylorSoftmax => {
                let optimizer = Optimizer::LazierThanLazy { epsilon: options.epsilon };
                let ranked = maximize(&mut location, members.len() - 1, optimizer, seed, control)?;
                let drawn = taylor_softmax_sample(&ranked.gains, take, seed)?;
                drawn.into_iter().map(|at| ranked.indices[at]).collect()
            }
        };
        chosen.extend(picked.into_iter().map(|at| members[at]));
    }
    chosen.sort_unstable();
    Ok(chosen)
}

/// Draws `k` places without replacement with probability proportional to `1 + g + g²/2`, the second-order
/// expansion of `e^g`, which is positive for any gain `g`. By Gumbel keys: the places of the `k` largest
/// `ln weight + Gumbel` are distributed as draws one after the other.
///
/// ```
/// let places = gristmill_mix::taylor_softmax_sample(&[100.0, 0.0, 50.0, 0.0], 2, 1)?;
/// assert_eq!(places.len(), 2);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// More places than gains, or a gain that is not finite.
pub fn taylor_softmax_sample(gains: &[f64], k: usize, seed: u64) -> Result<Vec<usize>> {
    if k > gains.len() {
        return Err(Error::invalid_argument("k", format!("{k} of {} gains", gains.len())));
    }
    if let Some(at) = gains.iter().position(|g| !g.is_finite()) {
        return Err(Error::new(Code::InvalidValue, format!("a gain of {}", gains[at])).at_row(at as u64));
    }
    let mut rng = rng::stream(seed, "taylor softmax", 0);
    let mut keys: Vec<(f64, usize)> = gains
        .iter()
        .enumerate()
        .map(|(i, g)| {
            let u: f64 = Open01.sample(&mut rng);
            ((1.0 + g + g * g / 2.0).ln() - (-u.ln()).ln(), i)
        })
        .collect();
    keys.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    Ok(keys.into_iter().take(k).map(|key| key.1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    fn random(n: usize, d: usize) -> Vec<f32> {
        let mut rng = rng::stream(4, "test", 0);
        (0..n * d).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn one_partition_is_plain_greedy() {
        let data = random(120, 4);
        let points = Points::new(&data, 4).unwrap();
        let o = PartitionOptions { share: 0.2, ..Default::default() };
        let chosen = select_partitioned(points, &o, &Control::default()).unwrap();
        let whole = Similarity::of(points, &SimilarityOptions::default(), &Control::default()).unwrap();
        let mut greedy =
            maximize(&mut FacilityLocation::new(&whole), 24, Optimizer::Lazy, 0, &Control::default())
                .unwrap()
                .indices;
        greedy.sort_unstable();
        assert_eq!(chosen, greedy);
    }

    #[test]
    fn partitions_give_their_share_and_greedy_the_better_value() {
        let data = random(300, 4);
        let points = Points::new(&data, 4).unwrap();
        let whole = Similarity::of(points, &SimilarityOptions::default(), &Control::default()).unwrap();
        let value = |pick| {
            let o = PartitionOptions { partitions: 3, share: 0.05, pick, ..Default::default() };
            let chosen = select_partitioned(points, &o, &Control::default()).unwrap();
            assert_eq!(chosen.len(), 15);
            assert!(chosen.windows(2).all(|w| w[0] < w[1]));
            let mut f = FacilityLocation::new(&whole);
            use crate::SubmodularFunction;
            chosen.iter().for_each(|&i| f.add(i));
            f.value()
        };
        assert!(value(Pick::Greedy) > value(Pick::TaylorSoftmax));
        let everything = PartitionOptions { share: 1.0, pick: Pick::TaylorSoftmax, ..Default::default() };
        assert_eq!(select_partitioned(points, &everything, &Control::default()).unwrap().len(), 300);
    }

    #[test]
    fn draws_have_the_probabilities_of_the_weights() {
        // Weights 1, 2.5, 5 and 0.5 (at g = -1).
        let gains = [0.0, 1.0, 2.0, -1.0];
        let weights = [1.0, 2.5, 5.0, 0.5];
        let (mut first, mut second) = ([0.0; 4], [0.0; 4]);
        let n = 20_000;
        for seed in 0..n {
            let drawn = taylor_softmax_sample(&gains, 2, seed).unwrap();
            first[drawn[0]] += 1.0 / n as f64;
            second[drawn[1]] += 1.0 / n as f64;
        }
        for j in 0..4 {
            assert!((first[j] - weights[j] / 9.0).abs() < 0.015, "{first:?}");
            let expected: f64 =
                (0..4).filter(|&i| i != j).map(|i| weights[i] / 9.0 * weights[j] / (9.0 - weights[i])).sum();
            assert!((second[j] - expected).abs() < 0.015, "{second:?}");
        }
        assert_eq!(taylor_softmax_sample(&gains, 5, 0).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(taylor_softmax_sample(&[f64::NAN], 1, 0).unwrap_err().code(), Code::InvalidValue);
    }

    #[test]
    fn refuses_options_out_of_range() {
        let data = random(10, 2);
        let points = Points::new(&data, 2).unwrap();
        for o in [
            PartitionOptions { partitions: 0, ..Default::default() },
            PartitionOptions { partitions: 11, ..Default::default() },
            PartitionOptions { share: 0.0, ..Default::default() },
            PartitionOptions { share: f64::NAN, ..Default::default() },
            PartitionOptions { pick: Pick::TaylorSoftmax, epsilon: 2.0, ..Default::default() },
        ] {
            assert_eq!(
                select_partitioned(points, &o, &Control::default()).unwrap_err().code(),
                Code::InvalidArgument
            );
        }
    }
}
