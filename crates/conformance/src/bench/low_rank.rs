//! What optimizers in subspaces do beside the products of the table.

use gristmill_core::ops::{AdamwRule, Gram, LowRankAdam, Moments, Noise, dynamic_map};
use gristmill_core::{DType, Device, Result};

use super::cases::{BenchCase, Bind, Sizes, case, normal};

pub(super) fn cases(s: &Sizes) -> Vec<BenchCase> {
    let n = s.square;
    let rule = AdamwRule { beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 1e-3, keep: 0.999, grad_scale: 1.0 };
    let step = move |rank: usize, right: bool, int8: bool, dtype: DType| {
        let (side, state) = (if right { "right" } else { "left" }, if int8 { "int8" } else { "f32" });
        let noise = (dtype == DType::Bf16).then_some(Noise { seed: 1, stream: 2 });
        let rounding = if noise.is_some() { "/bf16/noise" } else { "" };
        let name = format!("{n}x{n}/{rank}/{side}/{state}{rounding}");
        case("low_rank_adam", name, Bind::Matmul(DType::F32), move |device: &Device| -> Result<LowRankAdam> {
            let blocks = (n * rank).div_ceil(Moments::BLOCK);
            let zeros = |shape: &[usize]| device.zeros(DType::F32, shape);
            let moments = match int8 {
                true => Moments::Int8 {
                    codes: device.zeros(DType::U32, [2, blocks, Moments::BLOCK / 4])?,
                    absmax: zeros(&[2, blocks])?,
                    maps: device.tensor([dynamic_map(true), dynamic_map(false)].concat(), [2, 256])?,
                },
                false => Moments::Full { m: zeros(&[n, rank])?, v: zeros(&[n, rank])? },
            };
            Ok(LowRankAdam {
                grad: normal(device, dtype, &[n, n])?,
                basis: normal(device, DType::F32, &[n, rank])?,
                right,
                weight: normal(device, dtype, &[n, n])?,
                moments,
                rule,
                noise,
            })
        })
    };
    let gram = |dtype: DType, columns: bool| {
        let name = format!("{n}x{n}/{dtype}/{}", if columns { "columns" } else { "rows" });
        case("gram", name, Bind::Matmul(dtype), move |device| {
            let (x, out) = (normal(device, dtype, &[n, n])?, device.empty(dtype, [n, n])?);
            Ok(Gram { x, c: None, out, columns, alpha: 1.0, beta: 0.0 })
        })
    };
    vec![
        step(32, true, false, DType::F32),
        step(128, true, false, DType::F32),
        step(128, false, false, DType::F32),
        step(128, true, true, DType::F32),
        step(128, true, false, DType::Bf16),
        gram(DType::F32, false),
        gram(DType::Bf16, false),
        gram(DType::Bf16, true),
    ]
}
