//! What a model file says about the shape of its model.
//!
//! Eight families differ in a dozen choices. [`Config`] spells every choice out, so that one transformer serves all of
//! them and no code beyond this module asks for the family's name. Whatever would change the numbers and is not
//! implemented is refused by its key and value.

mod gguf;
mod json;
mod tensors;

use gristmill_core::{Code, Error, Result};

pub use tensors::TensorSpec;

/// The families of models that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// GPT-2: LayerNorm, learned positions, one fused projection for queries, keys and values.
    Gpt2,
    /// GPT-NeoX and Pythia: LayerNorm, partial rotary positions, attention and MLP side by side.
    GptNeoX,
    /// Llama, and what shares its layout: SmolLM2, TinyLlama.
    Llama,
    /// Mistral without a sliding window.
    Mistral,
    /// Qwen2 and Qwen2.5: Llama with biases on queries, keys and values.
    Qwen2,
    /// Qwen3: Llama with a norm on every head of the queries and keys.
    Qwen3,
    /// The first OLMo: Llama with a LayerNorm that has no weights.
    Olmo,
    /// OLMo 2: Llama with norms behind the blocks and over all queries and keys.
    Olmo2,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Gpt2,
        Self::GptNeoX,
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Olmo,
        Self::Olmo2,
    ];

    /// The `model_type` of a `config.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpt2 => "gpt2",
            Self::GptNeoX => "gpt_neox",
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Olmo => "olmo",
            Self::Olmo2 => "olmo2",
        }
    }
}

/// How a vector is brought to unit size, over the last dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Which mean is taken.
    pub kind: NormKind,
    /// What is added under the root.
    pub eps: f32,
    /// Whether there is a learned factor.
    pub weight: bool,
    /// Whether there is a learned summand.
    pub bias: bool,
}

/// Which mean a norm takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `(x − mean) / √(variance + eps)`.
    Layer,
    /// `x / √(mean of x² + eps)`.
    Rms,
}

/// Where the norm of a block stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormOrder {
    /// `x + block(norm(x))`.
    Before,
    /// `x + norm(block(x))`.
    After,
}

/// Norms on queries and keys, between projection and rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// One of `head_dim` weights, on every head by itself.
    PerHead,
    /// Over the whole projection, all heads together.
    Projection,
}

/// The function inside the MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x·Φ(x)` with the error function.
    Gelu,
    /// The approximation of it by tanh.
    GeluTanh,
    /// `x·σ(x)`.
    Silu,
}

/// Rotary positions.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the wavelengths.
    pub theta: f32,
    /// How many of a head's dimensions are turned, from the first; even.
    pub dims: usize,
    /// How the wavelengths are stretched.
    pub scaling: RopeScaling,
}

/// How rotary wavelengths are stretched for longer contexts.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All by one factor.
    Linear {
        /// The factor.
        factor: f32,
    },
    /// Long ones by a factor, short ones not, with a ramp between (Llama 3.1).
    Llama3 {
        /// The factor of long ones.
        factor: f32,
        /// Wavelengths above `original_context / low_freq_factor` are long.
        low_freq_factor: f32,
        /// Wavelengths below `original_context / high_freq_factor` are short.
        high_freq_factor: f32,
        /// The context before the stretch.
        original_context: f32,
    },
    /// Each by a divisor of its own, as GGUF files store what Llama 3.1 computes; `dims / 2` of them.
    Divisors(Vec<f32>),
}

impl Rope {
    /// Radians that each pair of dimensions turns per position: `dims / 2` values. The pairs are `(j, j + dims / 2)`
    /// in every checkpoint, whatever the file's own order was. Computed in f32 step by step, as the models were
    /// trained.
    pub fn frequencies(&self) -> Vec<f32> {
        let pairs = self.dims / 2;
        let plain = (0..pairs).map(|j| 1.0 / self.theta.powf((2 * j) as f32 / self.dims as f32));
        match &self.scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|f| f / factor).collect(),
            RopeScaling::Divisors(divisors) => plain.zip(divisors).map(|(f, d)| f / d).collect(),
            &RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let stretch = |frequency: f32| {
                    let wavelength = std::f32::consts::TAU / frequency;
                    if wavelength > original_context / low_freq_factor {
                        return frequency / factor;
                    }
                    if wavelength < original_context / high_freq_factor {
                        return frequency;
                    }
                    let smooth = (original_context / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                };
                plain.map(stretch).collect()
            }
        }
    }
}

/// Which linear maps add a learned vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// The map out of the attention.
    pub out: bool,
    /// The maps of the MLP.
    pub mlp: bool,
}

