//! Skill-It: move weight, while training, to the skills whose dependants still have a high loss (Chen et al.,
//! "Skill-It! A Data-Driven Skills Framework for Understanding and Training Language Models", 2023).

mod graph;
mod mixture;
mod sampler;

pub use graph::SkillGraph;
pub use mixture::{SkillOptions, skill_mixture};
pub use sampler::{MixtureSampler, SamplerOptions};
