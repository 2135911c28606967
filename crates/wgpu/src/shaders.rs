//! The shaders, and all their variants.
//!
//! A pipeline is only made of a variant that this table has, so the test that validates every entry, without any
//! adapter, has seen all that can ever run.

use gristmill_core::{Code, Error, Result};

use crate::preprocess::Defs;

macro_rules! texts {
    ($dir:literal: $($name:literal)*) => {
        &[$(($name, include_str!(concat!("../shaders/", $dir, $name, ".wgsl"))),)*]
    };
}

const TEXTS: &[(&str, &str)] = texts!("":
    "activation" "activation_grad" "adamw" "attention" "axpby" "bias_add" "cast" "channel_factors"
    "channel_step" "clip_factors" "clip_linear_fused" "clipped_embedding_grad" "clipped_grad" "clipped_sum"
    "column_norms" "copy" "embedding_norms" "fill" "gather" "gather_columns" "gaussian_noise" "gram"
    "gram_norms"
    "grid_sum" "hadamard" "int4_pack" "int4_unpack" "kurtosis" "linear_nll" "loss_reduction" "low_rank_adam"
    "matmul" "nll" "norm" "norm_grad" "payload_norm" "per_sample_norms" "philox" "quantize_rtn" "rope"
    "row_norm_scale" "row_reduce" "scale" "scatter_columns" "segment_product" "segment_reduce"
    "softmax_stats" "subgroups" "tied_norms" "topk" "topk_aggregate" "topk_encode"
);

const LIBRARIES: &[(&str, &str)] = texts!("lib/":
    "activations" "adam" "adam_noise" "adam_stored" "bits" "clip" "column_index" "element" "gather_pairs"
    "load" "lse" "main" "math" "moments" "normal" "offsets" "opaque" "pair" "payload" "payload_scale" "philox"
    "power" "reduce" "reduction" "rows" "segments" "squares" "stream" "sum" "target" "tile" "tile_store"
    "topk_large" "topk_order" "topk_pick" "total" "words"
);

