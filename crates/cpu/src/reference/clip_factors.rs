use gristmill_core::Result;
use gristmill_core::ops::{ClipFactors, ClipRule};

use super::fail_at;
use crate::access::Access;

/// Also the fast version: there are far fewer norms than numbers that they were measured from.
pub(crate) fn run(op: &ClipFactors, access: &Access) -> Result<()> {
    let (groups, samples) = op.squared.shape().rows_cols();
    let squared = access.input::<f32>(&op.squared)?;
    let max_norms = access.input::<f32>(&op.max_norms)?;
    let weights = op.weights.as_ref().map(|w| access.input::<f32>(w)).transpose()?;
    let weight = |sample: usize| weights.map_or(1.0, |w| w[sample]);
    let wrong_weight = (0..samples).find(|&s| weight(s) != 0.0 && weight(s) != 1.0);
    let wrong_bound = || max_norms.iter().position(|&c| !ClipRule::bounds(c)).map(|g| samples + g);
    fail_at(op, wrong_weight.or_else(wrong_bound).map(|row| row as u64))?;

    let factors = access.output::<f32>(&op.factors)?;
    let counts = access.output::<u32>(&op.counts)?;
    factors.fill(0.0);
    counts.fill(0);
    for sample in (0..samples).filter(|&s| weight(s) == 1.0) {
        let measured = (0..groups).all(|g| ClipRule::measured(squared[g * samples + sample]));
        for g in 0..groups {
            let squared = squared[g * samples + sample];
            let [taken, left_out, within] = [0, 1, 2].map(|i| 3 * g + i);
            if !measured {
                counts[left_out] += 1;
                continue;
            }
            factors[g * samples + sample] = op.rule.factor(squared, max_norms[g]);
            counts[taken] += 1;
            counts[within] += u32::from(ClipRule::norm(squared) <= max_norms[g]);
        }
    }
    Ok(())
}
