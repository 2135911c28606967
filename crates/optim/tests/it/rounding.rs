//! Steps that are small beside the distance of neighbours in `bf16`.

use gristmill_core::{DType, Result};
use gristmill_optim::linalg::orthonormalize;
use gristmill_optim::{Algorithm, GaLoreOptions, Group, Optimizer, OptimizerOptions, Refresh};

use crate::{devices, host, tensor};

/// How far weights of ones in `bf16` have moved on average after so many steps along one gradient, and those in `f32`.
fn moved(right: bool, stochastic_rounding: bool) -> Result<Vec<[f64; 2]>> {
    const STEPS: usize = 40;
    let shape = if right { [64, 48] } else { [48, 64] };
    devices()
        .into_iter()
        .map(|device| {
            let basis = orthonormalize(&tensor(&device, 3, &[48, 8]))?;
            let gradient = tensor(&device, 4, &shape);
            let run = |dtype: DType| -> Result<f64> {
                let ones = device.tensor(vec![1f32; 64 * 48], shape)?;
                let weight = if dtype == DType::F32 { ones } else { ones.cast(dtype)? };
                let options = GaLoreOptions {
                    rank: 8,
                    refresh: Refresh::Given,
                    scale: 1.0,
                    ..GaLoreOptions::default()
                };
                let mut group = Group::new(Algorithm::GaLore(options), vec![("w".into(), weight.clone())]);
                // A step is a twentieth of the distance to the next number below 1.
                group.adam.lr = 2f64.powi(-8) / 20.0;
                // So that it has a mean.
                group.adam.weight_decay = 0.5;
                let options = OptimizerOptions { stochastic_rounding, ..OptimizerOptions::default() };
                let mut optimizer = Optimizer::new(&device, vec![group], options)?;
                optimizer.set_projector("w", std::slice::from_ref(&basis))?;
                for _ in 0..STEPS {
                    optimizer.step(std::slice::from_ref(&gradient))?;
                }
                let weight = host(&weight.cast(DType::F32)?);
                Ok(weight.iter().map(|&w| f64::from(w) - 1.0).sum::<f64>() / weight.len() as f64)
            };
            Ok([run(DType::Bf16)?, run(DType::F32)?])
        })
        .collect()
}

#[test]
fn small_steps_in_a_subspace_count_on_average() -> Result<()> {
    for right in [true, false] {
        for [halves, singles] in moved(right, true)? {
            assert!(singles < -1e-3, "{singles:e}");
            assert!((halves / singles - 1.0).abs() < 0.1, "{right}: {halves:e} {singles:e}");
        }
        for [halves, singles] in moved(right, false)? {
            assert!(halves.abs() < 0.2 * singles.abs(), "{right}: {halves:e} {singles:e}");
        }
    }
    Ok(())
}
