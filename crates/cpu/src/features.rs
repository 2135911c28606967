use std::num::NonZero;

/// What this processor offers, as far as Gristmill cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// The instruction set, such as `x86_64` or `aarch64`.
    pub arch: &'static str,
    /// Extensions that were detected, in the order of their age.
    pub extensions: Vec<&'static str>,
    /// The widest vectors that the operations here will use.
    pub vectors: &'static str,
    /// Threads that this process may run at once.
    pub threads: usize,
}

macro_rules! detected {
    ($detect:ident: $($name:tt)*) => {
        [$(($name, std::arch::$detect!($name))),*]
            .into_iter()
            .filter_map(|(name, there)| there.then_some(name))
            .collect()
    };
}

/// Asks the processor.
pub fn features() -> Features {
    Features {
        arch: std::env::consts::ARCH,
        extensions: extensions(),
        vectors: crate::ops::Vectors::detect().name(),
        threads: std::thread::available_parallelism().map_or(1, NonZero::get),
    }
}

#[cfg(target_arch = "x86_64")]
fn extensions() -> Vec<&'static str> {
    detected!(is_x86_feature_detected: "sse4.2" "popcnt" "avx" "f16c" "fma" "bmi2" "avx2" "avx512f" "avx512bw"
        "avx512dq" "avx512vl" "avx512vnni" "avx512bf16" "avx512fp16" "avxvnni")
}

#[cfg(target_arch = "aarch64")]
fn extensions() -> Vec<&'static str> {
    detected!(is_aarch64_feature_detected: "neon" "crc" "dotprod" "fp16" "bf16" "i8mm" "sve" "sve2")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn extensions() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_operating_system() {
        let f = features();
        assert_eq!(f.arch, std::env::consts::ARCH);
        assert!(f.threads >= 1);
        // Linux lists the same flags, some under other names.
        if let Ok(cpuinfo) = std::fs::read_to_string("/proc/cpuinfo")
            && let Some(flags) = cpuinfo.lines().find(|l| l.starts_with("flags"))
        {
            let listed = |name: &str| flags.split_whitespace().any(|f| f == name);
            for name in ["avx2", "fma", "avx512f"] {
                assert_eq!(f.extensions.contains(&name), listed(name), "{name}");
            }
            let avx512 = ["avx512f", "avx512bw", "avx512dq", "avx512vl"].into_iter().all(listed);
            assert_eq!(f.vectors == "avx512", avx512);
            assert_eq!(f.vectors == "avx2", listed("avx2") && !avx512);
        }
    }
}
