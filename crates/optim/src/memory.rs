use gristmill_core::{Code, DType, Error, Result};
use serde::{Deserialize, Serialize};

use crate::kept::Keeping;
use crate::low_rank::Sides;
use crate::{AdamOptions, Algorithm, ProjType};

/// Bytes of weights and of what an optimizer keeps beside them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// The weights.
    pub weights: u64,
    /// Moments, as numbers or codes, or the momentum of Muon.
    pub moments: u64,
    /// Scales of blocks of codes, with their zeros; and norms that limiters remember.
    pub scales: u64,
    /// Bases of subspaces.
    pub projectors: u64,
    /// Gradients that were accumulated and wait for their step.
    pub accumulated: u64,
}

impl Memory {
    /// All but the weights and accumulated gradients: what is kept from step to step.
    pub fn state(&self) -> u64 {
        self.moments + self.scales + self.projectors
    }
}

/// The sizes of a decoder of the Llama family (also Mistral and Qwen2 without biases), as in its `config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside of an MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of queries.
    pub num_attention_heads: usize,
    /// Heads of keys and values; as many as of queries by default.
    #[serde(default)]
    pub num_key_value_heads: Option<usize>,
    /// Width of a head; the hidden size over the heads by default.
    #[serde(default)]
    pub head_dim: Option<usize>,
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Whether the head is the embedding; not by default.
    #[serde(default)]
    pub tie_word_embeddings: bool,
}

impl ModelConfig {
    /// Sizes known by name: `llama-60m`, `llama-130m`, `llama-350m`, `llama-1b` (those that the papers of GaLore and its kin
    /// train) and `llama-7b`.
    pub fn named(name: &str) -> Option<Self> {
        let (hidden_size, intermediate_size, num_hidden_layers, num_attention_heads) = match name {
            "llama-60m" => (512, 1376, 8, 8),
            "llama-130m" => (768, 2048, 12, 12),
            "llama-350m" => (1024, 2736, 24, 16),
            "llama-1b" => (2048, 5461, 24, 32),
            "llama-7b" => (4096, 11_008, 32, 32),
            _ => return None,
        };
        Some(Self {
            hidden_size,
            intermediate_size,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: None,
            head_dim: None,
            vocab_size: 32_000,
            tie_word_embeddings: false,
        })
    }

    /// The names that [`named`](Self::named) knows.
    pub const NAMES: [&'static str; 5] = ["llama-60m", "llama-130m", "llama-350m", "llama-1b", "llama-7b"];

    /// Names and shapes of all parameters, and whether each is a matrix of attention or an MLP.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] for sizes that no model has.
    pub fn params(&self) -> Result<Vec<(String, Vec<usize>, bool)>> {
        const MOST: usize = 1 << 24;
        let heads = self.num_attention_heads;
        let head_dim = self.head_dim.unwrap_or(self.hidden_size / heads.max(1));
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", heads),
            ("num_key_value_heads", kv_heads),
            ("head_dim", head_dim),
            ("vocab_size", self.vocab_size),
        ];
        if let Some((name, size)) = sizes.into_iter().find(|&(_, size)| size == 0 || size > MOST) {
            return Err(Error::new(Code::InvalidArgument, format!("expected 1 to {MOST}, given {size}"))
                .at_column(name));
        }
        if self.num_hidden_layers > 1 << 14 {
            return Err(
                Error::new(Code::InvalidArgument, "more layers than 16,384").at_column("num_hidden_layers")
            );
        }
        let (d, f, q, kv) = (self.hidden_size, self.intermediate_size, heads * head_dim, kv_heads * head_dim);
        let mut params = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, d], false)];
        for layer in 0..self.num_hidden_layers {
            for (name, shape) in [
                ("self_attn.q_proj", vec![q, d]),
                ("self_attn.k_proj", vec![kv, d]),
                ("self_attn.v_proj", vec![kv, d]),
                ("self_attn.o_proj", vec![d, q]),
                ("mlp.gate_proj", vec![f, d]),
                ("mlp.up_proj", vec![f, d]),
                ("mlp.down_proj", vec![d, f]),
                ("input_layernorm", vec![d]),
                ("post_attention_layernorm", vec![d]),
            ] {
                let matrix = shape.len() == 2;
                params.push((format!("model.layers.{layer}.{name}.weight"), shape, matrix));
            }
        }
        params.push(("model.norm.weight".into(), vec![d], false));
        if !self.tie_word_embeddings {
            params.push(("lm_head.weight".into(), vec![self.vocab_size, d], false));
        }
        Ok(params)
    }
}

