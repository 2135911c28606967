use gristmill_core::ops::{Adamw, Moments, Noise, block_unit, code, flush, midpoints};
use gristmill_core::{DType, Result};

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Adamw, access: &Access) -> Result<()> {
    match &op.moments {
        Moments::Full { m, v } => with!(m.dtype(), common S => {
            let states = [access.output::<S>(m)?, access.output::<S>(v)?];
            let old = [0, 1].map(|which| states[which].iter().map(|x| x.as_f64() as f32).collect());
            let new = step(op, access, old)?;
            for (which, (state, values)) in states.into_iter().zip(&new).enumerate() {
                for (i, (slot, &x)) in state.iter_mut().zip(values).enumerate() {
                    *slot = stored(op, i, 1 + which, f64::from(x));
                }
            }
            Ok(())
        }),
        Moments::Int8 { codes, absmax, maps } => {
            let maps = access.input::<f32>(maps)?;
            let (codes, absmax) = (access.output::<u32>(codes)?, access.output::<f32>(absmax)?);
            let blocks = absmax.len() / 2;
            let old = [0, 1].map(|which| {
                let number = |i: usize| {
                    let word = codes[64 * which * blocks + i / 4];
                    let code = (word >> (8 * (i % 4))) as usize & 255;
                    flush(maps[256 * which + code] * flush(absmax[which * blocks + i / Moments::BLOCK]))
                };
                (0..op.param.len()).map(number).collect()
            });
            let new = step(op, access, old)?;
            for (which, values) in new.iter().enumerate() {
                let middle = midpoints(&maps[256 * which..][..256]);
                for (block, values) in values.chunks(Moments::BLOCK).enumerate() {
                    let unit = block_unit(values.iter().fold(0f32, |max, x| max.max(x.abs())));
                    absmax[which * blocks + block] = unit.0;
                    let words = &mut codes[64 * (which * blocks + block)..][..64];
                    // Behind the last element come zeros, which have codes too.
                    for (i, word) in words.iter_mut().enumerate() {
                        let code = |i: usize| code(&middle, values.get(i).copied().unwrap_or(0.0), unit);
                        *word = u32::from_le_bytes([0, 1, 2, 3].map(|byte| code(4 * i + byte)));
                    }
                }
            }
            Ok(())
        }
    }
}

/// Updates the parameter; the new moments.
fn step(op: &Adamw, access: &Access, [old_m, old_v]: [Vec<f32>; 2]) -> Result<[Vec<f32>; 2]> {
    let rule = &op.rule;
    let (mut new_m, mut new_v) = (Vec::new(), Vec::new());
    with!(op.grad.dtype(), common G => with!(op.param.dtype(), common P => {
        let grads = access.input::<G>(&op.grad)?;
        for (i, param) in access.output::<P>(&op.param)?.iter_mut().enumerate() {
            let (m, v, counts) = rule.moments(rule.betas(), grads[i].as_f64() as f32, old_m[i], old_v[i]);
            let direction = match counts {
                true => f64::from(m) / (f64::from(v).sqrt() + f64::from(rule.eps)),
                false => 0.0,
            };
            let move_by = f64::from(rule.step) * direction;
            if rule.keep == 0.0 {
                *param = stored(op, i, 0, -move_by);
            } else if counts {
                *param = stored(op, i, 0, f64::from(rule.keep) * param.as_f64() - move_by);
            }
            new_m.push(m);
            new_v.push(v);
        }
        Ok([new_m, new_v])
    }))
}

/// A number as it is stored: of parameter (0), `m` (1) or `v` (2).
fn stored<T: Number>(op: &Adamw, i: usize, which: usize, x: f64) -> T {
    match op.noise {
        Some(noise) if T::DTYPE == DType::Bf16 => {
            let bits = Noise::round(x as f32, noise.bits(i as u32)[which]);
            T::nearest(f64::from(f32::from_bits(u32::from(bits) << 16)))
        }
        _ => T::nearest(x),
    }
}
