use gristmill_core::ops::Matmul;
use gristmill_core::{Code, Control, DType, Error, Result, Tensor};
use rayon::prelude::*;

use super::points::{Points, product, square};

/// How alike two points are.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kernel", rename_all = "kebab-case")]
pub enum Kernel {
    /// `a·b / (|a| |b|)`, from -1 to 1; a point of length zero is like nothing.
    Cosine,
    /// The square of the cosine, as apricot takes for `cosine`.
    SquaredCosine,
    /// The square of Pearson's correlation over the components, as apricot takes for `corr`.
    SquaredCorrelation,
    /// `max |x - y|² - |a - b|²` with the maximum over all pairs, as apricot takes for `euclidean`.
    Euclidean,
    /// `exp(-gamma |a - b|²)`.
    Rbf {
        /// The inverse of the squared length scale, times one half in most texts.
        gamma: f64,
    },
}

/// How [`Similarity::of`] computes.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SimilarityOptions {
    /// Default: cosine.
    pub kernel: Kernel,
    /// Keep only this many of the most alike points of each point, itself among them; the rest counts as 0.
    /// Default: all, which takes `4 n²` bytes.
    pub neighbors: Option<usize>,
    /// The most bytes the result may take; default 4 GiB.
    pub memory: u64,
}

impl Default for SimilarityOptions {
    fn default() -> Self {
        Self { kernel: Kernel::Cosine, neighbors: None, memory: 4 << 30 }
    }
}

/// The similarities among `n` points: all of them, or the largest of each point.
#[derive(Debug, Clone, PartialEq)]
pub struct Similarity {
    n: usize,
    store: Store,
}

#[derive(Debug, Clone, PartialEq)]
enum Store {
    /// Symmetric, row by row.
    Dense(Vec<f32>),
    /// By column: for which points this one is among the neighbours, and how alike they are.
    Sparse { start: Vec<usize>, point: Vec<u32>, value: Vec<f32> },
}

/// Rows that are multiplied at once.
const ROWS: usize = 128;

impl Similarity {
    /// Computes the similarities of all pairs in blocks, by matrix products in single precision on all threads or on
    /// the [device of the points](Points::on).
    ///
    /// ```
    /// use gristmill_core::Control;
    /// use gristmill_mix::{Points, Similarity, SimilarityOptions};
    ///
    /// let data = [1.0, 0.0, 0.0, 2.0, 3.0, 3.0];
    /// let points = Points::new(&data, 2)?;
    /// let s = Similarity::of(points, &SimilarityOptions::default(), &Control::default())?;
    /// assert!((s.get(0, 2) - 0.5f32.sqrt()).abs() < 1e-6 && s.get(0, 1) == 0.0);
    /// # Ok::<(), gristmill_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// A result larger than `memory`, options out of range; those of the device.
    pub fn of(points: Points<'_>, options: &SimilarityOptions, control: &Control) -> Result<Self> {
        let n = points.len();
        if let Kernel::Rbf { gamma } = options.kernel
            && !(gamma > 0.0 && gamma.is_finite())
        {
            return Err(Error::invalid_argument("gamma", "must be positive"));
        }
        if options.neighbors == Some(0) {
            return Err(Error::invalid_argument("neighbors", "must be at least 1"));
        }
        let neighbors = options.neighbors.filter(|&k| k < n);
        let bytes = neighbors.map_or(4 * n as u64 * n as u64, |k| 16 * n as u64 * k as u64);
        if bytes > options.memory {
            let message =
                format!("the similarities of {n} points take {bytes} bytes, {} are allowed", options.memory);
            let hint = "keep fewer neighbors, choose in partitions, or raise memory";
            return Err(Error::new(Code::OutOfMemory, message).hint(hint));
        }
        if n > u32::MAX as usize {
            return Err(Error::new(Code::Unsupported, "more than 2^32 points"));
        }
        let prepared = prepare(points, options.kernel);
        let shape = [n, points.dimension()];
        let factor = points.device().map(|device| device.tensor(prepared.clone(), shape)).transpose()?;
        let task = Task { points: points.with(&prepared)?, kernel: options.kernel, factor };
        let squares: Vec<f64> = match options.kernel {
            Kernel::Euclidean | Kernel::Rbf { .. } => (0..n).map(|i| square(task.points.row(i))).collect(),
            _ => Vec::new(),
        };
        let store = match neighbors {
            None => task.dense(&squares, control)?,
            Some(k) => task.sparse(&squares, k, control)?,
        };
        Ok(Self { n, store })
    }

