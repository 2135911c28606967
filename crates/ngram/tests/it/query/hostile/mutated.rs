//! The entry points of the fuzz targets over mutated files: what a fuzzer does first, with a fixed seed.

#[path = "../../../../fuzz/entry.rs"]
#[allow(unreachable_pub)]
mod entry;

use gristmill_core::hash::hash64;

use super::every_kind;
use super::gml::Parts;

/// A stream of numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        (hash64(self.0, b"mutation") % n.max(1) as u64) as usize
    }

    /// Changes bytes as fuzzers do: bits, bytes, the extremes of wider fields, and pieces moved, doubled or lost.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let length = 1 + self.below(16).min(bytes.len().saturating_sub(at + 1));
            match self.below(7) {
                _ if bytes.is_empty() => bytes.push(self.below(256) as u8),
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.below(256) as u8,
                2 => {
                    let extreme = [0, 1, 0x7f, 0x80, 0xff][self.below(5)];
                    let width = [1, 2, 4, 8][self.below(4)].min(bytes.len() - at);
                    bytes[at..at + width].fill(extreme);
                }
                3 => drop(bytes.drain(at..at + length)),
                4 => {
                    let piece = bytes[at..at + length].to_vec();
                    let to = self.below(bytes.len());
                    drop(bytes.splice(to..to, piece));
                }
                5 => {
                    let digits = [&b"-0"[..], b"99999999999999999999", b"nan", b"1e39", b"\t", b"\n"];
                    let digits = digits[self.below(6)];
                    drop(bytes.splice(at..at, digits.iter().copied()));
                }
                _ => bytes.truncate(at),
            }
        }
    }
}

#[test]
fn models_are_read_or_refused() {
    let mut random = Random(1);
    for (_, original) in every_kind() {
        entry::model(&original);
        for _ in 0..3000 {
            let mut bytes = original.clone();
            random.mutate(&mut bytes);
            entry::model(&bytes);
        }
    }
}

/// Behind right checksums, where random damage of a whole file never gets.
#[test]
fn sealed_gml_files_are_read_or_refused() {
    let mut random = Random(2);
    for round in 0..12_000 {
        let mut parts = Parts::valid();
        if round % 8 == 0 {
            let counts = parts.header["counts"].as_array_mut().unwrap();
            let at = random.below(counts.len());
            counts[at] = [0, 1, 7, 1 << 20, u64::MAX][random.below(5)].into();
        }
        let section = random.below(parts.sections.len());
        random.mutate(&mut parts.sections[section]);
        entry::model(&parts.seal());
    }
}

#[test]
fn tokenizers_are_read_or_refused() {
    let mut random = Random(3);
    for original in tokenizers() {
        entry::tokenizer(&original);
        for _ in 0..1500 {
            let mut bytes = original.clone();
            random.mutate(&mut bytes);
            entry::tokenizer(&bytes);
        }
    }
}

/// A `tokenizer.json` with each kind of model, and SentencePiece models.
fn tokenizers() -> Vec<Vec<u8>> {
    let json = |model: &str| {
        format!(
            r###"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
            "normalizer":{{"type":"Sequence","normalizers":[{{"type":"NFKC"}},{{"type":"Replace","pattern":{{"Regex":" {{2,}}"}},"content":"\u2581"}}]}},
            "pre_tokenizer":{{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"always","split":true}},
            "post_processor":{{"type":"TemplateProcessing","single":[{{"Sequence":{{"id":"A","type_id":0}}}}],"pair":[{{"Sequence":{{"id":"A","type_id":0}}}},{{"Sequence":{{"id":"B","type_id":1}}}}],"special_tokens":{{}}}},
            "decoder":null,"model":{model}}}"###
        )
        .into_bytes()
    };
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sentencepiece");
    let piece = |name: &str| std::fs::read(folder.join(name)).unwrap();
    vec![
        json(
            r###"{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0.0],["a",-1.5],["\u2581a",-2.0],["te",-3.0]],"byte_fallback":false}"###,
        ),
        json(
            r###"{"type":"BPE","dropout":null,"unk_token":"u","continuing_subword_prefix":"##","end_of_word_suffix":null,"fuse_unk":true,"byte_fallback":false,"vocab":{"u":0,"a":1,"##b":2,"ab":3},"merges":["a ##b"]}"###,
        ),
        json(
            r###"{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":9,"vocab":{"[UNK]":0,"a":1,"##b":2}}"###,
        ),
        json(r###"{"type":"WordLevel","unk_token":"[UNK]","vocab":{"[UNK]":0,"a":1}}"###),
        piece("unigram.model"),
        piece("bpe-bytes.model"),
    ]
}
