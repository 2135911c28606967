use gristmill_core::{Code, Control, Error, Result};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::points::{Points, product, square};
use crate::rng;

/// Where [`kmeans`] starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Init {
    /// k-means++: each next centre is a point drawn with probability proportional to its squared distance from
    /// the nearest one so far (Arthur and Vassilvitskii, 2007), among a random sample of at most `20 k` points.
    #[default]
    PlusPlus,
    /// `k` different points at random.
    Random,
}

/// How [`kmeans`] clusters.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct KMeansOptions {
    /// How many clusters; default 100.
    pub k: usize,
    /// The most rounds, or how many mini-batches; default 25.
    pub iterations: usize,
    /// Default: k-means++.
    pub init: Init,
    /// Move the centres by this many random points at a time, each centre by the inverse of how many points it
    /// has seen (Sculley, "Web-Scale K-Means Clustering", 2010), and look at all points only once, for their
    /// labels. Default: all points in every round (Lloyd).
    pub batch: Option<usize>,
    /// Stop when a round lowers the squared error by less than this share of it; default 1e-4. Not for
    /// mini-batches.
    pub tolerance: f64,
    /// Default 0.
    pub seed: u64,
}

impl Default for KMeansOptions {
    fn default() -> Self {
        Self { k: 100, iterations: 25, init: Init::PlusPlus, batch: None, tolerance: 1e-4, seed: 0 }
    }
}

/// What [`kmeans`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct KMeans {
    /// The centres, row by row.
    pub centres: Vec<f32>,
    /// The nearest centre of each point; of equally near ones the first.
    pub labels: Vec<u32>,
    /// The squared distance of each point to it.
    pub distances: Vec<f32>,
    /// Their sum.
    pub inertia: f64,
    /// How many rounds or mini-batches there were.
    pub iterations: usize,
    /// Whether the tolerance was met; always false for mini-batches.
    pub converged: bool,
}

/// Clusters points around `k` centres by squared Euclidean distance.
///
/// Distances are matrix products in single precision, centres are means in double precision. A centre that
/// loses all its points moves to the point that is farthest from its own. The same seed gives the same result
/// whatever the threads.
///
/// ```
/// use gristmill_core::Control;
/// use gristmill_mix::{KMeansOptions, Points, kmeans};
///
/// let data = [0.0, 0.1, 0.2, 9.8, 9.9, 10.0];
/// let options = KMeansOptions { k: 2, ..Default::default() };
/// let found = kmeans(Points::new(&data, 1)?, &options, &Control::default())?;
/// assert_eq!(found.labels[0], found.labels[2]);
/// assert_ne!(found.labels[0], found.labels[3]);
/// assert!((found.inertia - 0.04).abs() < 1e-5);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// More clusters than points, options out of range.
pub fn kmeans(points: Points<'_>, options: &KMeansOptions, control: &Control) -> Result<KMeans> {
    let (n, d, k) = (points.len(), points.dimension(), options.k);
    if k == 0 || k > n || k > u32::MAX as usize {
        return Err(Error::invalid_argument("k", format!("{k} clusters of {n} points")));
    }
    if options.iterations == 0 || options.batch == Some(0) {
        return Err(Error::invalid_argument("iterations, batch", "must be at least 1"));
    }
    if options.tolerance.is_nan() || options.tolerance < 0.0 {
        return Err(Error::invalid_argument("tolerance", "must not be negative"));
    }
    let mut rng = rng::stream(options.seed, "kmeans", 0);
    let mut centres: Vec<f32> = match options.init {
        Init::Random => {
            rng::choose(&mut rng, n, k).into_iter().flat_map(|i| points.row(i)).copied().collect()
        }
        Init::PlusPlus => plus_plus(points, k, &mut rng, control)?,
    };
    if let Some(batch) = options.batch {
        mini_batches(points, &mut centres, batch, options.iterations, &mut rng, control)?;
        let found = Assignment::of(points, &centres, control)?;
        return Ok(found.finish(centres, options.iterations, false));
    }
    let mut last = f64::INFINITY;
    for iteration in 1..=options.iterations {
        let found = Assignment::of(points, &centres, control)?;
        let inertia = found.inertia();
        if last - inertia <= options.tolerance * inertia {
            return Ok(found.finish(centres, iteration, true));
        }
        if iteration == options.iterations {
            return Ok(found.finish(centres, iteration, false));
        }
        last = inertia;
        move_centres(points, &mut centres, found, d);
    }
    Err(Error::new(Code::Internal, "k-means left its rounds"))
}

struct Assignment {
    labels: Vec<u32>,
    distances: Vec<f32>,
}

