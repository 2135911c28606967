//! The wgpu backend: Vulkan, Metal and Direct3D 12.
