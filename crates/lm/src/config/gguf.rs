//! The metadata of a GGUF file.

use gristmill_core::{Code, Error, Result};

use super::{
    Activation, Architecture, Biases, Config, Norm, NormKind, NormOrder, QkNorm, Rope, RopeScaling,
    unsupported,
};
use crate::gguf::{Encoding, Gguf, Value};

/// Keys behind the family's name that change the numbers and that no family here has, with the value that leaves them
/// alone (a zero where a count or a factor is meant).
const NEUTRAL: [(&str, f64); 12] = [
    ("attention.max_alibi_bias", 0.0),
    ("attention.scale", 0.0),
    ("attn_logit_softcapping", 0.0),
    ("attention.output_scale", 0.0),
    ("embedding_scale", 1.0),
    ("expert_count", 0.0),
    ("expert_used_count", 0.0),
    ("final_logit_softcapping", 0.0),
    ("leading_dense_block_count", 0.0),
    ("logit_scale", 1.0),
    ("residual_scale", 1.0),
    ("rope.scaling.attn_factor", 1.0),
];

impl Config {
    /// Reads the metadata of a GGUF file. What the metadata leaves open (biases, a head of its own, rows of the
    /// vocabulary) is seen from the tensors.
    ///
    /// # Errors
    /// As [`from_json`](Self::from_json).
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        Keys::of(gguf)?.config()?.checked()
    }
}

/// The metadata of one family.
struct Keys<'a> {
    gguf: &'a Gguf,
    /// What llama.cpp calls the family; the prefix of its keys.
    prefix: &'a str,
    architecture: Architecture,
}

impl<'a> Keys<'a> {
    fn of(gguf: &'a Gguf) -> Result<Self> {
        const KNOWN: [(&str, Architecture); 7] = [
            ("gpt2", Architecture::Gpt2),
            ("gptneox", Architecture::GptNeoX),
            ("llama", Architecture::Llama),
            ("qwen2", Architecture::Qwen2),
            ("qwen3", Architecture::Qwen3),
            ("olmo", Architecture::Olmo),
            ("olmo2", Architecture::Olmo2),
        ];
        let key = "general.architecture";
        let prefix = gguf.string(key)?.ok_or_else(|| missing(key))?;
        match KNOWN.iter().find(|(name, _)| *name == prefix) {
            Some((_, architecture)) => Ok(Self { gguf, prefix, architecture: *architecture }),
            None => {
                let known = KNOWN.map(|(name, _)| name).join(", ");
                Err(unsupported(key, prefix).hint(format!("families that are read: {known}")))
            }
        }
    }

    fn config(&self) -> Result<Config> {
        use Architecture::{Gpt2, GptNeoX, Llama, Olmo, Olmo2, Qwen3};
        self.refuse_what_is_not_neutral()?;
        if let Some(files) = self.gguf.size("split.count")?.filter(|n| *n > 1) {
            return Err(
                unsupported("split.count", files).hint("merge the files with llama-gguf-split --merge")
            );
        }
        let architecture = self.architecture;
        let (hidden, heads) = (self.size("embedding_length")?, self.size("attention.head_count")?);
        let kv_heads = self.size_or("attention.head_count_kv", heads)?;
        let head_dim = match self.size_or("attention.key_length", 0)? {
            0 if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
            0 => return Err(Error::new(Code::InvalidModel, format!("{hidden} has no {heads} equal heads"))),
            size => size,
        };
        let values = self.size_or("attention.value_length", head_dim)?;
        if values != head_dim {
            return Err(unsupported(&self.key("attention.value_length"), values));
        }
        let clip_qkv = self.gguf.float(&self.key("attention.clamp_kqv"))?.filter(|c| *c != 0.0);
        if let Some(clip) = clip_qkv.filter(|_| architecture != Olmo) {
            return Err(unsupported(&self.key("attention.clamp_kqv"), clip));
        }
        let context = self.size("context_length")?;
        let window = self.size_or("attention.sliding_window", 0)?;
        if window > 0 && window < context {
            return Err(unsupported(&self.key("attention.sliding_window"), window));
        }
        let gated = !matches!(architecture, Gpt2 | GptNeoX);
        let fused = !gated;
        let parallel = self.gguf.flag(&self.key("use_parallel_residual"))?;
        Ok(Config {
            architecture,
            layers: self.size("block_count")?,
            hidden,
            heads,
            kv_heads,
            head_dim,
            intermediate: self.size("feed_forward_length")?,
            vocab: self.vocab()?,
            context,
            norm: self.norm()?,
            norm_order: if architecture == Olmo2 { NormOrder::After } else { NormOrder::Before },
            qk_norm: match architecture {
                Qwen3 => QkNorm::PerHead,
                Olmo2 => QkNorm::Projection,
                _ => QkNorm::None,
            },
            clip_qkv,
            rope: if architecture == Gpt2 { None } else { Some(self.rope(head_dim)?) },
            parallel: parallel.unwrap_or(architecture == GptNeoX) && architecture == GptNeoX,
            activation: match architecture {
                Gpt2 => Activation::GeluTanh,
                GptNeoX => Activation::Gelu,
                _ => Activation::Silu,
            },
            gated,
            biases: Biases {
                qkv: self.has(if fused { "blk.0.attn_qkv.bias" } else { "blk.0.attn_q.bias" }),
                out: self.has("blk.0.attn_output.bias"),
                mlp: self.has("blk.0.ffn_up.bias") && (fused || architecture == Llama),
            },
            tied: !self.has("output.weight"),
            bos: self.id("tokenizer.ggml.bos_token_id")?,
            eos: self.id("tokenizer.ggml.eos_token_id")?,
        })
    }