impl Assignment {
    fn of(points: Points<'_>, centres: &[f32], control: &Control) -> Result<Self> {
        /// Rows that are multiplied at once.
        const ROWS: usize = 128;
        let (n, d) = (points.len(), points.dimension());
        let k = centres.len() / d;
        let norms: Vec<f32> = centres.chunks_exact(d).map(|c| square(c) as f32).collect();
        let mut labels = vec![0u32; n];
        let mut distances = vec![0f32; n];
        labels.par_chunks_mut(ROWS).zip(distances.par_chunks_mut(ROWS)).enumerate().try_for_each_init(
            || vec![0f32; ROWS * k],
            |dots, (block, (labels, distances))| {
                control.check()?;
                let rows = &points.data()[block * ROWS * d..][..labels.len() * d];
                product(rows, centres, d, dots, k);
                for (i, (label, distance)) in labels.iter_mut().zip(distances).enumerate() {
                    // |x - c|² = |x|² - 2 x·c + |c|², of which the first does not matter for the choice.
                    let (at, least) = lowest(&dots[i * k..][..k], &norms);
                    *label = at;
                    *distance = (square(&rows[i * d..][..d]) + f64::from(least)).max(0.0) as f32;
                }
                Ok::<(), Error>(())
            },
        )?;
        Ok(Self { labels, distances })
    }

    fn inertia(&self) -> f64 {
        self.distances.iter().map(|&x| f64::from(x)).sum()
    }

    fn finish(self, centres: Vec<f32>, iterations: usize, converged: bool) -> KMeans {
        let inertia = self.inertia();
        KMeans { centres, labels: self.labels, distances: self.distances, inertia, iterations, converged }
    }
}

/// The first place of the least `norm - 2 dot`, and its value.
fn lowest(dots: &[f32], norms: &[f32]) -> (u32, f32) {
    // The least value first, without a branch, then its place: both loops run in vector registers.
    const LANES: usize = 16;
    let mut least = [f32::INFINITY; LANES];
    let (dot_chunks, dot_rest) = dots.as_chunks::<LANES>();
    let (norm_chunks, norm_rest) = norms.as_chunks::<LANES>();
    for (dots, norms) in dot_chunks.iter().zip(norm_chunks) {
        for ((least, dot), norm) in least.iter_mut().zip(dots).zip(norms) {
            let value = norm - 2.0 * dot;
            *least = if value < *least { value } else { *least };
        }
    }
    let rest = dot_rest.iter().zip(norm_rest).map(|(dot, norm)| norm - 2.0 * dot);
    let least = least.into_iter().chain(rest).fold(f32::INFINITY, f32::min);
    let place = dots.iter().zip(norms).position(|(dot, norm)| norm - 2.0 * dot == least);
    (place.unwrap_or(0) as u32, least)
}

fn move_centres(points: Points<'_>, centres: &mut [f32], mut found: Assignment, d: usize) {
    let k = centres.len() / d;
    // The points of each cluster in order, by counting.
    let mut start = vec![0usize; k + 1];
    found.labels.iter().for_each(|&label| start[label as usize + 1] += 1);
    (0..k).for_each(|c| start[c + 1] += start[c]);
    let mut members = vec![0u32; found.labels.len()];
    let mut next = start.clone();
    for (i, &label) in found.labels.iter().enumerate() {
        members[next[label as usize]] = i as u32;
        next[label as usize] += 1;
    }
    centres.par_chunks_mut(d).enumerate().for_each_init(
        || vec![0f64; d],
        |sum, (c, centre)| {
            let members = &members[start[c]..start[c + 1]];
            sum.fill(0.0);
            for &i in members {
                sum.iter_mut().zip(points.row(i as usize)).for_each(|(s, x)| *s += f64::from(*x));
            }
            if !members.is_empty() {
                centre.iter_mut().zip(sum).for_each(|(c, s)| *c = (*s / members.len() as f64) as f32);
            }
        },
    );
    for c in (0..k).filter(|&c| start[c] == start[c + 1]) {
        let far = found.distances.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
        let i = far.map_or(0, |far| far.0);
        centres[c * d..][..d].copy_from_slice(points.row(i));
        found.distances[i] = 0.0;
    }
}

fn mini_batches(
    points: Points<'_>,
    centres: &mut [f32],
    batch: usize,
    batches: usize,
    rng: &mut ChaCha8Rng,
    control: &Control,
) -> Result<()> {
    let d = points.dimension();
    let mut seen = vec![0u64; centres.len() / d];
    for _ in 0..batches {
        let rows: Vec<f32> =
            (0..batch).flat_map(|_| points.row(rng.random_range(0..points.len()))).copied().collect();
        let some = Points::new(&rows, d)?;
        let found = Assignment::of(some, centres, control)?;
        for (i, &label) in found.labels.iter().enumerate() {
            seen[label as usize] += 1;
            let rate = 1.0 / seen[label as usize] as f32;
            let centre = &mut centres[label as usize * d..][..d];
            centre.iter_mut().zip(some.row(i)).for_each(|(c, x)| *c += rate * (x - *c));
        }
    }
    Ok(())
}

