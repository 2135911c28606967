//! `config.json`: spellings of other releases, options that are not implemented, sizes that lie.

use gristmill_core::{Code, Error};
use gristmill_lm::Config;
use gristmill_lm::config::{Activation, Architecture, QkNorm, RopeScaling};
use serde_json::{Value, json};

use super::refused;
use crate::tiny;

fn tiny_json(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(tiny::folder(name).join("config.json")).unwrap()).unwrap()
}

fn parse(json: &Value) -> Result<Config, Error> {
    Config::from_json(json.to_string().as_bytes())
}

/// The configuration of a small model with one key changed.
fn with(name: &str, key: &str, value: Value) -> Result<Config, Error> {
    let mut json = tiny_json(name);
    json[key] = value;
    parse(&json)
}

#[test]
fn the_spellings_of_old_releases() {
    let pythia = json!({
        "architectures": ["GPTNeoXForCausalLM"], "bos_token_id": 0, "eos_token_id": 0, "hidden_act": "gelu",
        "hidden_size": 512, "initializer_range": 0.02, "intermediate_size": 2048, "layer_norm_eps": 1e-05,
        "max_position_embeddings": 2048, "model_type": "gpt_neox", "num_attention_heads": 8,
        "num_hidden_layers": 6, "rotary_emb_base": 10000, "rotary_pct": 0.25, "tie_word_embeddings": false,
        "torch_dtype": "float16", "transformers_version": "4.24.0", "use_cache": true,
        "use_parallel_residual": true, "vocab_size": 50304
    });
    let config = parse(&pythia).unwrap();
    assert_eq!((config.rope.as_ref().unwrap().dims, config.parallel, config.biases.qkv), (16, true, true));
    assert_eq!(config.parameters(), 70_426_624);

    let gpt2 = json!({
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12,
        "n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1, "summary_activation": null,
        "summary_first_dropout": 0.1, "summary_proj_to_labels": true, "summary_type": "cls_index",
        "summary_use_proj": true, "task_specific_params": {"text-generation": {"do_sample": true}},
        "vocab_size": 50257
    });
    let config = parse(&gpt2).unwrap();
    assert_eq!((config.intermediate, config.tied, config.activation), (3072, true, Activation::GeluTanh));
    assert_eq!(config.parameters(), 124_439_808);

    let llama3 = json!({
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "tie_word_embeddings": true, "vocab_size": 128256,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                         "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "eos_token_id": [128001, 128008], "pretraining_tp": 1, "hidden_act": "silu", "attention_bias": false
    });
    let config = parse(&llama3).unwrap();
    assert_eq!((config.parameters(), config.eos), (1_235_814_400, Some(128_001)));
    let rope = config.rope.unwrap();
    assert_eq!(rope.theta, 500_000.0);
    assert!(matches!(rope.scaling, RopeScaling::Llama3 { original_context: 8192.0, .. }));

    let mut old = tiny_json("llama-linear");
    old.as_object_mut().unwrap().remove("rope_parameters");
    old["rope_theta"] = json!(1000.0);
    old["rope_scaling"] = json!({"type": "linear", "factor": 4.0});
    assert_eq!(parse(&old).unwrap(), parse(&tiny_json("llama-linear")).unwrap());
}

#[test]
fn the_choices_of_the_families() {
    let of = |name: &str| parse(&tiny_json(name)).unwrap();
    assert_eq!(of("qwen3").qk_norm, QkNorm::PerHead);
    assert_eq!((of("olmo2").qk_norm, of("olmo-clipped").clip_qkv), (QkNorm::Projection, Some(1.0)));
    let qwen2 = of("qwen2").biases;
    assert!(qwen2.qkv && !qwen2.out && !qwen2.mlp);
    assert!(!of("olmo").norm.weight);
    // A window as long as the context is none.
    assert!(with("mistral", "sliding_window", json!(96)).is_ok());
    assert!(with("qwen2", "sliding_window", json!(8)).is_ok());
    assert_eq!(with("llama", "hidden_act", json!("gelu")).unwrap().activation, Activation::Gelu);
    assert_eq!(of("mistral").architecture, Architecture::Mistral);
}

