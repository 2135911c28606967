//! The cases of what the layers of LOST do beside matrix products.

use gristmill_core::ops::{ActivationGrad, ActivationKind, GatherColumns, ScatterColumns};
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
    }
    cases
}