/// The shape of a model and every choice that its family made.
///
/// One layer, with `h` of [`hidden`](Self::hidden) values, `a = heads·head_dim`, `b = kv_heads·head_dim`:
///
/// ```text
/// q, k, v = x·Wqᵀ, x·Wkᵀ, x·Wvᵀ        clipped to ±clip_qkv, normed by qk_norm, q and k turned by rope
/// attn(x) = softmax(q·kᵀ/√head_dim, causal)·v·Woᵀ     query head i reads key head i·kv_heads/heads
/// mlp(x)  = act(x·Wgateᵀ)∘(x·Wupᵀ)·Wdownᵀ             without a gate: act(x·Wupᵀ)·Wdownᵀ
/// ```
///
/// and [`norm_order`](Self::norm_order) and [`parallel`](Self::parallel) say how they are joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The family.
    pub architecture: Architecture,
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width inside the MLP.
    pub intermediate: usize,
    /// Rows of the embedding; a tokenizer may have fewer ids.
    pub vocab: usize,
    /// The longest sequence that the model was made for; with learned positions, the longest that it can take.
    pub context: usize,
    /// The norm of blocks and of the end; also that of queries and keys, which have no bias.
    pub norm: Norm,
    /// Where a block's norm stands.
    pub norm_order: NormOrder,
    /// Norms on queries and keys.
    pub qk_norm: QkNorm,
    /// The bound of queries, keys and values.
    pub clip_qkv: Option<f32>,
    /// Rotary positions; without them positions are learned, and added to the embedding.
    pub rope: Option<Rope>,
    /// Whether attention and MLP read the same input: `x + attn(norm(x)) + mlp(norm'(x))`.
    pub parallel: bool,
    /// The function inside the MLP.
    pub activation: Activation,
    /// Whether the MLP has a gate.
    pub gated: bool,
    /// Which linear maps have biases.
    pub biases: Biases,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// The id that begins a text, if the file names one.
    pub bos: Option<u32>,
    /// The id that ends a text, if the file names one (the first, where it names several).
    pub eos: Option<u32>,
}

/// More layers than any model has; a bound for hostile files.
const MOST_LAYERS: usize = 4096;

impl Config {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`Code::InvalidModel`] when it is damaged or contradicts itself; [`Code::Unsupported`], with key and value,
    /// for a family or an option that is not implemented.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        json::parse(json)?.checked()
    }

    /// Width of all query heads.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads, or of all value heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Parameters of the model.
    pub fn parameters(&self) -> usize {
        self.tensors().iter().map(|t| t.shape.iter().product::<usize>()).sum()
    }

    /// Checks what no single key shows: that sizes divide each other and that no product overflows.
    fn checked(self) -> Result<Self> {
        let invalid = |message: String| Err(Error::new(Code::InvalidModel, message));
        let sizes = [
            ("layers", self.layers),
            ("hidden size", self.hidden),
            ("heads", self.heads),
            ("key heads", self.kv_heads),
            ("head size", self.head_dim),
            ("intermediate size", self.intermediate),
            ("vocabulary", self.vocab),
            ("context", self.context),
        ];
        for (name, size) in sizes {
            if size == 0 || size > u32::MAX as usize {
                return invalid(format!("the model has {size} {name}"));
            }
        }
        if self.layers > MOST_LAYERS {
            return invalid(format!("the model has {} layers, more than {MOST_LAYERS}", self.layers));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return invalid(format!("{} heads cannot share {} key heads", self.heads, self.kv_heads));
        }
        let widest = [self.heads.checked_mul(self.head_dim), Some(self.intermediate), Some(self.vocab)];
        for width in widest.into_iter().chain([Some(self.context)]) {
            let elements = width.and_then(|w| w.checked_mul(self.hidden)).and_then(|n| n.checked_mul(4));
            if elements.is_none_or(|n| n > isize::MAX as usize / 2 / self.layers) {
                return invalid("the sizes of the model overflow".into());
            }
        }
        if !(self.norm.eps >= 0.0 && self.norm.eps.is_finite()) {
            return invalid(format!("the epsilon of the norms is {}", self.norm.eps));
        }
        if let Some(clip) = self.clip_qkv.filter(|c| !(*c > 0.0 && c.is_finite())) {
            return invalid(format!("queries and keys clipped to {clip}"));
        }
        if let Some(rope) = &self.rope {
            rope.check(self.head_dim)?;
        }
        Ok(self)
    }
}

impl Rope {
    fn check(&self, head_dim: usize) -> Result<()> {
        let invalid = |message: String| Err(Error::new(Code::InvalidModel, message));
        if self.dims == 0 || self.dims > head_dim || !self.dims.is_multiple_of(2) {
            return invalid(format!("rotary positions on {} of a head's {head_dim} dimensions", self.dims));
        }
        let positive = |x: f32| x > 0.0 && x.is_finite();
        let sound = positive(self.theta)
            && match &self.scaling {
                RopeScaling::None => true,
                RopeScaling::Linear { factor } => positive(*factor),
                &RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                    [factor, low_freq_factor, high_freq_factor, original_context].into_iter().all(positive)
                        && low_freq_factor < high_freq_factor
                }
                RopeScaling::Divisors(d) => d.len() == self.dims / 2 && d.iter().copied().all(positive),
            };
        if !sound {
            return invalid(format!("rotary positions make no sense: {self:?}"));
        }
        Ok(())
    }
}

/// The error for an option that would change the numbers.
fn unsupported(key: &str, value: impl std::fmt::Display) -> Error {
    Error::new(Code::Unsupported, format!("{key} = {value} is not implemented")).at_column(key)
}