    /// Similarities that were computed elsewhere: a symmetric matrix, row by row.
    ///
    /// # Errors
    /// A length other than `n²`, a number that is not finite, a pair with two values.
    pub fn precomputed(n: usize, values: Vec<f32>) -> Result<Self> {
        if n == 0 || n.checked_mul(n) != Some(values.len()) {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("{} values are not {n} by {n}", values.len()),
            ));
        }
        for i in 0..n {
            for j in 0..=i {
                let (a, b) = (values[i * n + j], values[j * n + i]);
                if !a.is_finite() || (a - b).abs() > 1e-5 * a.abs().max(1.0) {
                    let message = format!("{a} and {b} for the pair ({i}, {j})");
                    return Err(Error::new(Code::InvalidValue, message).at_row(i as u64));
                }
            }
        }
        Ok(Self { n, store: Store::Dense(values) })
    }

    /// How many points.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there is none; never so for a value of this type.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// What point `j` is to point `i`; 0 when it is not among its neighbours.
    pub fn get(&self, i: usize, j: usize) -> f32 {
        match &self.store {
            Store::Dense(values) => values[i * self.n + j],
            Store::Sparse { start, point, value } => {
                let column = start[j]..start[j + 1];
                point[column.clone()].binary_search(&(i as u32)).map_or(0.0, |at| value[column][at])
            }
        }
    }

    /// What `j` is to every point: all of them, or the points that have it as a neighbour.
    pub(super) fn column(&self, j: usize) -> Column<'_> {
        match &self.store {
            Store::Dense(values) => Column::Dense(&values[j * self.n..][..self.n]),
            Store::Sparse { start, point, value } => {
                let at = start[j]..start[j + 1];
                Column::Sparse(&point[at.clone()], &value[at])
            }
        }
    }
}

/// A column of similarities.
pub(super) enum Column<'a> {
    Dense(&'a [f32]),
    Sparse(&'a [u32], &'a [f32]),
}

impl Column<'_> {
    /// Calls `f` with each point that is there and its similarity, points in order.
    pub(super) fn each(&self, mut f: impl FnMut(usize, f32)) {
        match self {
            Column::Dense(values) => values.iter().enumerate().for_each(|(i, v)| f(i, *v)),
            Column::Sparse(points, values) => {
                points.iter().zip(*values).for_each(|(i, v)| f(*i as usize, *v))
            }
        }
    }
}

/// Rows scaled to length one (after their mean is taken off, for correlations) where the kernel wants it.
fn prepare(points: Points<'_>, kernel: Kernel) -> Vec<f32> {
    let mut data = points.data().to_vec();
    let centred = kernel == Kernel::SquaredCorrelation;
    if !centred && !matches!(kernel, Kernel::Cosine | Kernel::SquaredCosine) {
        return data;
    }
    for row in data.chunks_exact_mut(points.dimension()) {
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / row.len() as f64;
        let mean = if centred { mean } else { 0.0 };
        let norm = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>().sqrt();
        for x in row {
            *x = if norm > 0.0 { ((f64::from(*x) - mean) / norm) as f32 } else { 0.0 };
        }
    }
    data
}

/// The points nearest to one, with their similarities (or squared distances), and the largest distance.
type Neighbors = (Vec<(u32, f32)>, f32);

struct Task<'a> {
    points: Points<'a>,
    kernel: Kernel,
    /// The points on their device, if it is one that computes the products.
    factor: Option<Tensor>,
}

