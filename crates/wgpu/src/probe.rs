//! What adapters this machine has.

use gristmill_core::DeviceInfo;
use gristmill_core::device::DeviceKind;
use wgpu::{Backends, Instance, InstanceDescriptor, InstanceFlags};

use crate::ops::supports;

/// An adapter that [`open`](crate::open) can open.
#[derive(Debug, Clone)]
pub struct Adapter {
    /// Its number: what comes after `wgpu:`.
    pub index: usize,
    /// What it is, as the device would say of itself when it is opened with the default options.
    pub info: DeviceInfo,
    /// Why it cannot be opened, if it lacks something.
    pub unusable: Option<String>,
}

/// The adapters of Vulkan, Metal and Direct3D 12, in the order of their drivers. OpenGL is left out: it lists the same
/// hardware once more, with less.
pub fn probe() -> Vec<Adapter> {
    let instance = instance(false);
    adapters(&instance)
        .iter()
        .enumerate()
        .map(|(index, adapter)| Adapter {
            index,
            info: describe(index, adapter, adapter.features().contains(wgpu::Features::SUBGROUP)),
            unusable: lacks(adapter),
        })
        .collect()
}

/// The entry to the drivers; with the validation layers, where they are installed, and their messages in the log, or
/// not.
pub(crate) fn instance(validation: bool) -> Instance {
    let flags = if validation { InstanceFlags::debugging() } else { InstanceFlags::empty() };
    Instance::new(InstanceDescriptor {
        backends: backends(),
        flags,
        ..InstanceDescriptor::new_without_display_handle()
    })
}

fn backends() -> Backends {
    Backends::VULKAN | Backends::METAL | Backends::DX12
}

pub(crate) fn adapters(instance: &Instance) -> Vec<wgpu::Adapter> {
    pollster::block_on(instance.enumerate_adapters(backends()))
}

/// The name of the limit that says how many bytes a binding may show.
pub(crate) const BINDING_BYTES: &str = "maxBindingBytes";

/// Workgroup memory that the kernels need.
pub(crate) const WORKGROUP_BYTES: u32 = 16 << 10;
/// Invocations of a workgroup, in all kernels.
const INVOCATIONS: u32 = 256;
/// Bytes of parameters at most.
pub(crate) const IMMEDIATE_BYTES: u32 = 128;

/// What an adapter lacks to be used, if anything: every one that WebGPU browsers accept has it all.
pub(crate) fn lacks(adapter: &wgpu::Adapter) -> Option<String> {
    let limits = adapter.limits();
    let needs = [
        ("workgroup memory", limits.max_compute_workgroup_storage_size, WORKGROUP_BYTES),
        ("invocations of a workgroup", limits.max_compute_invocations_per_workgroup, INVOCATIONS),
        ("workgroup size", limits.max_compute_workgroup_size_x, INVOCATIONS),
        ("storage buffers", limits.max_storage_buffers_per_shader_stage, 8),
        ("bytes of immediates", limits.max_immediate_size, IMMEDIATE_BYTES),
    ];
    if !adapter.features().contains(wgpu::Features::IMMEDIATES) {
        return Some("the driver has no immediates (push constants)".into());
    }
    needs
        .iter()
        .find(|(_, has, needs)| has < needs)
        .map(|(what, has, needs)| format!("the driver allows {has} {what}, {needs} are needed"))
}

/// What a device on this adapter says of itself.
pub(crate) fn describe(index: usize, adapter: &wgpu::Adapter, subgroups: bool) -> DeviceInfo {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let kind = match info.device_type {
        wgpu::DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu,
        wgpu::DeviceType::DiscreteGpu => DeviceKind::DiscreteGpu,
        wgpu::DeviceType::VirtualGpu => DeviceKind::VirtualGpu,
        wgpu::DeviceType::Cpu => DeviceKind::Software,
        wgpu::DeviceType::Other => DeviceKind::Other,
    };
    let driver = [info.backend.to_string(), info.driver, info.driver_info].join(" ");
    let mut sizes = vec![
        (BINDING_BYTES, limits.max_storage_buffer_binding_size),
        ("maxBufferBytes", limits.max_buffer_size),
        ("workgroupMemoryBytes", limits.max_compute_workgroup_storage_size.into()),
    ];
    if subgroups {
        sizes.push(("minSubgroup", info.subgroup_min_size.into()));
        sizes.push(("maxSubgroup", info.subgroup_max_size.into()));
    }
    DeviceInfo {
        backend: "wgpu",
        selector: format!("wgpu:{index}"),
        name: info.name,
        kind,
        driver: driver.trim().to_owned(),
        memory: None,
        limits: sizes,
        features: if subgroups { vec!["subgroups".into()] } else { Vec::new() },
        supports,
    }
}
