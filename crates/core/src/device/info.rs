use std::fmt;

use crate::ops::Op;

/// What a device is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// This process's own processor.
    Cpu,
    /// A graphics processor that shares the processor's memory.
    IntegratedGpu,
    /// A graphics processor with memory of its own.
    DiscreteGpu,
    /// A graphics processor handed through by a hypervisor.
    VirtualGpu,
    /// A graphics API that runs on the processor; never picked by itself.
    Software,
    /// The driver does not tell.
    Other,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceKind::Cpu => "cpu",
            DeviceKind::IntegratedGpu => "integrated GPU",
            DeviceKind::DiscreteGpu => "discrete GPU",
            DeviceKind::VirtualGpu => "virtual GPU",
            DeviceKind::Software => "software",
            DeviceKind::Other => "other",
        })
    }
}

/// Whether a device can run an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Support {
    /// It can.
    Native,
    /// It cannot, for this reason.
    Unsupported(String),
}

/// What a device is and what it can do.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceInfo {
    /// The backend: `cpu`, `wgpu` or `cuda`.
    pub backend: &'static str,
    /// The name that opens this very device, such as `wgpu:1`.
    pub selector: String,
    /// The device by its maker's name.
    pub name: String,
    /// What it is made of.
    pub kind: DeviceKind,
    /// The driver and its version, or what stands in for one.
    pub driver: String,
    /// Its memory in bytes, where the driver tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Limits that matter here, by name.
    pub limits: Vec<(&'static str, u64)>,
    /// Optional capabilities that are used, such as `subgroups`, `avx512` or `cublaslt`.
    pub features: Vec<String>,
    /// Whether a device of this description can run an operation: ask [`support`](Self::support).
    #[serde(skip)]
    pub supports: fn(&DeviceInfo, &Op) -> Support,
}

impl DeviceInfo {
    /// Whether the device can run an operation.
    pub fn support(&self, op: &Op) -> Support {
        (self.supports)(self, op)
    }

    /// One of its limits.
    pub fn limit(&self, name: &str) -> Option<u64> {
        self.limits.iter().find(|(limit, _)| *limit == name).map(|(_, value)| *value)
    }
}