impl Task<'_> {
    /// Products of points from `first` on with all from `from` on, one row of `slab` for each.
    fn products(&self, first: usize, from: usize, slab: &mut [f32]) -> Result<()> {
        let (n, d) = (self.points.len(), self.points.dimension());
        let rows = slab.len() / n;
        let Some(all) = &self.factor else {
            let data = self.points.data();
            product(&data[first * d..(first + rows) * d], &data[from * d..], d, &mut slab[from..], n);
            return Ok(());
        };
        let out = all.device().empty(DType::F32, [rows, n - from])?;
        all.device().run(Matmul {
            a: all.narrow(first, rows)?,
            b: all.narrow(from, n - from)?,
            out: out.clone(),
            trans_a: false,
            trans_b: true,
            alpha: 1.0,
            beta: 0.0,
        })?;
        let numbers: Vec<f32> = out.to_vec()?;
        slab.chunks_exact_mut(n)
            .zip(numbers.chunks_exact(n - from))
            .for_each(|(row, numbers)| row[from..].copy_from_slice(numbers));
        Ok(())
    }

    /// Turns products of point `i` with the points from `first` on into similarities, or into squared distances
    /// where the maximum of all of them is needed first.
    fn finish(&self, i: usize, first: usize, row: &mut [f32], squares: &[f64]) {
        let distance = |j: usize, product: f32| {
            if i == first + j {
                0.0
            } else {
                (squares[i] + squares[first + j] - 2.0 * f64::from(product)).max(0.0)
            }
        };
        match self.kernel {
            Kernel::Cosine => row.iter_mut().for_each(|x| *x = x.clamp(-1.0, 1.0)),
            Kernel::SquaredCosine | Kernel::SquaredCorrelation => {
                row.iter_mut().for_each(|x| *x = (*x * *x).min(1.0));
            }
            Kernel::Euclidean => row.iter_mut().enumerate().for_each(|(j, x)| *x = distance(j, *x) as f32),
            Kernel::Rbf { gamma } => {
                row.iter_mut().enumerate().for_each(|(j, x)| *x = (-gamma * distance(j, *x)).exp() as f32);
            }
        }
    }

    fn dense(&self, squares: &[f64], control: &Control) -> Result<Store> {
        let n = self.points.len();
        let mut values = vec![0.0f32; n * n];
        // The upper triangle, block row by block row.
        let one = |(block, slab): (usize, &mut [f32])| {
            control.check()?;
            let first = block * ROWS;
            self.products(first, first, slab)?;
            slab.par_chunks_exact_mut(n).enumerate().for_each(|(i, row)| {
                self.finish(first + i, first, &mut row[first..], squares);
            });
            Ok::<(), Error>(())
        };
        match self.factor {
            None => values.par_chunks_mut(ROWS * n).enumerate().try_for_each(one)?,
            // Not from threads that the device itself may want to compute on: they would wait for each other.
            Some(_) => values.chunks_mut(ROWS * n).enumerate().try_for_each(one)?,
        }
        if self.kernel == Kernel::Euclidean {
            let most = values
                .par_chunks(n)
                .map(|row| row.iter().copied().fold(0.0, f32::max))
                .reduce(|| 0.0, f32::max);
            values.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
                row[i - i % ROWS..].iter_mut().for_each(|x| *x = most - *x);
            });
        }
        mirror(&mut values, n);
        Ok(Store::Dense(values))
    }

    fn sparse(&self, squares: &[f64], k: usize, control: &Control) -> Result<Store> {
        let n = self.points.len();
        let distance = self.kernel == Kernel::Euclidean;
        let nearest = |order: &mut Vec<u32>, (i, row): (usize, &mut [f32])| -> Neighbors {
            self.finish(i, 0, row, squares);
            let most = if distance { row.iter().copied().fold(0.0, f32::max) } else { 0.0 };
            order.clear();
            order.extend(0..n as u32);
            // The nearest first; ties go to the lower number.
            let near = |a: &u32, b: &u32| {
                let (x, y) = (row[*a as usize], row[*b as usize]);
                if distance { x.total_cmp(&y) } else { y.total_cmp(&x) }.then(a.cmp(b))
            };
            order.select_nth_unstable_by(k - 1, near);
            (order[..k].iter().map(|&j| (j, row[j as usize])).collect(), most)
        };
        let one = |block: usize| -> Result<Vec<Neighbors>> {
            control.check()?;
            let first = block * ROWS;
            let mut slab = vec![0.0; ROWS.min(n - first) * n];
            self.products(first, 0, &mut slab)?;
            let rows = slab.par_chunks_exact_mut(n).enumerate().map(|(i, row)| (first + i, row));
            Ok(rows.map_init(|| Vec::with_capacity(n), nearest).collect())
        };
        let blocks = 0..n.div_ceil(ROWS);
        let found: Vec<Vec<Neighbors>> = match self.factor {
            None => blocks.into_par_iter().map(one).collect::<Result<_>>()?,
            // As in `dense`.
            Some(_) => blocks.map(one).collect::<Result<_>>()?,
        };
        let found: Vec<Neighbors> = found.into_iter().flatten().collect();
        let most = found.iter().map(|f| f.1).fold(0.0, f32::max);
        // From the neighbours of each point to the points that each one is a neighbour of.
        let all = || found.iter().flat_map(|f| &f.0);
        let mut start = vec![0usize; n + 1];
        all().for_each(|(j, _)| start[*j as usize + 1] += 1);
        (0..n).for_each(|j| start[j + 1] += start[j]);
        let mut next = start.clone();
        let (mut point, mut value) = (vec![0u32; n * k], vec![0.0f32; n * k]);
        for (at, (j, v)) in all().enumerate() {
            let slot = &mut next[*j as usize];
            point[*slot] = (at / k) as u32;
            value[*slot] = if distance { most - v } else { *v };
            *slot += 1;
        }
        Ok(Store::Sparse { start, point, value })
    }
}

