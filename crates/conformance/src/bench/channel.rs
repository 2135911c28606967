//! The cases of channels with factors and of codes of 4 bits.

use gristmill_core::ops::{ChannelFactors, ChannelStep, Draw, INT4_GROUP, Int4Pack, Int4Unpack, Noise};
use gristmill_core::{DType, Device, Result};

use super::cases::{BenchCase, Bind, Sizes, case, normal};

pub(super) fn channels(s: &Sizes) -> Vec<BenchCase> {
    let (rows, columns, n) = (s.n >> 12, 1 << 12, s.n);
    let positive = |device: &Device, n: usize| device.philox([n], Draw::Uniform, 1, 1, 0);
    let step = |dtype: DType, across: bool, noise: Option<Noise>| {
        let name = format!("{rows}x{columns}/{dtype}/{}", if across { "columns" } else { "rows" });
        case("channel_step", name, Bind::Copy, move |device| {
            Ok(ChannelStep {
                grad: normal(device, dtype, &[rows, columns])?,
                factors: positive(device, if across { columns } else { rows })?,
                param: normal(device, dtype, &[rows, columns])?,
                columns: across,
                step: 1e-3,
                keep: 0.999,
                noise,
            })
        })
    };
    let packed = move |device: &Device| -> Result<_> {
        let groups = n.div_ceil(INT4_GROUP);
        let (codes, scales) =
            (device.empty(DType::U32, [n.div_ceil(8)])?, device.empty(DType::F32, [groups])?);
        Ok((codes, scales, device.empty(DType::U32, [groups])?))
    };
    let pack = move |device: &Device| -> Result<Int4Pack> {
        let (codes, scales, zeros) = packed(device)?;
        Ok(Int4Pack { x: normal(device, DType::F32, &[n])?, codes, scales, zeros })
    };
    vec![
        step(DType::F32, false, None),
        step(DType::F32, true, None),
        step(DType::Bf16, false, Some(Noise { seed: 1, stream: 2 })),
        case("channel_factors", format!("{}", s.square), Bind::Copy, {
            let channels = s.square;
            move |device| {
                Ok(ChannelFactors {
                    direction: positive(device, channels)?,
                    projected: positive(device, channels)?,
                    gradient: positive(device, channels)?,
                    previous: Some(device.zeros(DType::F32, [1])?),
                    factors: device.empty(DType::F32, [channels])?,
                    whole: false,
                    scale: 1.0,
                    grad_scale: 1.0,
                })
            }
        }),
        case("int4_pack", format!("{n}/f32"), Bind::Read, pack),
        case("int4_unpack", format!("{n}/f32"), Bind::Copy, move |device| {
            let op = pack(device)?;
            let (codes, scales, zeros) = (op.codes.clone(), op.scales.clone(), op.zeros.clone());
            device.run(op)?;
            Ok(Int4Unpack { codes, scales, zeros, out: device.empty(DType::F32, [n])? })
        }),
    ]
}
