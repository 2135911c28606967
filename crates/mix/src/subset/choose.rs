use gristmill_core::{Control, Error, Result};

use super::cluster::{Init, KMeansOptions, farthest_points, kmeans};
use super::functions::{Concave, FacilityLocation, FeatureBased, GraphCut, LogDeterminant};
use super::greedy::{Optimizer, Selection, maximize};
use super::mask::{Choice, MaskOptions, select_by_masks};
use super::partition::{PartitionOptions, Pick, select_partitioned};
use super::points::Points;
use super::similarity::{Kernel, Similarity, SimilarityOptions};
use crate::Matrix;

/// How [`choose_subset`] chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubsetMethod {
    /// Greedy on [`FacilityLocation`]: every point is like one that was chosen; the default.
    #[default]
    FacilityLocation,
    /// Greedy on [`GraphCut`]: like all, unlike each other.
    GraphCut,
    /// Greedy on [`LogDeterminant`]: unlike each other.
    LogDeterminant,
    /// Greedy on [`FeatureBased`]: all features are there. Takes features of at least 0.
    FeatureBased,
    /// Facility location within random partitions ([`select_partitioned`]), for what does not fit into memory at
    /// once.
    Partitioned,
    /// Quality and facility location by learnt masks ([`select_by_masks`]), with greedy's result beside.
    Masks,
    /// The point nearest to each centre of [`kmeans`].
    #[serde(rename = "k-means")]
    KMeans,
    /// [`farthest_points`].
    FarthestPoint,
}

/// The name of a [`Kernel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelName {
    /// [`Kernel::Cosine`].
    #[default]
    Cosine,
    /// [`Kernel::SquaredCosine`].
    SquaredCosine,
    /// [`Kernel::SquaredCorrelation`].
    SquaredCorrelation,
    /// [`Kernel::Euclidean`].
    Euclidean,
    /// [`Kernel::Rbf`].
    Rbf,
}

/// The name of an [`Optimizer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerName {
    /// [`Optimizer::Naive`].
    Naive,
    /// [`Optimizer::Lazy`].
    #[default]
    Lazy,
    /// [`Optimizer::Stochastic`].
    Stochastic,
    /// [`Optimizer::LazierThanLazy`].
    LazierThanLazy,
}

/// What [`choose_subset`] is told. What a method does not use, it does not look at.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SubsetOptions {
    /// Default: facility location.
    pub method: SubsetMethod,
    /// How many points to choose; default 100.
    pub budget: usize,
    /// Default: cosine.
    pub kernel: KernelName,
    /// Of the kernel `rbf`: the inverse of the squared length scale; default one over the dimension.
    pub gamma: Option<f64>,
    /// Keep only so many of the most alike points of each; default all.
    pub neighbors: Option<usize>,
    /// The most bytes that similarities may take; default 4 GiB.
    pub memory: u64,
    /// Default: lazy.
    pub optimizer: OptimizerName,
    /// Of the stochastic optimizers, and of `taylor-softmax`; default 0.1.
    pub epsilon: f64,
    /// Of graph cut, how much likeness to all counts, default 2; of masks, the weight of quality, default 0.5.
    pub lambda: Option<f64>,
    /// Of the log-determinant: what is added to the diagonal; default 0.
    pub ridge: f64,
    /// Of feature-based functions; default the square root.
    pub concave: Concave,
    /// How many random partitions; default 1.
    pub partitions: usize,
    /// How items of a partition are taken; default greedy.
    pub pick: Pick,
    /// The most rounds of k-means; default 25.
    pub iterations: usize,
    /// The steps of mask learning; default 300.
    pub steps: usize,
    /// The first point of farthest-point; default 0.
    pub first: usize,
    /// Default 0.
    pub seed: u64,
}

impl Default for SubsetOptions {
    fn default() -> Self {
        Self {
            method: SubsetMethod::FacilityLocation,
            budget: 100,
            kernel: KernelName::Cosine,
            gamma: None,
            neighbors: None,
            memory: 4 << 30,
            optimizer: OptimizerName::Lazy,
            epsilon: 0.1,
            lambda: None,
            ridge: 0.0,
            concave: Concave::Sqrt,
            partitions: 1,
            pick: Pick::Greedy,
            iterations: 25,
            steps: 300,
            first: 0,
            seed: 0,
        }
    }
}

