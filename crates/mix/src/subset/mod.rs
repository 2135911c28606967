//! Choosing a subset that represents the whole.

mod choose;
mod cluster;
mod functions;
mod greedy;
mod mask;
mod partition;
mod points;
mod similarity;

pub use choose::{
    KernelName, MaskComparison, OptimizerName, Subset, SubsetMethod, SubsetOptions, choose_subset,
};
pub use cluster::{FarthestPoints, Init, KMeans, KMeansOptions, farthest_points, kmeans};
pub use functions::{Concave, FacilityLocation, FeatureBased, GraphCut, LogDeterminant, SubmodularFunction};
pub use greedy::{Optimizer, Selection, maximize};
pub use mask::{Choice, MaskOptions, MaskSelection, select_by_masks};
pub use partition::{PartitionOptions, Pick, select_partitioned, taylor_softmax_sample};
pub use points::Points;
pub use similarity::{Kernel, Similarity, SimilarityOptions};