/// Copies the block-upper triangle to the lower one.
fn mirror(values: &mut [f32], n: usize) {
    /// Rows that are filled together: as many numbers as a cache line holds.
    const STRIP: usize = 16;
    for first in (ROWS..n).step_by(ROWS) {
        let (done, rest) = values.split_at_mut(first * n);
        let slab = &mut rest[..ROWS.min(n - first) * n];
        slab.par_chunks_mut(STRIP * n).enumerate().for_each(|(strip, rows)| {
            let column = first + strip * STRIP;
            let width = rows.len() / n;
            for i in 0..first {
                let source = &done[i * n + column..][..width];
                source.iter().enumerate().for_each(|(r, v)| rows[r * n + i] = *v);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng;
    use rand::RngExt;

    fn random(n: usize, d: usize) -> Vec<f32> {
        let mut rng = rng::stream(1, "test", 0);
        (0..n * d).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    const KERNELS: [Kernel; 5] = [
        Kernel::Cosine,
        Kernel::SquaredCosine,
        Kernel::SquaredCorrelation,
        Kernel::Euclidean,
        Kernel::Rbf { gamma: 0.3 },
    ];

    fn of(points: Points<'_>, kernel: Kernel, neighbors: Option<usize>) -> Similarity {
        let options = SimilarityOptions { kernel, neighbors, ..Default::default() };
        Similarity::of(points, &options, &Control::default()).unwrap()
    }

    /// In double precision, pair by pair.
    fn reference(points: Points<'_>, kernel: Kernel, i: usize, j: usize) -> f64 {
        let row = |i: usize| points.row(i).iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let distance = |i, j| row(i).iter().zip(row(j)).map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
        let cosine = |a: &[f64], b: &[f64]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        let centred = |i| {
            let r = row(i);
            let mean = r.iter().sum::<f64>() / r.len() as f64;
            r.iter().map(|x| x - mean).collect::<Vec<_>>()
        };
        match kernel {
            Kernel::Cosine => cosine(&row(i), &row(j)),
            Kernel::SquaredCosine => cosine(&row(i), &row(j)).powi(2),
            Kernel::SquaredCorrelation => cosine(&centred(i), &centred(j)).powi(2),
            Kernel::Rbf { gamma } => (-gamma * distance(i, j)).exp(),
            Kernel::Euclidean => {
                let n = points.len();
                let all = (0..n).flat_map(|a| (0..n).map(move |b| (a, b)));
                all.map(|(a, b)| distance(a, b)).fold(0.0, f64::max) - distance(i, j)
            }
        }
    }

    #[test]
    fn blocks_give_every_pair() {
        let data = random(300, 7);
        let points = Points::new(&data, 7).unwrap();
        for kernel in KERNELS {
            let s = of(points, kernel, None);
            let shift = reference(points, kernel, 0, 0) - f64::from(s.get(0, 0));
            assert!(shift.abs() < 1e-4);
            for (i, j) in [(0, 0), (1, 299), (299, 1), (130, 127), (127, 130), (256, 5), (5, 256), (299, 299)]
            {
                assert_eq!(s.get(i, j), s.get(j, i));
                if kernel != Kernel::Euclidean || i == j {
                    assert!(
                        (f64::from(s.get(i, j)) - reference(points, kernel, i, j)).abs() < 1e-5,
                        "{kernel:?} {i} {j}"
                    );
                }
            }
        }
        let s = of(points, Kernel::Euclidean, None);
        assert!((f64::from(s.get(3, 290)) - reference(points, Kernel::Euclidean, 3, 290)).abs() < 1e-4);
    }

    #[test]
    fn neighbours_are_the_largest_of_each_row() {
        let data = random(200, 5);
        let points = Points::new(&data, 5).unwrap();
        for kernel in KERNELS {
            let (whole, some) = (of(points, kernel, None), of(points, kernel, Some(9)));
            for i in 0..200 {
                let mut order: Vec<usize> = (0..200).collect();
                order.sort_by(|&a, &b| whole.get(i, b).total_cmp(&whole.get(i, a)).then(a.cmp(&b)));
                for (rank, &j) in order.iter().enumerate() {
                    let expected = if rank < 9 { whole.get(i, j) } else { 0.0 };
                    assert!((some.get(i, j) - expected).abs() < 1e-5, "{kernel:?} {i} {j} {rank}");
                }
            }
            assert_eq!(of(points, kernel, Some(200)), whole);
        }
    }

    #[test]
    fn refuses_what_it_cannot_hold_or_compare() {
        let data = random(10, 2);
        let points = Points::new(&data, 2).unwrap();
        let bad = |o: SimilarityOptions| Similarity::of(points, &o, &Control::default()).unwrap_err().code();
        let d = SimilarityOptions::default;
        assert_eq!(bad(SimilarityOptions { memory: 399, ..d() }), Code::OutOfMemory);
        assert_eq!(
            bad(SimilarityOptions { kernel: Kernel::Rbf { gamma: 0.0 }, ..d() }),
            Code::InvalidArgument
        );
        assert_eq!(bad(SimilarityOptions { neighbors: Some(0), ..d() }), Code::InvalidArgument);
        let e = Points::new(&[1.0, 2.0, 3.0, f32::NAN], 2).unwrap_err();
        assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(1)));
        assert_eq!(Points::new(&[1.0; 5], 2).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(Points::new(&[], 2).unwrap_err().code(), Code::EmptyInput);
        assert!(Similarity::precomputed(2, vec![1.0, 0.5, 0.5, 1.0]).is_ok());
        assert_eq!(
            Similarity::precomputed(2, vec![1.0, 0.5, 0.4, 1.0]).unwrap_err().code(),
            Code::InvalidValue
        );
        assert_eq!(Similarity::precomputed(2, vec![1.0]).unwrap_err().code(), Code::InvalidArgument);
        let zero = [0.0, 0.0, 1.0, 0.0];
        assert_eq!(of(Points::new(&zero, 2).unwrap(), Kernel::Cosine, None).get(0, 1), 0.0);
    }
}