/// What [`choose_subset`] chose.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subset {
    /// The points, in the order in which they were chosen (partitions, masks and k-means: in ascending order).
    pub indices: Vec<usize>,
    /// For greedy methods by how much each raised the value; for k-means how many points are of its cluster; for
    /// farthest-point its squared distance to those before it, `null` for the first. Empty for the others.
    pub gains: Vec<Option<f64>>,
    /// The value of the function that was maximised, or the squared error of k-means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// How many gains were computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluations: Option<u64>,
    /// Of masks: what greedy selection finds on the same objective, and what random sets are worth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<MaskComparison>,
}

/// Mask learning beside greedy selection.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MaskComparison {
    /// Seconds that learning masks took.
    pub seconds: f64,
    /// Greedy selection.
    pub greedy: Choice,
    /// The mean objective of random sets.
    pub random: f64,
    /// How much of the way from random to greedy the masks come.
    pub gap_closed: f64,
}

/// Chooses a subset by any of the methods of this module, by name. `quality` is for masks alone.
///
/// ```
/// use gristmill_core::Control;
/// use gristmill_mix::{Points, SubsetMethod, SubsetOptions, choose_subset};
///
/// let data = [1.0, 0.0, 1.0, 0.1, 1.0, 0.2, 0.0, 1.0, 0.1, 1.0];
/// let options = SubsetOptions { budget: 2, ..Default::default() };
/// let chosen = choose_subset(Points::new(&data, 2)?, None, &options, &Control::default())?;
/// assert_eq!(chosen.indices, [2, 3]);
/// let options = SubsetOptions { method: SubsetMethod::KMeans, ..options };
/// let chosen = choose_subset(Points::new(&data, 2)?, None, &options, &Control::default())?;
/// assert_eq!(chosen.gains, [Some(3.0), Some(2.0)]);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
///
/// # Errors
/// Those of the method; masks without a quality.
pub fn choose_subset(
    points: Points<'_>,
    quality: Option<&[f64]>,
    options: &SubsetOptions,
    control: &Control,
) -> Result<Subset> {
    let o = options;
    if o.budget == 0 || o.budget > points.len() {
        return Err(Error::invalid_argument("budget", format!("{} of {} points", o.budget, points.len())));
    }
    let similarity = || {
        let wanted = SimilarityOptions {
            kernel: o.kernel(points.dimension()),
            neighbors: o.neighbors,
            memory: o.memory,
        };
        Similarity::of(points, &wanted, control)
    };
    let greedy = |f: &mut dyn super::functions::SubmodularFunction| {
        maximize(f, o.budget, o.optimizer(), o.seed, control).map(Subset::from)
    };
    match o.method {
        SubsetMethod::FacilityLocation => greedy(&mut FacilityLocation::new(&similarity()?)),
        SubsetMethod::GraphCut => greedy(&mut GraphCut::new(&similarity()?, o.lambda.unwrap_or(2.0))?),
        SubsetMethod::LogDeterminant => greedy(&mut LogDeterminant::new(&similarity()?, o.ridge)?),
        SubsetMethod::FeatureBased => {
            let numbers = points.data().iter().map(|&x| f64::from(x)).collect();
            let features = Matrix::new(points.len(), points.dimension(), numbers)?;
            greedy(&mut FeatureBased::new(&features, o.concave)?)
        }
        SubsetMethod::Partitioned => {
            let wanted = PartitionOptions {
                partitions: o.partitions,
                share: o.budget as f64 / points.len() as f64,
                kernel: o.kernel(points.dimension()),
                pick: o.pick,
                epsilon: o.epsilon,
                seed: o.seed,
            };
            let mut indices = select_partitioned(points, &wanted, control)?;
            // Shares are rounded up in every partition: the last points of the excess go.
            indices.truncate(o.budget);
            Ok(Subset { indices, ..Subset::default() })
        }
        SubsetMethod::Masks => {
            let Some(quality) = quality else {
                return Err(Error::invalid_argument(
                    "quality",
                    "masks weigh quality against diversity: give it",
                ));
            };
            let wanted = MaskOptions {
                lambda: o.lambda.unwrap_or(0.5),
                steps: o.steps,
                seed: o.seed,
                ..MaskOptions::default()
            };
            let found = select_by_masks(&similarity()?, quality, o.budget, &wanted, control)?;
            Ok(Subset {
                indices: found.masks.indices,
                value: Some(found.masks.value),
                comparison: Some(MaskComparison {
                    seconds: found.masks.seconds,
                    greedy: found.greedy,
                    random: found.random,
                    gap_closed: found.gap_closed,
                }),
                ..Subset::default()
            })
        }
        SubsetMethod::KMeans => nearest_to_centres(points, o, control),
        SubsetMethod::FarthestPoint => {
            let found = farthest_points(points, o.budget, o.first, control)?;
            let gains = found.distances.iter().map(|d| d.is_finite().then_some(f64::from(*d))).collect();
            Ok(Subset { indices: found.indices, gains, ..Subset::default() })
        }
    }
}

