use gristmill_core::ops::{Adamw, AdamwRule, Moments, Noise, block_unit, code, flush, midpoints};
use gristmill_core::{DType, Result};

use crate::access::Access;
use crate::number::{Number, with};

pub(super) fn run(op: &Adamw, access: &Access) -> Result<()> {
    let rule = &op.rule;
    let grads: Vec<f32> = with!(op.grad.dtype(), common G => {
        Ok(access.input::<G>(&op.grad)?.iter().map(|x| x.as_f64() as f32).collect())
    })?;
    let moved = move_moments(&op.moments, rule, op.noise, access, &grads)?;
    with!(op.param.dtype(), common P => {
        for (i, (param, moved)) in access.output::<P>(&op.param)?.iter_mut().zip(moved).enumerate() {
            let move_by = f64::from(rule.step) * direction(rule, moved);
            if rule.keep == 0.0 {
                *param = stored(op.noise, i, 0, -move_by);
            } else if moved.2 {
                *param = stored(op.noise, i, 0, f64::from(rule.keep) * param.as_f64() - move_by);
            }
        }
        Ok(())
    })
}

/// The direction of an element from its new moments, and whether its gradient counts.
pub(super) fn direction(rule: &AdamwRule, (m, v, counts): (f32, f32, bool)) -> f64 {
    if counts { f64::from(m) / (f64::from(v).sqrt() + f64::from(rule.eps)) } else { 0.0 }
}

/// Updates the moments; they, before they are rounded, and whether each gradient counts.
pub(super) fn move_moments(
    moments: &Moments,
    rule: &AdamwRule,
    noise: Option<Noise>,
    access: &Access,
    grads: &[f32],
) -> Result<Vec<(f32, f32, bool)>> {
    let step = |[old_m, old_v]: [Vec<f32>; 2]| -> Vec<(f32, f32, bool)> {
        let old = old_m.into_iter().zip(old_v);
        grads.iter().zip(old).map(|(&g, (m, v))| rule.moments(rule.betas(), g, m, v)).collect()
    };
    match moments {
        Moments::Full { m, v } => with!(m.dtype(), common S => {
            let (m, v) = (access.output::<S>(m)?, access.output::<S>(v)?);
            let moved = step([&*m, &*v].map(|state| state.iter().map(|x| x.as_f64() as f32).collect()));
            for (i, (new_m, new_v, _)) in moved.iter().enumerate() {
                m[i] = stored(noise, i, 1, f64::from(*new_m));
                v[i] = stored(noise, i, 2, f64::from(*new_v));
            }
            Ok(moved)
        }),
        Moments::Int8 { codes, absmax, maps } => {
            let maps = access.input::<f32>(maps)?;
            let (codes, absmax) = (access.output::<u32>(codes)?, access.output::<f32>(absmax)?);
            let blocks = absmax.len() / 2;
            let moved = step([0, 1].map(|which| {
                let number = |i: usize| {
                    let word = codes[64 * which * blocks + i / 4];
                    let code = (word >> (8 * (i % 4))) as usize & 255;
                    flush(maps[256 * which + code] * flush(absmax[which * blocks + i / Moments::BLOCK]))
                };
                (0..grads.len()).map(number).collect()
            }));
            for which in [0, 1] {
                let middle = midpoints(&maps[256 * which..][..256]);
                let values: Vec<f32> = moved.iter().map(|&(m, v, _)| [m, v][which]).collect();
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
            Ok(moved)
        }
    }
}

/// A number as it is stored: of parameter (0), `m` (1) or `v` (2).
pub(super) fn stored<T: Number>(noise: Option<Noise>, i: usize, which: usize, x: f64) -> T {
    match noise {
        Some(noise) if T::DTYPE == DType::Bf16 => {
            let bits = Noise::round(x as f32, noise.bits(i as u32)[which]);
            T::nearest(f64::from(f32::from_bits(u32::from(bits) << 16)))
        }
        _ => T::nearest(x),
    }
}
