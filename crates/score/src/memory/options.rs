//! What to score of a table, and how.

use serde::{Deserialize, Serialize};

use crate::methods::Method;
use crate::spec::ScoreSpec;

/// The base of logarithms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogBase {
    /// Natural logarithms, as neural models give them.
    #[default]
    #[serde(rename = "e")]
    E,
    /// Bits.
    #[serde(rename = "2")]
    Two,
    /// As n-gram models give them.
    #[serde(rename = "10")]
    Ten,
}

impl LogBase {
    /// Nats in one unit.
    pub(super) fn nats(self) -> f64 {
        match self {
            Self::E => 1.0,
            Self::Two => std::f64::consts::LN_2,
            Self::Ten => std::f64::consts::LN_10,
        }
    }
}

/// What to score, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct MemoryOptions {
    /// The score; `perplexity` of one model, `loss-reduction` of two when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The whole specification instead of the method, when log-probabilities were made in another way than
    /// the one assumed for them: nothing before the first token, which is not scored, and nothing after the
    /// last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<ScoreSpec>,
    /// Column of text to score: utf8, large_utf8 or utf8_view, or a dictionary of one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Column of token ids to score: lists of int32 or uint32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<String>,
    /// Columns of per-token log-probabilities, one or two, in the order of the method's models: lists of
    /// float32 or float64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log_probs: Vec<String>,
    /// The base of the log-probabilities.
    pub log_base: LogBase,
    /// Columns of logits, one or two, in the order of the method's models: for every row a list of its tokens' logits,
    /// float16 or float32, each a (fixed-size) list of its own or all of them in one. They need a device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logits: Vec<String>,
    /// Beside logits, the column of the tokens that they predict: lists of int32 or uint32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<String>,
    /// Beside logits, how many are of words; those behind are padding. All when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocab: Option<usize>,
    /// Beside logits, the cap that the models put on them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub softcap: Option<f32>,
    /// Beside token ids or log-probabilities, the column from which bytes are counted: text, or a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<String>,
    /// Whether the input's columns stay in the result.
    pub keep_columns: bool,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            method: None,
            spec: None,
            text: None,
            tokens: None,
            log_probs: Vec::new(),
            log_base: LogBase::E,
            logits: Vec::new(),
            targets: None,
            vocab: None,
            softcap: None,
            bytes: None,
            keep_columns: true,
        }
    }
}