/// A definition and the values that it takes.
type Choice = (&'static str, &'static [&'static str]);

const FLOATS: &[&str] = &["f32", "bf16", "f16"];
const HALVES: &[&str] = &["f32", "bf16"];
const ALL: &[&str] = &["f32", "bf16", "f16", "u8", "i32", "u32"];
const FLAG: &[&str] = &["0", "1"];
const ONLY_F32: &[&str] = &["f32"];
const RULES: &[&str] = &["sum", "max", "sum_squares"];
const THREADS: &[&str] = &["8", "32", "256"];
const READING: &[&str] = &["whole", "partial"];
const QUANTIZERS: &[&str] = &["signMagnitude", "reference", "int8", "none"];
const MERGE: &[&str] = &["merge"];

/// Shaders with the choices of which any combination is a variant; beside `SUBGROUP` and `READ`, which all have.
const VARIANTS: &[(&str, &[Choice])] = &[
    (
        "activation",
        &[("KIND", &["gelu", "gelu_tanh", "silu"]), ("OUT", FLOATS), ("BIAS", FLAG), ("TIMES", FLAG)],
    ),
    (
        "adamw",
        &[("TARGET", &["all"]), ("STATE", ONLY_F32), ("G", HALVES), ("OUT", ONLY_F32), ("NOISE", &["0"])],
    ),
    (
        "adamw",
        &[
            ("TARGET", &["param"]),
            ("STATE", &["f32", "bf16", "int8"]),
            ("G", HALVES),
            ("OUT", HALVES),
            ("NOISE", FLAG),
        ],
    ),
    (
        "adamw",
        &[
            ("TARGET", &["m", "v"]),
            ("STATE", &["f32", "int8"]),
            ("G", HALVES),
            ("OUT", ONLY_F32),
            ("NOISE", &["0"]),
        ],
    ),
    (
        "adamw",
        &[("TARGET", &["m", "v"]), ("STATE", &["bf16"]), ("G", HALVES), ("OUT", &["bf16"]), ("NOISE", FLAG)],
    ),
    ("attention", &[("STAGE", &["check"])]),
    ("attention", &[("STAGE", &["tiles"]), ("SIZE", &["64", "128", "256"]), ("X", FLOATS), ("CARRY", FLAG)]),
    ("axpby", &[("X", FLOATS), ("OUT", FLOATS)]),
    ("bias_add", &[("OUT", FLOATS)]),
    ("cast", &[("X", ALL), ("OUT", ALL)]),
    ("clip_factors", &[("STAGE", &["factors", "counts"]), ("WEIGHTS", FLAG)]),
    ("clipped_embedding_grad", &[("X", FLOATS)]),
    ("clipped_sum", &[]),
    ("column_norms", &[("STAGE", &["squares"]), ("X", FLOATS)]),
    ("column_norms", &[("STAGE", &["roots"])]),
    ("copy", &[("OUT", ALL)]),
    ("embedding_norms", &[("STAGE", &["links"]), ("WHOLE", FLAG)]),
    ("embedding_norms", &[("STAGE", &["rows"]), ("X", FLOATS)]),
    ("embedding_norms", &[("STAGE", &["sum"])]),
    ("fill", &[("OUT", ALL)]),
    ("gaussian_noise", &[("GENERATOR", &["philox", "chacha20"])]),
    ("grid_sum", &[]),
    ("gather", &[("X", ONLY_F32), ("OUT", ONLY_F32)]),
    ("gather", &[("X", &["bf16"]), ("OUT", &["f32", "bf16"])]),
    ("gather", &[("X", &["f16"]), ("OUT", &["f32", "f16"])]),
    (
        "linear_nll",
        &[
            ("X", FLOATS),
            ("SPAN", &["1", "8"]),
            ("TRANS_A", &["0"]),
            ("TRANS_B", &["1"]),
            ("BIAS", FLAG),
            ("CAP", FLAG),
        ],
    ),
    ("loss_reduction", &[("STAGE", &["whole", "partial", "merge"]), ("THREADS", THREADS), ("X", ONLY_F32)]),
    ("matmul", &[("X", FLOATS), ("TRANS_A", FLAG), ("TRANS_B", FLAG)]),
    ("nll", &[("STAGE", READING), ("THREADS", THREADS), ("X", FLOATS), ("BIAS", FLAG), ("CAP", FLAG)]),
    ("nll", &[("STAGE", MERGE), ("THREADS", THREADS), ("X", ONLY_F32), ("BIAS", FLAG), ("CAP", FLAG)]),
    ("norm", &[("STAGE", &["stats"]), ("KIND", &["rms", "layer"]), ("X", FLOATS)]),
    ("norm", &[("STAGE", &["apply"]), ("X", FLOATS), ("OUT", FLOATS), ("WEIGHT", FLAG), ("BIAS", FLAG)]),
    ("payload_norm", &[("STEP", &["chunks"]), ("QUANTIZER", QUANTIZERS)]),
    ("payload_norm", &[("STEP", &["sums"]), ("QUANTIZER", &["none"])]),
    ("philox", &[("DRAW", &["bits", "uniform", "normal"])]),
    ("rope", &[("ORDER", &["halves", "interleaved"]), ("OUT", FLOATS)]),
    ("row_norm_scale", &[("PASS", &["norms"]), ("STAGE", READING), ("THREADS", THREADS), ("X", FLOATS)]),
    ("row_norm_scale", &[("PASS", &["norms"]), ("STAGE", MERGE), ("THREADS", THREADS), ("X", ONLY_F32)]),
    ("row_norm_scale", &[("PASS", &["sum"]), ("FACTORS", FLAG), ("X", FLOATS)]),
    ("row_reduce", &[("RULE", RULES), ("STAGE", READING), ("THREADS", THREADS), ("X", FLOATS)]),
    ("row_reduce", &[("RULE", RULES), ("STAGE", MERGE), ("THREADS", THREADS), ("X", ONLY_F32)]),
    ("scale", &[("OUT", FLOATS)]),
    ("segment_product", &[("STAGE", &["check"])]),
    ("segment_product", &[("STAGE", &["sums"]), ("X", FLOATS), ("BOTH", FLAG)]),
    ("segment_reduce", &[("RULE", RULES), ("STAGE", READING), ("THREADS", THREADS), ("X", FLOATS)]),
    ("segment_reduce", &[("RULE", RULES), ("STAGE", MERGE), ("THREADS", THREADS), ("X", ONLY_F32)]),
    ("softmax_stats", &[("STAGE", READING), ("THREADS", THREADS), ("X", FLOATS)]),
    ("softmax_stats", &[("STAGE", MERGE), ("THREADS", THREADS), ("X", ONLY_F32)]),
    ("subgroups", &[]),
    ("tied_norms", &[("X", FLOATS)]),
    (
        "topk",
        &[(
            "STEP",
            &["chunk", "start", "histogram", "pick", "clear", "take", "sort_far", "sort_near", "write"],
        )],
    ),
    ("topk_aggregate", &[("QUANTIZER", QUANTIZERS)]),
    ("topk_encode", &[("QUANTIZER", &["signMagnitude", "int8", "none"])]),
    ("clip_linear_fused", &[("STAGE", &["factors"]), ("WEIGHTS", FLAG)]),
    ("clip_linear_fused", &[("STAGE", &["add"])]),
    ("clipped_grad", &[("STAGE", &["check"]), ("WEIGHTS", FLAG)]),
    (
        "clipped_grad",
        &[("STAGE", &["weight"]), ("X", FLOATS), ("TRANS_A", &["1"]), ("TRANS_B", &["0"]), ("FACTORS", FLAG)],
    ),
    ("clipped_grad", &[("STAGE", &["bias"]), ("X", FLOATS), ("FACTORS", FLAG)]),
    ("gram", &[("X", FLOATS), ("TRANS_A", &["0"]), ("TRANS_B", &["1"])]),
    ("gram", &[("X", FLOATS), ("TRANS_A", &["1"]), ("TRANS_B", &["0"])]),
    ("low_rank_adam", &[("OUT", &["bf16"]), ("NOISE", FLAG)]),
    ("gather_columns", &[("OUT", FLOATS)]),
    ("scatter_columns", &[("OUT", FLOATS)]),
    ("kurtosis", &[("X", FLOATS), ("CENTERED", FLAG)]),
    ("hadamard", &[("X", FLOATS)]),
    ("quantize_rtn", &[("STAGE", &["grids"]), ("X", FLOATS), ("SYMMETRIC", FLAG)]),
    ("quantize_rtn", &[("STAGE", &["apply"]), ("OUT", FLOATS)]),
    ("norm_grad", &[("STAGE", &["stats"]), ("KIND", &["rms", "layer"]), ("X", FLOATS), ("WEIGHT", FLAG)]),
    ("norm_grad", &[("STAGE", &["apply"]), ("OUT", FLOATS), ("WEIGHT", FLAG)]),
    ("activation_grad", &[("KIND", &["gelu", "gelu_tanh", "silu"]), ("OUT", FLOATS)]),
    ("channel_factors", &[("WHOLE", FLAG), ("LIMIT", FLAG)]),
    ("channel_step", &[("G", HALVES), ("OUT", ONLY_F32), ("ACROSS", FLAG), ("NOISE", &["0"])]),
    ("channel_step", &[("G", HALVES), ("OUT", &["bf16"]), ("ACROSS", FLAG), ("NOISE", FLAG)]),
    ("int4_pack", &[]),
    ("int4_unpack", &[("OUT", ONLY_F32)]),
    ("per_sample_norms", &[("STAGE", &["squares", "total"]), ("FLAGS", FLAG)]),
    ("gram_norms", &[("STAGE", &["means"]), ("X", FLOATS), ("SIDE", &["x", "dy"])]),
    ("gram_norms", &[("STAGE", &["centre"]), ("X", FLOATS)]),
    ("gram_norms", &[("STAGE", &["tiles"]), ("TRANS_A", &["0"]), ("TRANS_B", &["1"])]),
    ("gram_norms", &[("STAGE", &["total"])]),
];

fn find(texts: &[(&'static str, &'static str)], name: &str) -> Result<&'static str> {
    texts
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, text)| *text)
        .ok_or_else(|| Error::new(Code::Internal, format!("no shader {name:?}")))
}

