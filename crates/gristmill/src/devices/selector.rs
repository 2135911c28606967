use std::fmt;
use std::str::FromStr;

use gristmill_core::{Error, Result};

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Backend {
    /// The processor.
    Cpu,
    /// Vulkan, Metal and Direct3D 12.
    Wgpu,
    /// NVIDIA's own.
    Cuda,
}

impl Backend {
    /// All of them.
    pub const ALL: [Backend; 3] = [Backend::Cpu, Backend::Wgpu, Backend::Cuda];

    /// The name in selectors.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Cpu => "cpu",
            Backend::Wgpu => "wgpu",
            Backend::Cuda => "cuda",
        }
    }
}

/// Which device to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// The best that there is.
    Auto,
    /// The scalar definition of every operation.
    Reference,
    /// One of a backend: the first that can be used, or that of this number.
    Of(Backend, Option<usize>),
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Auto => f.write_str("auto"),
            Selector::Reference => f.write_str("reference"),
            Selector::Of(backend, None) => f.write_str(backend.name()),
            Selector::Of(backend, Some(index)) => write!(f, "{}:{index}", backend.name()),
        }
    }
}

impl FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            Err(Error::invalid_argument("device", format!("no device {text:?}"))
                .hint("one of auto, cpu, wgpu, wgpu:0, cuda, cuda:0, reference"))
        };
        let (name, index) = match text.split_once(':') {
            // Digits alone: `parse` would take a sign.
            Some((name, index)) if index.bytes().all(|b| b.is_ascii_digit()) => match index.parse() {
                Ok(index) => (name, Some(index)),
                Err(_) => return refuse(),
            },
            Some(_) => return refuse(),
            None => (text, None),
        };
        match (name, index) {
            ("auto", None) => Ok(Selector::Auto),
            ("reference", None) => Ok(Selector::Reference),
            ("cpu", None) => Ok(Selector::Of(Backend::Cpu, None)),
            ("wgpu", index) => Ok(Selector::Of(Backend::Wgpu, index)),
            ("cuda", index) => Ok(Selector::Of(Backend::Cuda, index)),
            _ => refuse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use gristmill_core::Code;

    use super::*;

    #[test]
    fn what_parses_prints_the_same() {
        for text in ["auto", "reference", "cpu", "wgpu", "wgpu:0", "wgpu:17", "cuda", "cuda:3"] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_selector_is_refused_with_those_that_are() {
        for text in [
            "",
            ":",
            "gpu",
            "CPU",
            "cpu:0",
            "auto:1",
            "cuda:",
            "cuda:-1",
            "cuda:+1",
            "cuda:0x1",
            "wgpu:1:2",
            "wgpu: 1",
            "wgpu:99999999999999999999",
            "cuda:٣",
        ] {
            let e = text.parse::<Selector>().unwrap_err();
            assert_eq!(e.code(), Code::InvalidArgument, "{text}");
            assert!(e.hint_text().is_some_and(|hint| hint.contains("wgpu:0")));
        }
    }
}