fn nearest_to_centres(points: Points<'_>, o: &SubsetOptions, control: &Control) -> Result<Subset> {
    let options = KMeansOptions {
        k: o.budget,
        iterations: o.iterations,
        init: Init::PlusPlus,
        seed: o.seed,
        ..KMeansOptions::default()
    };
    let found = kmeans(points, &options, control)?;
    // Of each cluster the nearest point and the number of points; ties go to the lowest number.
    let mut nearest: Vec<Option<(usize, f64)>> = vec![None; o.budget];
    for (i, (&label, distance)) in found.labels.iter().zip(&found.distances).enumerate() {
        let slot = &mut nearest[label as usize];
        match slot {
            Some((at, size)) => {
                *size += 1.0;
                if *distance < found.distances[*at] {
                    *at = i;
                }
            }
            None => *slot = Some((i, 1.0)),
        }
    }
    let mut chosen: Vec<(usize, f64)> = nearest.into_iter().flatten().collect();
    chosen.sort_by_key(|c| c.0);
    Ok(Subset {
        indices: chosen.iter().map(|c| c.0).collect(),
        gains: chosen.iter().map(|c| Some(c.1)).collect(),
        value: Some(found.inertia),
        ..Subset::default()
    })
}

impl SubsetOptions {
    fn kernel(&self, dimension: usize) -> Kernel {
        match self.kernel {
            KernelName::Cosine => Kernel::Cosine,
            KernelName::SquaredCosine => Kernel::SquaredCosine,
            KernelName::SquaredCorrelation => Kernel::SquaredCorrelation,
            KernelName::Euclidean => Kernel::Euclidean,
            KernelName::Rbf => Kernel::Rbf { gamma: self.gamma.unwrap_or(1.0 / dimension as f64) },
        }
    }

    fn optimizer(&self) -> Optimizer {
        let epsilon = self.epsilon;
        match self.optimizer {
            OptimizerName::Naive => Optimizer::Naive,
            OptimizerName::Lazy => Optimizer::Lazy,
            OptimizerName::Stochastic => Optimizer::Stochastic { epsilon },
            OptimizerName::LazierThanLazy => Optimizer::LazierThanLazy { epsilon },
        }
    }
}

impl From<Selection> for Subset {
    fn from(s: Selection) -> Self {
        Self {
            indices: s.indices,
            gains: s.gains.into_iter().map(Some).collect(),
            value: Some(s.value),
            evaluations: Some(s.evaluations),
            comparison: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gristmill_core::Code;

    #[test]
    fn every_method_is_reached_by_its_name() {
        let data: Vec<f32> = (0..120).map(|i| ((i * i) as f32).sin().abs()).collect();
        let points = Points::new(&data, 3).unwrap();
        let quality: Vec<f64> = (0..40).map(|i| f64::from(i % 7)).collect();
        for method in [
            "facility-location",
            "graph-cut",
            "log-determinant",
            "feature-based",
            "partitioned",
            "masks",
            "k-means",
            "farthest-point",
        ] {
            let text = format!(r#"{{"method": "{method}", "budget": 5, "ridge": 0.1, "steps": 20}}"#);
            let options: SubsetOptions = serde_json::from_str(&text).unwrap();
            let chosen = choose_subset(points, Some(&quality), &options, &Control::default()).unwrap();
            let distinct: std::collections::BTreeSet<_> = chosen.indices.iter().collect();
            assert_eq!(distinct.len(), 5, "{method}");
            assert_eq!(chosen.comparison.is_some(), method == "masks");
        }
        let masks = SubsetOptions { method: SubsetMethod::Masks, budget: 5, ..Default::default() };
        let e = choose_subset(points, None, &masks, &Control::default()).unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidArgument, Some("quality")));
        let none = SubsetOptions { budget: 41, ..Default::default() };
        assert!(choose_subset(points, None, &none, &Control::default()).is_err());
    }
}