fn plus_plus(points: Points<'_>, k: usize, rng: &mut ChaCha8Rng, control: &Control) -> Result<Vec<f32>> {
    let n = points.len();
    let sample = rng::choose(rng, n, n.min(20 * k));
    let mut near = vec![f32::INFINITY; sample.len()];
    let mut centres = Vec::with_capacity(k * points.dimension());
    let mut pick = rng.random_range(0..sample.len());
    for _ in 0..k {
        control.check()?;
        let centre = points.row(sample[pick]);
        centres.extend_from_slice(centre);
        near.par_iter_mut().zip(&sample).with_min_len(256).for_each(|(near, &i)| {
            *near = near.min(distance(points.row(i), centre));
        });
        let total: f64 = near.iter().map(|&x| f64::from(x)).sum();
        let mut left = rng.random::<f64>() * total;
        // When all distances are zero, the rest are copies of centres: any of them will do.
        pick = near.iter().rposition(|&x| x > 0.0).unwrap_or_else(|| rng.random_range(0..near.len()));
        for (i, &x) in near.iter().enumerate() {
            left -= f64::from(x);
            if left < 0.0 {
                pick = i;
                break;
            }
        }
    }
    Ok(centres)
}

/// `|a - b|²`.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
            *sum += (x - y) * (x - y);
        }
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(x, y)| (x - y) * (x - y)).sum::<f32>()
}

/// What [`farthest_points`] chose.
#[derive(Debug, Clone, PartialEq)]
pub struct FarthestPoints {
    /// The points in the order in which they were chosen.
    pub indices: Vec<usize>,
    /// For each, its squared distance to the nearest one before it; infinite for the first.
    pub distances: Vec<f32>,
}

