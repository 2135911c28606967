//! The vocabulary of a GGUF file as a `tokenizer.json`.
//!
//! | `tokenizer.ggml.model` | what it is |
//! |---|---|
//! | `gpt2` | BPE over bytes: `merges`, and a rule that cuts words, by name in `pre` |
//! | `llama` | SentencePiece's BPE: pairs are merged by the score of what they make; bytes for what is unknown |

use std::collections::HashMap;

use gristmill_core::{Code, Error, Result};
use serde_json::{Value, json};

use crate::gguf::Gguf;

/// Kinds of tokens, as the file numbers them.
const UNKNOWN: u64 = 2;
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// How GPT-4 and its like cut a text; `DIGITS` stands for how many digits one word may have. (GPT-2's rule comes with
/// the library.)
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A vocabulary, read and checked.
pub(super) struct Vocabulary<'a> {
    tokens: &'a [String],
    kinds: Vec<u64>,
    rule: Rule<'a>,
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) adds_bos: bool,
    pub(super) adds_eos: bool,
}

enum Rule<'a> {
    Bytes { merges: &'a [String], cut: Cut },
    SentencePiece { scores: Vec<f32>, unknown: u32, space_prefix: bool },
}

/// How a text is cut before its bytes are merged.
#[derive(Clone, Copy)]
enum Cut {
    /// GPT-2's rule.
    Gpt2 { nfc: bool },
    /// Digits one by one, then GPT-2's rule.
    Digits,
    /// The rule above; whole words that are tokens need no merges.
    Llama3,
    /// The rule above with single digits.
    Qwen2,
}

impl Cut {
    /// The rule of this name; families of one rule have many names.
    fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "default" | "gpt-2" | "gpt2" | "mpt" | "phi-2" | "jina-es" | "jina-de" | "roberta-bpe" => {
                Self::Gpt2 { nfc: false }
            }
            "olmo" => Self::Gpt2 { nfc: true },
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" => Self::Digits,
            "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "dbrx" | "smaug-bpe" => Self::Llama3,
            "qwen2" | "deepseek-r1-qwen" | "megrez" => Self::Qwen2,
            other => {
                let message = format!("the pre-tokenizer {other:?} is not known");
                return Err(Error::new(Code::Unsupported, message)
                    .at_column("tokenizer.ggml.pre")
                    .hint("known are gpt-2, olmo, smollm, llama-bpe, dbrx, qwen2 and their like"));
            }
        })
    }

    fn normalizer(self) -> Value {
        match self {
            // The originals normalise, which the file does not say.
            Self::Gpt2 { nfc: true } | Self::Qwen2 => json!({"type": "NFC"}),
            _ => Value::Null,
        }
    }

    fn pre_tokenizer(self) -> Value {
        let bytes = |own_rule: bool| {
            json!({"type": "ByteLevel", "add_prefix_space": false,
                   "trim_offsets": true, "use_regex": own_rule})
        };
        let words = |digits: &str| {
            let pattern = json!({"Regex": WORDS.replace("DIGITS", digits)});
            json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false})
        };
        let first = match self {
            Self::Gpt2 { .. } => return bytes(true),
            Self::Digits => {
                let digits = json!({"type": "Digits", "individual_digits": true});
                return json!({"type": "Sequence", "pretokenizers": [digits, bytes(true)]});
            }
            Self::Llama3 => words("{1,3}"),
            Self::Qwen2 => words(""),
        };
        json!({"type": "Sequence", "pretokenizers": [first, bytes(false)]})
    }
}