/// Every refusal names the key and the value.
#[test]
fn options_that_would_change_the_numbers() {
    let cases = [
        ("llama", "model_type", json!("mamba"), "mamba"),
        ("llama", "model_type", json!("smollm3"), "smollm3"),
        ("llama", "hidden_act", json!("relu"), "relu"),
        ("llama", "quantization_config", json!({"bits": 4}), "bits"),
        ("llama", "auto_map", json!({"AutoModel": "x.py"}), "x.py"),
        ("llama", "num_local_experts", json!(8), "8"),
        ("llama", "embedding_multiplier", json!(12.0), "12"),
        ("llama", "final_logit_softcapping", json!(30.0), "30"),
        ("llama", "clip_qkv", json!(8.0), "8"),
        ("mistral", "sliding_window", json!(95), "95"),
        ("mistral", "attention_bias", json!(true), "true"),
        ("qwen2", "layer_types", json!(["full_attention", "sliding_attention"]), "sliding_attention"),
        ("qwen2", "mlp_bias", json!(true), "true"),
        ("gpt2", "scale_attn_by_inverse_layer_idx", json!(true), "true"),
        ("gpt2", "scale_attn_weights", json!(false), "false"),
        ("gpt2", "add_cross_attention", json!(true), "true"),
    ];
    for (name, key, value, found) in cases {
        let error = refused(with(name, key, value), Code::Unsupported, found);
        assert_eq!(error.location().column.as_deref(), Some(key));
    }
    let mut windowed = tiny_json("qwen2");
    (windowed["use_sliding_window"], windowed["sliding_window"]) = (json!(true), json!(8));
    refused(parse(&windowed), Code::Unsupported, "sliding_window = 8");
    for kind in ["yarn", "dynamic", "longrope"] {
        let rope = json!({"rope_type": kind, "rope_theta": 1e4, "factor": 2.0});
        refused(with("llama", "rope_parameters", rope), Code::Unsupported, kind);
    }
    let part = json!({"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5});
    refused(with("llama", "rope_parameters", part), Code::Unsupported, "partial_rotary_factor = 0.5");
    let layered = json!({"full_attention": {"rope_type": "default", "rope_theta": 1e4}});
    refused(with("llama", "rope_parameters", layered), Code::Unsupported, "rope_parameters");
    // Without a word about it, transformers would take a window.
    let mut silent = tiny_json("mistral");
    silent.as_object_mut().unwrap().remove("sliding_window");
    refused(parse(&silent), Code::InvalidModel, "sliding_window");
}

#[test]
fn neutral_values_are_no_refusal() {
    for (key, value) in [
        ("embedding_multiplier", json!(1)),
        ("logits_scaling", json!(1.0)),
        ("num_experts", json!(0)),
        ("quantization_config", Value::Null),
        ("alibi", json!(false)),
        ("use_cache", json!(false)),
        ("unheard_of", json!(7)),
    ] {
        assert!(with("llama", key, value).is_ok(), "{key}");
    }
}

#[test]
fn sizes_that_lie() {
    let cases = [
        ("hidden_size", json!(0)),
        ("hidden_size", json!(-32)),
        ("hidden_size", json!(3.5)),
        ("hidden_size", json!("32")),
        ("num_hidden_layers", json!(u64::MAX)),
        ("num_hidden_layers", json!(1 << 30)),
        ("num_attention_heads", json!(0)),
        ("num_key_value_heads", json!(3)),
        ("num_key_value_heads", json!(0)),
        ("vocab_size", json!(1u64 << 62)),
        ("vocab_size", json!(u32::MAX)),
        ("intermediate_size", json!(u64::MAX)),
        ("max_position_embeddings", json!(0)),
        ("rms_norm_eps", json!(-1.0)),
        ("rms_norm_eps", json!(1e300)),
        ("tie_word_embeddings", json!(1)),
        ("bos_token_id", json!("1")),
        ("rope_parameters", json!({"rope_type": "default", "rope_theta": 0.0})),
        ("rope_parameters", json!({"rope_type": "linear", "rope_theta": 1e4, "factor": 0.0})),
        ("rope_parameters", json!({"rope_type": "linear", "rope_theta": 1e4})),
        ("rope_parameters", json!(5)),
        ("layer_types", json!("full_attention")),
    ];
    for (key, value) in cases {
        // A vocabulary of 2^32 rows is no lie where there is an address space for it.
        let result = with("llama", key, value.clone());
        let large = key == "vocab_size" && value == json!(u32::MAX);
        assert!(
            large && result.is_ok() || result.is_err_and(|e| e.code() == Code::InvalidModel),
            "{key} = {value}"
        );
    }
}

#[test]
fn widths_without_equal_heads() {
    refused(with("gpt2", "n_embd", json!(33)), Code::InvalidModel, "no 4 equal heads");
    refused(with("gpt2", "n_head", json!(0)), Code::InvalidModel, "no 0 equal heads");
}

#[test]
fn files_that_are_no_configuration() {
    for json in [&b""[..], b"{", b"[]", b"null", b"\xff", b"{\"model_type\": 5}", b"{}"] {
        refused(Config::from_json(json), Code::InvalidModel, "");
    }
    refused(Config::from_json(&b"[".repeat(100_000)), Code::InvalidModel, "");
}
