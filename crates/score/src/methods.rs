//! What each score means.

use serde::{Deserialize, Serialize};

/// How a document gets its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// `exp` of the mean negative log-likelihood under one model.
    Perplexity,
    /// Negative log-likelihood in bits over bytes of text, under one model.
    BitsPerByte,
    /// Mean loss under the prior minus mean loss under the conditional model (CoLoR-Filter).
    LossReduction,
    /// Cross-entropy under the target model minus that under the general model (Moore and Lewis).
    MooreLewis,
    /// Mean loss under a small reference model minus that under a large teacher (MiniPLM).
    Difference,
    /// CCNet's perplexity: base 10, over tokens plus one, rounded to a tenth.
    Ccnet,
    /// Hashed n-gram importance weights (DSIR).
    Dsir,
}
