use serde::Serialize;

use gristmill_cpu::{Memory, memory};

use crate::devices::{Auto, Found, survey};

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
    /// The devices that this machine has, by backend, and why a backend has none that can be used.
    pub backends: Vec<Found>,
    /// What `auto` would open, and why it would pass over others.
    pub auto: Auto,
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
    let (backends, auto) = survey();
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
        backends,
        auto,
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
        assert!(report.backends.iter().any(|b| b.name == "cpu" && b.available && b.devices.len() == 1));
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["cpu"]["architecture"], std::env::consts::ARCH);
        assert!(json["tempDir"].is_string());
    }

    #[test]
    fn what_auto_would_open_is_what_it_opens() {
        let (report, opened) = (doctor(), crate::devices::open("auto").unwrap());
        assert_eq!(report.auto.selector, opened.device.info().selector);
        assert_eq!(report.auto.passed_over, opened.passed_over);
    }

    #[test]
    fn a_backend_has_a_device_or_a_reason() {
        for found in doctor().backends {
            assert_eq!(found.available, found.devices.iter().any(|d| d.unusable.is_none()), "{found:?}");
            assert_ne!(found.available, found.reason.is_some(), "{found:?}");
        }
    }
}