/// Chooses `budget` points, each the farthest from those before it, starting with `first`. The largest distance
/// of any point to the nearest chosen one is at most twice what any choice could have (Gonzalez, 1985). Ties go
/// to the lowest number.
///
/// ```
/// use gristmill_core::Control;
/// use gristmill_mix::{Points, farthest_points};
///
/// let data = [0.0, 1.0, 2.0, 10.0];
/// let chosen = farthest_points(Points::new(&data, 1)?, 3, 0, &Control::default())?;
/// assert_eq!(chosen.indices, [0, 3, 2]);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// A budget of more points than there are, or a first point that is not there.
pub fn farthest_points(
    points: Points<'_>,
    budget: usize,
    first: usize,
    control: &Control,
) -> Result<FarthestPoints> {
    let n = points.len();
    if budget > n {
        return Err(Error::invalid_argument("budget", format!("{budget} of {n} points")));
    }
    if first >= n {
        return Err(Error::invalid_argument("first", format!("point {first} of {n}")));
    }
    let mut chosen =
        FarthestPoints { indices: Vec::with_capacity(budget), distances: Vec::with_capacity(budget) };
    let mut near = vec![f32::INFINITY; n];
    let mut next = (first, f32::INFINITY);
    for _ in 0..budget {
        control.check()?;
        chosen.indices.push(next.0);
        chosen.distances.push(next.1);
        let centre = points.row(next.0);
        near.par_iter_mut().enumerate().with_min_len(256).for_each(|(i, near)| {
            *near = near.min(distance(points.row(i), centre));
        });
        // A chosen point is not chosen again, even where all that is left lies on chosen ones.
        near[next.0] = f32::NEG_INFINITY;
        let far = near.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
        next = far.map_or(next, |(i, x)| (i, *x));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points around `k` centres that are far apart, and the centre of each.
    fn clusters(n: usize, k: usize, d: usize) -> (Vec<f32>, Vec<usize>) {
        let mut rng = rng::stream(1, "test", 0);
        let centres: Vec<f32> = (0..k * d).map(|_| rng.random_range(-10.0..10.0)).collect();
        let owner: Vec<usize> = (0..n).map(|_| rng.random_range(0..k)).collect();
        let data = owner.iter().flat_map(|&c| centres[c * d..][..d].to_vec()).collect::<Vec<_>>();
        (data.into_iter().map(|x| x + rng.random_range(-0.5..0.5)).collect(), owner)
    }

    fn run(points: Points<'_>, options: KMeansOptions) -> KMeans {
        kmeans(points, &options, &Control::default()).unwrap()
    }

    fn pure(found: &KMeans, owner: &[usize]) -> bool {
        let pairs: std::collections::BTreeSet<_> = found.labels.iter().zip(owner).collect();
        pairs.len() == owner.iter().collect::<std::collections::BTreeSet<_>>().len()
    }

    #[test]
    fn finds_clusters_that_are_there() {
        let (data, owner) = clusters(1000, 12, 9);
        let points = Points::new(&data, 9).unwrap();
        let o = KMeansOptions { k: 12, seed: 3, ..Default::default() };
        let found = run(points, o.clone());
        assert!(found.converged && pure(&found, &owner));
        let inertia: f64 = (0..1000)
            .map(|i| f64::from(distance(points.row(i), &found.centres[found.labels[i] as usize * 9..][..9])))
            .sum();
        assert!((inertia - found.inertia).abs() < 1e-3 * inertia);
        let small = run(points, KMeansOptions { batch: Some(200), iterations: 50, ..o.clone() });
        assert!(pure(&small, &owner) && small.inertia < 1.2 * found.inertia);
        let random = run(points, KMeansOptions { init: Init::Random, ..o.clone() });
        assert!(found.inertia <= random.inertia * 1.0001);
        let single = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(single.install(|| run(points, o)), found);
    }

    #[test]
    fn rounds_never_raise_the_error_and_labels_are_nearest() {
        let mut rng = rng::stream(2, "test", 0);
        let data: Vec<f32> = (0..600 * 17).map(|_| rng.random_range(-1.0..1.0)).collect();
        let points = Points::new(&data, 17).unwrap();
        let at = |iterations| {
            run(points, KMeansOptions { k: 33, iterations, tolerance: 0.0, ..Default::default() })
        };
        let errors: Vec<f64> = (1..8).map(|i| at(i).inertia).collect();
        assert!(errors.windows(2).all(|e| e[1] <= e[0] * (1.0 + 1e-6)), "{errors:?}");
        let found = at(8);
        for i in 0..600 {
            let to = |c: usize| distance(points.row(i), &found.centres[c * 17..][..17]);
            let least = (0..33).map(to).fold(f32::INFINITY, f32::min);
            assert!(to(found.labels[i] as usize) <= least + 1e-4);
        }
    }

    #[test]
    fn copies_and_empty_clusters_do_no_harm() {
        let data = [1.0, 1.0, 1.0, 1.0, 5.0];
        let points = Points::new(&data, 1).unwrap();
        for init in [Init::PlusPlus, Init::Random] {
            for seed in 0..10 {
                let found = run(points, KMeansOptions { k: 3, init, seed, ..Default::default() });
                assert!(found.inertia < 1e-9 && found.labels[0] != found.labels[4], "{found:?}");
            }
        }
    }

    #[test]
    fn farthest_points_are_far_and_differ() {
        let (data, owner) = clusters(300, 7, 4);
        let points = Points::new(&data, 4).unwrap();
        let chosen = farthest_points(points, 300, 5, &Control::default()).unwrap();
        assert!(chosen.distances.windows(2).all(|d| d[1] <= d[0]));
        let owners: std::collections::BTreeSet<_> = chosen.indices[..7].iter().map(|&i| owner[i]).collect();
        assert_eq!(owners.len(), 7, "one of each cluster first");
        assert_eq!(chosen.indices.iter().collect::<std::collections::BTreeSet<_>>().len(), 300);
        for (at, &i) in chosen.indices.iter().enumerate().skip(1).step_by(37) {
            let least = chosen.indices[..at]
                .iter()
                .map(|&j| distance(points.row(i), points.row(j)))
                .fold(f32::INFINITY, f32::min);
            assert_eq!(least, chosen.distances[at]);
        }
        let copies = farthest_points(Points::new(&[2.0; 5], 1).unwrap(), 5, 2, &Control::default()).unwrap();
        assert_eq!(copies.indices, [2, 0, 1, 3, 4]);
    }

    #[test]
    fn refuses_what_cannot_be_clustered() {
        let points = Points::new(&[1.0, 2.0], 1).unwrap();
        let bad = |o: KMeansOptions| kmeans(points, &o, &Control::default()).unwrap_err().code();
        let two = || KMeansOptions { k: 2, ..Default::default() };
        assert_eq!(bad(KMeansOptions { k: 3, ..two() }), Code::InvalidArgument);
        assert_eq!(bad(KMeansOptions { k: 0, ..two() }), Code::InvalidArgument);
        assert_eq!(bad(KMeansOptions { iterations: 0, ..two() }), Code::InvalidArgument);
        assert_eq!(bad(KMeansOptions { tolerance: f64::NAN, ..two() }), Code::InvalidArgument);
        assert!(farthest_points(points, 3, 0, &Control::default()).is_err());
        assert!(farthest_points(points, 1, 2, &Control::default()).is_err());
    }
}