impl<'a> Vocabulary<'a> {
    pub(super) fn read(gguf: &'a Gguf) -> Result<Self> {
        let model = gguf.string("tokenizer.ggml.model")?.ok_or_else(|| {
            Error::new(Code::NotFound, "the file has no vocabulary").at_column("tokenizer.ggml.model")
        })?;
        let tokens = strings(gguf, "tokenizer.ggml.tokens")?;
        let kinds = numbers(gguf, "tokenizer.ggml.token_type", tokens.len())?;
        let kinds = kinds.map_or_else(|| vec![1; tokens.len()], |k| k.iter().map(|x| *x as u64).collect());
        let id = |key: &str| -> Result<Option<u32>> {
            let id = gguf.size(key)?.filter(|id| *id != u64::from(u32::MAX));
            match id {
                Some(id) if id >= tokens.len() as u64 => {
                    Err(invalid(key, format!("the id {id} of {} tokens", tokens.len())))
                }
                id => Ok(id.map(|id| id as u32)),
            }
        };
        let flag = |key: &str, default: bool| Ok(gguf.flag(key)?.unwrap_or(default));
        let sentencepiece = model == "llama";
        let rule = match model {
            "gpt2" => Rule::Bytes {
                merges: strings(gguf, "tokenizer.ggml.merges")?,
                cut: Cut::named(gguf.string("tokenizer.ggml.pre")?.unwrap_or("default"))?,
            },
            "llama" => Rule::SentencePiece {
                scores: numbers(gguf, "tokenizer.ggml.scores", tokens.len())?
                    .ok_or_else(|| invalid("tokenizer.ggml.scores", "the key is missing".into()))?
                    .into_iter()
                    .map(|x| x as f32)
                    .collect(),
                unknown: id("tokenizer.ggml.unknown_token_id")?.unwrap_or(0),
                space_prefix: flag("tokenizer.ggml.add_space_prefix", true)?,
            },
            other => {
                let message = format!("tokenizer.ggml.model = {other:?} is not implemented");
                return Err(Error::new(Code::Unsupported, message)
                    .at_column("tokenizer.ggml.model")
                    .hint("gpt2 and llama are read"));
            }
        };
        Ok(Self {
            tokens,
            kinds,
            rule,
            bos: id("tokenizer.ggml.bos_token_id")?,
            eos: id("tokenizer.ggml.eos_token_id")?,
            adds_bos: flag("tokenizer.ggml.add_bos_token", sentencepiece)?,
            adds_eos: flag("tokenizer.ggml.add_eos_token", false)?,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn to_json(&self) -> Result<Value> {
        let mut ids = HashMap::new();
        for (id, token) in self.tokens.iter().enumerate() {
            if let Some(other) = ids.insert(token.as_str(), id) {
                let message = format!("{token:?} is both {other} and {id}");
                return Err(invalid("tokenizer.ggml.tokens", message));
            }
        }
        let added: Vec<Value> = self.tokens.iter().zip(&self.kinds).enumerate().filter_map(added).collect();
        let (normalizer, pre_tokenizer, model) = match &self.rule {
            Rule::Bytes { merges, cut } => {
                let merges = merges.iter().map(|merge| match merge.split_once(' ') {
                    Some((left, right)) if !left.is_empty() && !right.is_empty() => Ok([left, right]),
                    _ => Err(invalid("tokenizer.ggml.merges", format!("{merge:?} is no pair"))),
                });
                let merges: Vec<_> = merges.collect::<Result<_>>()?;
                let whole = matches!(cut, Cut::Llama3);
                let model = json!({"type": "BPE", "vocab": ids, "merges": merges, "ignore_merges": whole});
                (cut.normalizer(), cut.pre_tokenizer(), model)
            }
            Rule::SentencePiece { scores, unknown, space_prefix } => {
                let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
                let mut steps = vec![replace];
                if *space_prefix {
                    steps.insert(0, json!({"type": "Prepend", "prepend": "\u{2581}"}));
                }
                let unknown = &self.tokens[*unknown as usize];
                let merges = self.merges(&ids, scores);
                let model = json!({"type": "BPE", "vocab": ids, "merges": merges, "unk_token": unknown,
                                   "fuse_unk": true, "byte_fallback": true});
                (json!({"type": "Sequence", "normalizers": steps}), Value::Null, model)
            }
        };
        Ok(json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": null, "decoder": null, "model": model,
        }))
    }

    /// The pairs that make a token, the token with the highest score first; of one token, pairs of early tokens first.
    fn merges(&self, ids: &HashMap<&str, usize>, scores: &[f32]) -> Vec<[&'a str; 2]> {
        let mut pairs = Vec::new();
        let plain = self.tokens.iter().zip(&self.kinds).enumerate().filter(|(_, (_, kind))| **kind == 1);
        for (id, (token, _)) in plain {
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(l), Some(r)) = (ids.get(left), ids.get(right)) {
                    pairs.push((scores[id], *l, *r, [left, right]));
                }
            }
        }
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        pairs.into_iter().map(|(_, _, _, pair)| pair).collect()
    }
}

/// A token that is recognised in a text before anything else.
fn added((id, (token, kind)): (usize, (&String, &u64))) -> Option<Value> {
    let special = match *kind {
        UNKNOWN | CONTROL => true,
        USER_DEFINED => false,
        _ => return None,
    };
    // The library cannot look for an empty text.
    (!token.is_empty()).then(|| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": special})
    })
}

fn invalid(key: &str, message: String) -> Error {
    Error::new(Code::InvalidModel, message).at_column(key)
}

fn strings<'a>(gguf: &'a Gguf, key: &str) -> Result<&'a [String]> {
    let array = gguf.array(key)?.ok_or_else(|| invalid(key, "the key is missing".into()))?;
    // An empty array has no type of its own.
    array.as_strings().ok_or_else(|| invalid(key, "expected texts".into()))
}

/// Numbers, one for each token.
fn numbers(gguf: &Gguf, key: &str, count: usize) -> Result<Option<Vec<f64>>> {
    let Some(array) = gguf.array(key)? else { return Ok(None) };
    let numbers = array.numbers().ok_or_else(|| invalid(key, "expected numbers".into()))?;
    let numbers: Option<Vec<f64>> = numbers.map(|v| v.as_f64()).collect();
    let numbers = numbers.ok_or_else(|| invalid(key, "expected numbers".into()))?;
    if numbers.len() != count {
        return Err(invalid(key, format!("{} numbers for {count} tokens", numbers.len())));
    }
    Ok(Some(numbers))
}
