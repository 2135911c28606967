use std::fs;

/// Main memory in bytes; what cannot be found out on this platform is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Installed memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What can be had now without swapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// The limit of the control group that this process runs in, when there is one below `total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl Memory {
    /// What this process may have at the most.
    pub fn usable(&self) -> Option<u64> {
        self.limit.or(self.total)
    }
}

/// Reads how much memory there is (on Linux, from `/proc/meminfo` and the control group).
pub fn memory() -> Memory {
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = field(&info, "MemTotal:");
    let limit = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
        .filter(|limit| total.is_none_or(|total| *limit < total));
    Memory { total, available: field(&info, "MemAvailable:"), limit }
}

/// The value of a line such as `MemTotal:       24610352 kB`, in bytes.
fn field(info: &str, name: &str) -> Option<u64> {
    let kib = info.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix("kB")?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_lines_that_it_needs() {
        let info = "MemTotal:       24610352 kB\nMemFree: 1 kB\nMemAvailable:   23000000 kB\n";
        assert_eq!(field(info, "MemTotal:"), Some(24_610_352 * 1024));
        assert_eq!(field(info, "MemAvailable:"), Some(23_000_000 * 1024));
        assert_eq!(field(info, "SwapTotal:"), None);
        assert_eq!(field("MemTotal: many kB", "MemTotal:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_memory() {
        let m = memory();
        assert!(m.total.unwrap() >= m.available.unwrap());
    }
}
