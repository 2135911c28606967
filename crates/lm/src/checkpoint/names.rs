//! From canonical names to those in the files.

use std::collections::{BTreeMap, BTreeSet};

use gristmill_core::{Code, Error, Result};

use super::Located;
use super::read::Rows;
use super::source::{Source, Stored};
use crate::config::{Architecture, Config, NormOrder, TensorSpec};

/// Where the elements of a tensor are in the stored one. Row `r` and column `c` count in the tensor itself; a vector
/// is a matrix of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// All of it, as it is.
    Whole,
    /// Rows from `start` on.
    Rows { start: usize },
    /// Every third group of `head_dim` rows, from group `part` on.
    Heads { part: usize, head_dim: usize },
    /// Rows of which every head has the first and the second half of its dimensions interleaved.
    Halves { head_dim: usize },
    /// The transpose of the columns from `start` on.
    Columns { start: usize },
}

/// Finds every tensor of the model, checks its shape, and refuses what is missing or left over.
pub(super) fn locate(config: &Config, source: &Source) -> Result<Vec<Located>> {
    let names = Names { config, gguf: source.as_gguf().is_some(), stored: stripped(config, source)? };
    let mut used = BTreeSet::new();
    let mut tensors = Vec::new();
    for spec in config.tensors() {
        let (name, place) = names.origin(&spec.name);
        let Some(stored) = names.find(&name) else {
            let message = format!("the tensor {name:?} is missing");
            return Err(Error::new(Code::InvalidModel, message).at_column(spec.name));
        };
        let expected = names.stored_shape(&spec, place);
        if stored.shape != expected {
            let message = format!(
                "{:?} has the shape {:?}; the configuration says {expected:?}",
                stored.name, stored.shape
            );
            return Err(Error::new(Code::InvalidModel, message).at_column(spec.name));
        }
        let encoding = stored.encoding.clone().map_err(|dtype| {
            let message = format!("{:?} is stored as {dtype}; F32, F16 and BF16 are read", stored.name);
            Error::new(Code::Unsupported, message).at_column(&spec.name)
        })?;
        let rows = Rows::of(&spec.shape, place, encoding).map_err(|e| e.at_column(&spec.name))?;
        used.insert(stored.name.clone());
        tensors.push(Located { spec, rows, stored: stored.clone() });
    }
    let left =
        names.stored.iter().find(|(name, stored)| !used.contains(&stored.name) && !names.is_idle(name));
    match left {
        Some((_, stored)) => {
            let message = format!("the model has no use for the tensor {:?}", stored.name);
            Err(Error::new(Code::InvalidModel, message).hint(
                "the configuration and the weights are not of one model, or a part of it is not implemented",
            ))
        }
        None => Ok(tensors),
    }
}

/// The head that a file of a tied model has all the same.
pub(super) fn stored_head<'a>(config: &Config, source: &'a Source) -> Option<&'a Stored> {
    HEADS.iter().find_map(|head| source.stored().get(*head)).filter(|_| config.tied)
}

/// What transformers calls the head, now and formerly in GPT-NeoX.
const HEADS: [&str; 2] = ["lm_head.weight", "embed_out.weight"];

/// The stored tensors by their names without the family's prefix, which files of a bare model lack.
fn stripped<'a>(config: &Config, source: &'a Source) -> Result<BTreeMap<&'a str, &'a Stored>> {
    let prefix = match config.architecture {
        _ if source.as_gguf().is_some() => "",
        Architecture::Gpt2 => "transformer.",
        Architecture::GptNeoX => "gpt_neox.",
        _ => "model.",
    };
    let mut names = BTreeMap::new();
    for (name, stored) in source.stored() {
        let short = name.strip_prefix(prefix).unwrap_or(name);
        if let Some(other) = names.insert(short, stored) {
            let message = format!("{:?} and {:?} are one tensor", other.name, stored.name);
            return Err(Error::new(Code::InvalidModel, message));
        }
    }
    Ok(names)
}

struct Names<'a> {
    config: &'a Config,
    gguf: bool,
    stored: BTreeMap<&'a str, &'a Stored>,
}

