//! `config.json`, in the spellings of old and new releases of transformers.

use gristmill_core::{Code, Error, Result};
use serde_json::{Map, Value, json};

use super::{
    Activation, Architecture, Biases, Config, Norm, NormKind, NormOrder, QkNorm, Rope, RopeScaling,
    unsupported,
};

/// Options that change the numbers and that no family here has, with the value that leaves them alone. Null does too.
fn neutral() -> [(&'static str, Value); 31] {
    [
        ("add_cross_attention", json!(false)),
        ("alibi", json!(false)),
        ("attn_logit_softcapping", Value::Null),
        ("attention_multiplier", Value::Null),
        ("auto_map", Value::Null),
        ("embedding_multiplier", json!(1.0)),
        ("embedding_scale", json!(1.0)),
        ("final_logit_softcapping", Value::Null),
        ("first_k_dense_replace", json!(0)),
        ("is_encoder_decoder", json!(false)),
        ("lm_head_bias", json!(false)),
        ("logit_scale", json!(1.0)),
        ("logits_scaling", json!(1.0)),
        ("no_rope_layers", Value::Null),
        ("num_experts", json!(0)),
        ("num_local_experts", json!(0)),
        ("parallel_attn", json!(false)),
        ("position_embedding_type", json!("absolute")),
        ("quantization_config", Value::Null),
        ("qk_layernorm", json!(false)),
        ("query_pre_attn_scalar", Value::Null),
        ("residual_multiplier", json!(1.0)),
        ("scale_attn_by_inverse_layer_idx", json!(false)),
        ("scale_attn_weights", json!(true)),
        ("scale_embedding", json!(false)),
        ("tie_encoder_decoder", json!(false)),
        ("use_alibi", json!(false)),
        ("use_bias", json!(false)),
        ("use_mrope", json!(false)),
        ("use_mup", json!(false)),
        ("use_qk_norm", json!(false)),
    ]
}

pub(super) fn parse(json: &[u8]) -> Result<Config> {
    let value: Value = serde_json::from_slice(json)
        .map_err(|e| Error::new(Code::InvalidModel, format!("not a config.json: {e}")))?;
    let Value::Object(map) = value else {
        return Err(Error::new(Code::InvalidModel, "a config.json must be an object"));
    };
    let keys = Keys(&map);
    let architecture = keys.architecture()?;
    keys.refuse_what_is_not_neutral()?;
    match architecture {
        Architecture::Gpt2 => gpt2(&keys),
        Architecture::GptNeoX => gpt_neox(&keys),
        _ => llama_like(&keys, architecture),
    }
}

fn gpt2(keys: &Keys) -> Result<Config> {
    let hidden = keys.size(&["n_embd", "hidden_size"])?;
    let heads = keys.size(&["n_head", "num_attention_heads"])?;
    Ok(Config {
        architecture: Architecture::Gpt2,
        layers: keys.size(&["n_layer", "num_hidden_layers"])?,
        hidden,
        heads,
        kv_heads: heads,
        head_dim: keys.head_dim(hidden, heads)?,
        intermediate: match keys.size_or_null(&["n_inner", "intermediate_size"])? {
            Some(size) => size,
            None => hidden.saturating_mul(4),
        },
        vocab: keys.size(&["vocab_size"])?,
        context: keys.size(&["n_positions", "n_ctx", "max_position_embeddings"])?,
        norm: layer_norm(keys.float(&["layer_norm_epsilon"])?.unwrap_or(1e-5)),
        norm_order: NormOrder::Before,
        qk_norm: QkNorm::None,
        clip_qkv: None,
        rope: None,
        parallel: false,
        activation: keys.activation("activation_function", "gelu_new")?,
        gated: false,
        biases: Biases { qkv: true, out: true, mlp: true },
        tied: keys.flag("tie_word_embeddings", true)?,
        bos: keys.id("bos_token_id")?,
        eos: keys.id("eos_token_id")?,
    })
}

fn gpt_neox(keys: &Keys) -> Result<Config> {
    let hidden = keys.size(&["hidden_size"])?;
    let heads = keys.size(&["num_attention_heads"])?;
    let head_dim = keys.head_dim(hidden, heads)?;
    let bias = keys.flag("attention_bias", true)?;
    let context = keys.size(&["max_position_embeddings"])?;
    Ok(Config {
        architecture: Architecture::GptNeoX,
        layers: keys.size(&["num_hidden_layers"])?,
        hidden,
        heads,
        kv_heads: heads,
        head_dim,
        intermediate: keys.size(&["intermediate_size"])?,
        vocab: keys.size(&["vocab_size"])?,
        context,
        norm: layer_norm(keys.float(&["layer_norm_eps"])?.unwrap_or(1e-5)),
        norm_order: NormOrder::Before,
        qk_norm: QkNorm::None,
        clip_qkv: None,
        rope: Some(keys.rope(head_dim, context, 0.25)?),
        parallel: keys.flag("use_parallel_residual", true)?,
        activation: keys.activation("hidden_act", "gelu")?,
        gated: false,
        biases: Biases { qkv: bias, out: bias, mlp: true },
        tied: keys.flag("tie_word_embeddings", false)?,
        bos: keys.id("bos_token_id")?,
        eos: keys.id("eos_token_id")?,
    })
}

fn llama_like(keys: &Keys, architecture: Architecture) -> Result<Config> {
    use Architecture::{Llama, Mistral, Olmo, Olmo2, Qwen2, Qwen3};
    let hidden = keys.size(&["hidden_size"])?;
    let heads = keys.size(&["num_attention_heads"])?;
    let head_dim = match keys.size_or_null(&["head_dim"])? {
        Some(size) => size,
        None if architecture == Qwen3 => 128,
        None => keys.head_dim(hidden, heads)?,
    };
    let kv_heads = match keys.size_or_null(&["num_key_value_heads"])? {
        Some(size) => size,
        // These families have a default of their own, which no file relies on.
        None if matches!(architecture, Mistral | Qwen2 | Qwen3) => {
            return Err(missing("num_key_value_heads"));
        }
        None => heads,
    };
    let context = keys.size(&["max_position_embeddings"])?;
    keys.refuse_windows(architecture, context)?;
    let bias = keys.flag("attention_bias", false)?;
    if bias && matches!(architecture, Mistral | Qwen2) {
        return Err(unsupported("attention_bias", true));
    }
    let mlp_bias = keys.flag("mlp_bias", false)?;
    if mlp_bias && architecture != Llama {
        return Err(unsupported("mlp_bias", true));
    }
    let clip_qkv = keys.float(&["clip_qkv"])?;
    if let Some(clip) = clip_qkv.filter(|_| architecture != Olmo) {
        return Err(unsupported("clip_qkv", clip));
    }
    let rms = |default: f32| -> Result<Norm> {
        let eps = keys.float(&["rms_norm_eps"])?.unwrap_or(default);
        Ok(Norm { kind: NormKind::Rms, eps, weight: true, bias: false })
    };
    Ok(Config {
        architecture,
        layers: keys.size(&["num_hidden_layers"])?,
        hidden,
        heads,
        kv_heads,
        head_dim,
        intermediate: keys.size(&["intermediate_size"])?,
        vocab: keys.size(&["vocab_size"])?,
        context,
        norm: match architecture {
            Olmo => Norm { kind: NormKind::Layer, eps: 1e-5, weight: false, bias: false },
            Olmo2 => rms(1e-5)?,
            _ => rms(1e-6)?,
        },
        norm_order: if architecture == Olmo2 { NormOrder::After } else { NormOrder::Before },
        qk_norm: match architecture {
            Qwen3 => QkNorm::PerHead,
            Olmo2 => QkNorm::Projection,
            _ => QkNorm::None,
        },
        clip_qkv,
        rope: Some(keys.rope(head_dim, context, 1.0)?),
        parallel: false,
        activation: keys.activation("hidden_act", "silu")?,
        gated: true,
        biases: Biases { qkv: bias || architecture == Qwen2, out: bias, mlp: mlp_bias },
        tied: keys.flag("tie_word_embeddings", false)?,
        bos: keys.id("bos_token_id")?,
        eos: keys.id("eos_token_id")?,
    })
}

fn layer_norm(eps: f32) -> Norm {
    Norm { kind: NormKind::Layer, eps, weight: true, bias: true }
}

fn missing(key: &str) -> Error {
    Error::new(Code::InvalidModel, "the key is missing").at_column(key)
}

fn wrong(key: &str, value: &Value, expected: &str) -> Error {
    Error::new(Code::InvalidModel, format!("expected {expected}, found {value}")).at_column(key)
}

/// The keys of an object, read with their types. A key with a null is an absent key.
struct Keys<'a>(&'a Map<String, Value>);

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    fn architecture(&self) -> Result<Architecture> {
        let known = Architecture::ALL.map(Architecture::name).join(", ");
        let name = match self.get("model_type") {
            Some(Value::String(name)) => name,
            Some(value) => return Err(wrong("model_type", value, "a string")),
            None => return Err(missing("model_type").hint(format!("one of {known}"))),
        };
        Architecture::ALL
            .into_iter()
            .find(|a| a.name() == name)
            .ok_or_else(|| unsupported("model_type", name).hint(format!("families that are read: {known}")))
    }

    fn refuse_what_is_not_neutral(&self) -> Result<()> {
        for (key, neutral) in neutral() {
            let same =
                |value: &Value| *value == neutral || value.is_number() && value.as_f64() == neutral.as_f64();
            if let Some(value) = self.get(key).filter(|v| !same(v)) {
                return Err(unsupported(key, value));
            }
        }
        Ok(())
    }

    /// A sliding window shorter than the context, or layers that are not full attention.
    fn refuse_windows(&self, architecture: Architecture, context: usize) -> Result<()> {
        let used = match architecture {
            // A file that says nothing means transformers' default.
            Architecture::Mistral if !self.0.contains_key("sliding_window") => {
                return Err(missing("sliding_window").hint("null, for attention without a window"));
            }
            Architecture::Mistral => true,
            _ => self.flag("use_sliding_window", false)?,
        };
        if let Some(window) = self.size_or_null(&["sliding_window"])?.filter(|w| used && *w < context) {
            return Err(unsupported("sliding_window", window));
        }
        match self.get("layer_types") {
            Some(Value::Array(types)) => match types.iter().find(|t| t.as_str() != Some("full_attention")) {
                Some(other) => Err(unsupported("layer_types", other)),
                None => Ok(()),
            },
            Some(value) => Err(wrong("layer_types", value, "a list")),
            None => Ok(()),
        }
    }

    /// The first of these keys that is there.
    fn size_or_null(&self, keys: &[&str]) -> Result<Option<usize>> {
        let Some((key, value)) = keys.iter().find_map(|k| Some((*k, self.get(k)?))) else { return Ok(None) };
        match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(wrong(key, value, "a size")),
        }
    }

    fn size(&self, keys: &[&str]) -> Result<usize> {
        self.size_or_null(keys)?.ok_or_else(|| missing(keys[0]))
    }

    fn head_dim(&self, hidden: usize, heads: usize) -> Result<usize> {
        if heads == 0 || !hidden.is_multiple_of(heads) {
            let message = format!("a hidden size of {hidden} has no {heads} equal heads");
            return Err(Error::new(Code::InvalidModel, message));
        }
        Ok(hidden / heads)
    }

    fn float(&self, keys: &[&str]) -> Result<Option<f32>> {
        let Some((key, value)) = keys.iter().find_map(|k| Some((*k, self.get(k)?))) else { return Ok(None) };
        value.as_f64().map(|x| Some(x as f32)).ok_or_else(|| wrong(key, value, "a number"))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(b)) => Ok(*b),
            Some(value) => Err(wrong(key, value, "true or false")),
        }
    }

    /// An id, or the first of several.
    fn id(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let first = match value {
            Value::Array(ids) if ids.is_empty() => return Ok(None),
            Value::Array(ids) => &ids[0],
            one => one,
        };
        // Some files say −1 where they mean none.
        if first.as_i64().is_some_and(|id| id < 0) {
            return Ok(None);
        }
        first
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .map(Some)
            .ok_or_else(|| wrong(key, value, "an id"))
    }

    fn activation(&self, key: &str, default: &str) -> Result<Activation> {
        let name = match self.get(key) {
            None => default,
            Some(Value::String(name)) => name,
            Some(value) => return Err(wrong(key, value, "a string")),
        };
        match name {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "silu" | "swish" => Ok(Activation::Silu),
            other => Err(unsupported(key, other)),
        }
    }

    /// `rope_parameters` of new files; `rope_theta`, `rope_scaling` and GPT-NeoX's own names of old ones.
    fn rope(&self, head_dim: usize, context: usize, default_part: f32) -> Result<Rope> {
        let nested = |key: &str| match self.get(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Keys(map))),
            Some(value) => Err(wrong(key, value, "an object")),
        };
        let (parameters, old) = (nested("rope_parameters")?, nested("rope_scaling")?);
        let group = parameters.as_ref().or(old.as_ref());
        let inner = |keys: &[&str]| group.map_or(Ok(None), |g| g.float(keys));
        let theta = match inner(&["rope_theta"])? {
            Some(theta) => theta,
            None => self.float(&["rope_theta", "rotary_emb_base"])?.unwrap_or(10_000.0),
        };
        let part = match inner(&["partial_rotary_factor"])? {
            Some(part) => part,
            None => self.float(&["partial_rotary_factor", "rotary_pct"])?.unwrap_or(default_part),
        };
        // Outside GPT-NeoX (whose default is a part) transformers turns whole heads.
        if default_part == 1.0 && part != 1.0 {
            return Err(unsupported("partial_rotary_factor", part));
        }
        let scaling = group.map_or(Ok(RopeScaling::None), |g| g.rope_scaling(context))?;
        Ok(Rope { theta, dims: (head_dim as f32 * part) as usize, scaling })
    }

    fn rope_scaling(&self, context: usize) -> Result<RopeScaling> {
        let name = match self.get("rope_type").or_else(|| self.get("type")) {
            None if self.0.values().any(Value::is_object) => {
                return Err(unsupported("rope_parameters", Value::Object(self.0.clone())));
            }
            None => "default",
            Some(Value::String(name)) => name,
            Some(value) => return Err(wrong("rope_type", value, "a string")),
        };
        let number = |key: &str| self.float(&[key])?.ok_or_else(|| missing(key));
        match name {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: number("factor")? }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_context: self
                    .float(&["original_max_position_embeddings"])?
                    .unwrap_or(context as f32),
            }),
            other => Err(unsupported("rope_type", other)),
        }
    }
}
