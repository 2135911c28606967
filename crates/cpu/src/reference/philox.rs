use std::f64::consts::TAU;

use gristmill_core::Result;
use gristmill_core::ops::{Draw, Philox};
use gristmill_core::rng::{Philox as Sequence, uniform};

use crate::access::Access;

pub(super) fn run(op: &Philox, access: &Access) -> Result<()> {
    let sequence = Sequence::new(op.seed, op.stream);
    let draws = op.offset..;
    match op.draw {
        Draw::Bits => {
            for (out, g) in access.output::<u32>(&op.out)?.iter_mut().zip(draws) {
                *out = sequence.bits(g);
            }
        }
        Draw::Uniform => {
            for (out, g) in access.output::<f32>(&op.out)?.iter_mut().zip(draws) {
                *out = uniform(sequence.bits(g));
            }
        }
        Draw::Normal => {
            for (out, g) in access.output::<f32>(&op.out)?.iter_mut().zip(draws) {
                let [u0, u1] = [g & !1, g | 1].map(|g| f64::from(uniform(sequence.bits(g))));
                let wave = if g % 2 == 0 { (TAU * u1).cos() } else { (TAU * u1).sin() };
                *out = ((-2.0 * u0.ln()).sqrt() * wave) as f32;
            }
        }
    }
    Ok(())
}
