//! The cases of what the layers of LOST and outlier-safe pre-training do beside matrix products.

use gristmill_core::ops::{
    ActivationGrad, ActivationKind, GatherColumns, Hadamard, Kurtosis, NormGrad, NormKind, QuantizeRtn,
    RtnRule, ScatterColumns,
};
use gristmill_core::{DType, Device, Result, Tensor};

use super::cases::{BenchCase, Bind, Sizes, case, normal};

pub(super) fn layers(s: &Sizes) -> Vec<BenchCase> {
    let columns = s.square;
    let rows = (s.n / columns).max(1);
    let k = columns / 20;
    let index = move |device: &Device| -> Result<Tensor> {
        device.tensor((0..k).map(|j| (20 * j + j % 20) as u32).collect(), [k])
    };
    let mut cases = Vec::new();
    for dtype in [DType::F32, DType::Bf16] {
        let name = format!("{rows}x{columns}/{k}/{dtype}");
        cases.push(case("gather_columns", &name, Bind::Copy, move |device| {
            Ok(GatherColumns {
                x: normal(device, dtype, &[rows, columns])?,
                index: index(device)?,
                out: device.empty(dtype, [rows, k])?,
            })
        }));
        cases.push(case("scatter_columns", &name, Bind::Copy, move |device| {
            Ok(ScatterColumns {
                y: normal(device, dtype, &[rows, k])?,
                index: index(device)?,
                out: device.zeros(dtype, [rows, columns])?,
            })
        }));
        let name = format!("{rows}x{columns}/{dtype}/silu");
        cases.push(case("activation_grad", name, Bind::Copy, move |device| {
            Ok(ActivationGrad {
                x: normal(device, dtype, &[rows, columns])?,
                dy: normal(device, dtype, &[rows, columns])?,
                out: device.empty(dtype, [rows, columns])?,
                kind: ActivationKind::Silu,
            })
        }));
        let name = format!("{rows}x{columns}/{dtype}");
        let x = move |device: &Device| normal(device, dtype, &[rows, columns]);
        let out = move |device: &Device| device.empty(dtype, [rows, columns]);
        cases.push(case("kurtosis", &name, Bind::Read, move |device| {
            Ok(Kurtosis { x: x(device)?, out: device.empty(DType::F32, [rows])?, centered: false })
        }));
        for block in [128, columns.min(Hadamard::BLOCK)] {
            cases.push(case("hadamard", format!("{name}/{block}"), Bind::Copy, move |device| {
                Ok(Hadamard { x: x(device)?, out: out(device)?, block })
            }));
        }
        for (symmetric, group) in [(true, columns), (false, 128)] {
            let kind = if symmetric { "symmetric" } else { "asymmetric" };
            let rule = RtnRule { symmetric, ..RtnRule::default() };
            cases.push(case("quantize_rtn", format!("{name}/{group}/{kind}"), Bind::Copy, move |device| {
                Ok(QuantizeRtn { x: x(device)?, out: out(device)?, group, rule })
            }));
        }
        cases.push(case("norm_grad", format!("{name}/rms"), Bind::Copy, move |device| {
            Ok(NormGrad {
                x: x(device)?,
                dy: x(device)?,
                weight: Some(normal(device, DType::F32, &[columns])?),
                dx: out(device)?,
                dots: device.empty(DType::F32, [rows])?,
                eps: 1e-6,
                kind: NormKind::Rms,
            })
        }));
    }
    cases
}
