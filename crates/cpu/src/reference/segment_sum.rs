use gristmill_core::Result;

use crate::offsets::{bounds, validate};
use crate::{Offset, Real};

/// `out[s] = values[offsets[s]] + ... + values[offsets[s + 1] - 1]`, added one after the other in `f64`.
pub fn segment_sum<T: Real, O: Offset>(values: &[T], offsets: &[O], out: &mut [f64]) -> Result<()> {
    validate(offsets, values.len(), out.len())?;
    for (segment, sum) in out.iter_mut().enumerate() {
        *sum = 0.0;
        for &value in &values[bounds(offsets, segment)] {
            *sum += value.into();
        }
    }
    Ok(())
}
