//! A dispatch: a variant of a shader, bindings, parameters, a number of workgroups.

use std::sync::Arc;

use gristmill_core::{Code, Error, Result};

use crate::context::Context;
use crate::preprocess::{Defs, preprocess};
use crate::shaders;
use crate::window::Window;

/// Workgroups in the first dimension at most; more go into rows of the second.
const GROUPS_X: u64 = 1 << 15;

/// A compiled variant of a shader.
pub(crate) struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
    params: Vec<String>,
}

/// What is to be dispatched.
#[must_use]
pub(crate) struct Kernel {
    name: &'static str,
    defs: Vec<(&'static str, &'static str)>,
    bindings: Vec<(Window, bool)>,
    params: Vec<(&'static str, u32)>,
}

impl Kernel {
    pub(crate) fn new(name: &'static str, subgroups: bool) -> Self {
        let defs = vec![("SUBGROUP", if subgroups { "1" } else { "0" })];
        Self { name, defs, bindings: Vec::new(), params: Vec::new() }
    }

    /// Defines a word of the shader.
    pub(crate) fn def(mut self, key: &'static str, value: &'static str) -> Self {
        self.defs.push((key, value));
        self
    }

    /// Defines a switch of the shader.
    pub(crate) fn flag(self, key: &'static str, on: bool) -> Self {
        self.def(key, if on { "1" } else { "0" })
    }

    /// The next binding, only read.
    pub(crate) fn read(mut self, window: &Window) -> Self {
        self.bindings.push((window.clone(), false));
        self
    }

    /// The next binding, written.
    pub(crate) fn write(mut self, window: &Window) -> Self {
        self.bindings.push((window.clone(), true));
        self
    }

    /// The value of a parameter; a later one replaces it.
    pub(crate) fn param(mut self, name: &'static str, value: u32) -> Self {
        self.params.push((name, value));
        self
    }

    /// The value of a parameter that counts something and was checked to fit.
    pub(crate) fn count(self, name: &'static str, value: usize) -> Self {
        // Windows are far smaller than 2^32 elements; sums of places in them wrap around to what is right.
        self.param(name, value as u32)
    }

    /// Parameters that this variant does not look at, unless they are given later.
    pub(crate) fn unused(self, names: &[&'static str]) -> Self {
        names.iter().fold(self, |kernel, name| kernel.param(name, 0))
    }

    /// A parameter that is a number.
    pub(crate) fn number(self, name: &'static str, value: f32) -> Self {
        self.param(name, value.to_bits())
    }

    /// Enqueues it over this many workgroups of 256 invocations, numbered by `group_number`; `work` is what it moves
    /// or computes.
    pub(crate) fn run(self, ctx: &mut Context, groups: usize, work: u64) -> Result<()> {
        let groups = groups as u64;
        let x = groups.clamp(1, GROUPS_X);
        let y = groups.div_ceil(x);
        if groups == 0 {
            return Ok(());
        }
        if y > 65_535 {
            return Err(Error::new(Code::Internal, format!("{groups} workgroups in one dispatch")));
        }
        self.run_grid(ctx, [x as u32, y as u32, 1], work)
    }

    /// Enqueues it over a grid of workgroups.
    pub(crate) fn run_grid(self, ctx: &mut Context, grid: [u32; 3], work: u64) -> Result<()> {
        // Within a dispatch a buffer is either read or written; one that is both is bound for writing throughout.
        let shared = self.bindings.iter().any(|(a, write)| {
            *write && self.bindings.iter().any(|(b, other)| !other && a.buffer == b.buffer)
        });
        let pipeline = ctx.pipeline(&self, shared)?;
        let entries: Vec<_> = self
            .bindings
            .iter()
            .enumerate()
            .map(|(i, (window, _))| wgpu::BindGroupEntry {
                binding: i as u32,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &window.buffer,
                    offset: window.offset,
                    size: std::num::NonZeroU64::new(window.size),
                }),
            })
            .collect();
        let group = ctx.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(self.name),
            layout: &pipeline.layout,
            entries: &entries,
        });
        let params = pipeline.params.iter().map(|name| self.value(name)).collect::<Result<Vec<u32>>>()?;
        ctx.record(work, |encoder| {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.set_immediates(0, bytemuck::cast_slice(&params));
            pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
        })
    }

    fn value(&self, name: &str) -> Result<u32> {
        match self.params.iter().rfind(|(n, _)| *n == name) {
            Some((_, value)) => Ok(*value),
            None if name == "zero" => Ok(0),
            None => Err(Error::new(Code::Internal, format!("{} lacks its parameter {name}", self.name))),
        }
    }
}

impl Context {
    /// The compiled variant, from the cache if it was used before.
    fn pipeline(&mut self, kernel: &Kernel, shared: bool) -> Result<Arc<Pipeline>> {
        let mut defs: Defs = kernel.defs.clone();
        defs.push(("READ", if shared { "read_write" } else { "read" }));
        let key = shaders::key(kernel.name, &defs)?;
        if let Some(pipeline) = self.pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let writes: Vec<bool> = kernel.bindings.iter().map(|(_, write)| *write || shared).collect();
        let pipeline = Arc::new(self.compile(kernel.name, &defs, &key, &writes)?);
        self.pipelines.insert(key, pipeline.clone());
        Ok(pipeline)
    }

    fn compile(&self, name: &str, defs: &Defs, key: &str, writes: &[bool]) -> Result<Pipeline> {
        let source = preprocess(name, defs)?;
        let device = &self.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(key),
            source: wgpu::ShaderSource::Wgsl(source.wgsl.into()),
        };
        let mut checks = wgpu::ShaderRuntimeChecks::checked();
        checks.force_loop_bounding = false;
        checks.int_div_checks = false;
        // SAFETY: accesses stay checked. What is left out guards against endless loops and division by zero: every
        // loop of our shaders counts up to a bound that does not change in it, or halves what is left, and every divisor
        // is at least 1.
        let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
        let entries: Vec<_> = writes
            .iter()
            .enumerate()
            .map(|(i, write)| wgpu::BindGroupLayoutEntry {
                binding: i as u32,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: wgpu::BufferBindingType::Storage { read_only: !write },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(key),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(key),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 4 * source.params.len() as u32,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(key),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Every kernel writes before it reads.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        match pollster::block_on(scope.pop()) {
            Some(e) => {
                self.check()?;
                Err(Error::new(Code::Internal, format!("the driver rejects {key}: {e}")))
            }
            None => Ok(Pipeline { pipeline, layout, params: source.params }),
        }
    }
}
