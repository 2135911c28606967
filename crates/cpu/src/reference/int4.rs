use gristmill_core::Result;
use gristmill_core::ops::{INT4_GROUP, Int4Pack, Int4Unpack, flush, int4_code, int4_scale};

use crate::access::Access;

pub(super) fn pack(op: &Int4Pack, access: &Access) -> Result<()> {
    let x = access.input::<f32>(&op.x)?;
    let (scales, zeros) = (access.output::<f32>(&op.scales)?, access.output::<u32>(&op.zeros)?);
    let codes = access.output::<u32>(&op.codes)?;
    codes.fill(0);
    for (group, values) in x.chunks(INT4_GROUP).enumerate() {
        let (mut min, mut max) = (f32::INFINITY, f32::NEG_INFINITY);
        for &value in values {
            // NaN makes both infinite, and so their distance.
            let value = if value.is_finite() { value } else { f32::INFINITY };
            (min, max) = (min.min(value), max.max(value));
        }
        scales[group] = int4_scale(min, max);
        zeros[group] = 0;
        if scales[group].is_nan() {
            continue;
        }
        zeros[group] = int4_code(-min, scales[group], 0);
        for (i, &value) in values.iter().enumerate() {
            let i = group * INT4_GROUP + i;
            codes[i / 8] |= int4_code(value, scales[group], zeros[group]) << (4 * (i % 8));
        }
    }
    Ok(())
}

pub(super) fn unpack(op: &Int4Unpack, access: &Access) -> Result<()> {
    let codes = access.input::<u32>(&op.codes)?;
    let (scales, zeros) = (access.input::<f32>(&op.scales)?, access.input::<u32>(&op.zeros)?);
    for (i, out) in access.output::<f32>(&op.out)?.iter_mut().enumerate() {
        let (scale, zero) = (scales[i / INT4_GROUP], zeros[i / INT4_GROUP] & 15);
        let code = codes[i / 8] >> (4 * (i % 8)) & 15;
        *out = if scale.is_finite() { (code as f32 - zero as f32) * flush(scale) } else { f32::NAN };
    }
    Ok(())
}
