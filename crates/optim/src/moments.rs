use gristmill_core::ops::{Adamw, AdamwRule, Moments, Noise, dynamic_map};
use gristmill_core::{DType, Device, Result, Tensor};
use serde::{Deserialize, Serialize};

/// How the moments of Adam are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateType {
    /// 8 bytes an element.
    #[default]
    F32,
    /// 4 bytes an element, rounded to the nearest or at random, as weights are.
    Bf16,
    /// 2 bytes an element and 8 for every 256: codes of the dynamic map, a scale for each block. Of tensors of fewer than
    /// 4,096 elements the moments stay `f32`, as `bitsandbytes` has it.
    Int8,
}

/// Elements below which 8 bits are not worth it.
const SMALL: usize = 4096;

impl StateType {
    /// What it is for a tensor of so many elements.
    pub(crate) fn of(self, elements: usize) -> Self {
        if self == StateType::Int8 && elements < SMALL { StateType::F32 } else { self }
    }

    /// Bytes of the moments of so many elements, and of their scales.
    pub(crate) fn bytes(self, elements: usize) -> (u64, u64) {
        let n = elements as u64;
        match self.of(elements) {
            StateType::F32 => (8 * n, 0),
            StateType::Bf16 => (4 * n, 0),
            // Blocks are whole.
            StateType::Int8 => (2 * 256 * n.div_ceil(256), 8 * n.div_ceil(256)),
        }
    }
}

/// Both maps of 8-bit codes on a device.
pub(crate) fn maps(device: &Device) -> Result<Tensor> {
    device.tensor([dynamic_map(true), dynamic_map(false)].concat(), [2, 256])
}

/// The moments of a tensor of this shape, zeros at first.
pub(crate) fn zeros(device: &Device, state: StateType, shape: &[usize], maps: &Tensor) -> Result<Moments> {
    let elements: usize = shape.iter().product();
    let full = |dtype| {
        Ok(Moments::Full { m: device.zeros(dtype, shape.to_vec())?, v: device.zeros(dtype, shape.to_vec())? })
    };
    match state.of(elements) {
        StateType::F32 => full(DType::F32),
        StateType::Bf16 => full(DType::Bf16),
        StateType::Int8 => {
            let blocks = elements.div_ceil(Moments::BLOCK);
            Ok(Moments::Int8 {
                codes: device.zeros(DType::U32, [2, blocks, Moments::BLOCK / 4])?,
                absmax: device.zeros(DType::F32, [2, blocks])?,
                maps: maps.clone(),
            })
        }
    }
}

/// The tensors of a state with their names in checkpoints.
pub(crate) fn named(moments: &Moments) -> [(&'static str, &Tensor); 2] {
    match moments {
        Moments::Full { m, v } => [("exp_avg", m), ("exp_avg_sq", v)],
        Moments::Int8 { codes, absmax, .. } => [("codes", codes), ("absmax", absmax)],
    }
}

/// Bytes of numbers or codes, and of scales.
pub(crate) fn bytes(moments: &Moments) -> (u64, u64) {
    let [(_, a), (_, b)] = named(moments);
    match moments {
        Moments::Full { .. } => (a.bytes() as u64 + b.bytes() as u64, 0),
        Moments::Int8 { .. } => (a.bytes() as u64, b.bytes() as u64),
    }
}

/// The direction of Adam for a gradient in the space of the moments, which move.
pub(crate) fn direction(
    gradient: &Tensor,
    moments: &Moments,
    rule: AdamwRule,
    noise: Option<Noise>,
) -> Result<Tensor> {
    let device = gradient.device();
    let out = device.empty(DType::F32, gradient.shape().to_vec())?;
    device.run(Adamw {
        grad: gradient.clone(),
        param: out.clone(),
        moments: moments.clone(),
        rule,
        noise,
    })?;
    Ok(out)
}
