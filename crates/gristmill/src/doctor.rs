use serde::Serialize;

use gristmill_cpu::{Memory, memory};

/// What this machine and this build can do.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Doctor {
    /// The version of Gristmill.
    pub version: &'static str,
    /// The operating system that this binary was built for.
    pub os: &'static str,
    /// The processor.
    pub cpu: Cpu,
    /// Main memory.
    pub memory: Memory,
    /// Where sorts spill to unless a job names another directory.
    pub temp_dir: String,
    /// The devices that this build can compute on, and whether each can be used here.
    pub backends: Vec<Backend>,
    /// What can be read.
    pub reads: Readable,
}

/// The processor.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// The instruction set, such as `x86_64`.
    pub architecture: &'static str,
    /// Extensions of it that were found.
    pub features: Vec<&'static str>,
    /// The widest vectors that kernels use here.
    pub vectors: &'static str,
    /// Threads that this process may use.
    pub threads: usize,
}

/// One kind of device.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Its name in options.
    pub name: &'static str,
    /// Whether it can be used on this machine.
    pub available: bool,
}

/// Inputs that this build understands.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readable {
    /// File formats of corpora.
    pub formats: &'static [&'static str],
    /// Compressions of line formats.
    pub compressions: &'static [&'static str],
    /// Schemes of URLs, besides plain paths.
    pub stores: &'static [&'static str],
    /// Language-model files.
    pub models: &'static [&'static str],
    /// Named normalisers and tokenizer files.
    pub normalizers: &'static [&'static str],
}

/// Looks at the machine and at what was built in.
pub fn doctor() -> Doctor {
    let cpu = gristmill_cpu::features();
    Doctor {
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        cpu: Cpu {
            architecture: cpu.arch,
            features: cpu.extensions,
            vectors: cpu.vectors,
            threads: cpu.threads,
        },
        memory: memory(),
        temp_dir: std::env::temp_dir().to_string_lossy().into_owned(),
        backends: vec![Backend { name: "cpu", available: true }],
        reads: Readable {
            formats: &["parquet", "jsonl", "arrow", "text"],
            compressions: &["gzip", "zstd"],
            stores: &["file", "s3", "gs", "az", "https"],
            models: &["gml", "arpa", "kenlm-probing", "kenlm-trie"],
            normalizers: &[
                "unicode-words/1",
                "wordpunct/1",
                "whitespace/1",
                "ccnet/1",
                "tokenizer.json",
                "sentencepiece",
            ],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_backend_is_always_there() {
        let report = doctor();
        assert!(report.backends.iter().any(|b| b.name == "cpu" && b.available));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["cpu"]["architecture"], std::env::consts::ARCH);
        assert!(json["tempDir"].is_string());
    }
}
