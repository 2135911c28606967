use gristmill_core::Result;
use gristmill_core::ops::GaussianNoise;

use crate::access::Access;

pub(super) fn run(op: &GaussianNoise, access: &Access) -> Result<()> {
    let [std, scale] = op.factors();
    for (p, y) in access.output::<f32>(&op.y)?.chunks_mut(2).enumerate() {
        for (y, normal) in y.iter_mut().zip(op.pair(p as u32)) {
            *y = (*y + std * normal) * scale;
        }
    }
    Ok(())
}