/// The text of an operation's shader.
pub(crate) fn text(name: &str) -> Result<&'static str> {
    find(TEXTS, name)
}

/// The text of a part that shaders include.
pub(crate) fn library(name: &str) -> Result<&'static str> {
    find(LIBRARIES, name)
}

/// The name of a variant, whatever the order of its definitions.
///
/// # Errors
/// [`Code::Internal`] when the table does not have it.
pub(crate) fn key(shader: &str, defs: &Defs) -> Result<String> {
    let value = |key: &str| defs.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    let matches = |choices: &&[Choice]| {
        choices.iter().all(|(key, values)| value(key).is_some_and(|v| values.contains(&v)))
    };
    let variants = VARIANTS.iter().filter(|(name, _)| *name == shader);
    let choices = variants.map(|(_, choices)| choices).find(|c| matches(&&***c));
    let choices =
        choices.ok_or_else(|| Error::new(Code::Internal, format!("no variant {defs:?} of {shader}")))?;
    let mut text = shader.to_owned();
    for key in choices.iter().map(|c| c.0).chain(["SUBGROUP", "READ"]) {
        text += " ";
        text += value(key).unwrap_or("");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use wgpu::naga::AddressSpace;
    use wgpu::naga::front::wgsl;
    use wgpu::naga::valid::{Capabilities, ValidationFlags, Validator};

    use super::*;
    use crate::preprocess::preprocess;
    use crate::probe::{IMMEDIATE_BYTES, WORKGROUP_BYTES};

    /// All variants of a line of the table.
    fn combinations(choices: &[Choice]) -> Vec<Defs<'static>> {
        let always: [Choice; 2] = [("SUBGROUP", FLAG), ("READ", &["read", "read_write"])];
        choices.iter().chain(&always).fold(vec![Vec::new()], |all, (key, values)| {
            let with =
                |v: &&'static str| all.iter().map(|defs| [&defs[..], &[(*key, *v)]].concat()).collect();
            values.iter().flat_map(|v| -> Vec<Defs> { with(v) }).collect()
        })
    }

    #[test]
    fn every_variant_is_valid() {
        let mut count = 0;
        for (shader, choices) in VARIANTS {
            for defs in combinations(choices) {
                let subgroups = *shader == "subgroups" || defs.contains(&("SUBGROUP", "1"));
                let mut capabilities = Capabilities::IMMEDIATES;
                capabilities.set(Capabilities::SUBGROUP, subgroups);
                let source = preprocess(shader, &defs).unwrap();
                assert!(4 * source.params.len() <= IMMEDIATE_BYTES as usize, "{shader}");
                let module = wgsl::parse_str(&source.wgsl)
                    .unwrap_or_else(|e| panic!("{shader} {defs:?}: {}", e.emit_to_string(&source.wgsl)));
                Validator::new(ValidationFlags::all(), capabilities)
                    .validate(&module)
                    .unwrap_or_else(|e| panic!("{shader} {defs:?}: {}", e.emit_to_string(&source.wgsl)));
                let shared: u32 = module
                    .global_variables
                    .iter()
                    .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
                    .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
                    .sum();
                assert!(shared <= WORKGROUP_BYTES, "{shader} {defs:?} shares {shared} bytes");
                count += 1;
            }
        }
        assert!(count > 700, "{count} variants");
    }

    #[test]
    fn only_the_tables_variants_have_names() {
        let defs = vec![("READ", "read"), ("OUT", "f16"), ("SUBGROUP", "0"), ("X", "bf16")];
        assert_eq!(key("axpby", &defs).unwrap(), "axpby bf16 f16 0 read");
        assert!(key("axpby", &vec![("X", "u8"), ("OUT", "f32")]).is_err());
        assert!(key("such", &vec![]).is_err());
    }
}