    fn refuse_what_is_not_neutral(&self) -> Result<()> {
        for (end, neutral) in NEUTRAL {
            let key = self.key(end);
            if let Some(value) = self.gguf.float(&key)?.filter(|v| f64::from(*v) != neutral) {
                return Err(unsupported(&key, value));
            }
        }
        Ok(())
    }

    fn key(&self, end: &str) -> String {
        format!("{}.{end}", self.prefix)
    }

    fn has(&self, tensor: &str) -> bool {
        self.gguf.tensor(tensor).is_some()
    }

    fn size(&self, end: &str) -> Result<usize> {
        let key = self.key(end);
        match self.gguf.metadata().get(&key) {
            // One value per layer.
            Some(Value::Array(_)) => Err(unsupported(&key, "an array")),
            _ => self.gguf.size(&key)?.map(|n| n as usize).ok_or_else(|| missing(&key)),
        }
    }

    fn size_or(&self, end: &str, default: usize) -> Result<usize> {
        match self.gguf.metadata().contains_key(&self.key(end)) {
            true => self.size(end),
            false => Ok(default),
        }
    }

    fn id(&self, key: &str) -> Result<Option<u32>> {
        let id = self.gguf.size(key)?;
        // Some files have the largest number where they mean none.
        Ok(id.and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX))
    }

    /// Rows of the embedding.
    fn vocab(&self) -> Result<usize> {
        match self.gguf.tensor("token_embd.weight").map(|t| &t.shape[..]) {
            Some(&[rows, _]) => Ok(rows),
            Some(shape) => Err(Error::new(Code::InvalidModel, format!("an embedding of shape {shape:?}"))),
            None => {
                Err(Error::new(Code::InvalidModel, "the tensor is missing").at_column("token_embd.weight"))
            }
        }
    }

    fn norm(&self) -> Result<Norm> {
        let eps = |end: &str| {
            let key = self.key(end);
            self.gguf.float(&key)?.ok_or_else(|| missing(&key))
        };
        Ok(match self.architecture {
            Architecture::Gpt2 | Architecture::GptNeoX => Norm {
                kind: NormKind::Layer,
                eps: eps("attention.layer_norm_epsilon")?,
                weight: true,
                bias: true,
            },
            Architecture::Olmo => {
                let eps = self.gguf.float(&self.key("attention.layer_norm_epsilon"))?.unwrap_or(1e-5);
                Norm { kind: NormKind::Layer, eps, weight: false, bias: false }
            }
            _ => Norm {
                kind: NormKind::Rms,
                eps: eps("attention.layer_norm_rms_epsilon")?,
                weight: true,
                bias: false,
            },
        })
    }

    fn rope(&self, head_dim: usize) -> Result<Rope> {
        let theta = self.gguf.float(&self.key("rope.freq_base"))?.unwrap_or(10_000.0);
        let dims = self.size_or("rope.dimension_count", head_dim)?;
        // Rows were reordered for whole heads.
        if dims != head_dim && self.architecture != Architecture::GptNeoX {
            return Err(unsupported(&self.key("rope.dimension_count"), dims));
        }
        Ok(Rope { theta, dims, scaling: self.rope_scaling(dims)? })
    }

    fn rope_scaling(&self, dims: usize) -> Result<RopeScaling> {
        let key = self.key("rope.scaling.type");
        let factor = match self.gguf.float(&self.key("rope.scaling.factor"))? {
            Some(factor) => Some(factor),
            None => self.gguf.float(&self.key("rope.scale_linear"))?,
        };
        let divisors = self.gguf.tensor("rope_freqs.weight");
        match (self.gguf.string(&key)?, divisors) {
            (Some("none") | None, Some(tensor)) => {
                if tensor.shape != [dims / 2] || tensor.encoding != Encoding::F32 {
                    let message = format!("{} of shape {:?}", tensor.encoding, tensor.shape);
                    return Err(Error::new(Code::InvalidModel, message).at_column("rope_freqs.weight"));
                }
                Ok(RopeScaling::Divisors(self.gguf.read_f32(tensor)?))
            }
            (Some("none"), None) => Ok(RopeScaling::None),
            (Some("linear") | None, None) => Ok(match factor {
                Some(factor) if factor != 1.0 && factor != 0.0 => RopeScaling::Linear { factor },
                _ => RopeScaling::None,
            }),
            (Some(other), _) => Err(unsupported(&key, other)),
        }
    }
}

fn missing(key: &str) -> Error {
    Error::new(Code::InvalidModel, "the key is missing").at_column(key)
}
