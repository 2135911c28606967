use gristmill_core::DType;
use gristmill_core::ops::{GaussianNoise, NoiseGenerator};

use crate::case::{Bound, Case, Problem};
use crate::operand::Operand;
use crate::values::Values;

pub(super) fn cases() -> Vec<Case> {
    let noise = |generator: NoiseGenerator, n: usize, (std, scale): (f64, f64), values: Values| {
        let name = format!("{n}/{}/{std}/{scale}/{values}", generator.name());
        // One NaN is as good as another.
        Case::new("gaussian_noise", name, Bound::Exact, move |draw| {
            let mut key = [0; 32];
            let secret = if generator == NoiseGenerator::Philox { 8 } else { 32 };
            key[..secret].copy_from_slice(&draw.bytes(secret));
            let step = u64::from(draw.bits()) << 32 | u64::from(draw.bits());
            let tensor = draw.bits();
            let y = Operand::update(DType::F32, &[n], values.elements(draw, DType::F32, n));
            Problem::new(vec![y], move |t| GaussianNoise {
                y: t[0].clone(),
                generator,
                key,
                step,
                tensor,
                std,
                scale,
            })
        })
    };
    let mut cases = Vec::new();
    for generator in NoiseGenerator::ALL {
        // Around pairs, blocks, groups of blocks, tasks and threads.
        for n in [0, 1, 2, 3, 7, 8, 9, 64, 127, 129, 1021, 32_769, 100_003] {
            cases.push(noise(generator, n, (1.0, 1.0), Values::Normal(1.0)));
        }
        // The noise alone, every one of its bits.
        cases.push(noise(generator, 200_001, (1.0, 1.0), Values::Constant(0.0)));
        for factors in [(0.0, 1.0), (3.7, 1.0 / 256.0), (1e-3, -2.0), (1e-12, 1e20)] {
            cases.push(noise(generator, 777, factors, Values::Normal(1.0)));
        }
        cases.push(noise(generator, 500, (0.5, 0.25), Values::Special));
        cases.push(noise(generator, 517, (2.0, 0.5), Values::Around(3.0)).viewed());
    }
    cases
}