/// Bytes of a model's weights and of what an optimizer keeps, once it has taken a step: `algorithm` for the matrices of
/// attention and MLPs, AdamW for all others, both with the state of `adam`. What an [`crate::Optimizer`] of these
/// parameters allocates, without allocating.
///
/// # Errors
/// [`Code::InvalidArgument`] for sizes that no model has.
pub fn memory_of(
    config: &ModelConfig,
    weights: DType,
    algorithm: &Algorithm,
    adam: &AdamOptions,
) -> Result<Memory> {
    let mut memory = Memory::default();
    for (_, shape, matrix) in config.params()? {
        let elements: usize = shape.iter().product();
        memory.weights += (elements * weights.size()) as u64;
        let mut moments = |elements: usize| {
            let (numbers, scales) = adam.state.bytes(elements);
            memory.moments += numbers;
            memory.scales += scales;
        };
        let (rows, columns) = (shape[0], shape.last().copied().unwrap_or(1));
        let mut subspace = |kind: ProjType, rank: usize, keeping: Keeping| {
            let rank = rank.min(rows).min(columns);
            let (bases, kept) = Sides::of(kind, rows, columns).shapes(rows, columns, rank);
            moments(kept[0] * kept[1]);
            bases.iter().map(|&b| keeping.bytes(b)).fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
        };
        // What the limiter remembers.
        let limiter = |disabled: bool| if disabled { 0 } else { 4 };
        match algorithm {
            Algorithm::GaLore(o) if matrix => {
                let (bases, scales) = subspace(o.proj_type, o.rank, o.projector.into());
                memory.projectors += bases;
                memory.scales += scales;
            }
            Algorithm::Fira(o) if matrix => {
                let (bases, scales) = subspace(o.proj_type, o.rank, o.projector.into());
                memory.projectors += bases;
                memory.scales += scales + limiter(o.disable_nl);
            }
            Algorithm::Apollo(o) if matrix => {
                let (bases, _) = subspace(ProjType::Std, o.rank, o.projector.into());
                memory.projectors += bases;
                memory.scales += limiter(o.disable_nl);
            }
            Algorithm::Conda(_) if matrix => {
                let (bases, _) = subspace(ProjType::Std, usize::MAX, Keeping::Plain(DType::F32));
                memory.projectors += bases;
            }
            Algorithm::Muon(_) if matrix => memory.moments += 4 * elements as u64,
            _ => moments(elements),
        }
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ApolloOptions, FiraOptions, GaLoreOptions, Projector, StateType};

    #[test]
    fn the_published_model_takes_what_arithmetic_says() {
        let config = ModelConfig::named("llama-7b").unwrap();
        let adam = |state| AdamOptions { state, ..AdamOptions::default() };
        let galore = |rank| {
            Algorithm::GaLore(GaLoreOptions { rank, projector: Projector::Bf16, ..GaLoreOptions::default() })
        };
        let gb = |bytes: u64| (bytes as f64 / 1e7).round() / 100.0;
        let dense = memory_of(&config, DType::Bf16, &Algorithm::AdamW, &adam(StateType::Bf16)).unwrap();
        assert_eq!((gb(dense.weights), gb(dense.state())), (13.48, 26.95));
        let half = memory_of(&config, DType::Bf16, &galore(1024), &adam(StateType::Bf16)).unwrap();
        assert_eq!(gb(half.state()), 9.40);
        let codes = memory_of(&config, DType::Bf16, &galore(1024), &adam(StateType::Int8)).unwrap();
        assert_eq!((gb(codes.moments + codes.projectors), gb(codes.scales)), (5.64, 0.06));
    }

    /// Bytes in units of 10 MB, as tables have them.
    fn states(algorithm: impl Fn(usize) -> Algorithm, adam: StateType, scales: bool) -> Vec<f64> {
        let adam = AdamOptions { state: adam, ..AdamOptions::default() };
        let state = |(name, rank): (&str, usize)| {
            let config = ModelConfig::named(name).unwrap();
            let memory = memory_of(&config, DType::Bf16, &algorithm(rank), &adam).unwrap();
            let bytes = memory.moments + memory.projectors + if scales { memory.scales } else { 0 };
            (bytes as f64 / 1e7).round() / 100.0
        };
        ModelConfig::NAMES.into_iter().zip([128, 256, 256, 512, 1024]).map(state).collect()
    }

    #[test]
    fn states_of_models_take_what_arithmetic_says() {
        let apollo = |rank| Algorithm::Apollo(ApolloOptions { rank, ..ApolloOptions::default() });
        assert_eq!(states(apollo, StateType::Bf16, true), [0.16, 0.31, 0.56, 1.73, 7.53]);
        let mini = |_| Algorithm::Apollo(ApolloOptions::mini());
        assert_eq!(states(mini, StateType::Bf16, true), [0.13, 0.20, 0.26, 0.53, 1.06]);
        let fira = |rank| {
            Algorithm::Fira(FiraOptions { rank, projector: Projector::Bf16, ..FiraOptions::default() })
        };
        assert_eq!(states(fira, StateType::Bf16, true), [0.16, 0.34, 0.65, 2.08, 9.40]);
        // Q-GaLore, without the scales of codes, which take 3% more of the moments and 6% of the bases.
        let packed = |rank| {
            Algorithm::GaLore(GaLoreOptions { rank, projector: Projector::Int4, ..GaLoreOptions::default() })
        };
        assert_eq!(states(packed, StateType::Int8, false), [0.08, 0.16, 0.30, 0.95, 4.23]);
    }

    #[test]
    fn sizes_of_no_model_are_refused() {
        let config = ModelConfig { hidden_size: 0, ..ModelConfig::named("llama-60m").unwrap() };
        assert_eq!(config.params().unwrap_err().code(), Code::InvalidArgument);
        let config = ModelConfig { vocab_size: usize::MAX, ..ModelConfig::named("llama-60m").unwrap() };
        assert_eq!(config.params().unwrap_err().location().column.as_deref(), Some("vocab_size"));
    }
}