impl Names<'_> {
    fn find(&self, name: &str) -> Option<&Stored> {
        let other = if name == HEADS[0] { HEADS[1] } else { name };
        self.stored.get(name).or_else(|| self.stored.get(other)).copied()
    }

    /// Tensors without influence: causal masks and rotary tables that old releases saved, the head of a tied model,
    /// and the divisors of a GGUF file, which the configuration has taken.
    fn is_idle(&self, name: &str) -> bool {
        const BUFFERS: [&str; 5] = [
            ".attn.bias",
            ".attn.masked_bias",
            ".attention.bias",
            ".attention.masked_bias",
            ".rotary_emb.inv_freq",
        ];
        if self.gguf {
            return name == "rope_freqs.weight";
        }
        BUFFERS.iter().any(|end| name.ends_with(end)) || self.config.tied && HEADS.contains(&name)
    }

    /// The name of the stored tensor that has this one, and where in it.
    fn origin(&self, canonical: &str) -> (String, Place) {
        let (layer, part) = match canonical.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) {
            Some((layer, part)) => (Some(layer), part),
            None => (None, canonical),
        };
        let (stem, end) = part.rsplit_once('.').unwrap_or((part, ""));
        let place = self.place(stem, end);
        let (folder, stem) = match (self.gguf, self.config.architecture) {
            (true, _) => ("blk", self.gguf_stem(stem)),
            (_, Architecture::Gpt2) => ("h", gpt2_stem(stem)),
            (_, Architecture::GptNeoX) => ("layers", gpt_neox_stem(stem)),
            _ => ("layers", self.llama_stem(stem)),
        };
        let name = match layer {
            Some(layer) => format!("{folder}.{layer}.{stem}.{end}"),
            None => format!("{stem}.{end}"),
        };
        (name, place)
    }

    fn place(&self, stem: &str, end: &str) -> Place {
        let Config { architecture, head_dim, .. } = *self.config;
        let third = ["attn.q", "attn.k", "attn.v"].iter().position(|s| *s == stem);
        let start = third.unwrap_or(0) * self.config.q_width();
        let linear = third.is_some() || ["attn.o", "mlp.up", "mlp.down"].contains(&stem);
        match (architecture, third) {
            // A converter has transposed them and put them one under the other.
            (Architecture::Gpt2 | Architecture::GptNeoX, Some(_)) if self.gguf => Place::Rows { start },
            (Architecture::Gpt2, _) if !self.gguf && linear && end == "weight" => Place::Columns { start },
            (Architecture::Gpt2, Some(_)) => Place::Rows { start },
            (Architecture::GptNeoX, Some(part)) => Place::Heads { part, head_dim },
            // A converter has reordered what it expects to be turned in neighbouring pairs.
            (Architecture::Llama | Architecture::Olmo, Some(0 | 1)) if self.gguf => {
                Place::Halves { head_dim }
            }
            _ => Place::Whole,
        }
    }

    /// The shape of the stored tensor that has this one at this place.
    fn stored_shape(&self, spec: &TensorSpec, place: Place) -> Vec<usize> {
        let fused = spec.name.contains(".attn.") && !spec.name.contains(".attn.o.");
        let parts = if fused { 3 } else { 1 };
        let mut shape = spec.shape.clone();
        match place {
            Place::Whole | Place::Halves { .. } => {}
            Place::Rows { .. } | Place::Heads { .. } => shape[0] *= parts,
            Place::Columns { .. } => {
                shape[0] *= parts;
                shape.reverse();
            }
        }
        shape
    }

    fn llama_stem<'s>(&self, stem: &'s str) -> &'s str {
        let after = self.config.norm_order == NormOrder::After;
        match stem {
            "embed" => "embed_tokens",
            "attn_norm" if after => "post_attention_layernorm",
            "attn_norm" => "input_layernorm",
            "mlp_norm" if after => "post_feedforward_layernorm",
            "mlp_norm" => "post_attention_layernorm",
            "attn.q" => "self_attn.q_proj",
            "attn.k" => "self_attn.k_proj",
            "attn.v" => "self_attn.v_proj",
            "attn.o" => "self_attn.o_proj",
            "attn.q_norm" => "self_attn.q_norm",
            "attn.k_norm" => "self_attn.k_norm",
            "mlp.gate" => "mlp.gate_proj",
            "mlp.up" => "mlp.up_proj",
            "mlp.down" => "mlp.down_proj",
            "head" => "lm_head",
            other => other,
        }
    }

    fn gguf_stem<'s>(&self, stem: &'s str) -> &'s str {
        let after = self.config.norm_order == NormOrder::After;
        let fused = matches!(self.config.architecture, Architecture::Gpt2 | Architecture::GptNeoX);
        match stem {
            "embed" => "token_embd",
            "positions" => "position_embd",
            "attn_norm" if after => "post_attention_norm",
            "mlp_norm" if after => "post_ffw_norm",
            "mlp_norm" => "ffn_norm",
            "attn.q" | "attn.k" | "attn.v" if fused => "attn_qkv",
            "attn.q" => "attn_q",
            "attn.k" => "attn_k",
            "attn.v" => "attn_v",
            "attn.o" => "attn_output",
            "attn.q_norm" => "attn_q_norm",
            "attn.k_norm" => "attn_k_norm",
            "mlp.gate" => "ffn_gate",
            "mlp.up" => "ffn_up",
            "mlp.down" => "ffn_down",
            "norm" => "output_norm",
            "head" => "output",
            other => other,
        }
    }
}

fn gpt2_stem(stem: &str) -> &str {
    match stem {
        "embed" => "wte",
        "positions" => "wpe",
        "attn_norm" => "ln_1",
        "mlp_norm" => "ln_2",
        "attn.q" | "attn.k" | "attn.v" => "attn.c_attn",
        "attn.o" => "attn.c_proj",
        "mlp.up" => "mlp.c_fc",
        "mlp.down" => "mlp.c_proj",
        "norm" => "ln_f",
        "head" => "lm_head",
        other => other,
    }
}

fn gpt_neox_stem(stem: &str) -> &str {
    match stem {
        "embed" => "embed_in",
        "attn_norm" => "input_layernorm",
        "mlp_norm" => "post_attention_layernorm",
        "attn.q" | "attn.k" | "attn.v" => "attention.query_key_value",
        "attn.o" => "attention.dense",
        "mlp.up" => "mlp.dense_h_to_4h",
        "mlp.down" => "mlp.dense_4h_to_h",
        "norm" => "final_layer_norm",
        "head" => "lm_head",
        other => other,
    }
}
